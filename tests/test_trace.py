"""From anything back to its raw files, and forwards."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from icegraph.cli import app
from icegraph.errors import InputError
from icegraph.laptop import segment_passes, track_folder
from icegraph.progress import silent
from icegraph.registry import SHIPPED
from icegraph.simulate import simulate
from icegraph.store import sha256
from icegraph.trace import read_history


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two optical passes, segmented and tracked, and the log of a server."""
    out = tmp_path_factory.mktemp("run")
    simulate(out / "field", seed=6, size_km=48.0, passes=2, interval_h=3.0, views=("optical",))
    segment_passes([out / "field" / "passes"], out / "segmented", None, silent)
    track_folder(out / "segmented", out / "tracks", None, 1.0)
    said = {"event": "request", "request_id": "r-1", "model_name": "segmenter-optical", "input_sha256": "ab" * 32}
    said |= {"model_sha256": sha256(SHIPPED / "segmenter-optical")}
    (out / "server.jsonl").write_text(f"warming up\n{json.dumps(said)}\n")
    return out


def below(tree: dict[str, Any], way: str) -> Iterator[dict[str, Any]]:
    for node in tree[way]:
        yield node
        yield from below(node, way)


def raw_files(run: Path, pass_id: str) -> set[str]:
    return {sha256(path) for path in (run / "field" / "passes").glob(f"{pass_id}.*")}


def trace(run: Path, text: str, *places: Path) -> dict[str, Any]:
    return read_history([run / "segmented", run / "tracks", SHIPPED, run / "server.jsonl", *places]).trace(text)


def test_a_model_is_known_by_its_name_beside_mlflows_copy_of_it(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "artifacts" / "model"
    shutil.copytree(SHIPPED / "segmenter-optical", copy)
    (copy / "MLmodel").touch()
    shutil.copytree(SHIPPED / "segmenter-optical", tmp_path / "models" / "segmenter-optical")
    assert read_history([tmp_path]).find("segmenter-optical").key == sha256(SHIPPED / "segmenter-optical")


def test_a_track_leads_back_to_the_raw_files_of_its_passes_and_to_both_models(run: Path) -> None:
    table = pq.read_table(run / "tracks" / "tracks.parquet").to_pandas()
    track = int(table["track_id"].value_counts().index[0])
    seen = table[table["track_id"] == track]
    assert len(seen) == 2
    found = list(below(trace(run, str(track)), "from"))
    assert {f"{row.pass_id}/{row.floe_id}" for row in seen.itertuples()} == {one["name"] for one in found if one["kind"] == "floe"}
    expected = set.union(*(raw_files(run, pass_id) for pass_id in seen["pass_id"]))
    assert expected <= {one["key"] for one in found}
    models = {one["key"] for one in found if one["kind"] == "model"}
    assert models == {sha256(SHIPPED / name) for name in ("segmenter-optical", "matcher")}


def test_a_raw_file_leads_forward_to_the_tracks(run: Path) -> None:
    image = next((run / "field" / "passes").glob("*.truecolor.tif"))
    found = {one["kind"] for one in below(trace(run, sha256(image)[:16]), "into")}
    assert {"pass", "scene", "floes", "tracks"} <= found


def test_a_floe_leads_forward_to_its_track_only(run: Path) -> None:
    row = pq.read_table(run / "tracks" / "tracks.parquet").to_pylist()[0]
    tree = trace(run, f"{row['pass_id']}/{row['floe_id']}")
    assert [one["name"] for one in below(tree, "into") if one["kind"] == "track"] == [str(row["track_id"])]


def test_a_served_answer_leads_back_to_its_model_and_what_that_learned_from(run: Path) -> None:
    learned = json.loads((SHIPPED / "segmenter-optical" / "history.json").read_text())["parents"]
    found = {one["key"] for one in below(trace(run, "r-1"), "from")}
    assert {sha256(SHIPPED / "segmenter-optical"), "ab" * 32, *learned.values()} <= found


def test_a_model_leads_forward_to_what_it_made(run: Path) -> None:
    kinds = {one["kind"] for one in below(trace(run, "segmenter-optical"), "into")}
    assert {"floes", "tracks", "request"} <= kinds


def test_the_command_tells_the_same_as_text_and_as_json(run: Path) -> None:
    words = ["trace", "r-1", "--in", str(run / "server.jsonl"), "--in", str(SHIPPED)]
    text = CliRunner().invoke(app, words, catch_exceptions=False).output
    assert text.startswith("request r-1")
    assert f"  model segmenter-optical  sha256 {sha256(SHIPPED / 'segmenter-optical')}" in text
    said = json.loads(CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False).output)
    assert {one["key"] for one in said["from"]} == {sha256(SHIPPED / "segmenter-optical"), "ab" * 32}


def test_what_is_not_known_is_told(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^nobody: nothing here is known by that"):
        trace(run, "nobody")
    with pytest.raises(InputError, match="there is no such file or folder"):
        read_history([tmp_path / "nowhere"])
