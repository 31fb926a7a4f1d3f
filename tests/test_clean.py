"""Cleaning up: what stays can be traced as before."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from icegraph.clean import clean
from icegraph.cli import app
from icegraph.commands.clean import parse_age
from icegraph.errors import InputError, RegistryError
from icegraph.graph.floes import ABOUT
from icegraph.places import brought
from icegraph.registry import Registry
from icegraph.store import lineage, open_store, sha256
from icegraph.trace import read_history

OLD = time.time() - 40 * 24 * 3600
MONTH = timedelta(days=30)


class Place:
    """Makes artifacts that tell of their parents as the stages' do.

    Args:
        root: The folder they are made in.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def item(self, name: str, parents: list[Path], segmented: bool = False, software: bool = True) -> Path:
        folder = self._made(name)
        properties = lineage([(parent.parent.name, sha256(parent)) for parent in parents]) if software else {}
        said = {"id": name.rpartition("/")[2], "properties": properties, "assets": {"labels": {}} if segmented else {}}
        (folder / "item.json").write_text(json.dumps(said))
        return folder / "item.json"

    def model(self, name: str, parents: list[Path]) -> Path:
        folder = self._made(name)
        (folder / "config.json").write_text(json.dumps({"kind": "icegraph-segmenter", "sensor": "sar", "bands": ["hh_db"], "note": name}))
        (folder / "model.safetensors").write_bytes(name.encode())
        (folder / "history.json").write_text(json.dumps({"parents": {one.parent.name: sha256(one) for one in parents}, "epochs": []}))
        (folder / "README.md").write_text("# Card")
        return folder / "model.safetensors"

    def tracks(self, name: str, floes: list[Path]) -> Path:
        table = pa.table({"track_id": [1] * len(floes), "pass_id": [one.parent.name for one in floes], "floe_id": [1] * len(floes)})
        about = {ABOUT: lineage([(one.parent.name, sha256(one)) for one in floes]), "name": name}  # no two are the same bytes
        pq.write_table(table.replace_schema_metadata({"PANDAS_ATTRS": json.dumps(about)}), self._made(name) / "tracks.parquet")
        return self.root / name / "tracks.parquet"

    def aged(self, *files: Path) -> None:
        for file in files:
            for one in file.parent.rglob("*"):
                os.utime(one, (OLD, OLD))

    def names(self) -> set[str]:
        signs = ("item.json", "tracks.parquet", "model.safetensors")
        return {path.parent.relative_to(self.root).as_posix() for sign in signs for path in self.root.rglob(sign)}

    def _made(self, name: str) -> Path:
        (self.root / name).mkdir(parents=True)
        return self.root / name


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return Registry(tmp_path_factory.mktemp("registry") / "r")


def traced(root: Path) -> dict[str, Any]:
    """What each thing that lies there was made from."""
    history = read_history([root, root])
    return {key: history.trace(key)["from"] for key, node in history.nodes.items() if node.path and node.kind != "part"}


def below(tree: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for node in tree:
        yield node["key"], node["kind"]
        yield from below(node["from"])


def test_what_young_things_and_registered_models_were_made_from_stays(tmp_path: Path, empty: Registry) -> None:
    place, registry = Place(tmp_path / "runs"), Registry(Path(shutil.copytree(empty.place, tmp_path / "registry")))
    scenes = {name: place.item(f"scenes/{name}", []) for name in "abcde"}
    model = place.model("trained/segmenter-sar", [scenes["a"]])
    forgotten = place.model("tried/segmenter-sar", [scenes["b"]])
    floes = place.item("floes/c", [scenes["c"], model], segmented=True)
    old = place.item("floes/d", [scenes["d"], forgotten], segmented=True)
    place.aged(*scenes.values(), model, forgotten, floes, old)
    place.tracks("tracks", [floes])  # young
    registry.register(model.parent, "segmenter-sar", {})
    dry = clean([str(place.root)], registry, MONTH, dry_run=True)
    gone = clean([str(place.root)], registry, MONTH)
    names = {Path(one.place).relative_to(place.root).as_posix() for one in gone}
    assert (
        names
        == {"scenes/b", "scenes/d", "scenes/e", "tried/segmenter-sar", "floes/d"}
        == {Path(one.place).relative_to(place.root).as_posix() for one in dry}
    )
    assert place.names() == {"scenes/a", "scenes/c", "trained/segmenter-sar", "floes/c", "tracks"}
    assert sum(one.bytes for one in gone) > 0


def test_a_lake_what_is_kept_and_what_others_made_stay(tmp_path: Path, empty: Registry) -> None:
    place = Place(tmp_path / "runs")
    lake, source = place.item("lake/a", [], segmented=True), place.item("scenes/a", [])
    (lake.parent / "made.json").write_text(json.dumps({"files": {}}))
    kept, theirs = place.item("kept/b", [source]), place.item("theirs/c", [], software=False)
    (place.root / "theirs" / "notes.txt").write_text("x")
    place.aged(lake, kept, theirs, source, place.item("scenes/z", []))
    clean([str(place.root)], empty, MONTH, keep=[str(place.root / "kept")])
    assert place.names() == {"lake/a", "kept/b", "theirs/c", "scenes/a"}


def test_in_s3_the_same_goes_and_what_was_never_read_is_not_brought(bucket: str, tmp_path: Path, empty: Registry) -> None:
    place, store = Place(tmp_path / "made"), open_store(f"s3://{bucket}")[0]
    scene, other = place.item("scenes/a", []), place.item("scenes/b", [])
    (scene.parent / "hh_db.tif").write_bytes(os.urandom(100_000))
    tracks = place.tracks("tracks", [place.item("floes/a", [scene], segmented=True)])
    for file in (scene, other, place.root / "floes/a/item.json", tracks):
        store.commit(f"runs/{file.parent.relative_to(place.root).as_posix()}", file.parent)
    for name in ("state.json", "state.safetensors"):
        (tmp_path / "state").mkdir(exist_ok=True)
        (tmp_path / "state" / name).write_text("{}")
    store.commit("runs/mine.training", tmp_path / "state")
    before = store.list()
    assert clean([f"s3://{bucket}/runs"], empty, MONTH) == []  # all is young
    assert store.list() == before
    just_now = timedelta(seconds=-1)  # servers tell in whole seconds when a thing was written, some in the second that follows
    gone = clean([f"s3://{bucket}/runs"], empty, just_now, keep=[f"s3://{bucket}/runs/tracks"])
    assert {one.place for one in gone} == {f"s3://{bucket}/runs/scenes/b", f"s3://{bucket}/runs/mine.training"}
    assert store.list() == ["runs/floes/a", "runs/scenes/a", "runs/tracks"]
    with brought([f"s3://{bucket}/runs"]) as (folder,):
        found = read_history([folder, folder]).trace(sha256(tracks)[:12])
    assert (sha256(scene), "scene") in set(below(found["from"]))


ages = st.booleans()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_every_trace_of_what_stays_is_as_it_was(tmp_path: Path, empty: Registry, data: st.DataObject) -> None:
    """Scenes, models, floes and tracks made from one another at random, each old or young."""
    shutil.rmtree(tmp_path / "runs", ignore_errors=True)
    place = Place(tmp_path / "runs")
    scenes: list[Path] = []
    models: list[Path] = []
    floes: list[Path] = []
    everything: list[Path] = []
    for number in range(data.draw(st.integers(2, 9))):
        kind = data.draw(st.sampled_from(["scene", "model", "floes", "tracks"])) if scenes else "scene"
        some = st.lists(st.sampled_from(scenes), min_size=1, max_size=3, unique=True) if scenes else None
        if kind == "scene":
            made = place.item(f"scenes/{number}", data.draw(st.lists(st.sampled_from(scenes), max_size=1)) if scenes else [])
            scenes.append(made)
        elif kind == "model":
            made = place.model(f"models/{number}", data.draw(some))
            models.append(made)
        elif kind == "floes":
            by = [data.draw(st.sampled_from(models))] if models else []
            made = place.item(f"floes/{number}", [data.draw(st.sampled_from(scenes)), *by], segmented=True)
            floes.append(made)
        elif floes:
            made = place.tracks(f"tracks/{number}", data.draw(st.lists(st.sampled_from(floes), min_size=1, max_size=2, unique=True)))
        else:
            continue
        everything.append(made)
    before = traced(place.root)
    young = [made for made in everything if not data.draw(ages)]
    place.aged(*(made for made in everything if made not in young))
    clean([str(place.root)], empty, MONTH)
    after = traced(place.root)
    assert after == {key: tree for key, tree in before.items() if key in after}
    assert {made.parent.relative_to(place.root).as_posix() for made in young} <= place.names()
    wanted = {sha256(made) for made in young} | {key for made in young for key, _ in below(before.get(sha256(made), []))}
    left = [made for made in everything if made.exists() and made not in young and made.name == "item.json"]
    assert {sha256(made) for made in left} <= wanted | {key for key, _ in below([one for tree in after.values() for one in tree])}


def test_nothing_goes_where_the_registry_does_not_answer_or_a_place_is_not_there(tmp_path: Path, empty: Registry) -> None:
    place = Place(tmp_path / "runs")
    place.aged(place.item("scenes/a", []))
    with pytest.raises(RegistryError, match="is no registry"):
        CliRunner().invoke(
            app, ["clean", str(place.root), "--older-than", "30d", "--registry", str(tmp_path / "none")], catch_exceptions=False
        )
    with pytest.raises(InputError, match="there is no such folder"):
        clean([str(place.root), str(tmp_path / "nowhere")], empty, MONTH)
    assert place.names() == {"scenes/a"}


def test_the_command_tells_what_would_go(tmp_path: Path, empty: Registry) -> None:
    place = Place(tmp_path / "runs")
    place.aged(place.item("scenes/a", []))
    words = ["clean", str(place.root), "--older-than", "4w", "--registry", empty.place]
    assert "1 would be removed" in CliRunner().invoke(app, [*words, "--dry-run"], catch_exceptions=False).output
    assert place.names() == {"scenes/a"}
    assert "1 removed" in CliRunner().invoke(app, words, catch_exceptions=False).output
    assert place.names() == set()
    assert parse_age("12h") == timedelta(hours=12)
    with pytest.raises(InputError, match="write a number of hours, days or weeks"):
        parse_age("month")


def test_what_is_to_be_kept_and_is_not_there_stops_it(tmp_path: Path, empty: Registry) -> None:
    place = Place(tmp_path / "out")
    place.aged(place.item("for-the-paper", []))
    with pytest.raises(InputError, match="nothing that is cleaned lies there"):
        clean([str(place.root)], empty, MONTH, keep=[str(place.root / "for-a-paper")])
    assert place.names() == {"for-the-paper"}
