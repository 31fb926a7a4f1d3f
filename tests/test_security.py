"""What docs/security.md promises: that each test it names is there, and the rules that hold in all of the code."""

import ast
import json
import os
import pickle
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from affine import Affine

from icegraph.errors import ModelError
from icegraph.registry import SHIPPED
from icegraph.segment.model import load_segmenter
from icegraph.track.matcher import read_matcher

ROOT = Path(__file__).parents[1]
CODE = sorted(path for folder in ("icegraph", "components", "pipelines") for path in (ROOT / folder).rglob("*.py"))
ICEGRAPH = str(Path(sys.executable).with_name("icegraph"))
SECRET = "wJalrXUtnFEMI0K7MDENG0bPxRfiCYEXAMPLEKEY"


def rows() -> list[list[str]]:
    """The threat table: its rows' cells."""
    text = (ROOT / "docs" / "security.md").read_text().partition("## Threats\n")[2].partition("\n## ")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")][2:]


def names_of_tests(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_each_threat_names_tests_that_are_there(row: list[str]) -> None:
    assert len(row) == 4 and all(row)
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", row[3])
    assert named, "no test proves it"
    for file, name in named:
        assert name in names_of_tests(ROOT / "tests" / file), f"{file} has no {name}"


def test_every_threat_of_the_design_has_its_row() -> None:
    told = " ".join(row[0] for row in rows()).lower()
    for word in ("geotiff", "safe", "zip", "hdf", "model", "reference", "tenant", "keys", "supply chain", "requests"):
        assert word in told, word


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_every_raster_is_read_as_a_geotiff_and_by_no_other_driver() -> None:
    """GDAL's other drivers (VRT, WMS, GTI …) read whatever file or address a raster names."""
    reads = 0
    for path in CODE:
        for name, call in calls(path):
            if name in ("rasterio.open", "rasterio.io.MemoryFile.open"):
                given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
                profile = None in given  # **profile, of a raster that is written
                assert given.get("driver") == "'GTiff'" or (profile and len(call.args) == 2), f"{path}:{call.lineno}"
                reads += len(call.args) == 1
    assert reads > 15, "the calls were looked for by another name"


def test_nothing_unpickles() -> None:
    forbidden = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    for path in CODE:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not forbidden & {name.partition(".")[0] for name in names}, f"{path}:{node.lineno}"
        for name, call in calls(path):
            assert name not in ("torch.load", "np.load", "numpy.load", "pd.read_pickle", "yaml.load", "yaml.unsafe_load", "eval", "exec"), (
                f"{path}:{call.lineno}"
            )


class Planted:
    """Writes a file where it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.place,)


@pytest.mark.parametrize("name", ["model.pkl", "pytorch_model.bin", "data.pkl", "__init__.py", "MLmodel", "python_model.pkl"])
def test_a_pickle_in_a_models_folder_is_not_opened(name: str, tmp_path: Path) -> None:
    model, sprung = tmp_path / "model", tmp_path / "sprung"
    model.mkdir()
    for file in ("config.json", "model.safetensors"):
        (model / file).write_bytes((SHIPPED / "segmenter-sar" / file).read_bytes())
    planted = pickle.dumps(Planted(sprung))
    (model / name).write_bytes(planted)
    load_segmenter(model)
    assert not sprung.exists()
    pickle.loads(planted)
    assert sprung.exists(), "it would have"


@pytest.mark.parametrize(("name", "read"), [("segmenter-sar", load_segmenter), ("matcher", read_matcher)], ids=["segmenter", "matcher"])
@pytest.mark.parametrize(
    "header",
    [
        struct.pack("<Q", 10**9) + b"{}",
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 60) + b'{"a":{"dtype":"F32","shape":[999999999],"data_offsets":[0,4]}}'[:60],
        (lambda text: struct.pack("<Q", len(text)) + text)(b'{"a":{"dtype":"F32","shape":[4000000000],"data_offsets":[0,16000000000]}}'),
    ],
    ids=["a gigabyte", "endless", "no table", "cut", "beyond the end"],
)
def test_weights_whose_header_lies_are_refused(header: bytes, name: str, read: object, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((SHIPPED / name / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes(header)
    with pytest.raises(ModelError, match=r"model\.safetensors: the weights cannot be read"):
        read(tmp_path)  # type: ignore[operator]


@pytest.mark.parametrize("name", ["segmenter-sar", "matcher"])
@pytest.mark.parametrize("wrong", [None, [], "x", {"$ref": "/etc/passwd"}, 10**400])
def test_a_config_of_wrong_types_is_refused(name: str, wrong: object, tmp_path: Path) -> None:
    read = read_matcher if name == "matcher" else load_segmenter
    config = json.loads((SHIPPED / name / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes((SHIPPED / name / "model.safetensors").read_bytes())
    for key in config:
        (tmp_path / "config.json").write_text(json.dumps(config | {key: wrong}))
        with pytest.raises(ModelError, match=r"config\.json|safetensors"):
            read(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(wrong))
    with pytest.raises(ModelError, match=r"config\.json"):
        read(tmp_path)


def test_no_artifact_and_no_word_holds_a_key(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(20, 200, (3, 64, 64)).astype(np.uint8)
    given = tmp_path / "terra-20200601.tif"
    profile = {"driver": "GTiff", "count": 3, "dtype": "uint8", "height": 64, "width": 64, "photometric": "RGB"}
    with rasterio.open(given, "w", crs="EPSG:3413", transform=Affine(250, 0, 0, 0, -250, 0), **profile) as dataset:
        dataset.write(pixels)
    keys = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "EARTHDATA_TOKEN", "CDSE_PASSWORD", "MLFLOW_TRACKING_PASSWORD")
    surroundings = os.environ | dict.fromkeys(keys, SECRET) | {"AWS_ACCESS_KEY_ID": "icegraph", "CPL_DEBUG": "ON"}
    command = [ICEGRAPH, "segment", str(given), "--out", str(tmp_path / "out"), "--model", str(SHIPPED / "segmenter-optical")]
    ended = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=True)
    away = surroundings | {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    failed = subprocess.run([*command[:-3], "s3://bucket/out", *command[-2:]], env=away, capture_output=True, text=True, check=False)
    assert failed.returncode == 1 and "127.0.0.1:9 does not answer" in failed.stderr
    assert SECRET not in ended.stdout + ended.stderr + failed.stdout + failed.stderr
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(written) > 3
    assert not [path for path in written if SECRET.encode() in path.read_bytes()]


def test_every_dependency_is_named_with_its_version_and_the_content_of_its_files() -> None:
    for lock in ("requirements.lock", "requirements-check.lock"):
        pinned = (ROOT / lock).read_text().replace(" \\\n    ", " ").splitlines()
        loose = [line for line in pinned if not re.fullmatch(r"[\w.\[\]-]+==[\w.+]+( --hash=sha256:[0-9a-f]{64})+", line)]
        assert [line for line in loose if not line.startswith("torch==2")] == [], lock  # its builds for CPUs and CUDA are of one version


WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_runs_what_it_names_by_content_and_may_do_little(path: Path) -> None:
    text = path.read_text()
    workflow = yaml.safe_load(text)
    for used in re.findall(r"uses: (\S+)", text):
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}|\./\.github/workflows/\w+\.yml", used), used
    assert workflow["permissions"] in ({}, {"contents": "read"})
    assert "concurrency" in workflow
    for job in workflow["jobs"].values():
        for step in job.get("steps", []):
            assert "${{" not in step.get("run", ""), "a script is text, not a template: what it needs comes by env"


def test_an_image_has_its_tag_only_when_it_was_tested_signed_and_verified() -> None:
    release, image = (yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text()) for name in ("release.yml", "image.yml"))
    assert release["jobs"]["image"]["needs"] == "test"
    needs = {name: job.get("needs") for name, job in image["jobs"].items()}
    assert needs == {"build": None, "sign": "build", "publish": ["build", "sign"]}
    build = image["jobs"]["build"]["steps"][-1]["with"]
    assert build["sbom"] is True and build["provenance"] == "mode=max"
    assert "push-by-digest=true" in build["outputs"] and "tags" not in build
    script = image["jobs"]["publish"]["steps"][-1]["run"]
    assert script.index("cosign verify") < script.index("--tag")
    may_sign = {name for name, job in image["jobs"].items() if job["permissions"].get("id-token") == "write"}
    assert may_sign == {"sign"}


def test_a_cluster_admits_what_the_release_signed_and_nothing_else() -> None:
    policy = yaml.safe_load((ROOT / "manifests" / "policy" / "verify-images.yaml").read_text())
    (rule,) = policy["spec"]["rules"]
    (verify,) = rule["verifyImages"]
    (entry,) = verify["attestors"][0]["entries"]
    image = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())["jobs"]["image"]
    assert verify["failureAction"] == "Enforce" and verify["required"] and verify["mutateDigest"]
    assert [re.fullmatch(pattern.replace("*", ".*"), image["with"]["image"]) for pattern in verify["imageReferences"]] != [None]
    assert f"/{Path(image['uses']).name}@refs/tags/v" in entry["keyless"]["subject"]
    assert entry["keyless"]["issuer"] == "https://token.actions.githubusercontent.com"
