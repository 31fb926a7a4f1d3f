"""What a clumsy or a hostile user gives, and the one sentence that the commands answer with."""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from numpy.typing import NDArray
from rasterio.transform import from_origin

from icegraph import cli
from icegraph.errors import disk_is_full
from icegraph.segment.model import Segmenter, SegmenterConfig
from icegraph.store import atomic_dir

ICEGRAPH = str(Path(sys.executable).with_name("icegraph"))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained segmenter: it finds whatever it finds, on any optical scene."""
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("models") / "segmenter-optical"
    folder.mkdir()
    torch.manual_seed(0)
    config = SegmenterConfig(sensor="optical", bands=("red", "green", "blue"))
    (folder / "config.json").write_text(config.model_dump_json())
    save_file({name: value.contiguous() for name, value in Segmenter(config).state_dict().items()}, folder / "model.safetensors")
    return folder.parent


def picture(path: Path, *, side: int = 64, seed: int = 0, crs: str | None = "EPSG:3413") -> Path:
    """A GeoTIFF of three colours."""
    pixels = np.random.default_rng(seed).integers(20, 200, (3, side, side)).astype(np.uint8)
    return write(path, pixels, crs=crs, photometric="RGB")


def write(path: Path, pixels: NDArray[np.generic], *, crs: str | None = "EPSG:3413", **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = pixels.shape
    shape = {"count": count, "height": height, "width": width, "dtype": pixels.dtype.name}
    with rasterio.open(path, "w", driver="GTiff", crs=crs, transform=from_origin(0, 0, 250, 250), **shape, **options) as dataset:
        dataset.write(pixels)
    return path


def said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: object) -> tuple[int, str, str]:
    """Exit status, output and error of a command, run as its entry point runs it."""
    monkeypatch.setattr(sys, "argv", ["icegraph", *map(str, words)])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    told = capsys.readouterr()
    return int(ended.value.code or 0), told.out, told.err


def bad(folder: Path, kind: str) -> Path:
    """A folder with one bad pass."""
    name = folder / "terra-20200601.tif"
    radar = folder / "S1B_EW_20200101T000000_hh.tif"
    if kind == "truncated":
        whole = picture(name).read_bytes()
        name.write_bytes(whole[: len(whole) // 2])
    elif kind == "nan":
        write(radar, np.full((1, 64, 64), np.nan, np.float32))
    elif kind == "no date":
        picture(folder / "picture.tif")
    elif kind == "nowhere":
        picture(name, crs=None)
    elif kind == "one band":
        write(name, np.random.default_rng(0).integers(1, 9, (1, 64, 64)).astype(np.uint8))
    elif kind == "png":
        folder.mkdir()
        with rasterio.open(name.with_suffix(".png"), "w", driver="PNG", height=8, width=8, count=1, dtype="uint8") as dataset:
            dataset.write(np.ones((1, 8, 8), np.uint8))
        name.with_suffix(".png").rename(name)
    elif kind == "outside":
        folder.mkdir()
        item = {"type": "Feature", "id": "x", "properties": {"datetime": "2020-06-01T00:00:00Z"}, "geometry": None}
        (folder / "x.json").write_text(json.dumps(item | {"assets": {"truecolor": {"href": "../../etc/passwd"}}}))
    elif kind == "address":
        folder.mkdir()
        item = {"type": "Feature", "id": "x", "properties": {"datetime": "2020-06-01T00:00:00Z"}, "geometry": None}
        (folder / "x.json").write_text(json.dumps(item | {"assets": {"truecolor": {"href": "http://localhost/x.tif"}}}))
    elif kind == "zip":
        folder.mkdir()
        with zipfile.ZipFile(folder / "x.zip", "w") as archive:
            archive.writestr("../../x/manifest.safe", "x")
    elif kind == "junk":
        folder.mkdir()
        (folder / "a.txt").write_text("x")
        (folder / "x.json").write_text('{"type": "Feature", "assets": 5}')
        (folder / "y.json").write_text("[[[")
    return folder


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("truncated", "terra-20200601.tif: is cut off: "),
        ("nan", "S1B_EW_20200101T000000_hh.tif: band sigma0_hh holds 100.0% NaN"),
        ("no date", "picture.tif: tells no time in its tags or its name; put it into the name"),
        ("nowhere", "terra-20200601.tif: says nowhere where it lies"),
        ("one band", "terra-20200601.tif: has 1 band of uint8 without names"),
        ("png", "terra-20200601.tif: is not a TIFF"),
        ("outside", "x.json: its asset 'truecolor' points to '../../etc/passwd', outside the item's folder"),
        ("address", "x.json: its asset 'truecolor' points to 'http://localhost/x.tif', which is not a file beside the item"),
        ("zip", "x.zip: member '../../x/manifest.safe' has a path that leads out of the product"),
        ("junk", "holds no pass; name SAFE folders"),
    ],
)
def test_a_bad_pass_is_one_sentence(
    kind: str, problem: str, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    status, out, err = said(capsys, monkeypatch, "segment", bad(tmp_path / "in", kind), "--out", tmp_path / "out", "--model", models)
    assert status == 1
    assert problem in err
    assert err.startswith("icegraph: ")
    assert err.count("\n") == 1
    assert "Traceback" not in out + err
    assert os.listdir(tmp_path / "out") == []


def test_the_good_go_on_and_the_bad_are_told(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "it's “ö\" folder"
    later, first = picture(folder / "aqua-20200602.tif"), picture(folder / "terra-20200601.tif", side=8, seed=1)
    cut = bad(folder / "cut", "truncated")
    (folder / "link.tif").symlink_to(later)
    status, out, err = said(capsys, monkeypatch, "segment", later, first, later, cut, "--out", folder / "out", "--model", models)
    assert (status, err) == (0, "")
    assert out.index("terra-20200601") < out.index("aqua-20200602")
    assert f"refused {cut / 'terra-20200601.tif'}: is cut off" in out
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["aqua-20200602", "terra-20200601"]


@pytest.mark.parametrize("kind", ["missing", "cut", "garbage", "pickle"])
def test_a_bad_model_is_one_sentence(
    kind: str, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model"
    if kind != "missing":
        model.mkdir()
        whole = (models / "segmenter-optical" / "model.safetensors").read_bytes()
        content = {"cut": whole[:5000], "pickle": b"\x80\x04\x95cos\nsystem\n"}.get(kind, whole)
        (model / "model.safetensors").write_bytes(content)
        config = (models / "segmenter-optical" / "config.json").read_text()
        (model / "config.json").write_text("{garbage" if kind == "garbage" else config)
    given = picture(tmp_path / "terra-20200601.tif")
    status, _, err = said(capsys, monkeypatch, "segment", given, "--out", tmp_path / "out", "--model", model)
    assert status == 1
    assert err.startswith(f"icegraph: {model}")
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists() or os.listdir(tmp_path / "out") == []


def test_what_others_made_is_not_replaced(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    status, _, err = said(capsys, monkeypatch, "simulate", "--out", tmp_path / "mine")
    assert (status, (tmp_path / "mine" / "thesis.txt").read_text()) == (1, "x")
    assert (
        err == f"icegraph: {tmp_path}/mine: is there already and holds other files, which would be lost; name another folder with --out.\n"
    )
    given = picture(tmp_path / "terra-20200601.tif")
    status, _, err = said(capsys, monkeypatch, "segment", given, "--out", given, "--model", models)
    assert (status, err) == (1, f"icegraph: {given}: is a file, where a folder is to be written; name another folder with --out.\n")


def test_labels_that_cannot_judge_a_pass_are_one_sentence(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = picture(tmp_path / "terra-20200601.tif")
    said(capsys, monkeypatch, "segment", given, "--out", tmp_path / "s", "--model", models)
    for name, pixels, crs, problem in (
        ("float", np.ones((1, 64, 64), np.float32), "EPSG:3413", "holds float32, where labels are whole numbers"),
        ("nowhere", np.ones((1, 64, 64), np.uint16), None, "says nowhere where it lies"),
        ("elsewhere", np.ones((1, 64, 64), np.uint16), "EPSG:32633", "does not overlap the pass that it is named after"),
    ):
        labels = write(tmp_path / name / "terra-20200601.labels.tif", pixels, crs=crs)
        status, _, err = said(capsys, monkeypatch, "evaluate", tmp_path / "s", "--truth", labels, "--out", tmp_path / "e")
        assert (status, err.count("\n")) == (1, 1)
        assert err.startswith(f"icegraph: {labels}: {problem}; ")
        assert not (tmp_path / "e").exists()


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path: Path) -> None:
    code = f"""
import os, signal
from pathlib import Path
from icegraph.store import atomic_dir
with atomic_dir(Path({str(tmp_path / "d")!r})) as fresh:
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], check=False)
    assert len(os.listdir(tmp_path)) == 1
    with atomic_dir(tmp_path / "d") as outer, atomic_dir(tmp_path / "d") as inner:  # one that lives is left alone
        assert outer.exists()
        assert inner.exists()
    assert os.listdir(tmp_path) == ["d"]


def test_a_full_disk_is_told_through_what_gdal_makes_of_it() -> None:
    try:
        try:
            raise OSError(28, "No space left on device")
        except OSError as error:
            raise RuntimeError("write failed") from error
    except RuntimeError as error:
        assert disk_is_full(error)
    assert not disk_is_full(RuntimeError("write failed"))


def test_an_interrupted_simulation_leaves_nothing(tmp_path: Path) -> None:
    # Whoever runs the tests in the background has interruptions ignored.
    command = ["env", "--default-signal=INT", ICEGRAPH, "run", "--out", str(tmp_path / "out")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    begun = time.monotonic()
    while not (tmp_path / "out").exists() and time.monotonic() < begun + 60:
        time.sleep(0.1)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == "icegraph: interrupted: nothing half-written is left; run the same command again.\n"
    assert os.listdir(tmp_path / "out") == []
