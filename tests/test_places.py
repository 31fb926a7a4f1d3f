import json
import os
import tempfile
from pathlib import Path

import pytest
import rasterio
from typer.testing import CliRunner

from components.register.component import register
from icegraph.cli import app
from icegraph.errors import InputError, PassError, StoreError
from icegraph.places import brought, delivered, inside, on_disk
from icegraph.registry import SHIPPED, Registry, resolve
from icegraph.store import open_store, sha256
from icegraph.store.s3 import S3
from icegraph.trial import registry_at

SECRET = "wJalrXUtnFEMI-K7MDENG-bPxRfiCYEXAMPLEKEY"


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own for what stands in for addresses."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


def icegraph(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def commit(address: str, **files: str) -> None:
    with delivered(address, "*") as folder:
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)


def test_paths_are_given_as_they_are(tmp_path: Path, temporary: Path) -> None:
    with brought([tmp_path, "x/y"]) as paths, delivered("out") as out:
        assert (paths, out) == ([tmp_path, Path("x/y")], Path("out"))
        assert list(temporary.iterdir()) == []
    assert inside("out/", "a") == "out/a" and inside("s3://b/out/", "a") == "s3://b/out/a"


def test_a_password_in_an_address_that_is_refused_is_not_told() -> None:
    with pytest.raises(InputError, match=r"https://host/k: is not on a disk") as raised:
        on_disk(f"https://user:{SECRET}@host/k?sig={SECRET}#{SECRET}")
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("address", ["s3://bucket/../../../../../../etc/passwd", "s3://bucket/a/../b", "s3://../etc", "s3://bucket//etc"])
def test_an_address_that_leads_elsewhere_is_refused(address: str) -> None:
    for use in (lambda: brought([address]), lambda: delivered(address, "*")):
        with pytest.raises(InputError), use():
            pytest.fail("it was taken")


def test_what_is_brought_is_gone_afterwards_and_named_by_its_address(bucket: str, temporary: Path) -> None:
    address = f"s3://{bucket}/raw/a"
    commit(address, **{"x.json": "1", "deep/y.tif": "2"})
    with pytest.raises(PassError) as raised, brought([address, f"{address}/x.json", f"{address}/deep/y.tif"]) as paths:
        assert [(paths[0] / "x.json").read_text(), paths[1].read_text(), paths[2].read_text()] == ["1", "1", "2"]
        raise PassError(paths[2], "is cut off", "download it again")
    assert str(raised.value) == f"{address}/deep/y.tif: is cut off; download it again."
    assert list(temporary.iterdir()) == []


def test_with_a_stac_item_come_the_rasters_beside_it(bucket: str, tmp_path: Path) -> None:
    for name in ("aqua.json", "aqua.tif"):
        (tmp_path / name).write_text(name)
        S3(bucket).put(f"raw/{name}", tmp_path / name)
    with brought([f"s3://{bucket}/raw/aqua.json"]) as (path,):
        assert path.with_name("aqua.tif").read_text() == "aqua.tif"
    with pytest.raises(InputError, match="there is no such object"), brought([f"s3://{bucket}/raw/terra.json"]):
        pass


def test_nothing_is_committed_where_the_work_fails(bucket: str, temporary: Path) -> None:
    address = f"s3://{bucket}/out"
    with pytest.raises(InputError, match=rf"{address}/x: is odd"), delivered(address, "x") as folder:
        (folder / "x").write_text("half")
        raise InputError(folder / "x", "is odd", "do it again")
    store, key = open_store(address)
    assert store.find(key) is None
    assert list(temporary.iterdir()) == []


def test_the_log_of_work_that_failed_is_kept(bucket: str) -> None:
    with pytest.raises(InputError) as raised, delivered(f"s3://{bucket}/out", "x") as folder:
        (folder / "tracking.log").write_text("it happened here")
        raise InputError("track", "failed", f"the whole log is in {folder / 'tracking.log'}")
    kept = Path(str(raised.value).rpartition(" ")[2].rstrip("."))
    assert kept.read_text() == "it happened here"


def test_what_another_wrote_is_not_replaced(bucket: str) -> None:
    address = f"s3://{bucket}/out"
    commit(address, **{"precious.txt": "x"})
    with (
        pytest.raises(InputError, match=rf"{address}: is there already and holds other files"),
        delivered(address, "tracks.parquet") as folder,
    ):
        (folder / "tracks.parquet").write_text("x")
    with brought([address]) as (place,):
        assert os.listdir(place) == ["precious.txt"]


def test_what_was_committed_while_the_work_went_on_is_not_lost(bucket: str) -> None:
    address = f"s3://{bucket}/registry"
    with pytest.raises(StoreError, match="another writer committed meanwhile"), delivered(address, "*", brings="") as folder:
        (folder / "mine").write_text("x")
        commit(address, theirs="x")
    with brought([address]) as (place,):
        assert os.listdir(place) == ["theirs"]


def test_a_wrong_secret_is_told_before_the_work(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    with pytest.raises(StoreError, match="SignatureDoesNotMatch"), delivered(f"s3://{bucket}/out", "x"):
        pytest.fail("the work began")


def test_models_are_registered_and_found_in_s3(bucket: str, tmp_path: Path) -> None:
    from kfp import dsl

    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "metrics.json").write_text(json.dumps({"headline": [], "passes": {}}))
    (tmp_path / "results" / "gate.json").write_text(
        json.dumps({"passed": True, "criteria": [{"metric": "optical.f1", "value": 0.9, "passed": True}]})
    )
    address = f"s3://{bucket}/registry"
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "x").write_text("an evaluation set")
    with registry_at(address) as (registry, _):
        registry.pin(tmp_path / "set")
    for _ in range(2):
        register.python_func(
            scenes=[],
            segmenters=[dsl.Model(uri=str(SHIPPED / "segmenter-optical"))],
            matcher=dsl.Model(uri=str(SHIPPED / "matcher")),
            results=dsl.Dataset(uri=str(tmp_path / "results")),
            holdout=[],
            registry=address,
            registered=dsl.Dataset(uri=str(tmp_path / "registered")),
        )
    with brought([address]) as (place,):
        assert sha256(resolve(place, "matcher") / "model.safetensors") == sha256(SHIPPED / "matcher" / "model.safetensors")
        assert (place / "segmenter-optical" / "champion.json").is_file()
        assert Registry(place).verify(place) == []
        assert len(Registry(place).runs("training")) == 2


def test_a_folder_is_copied_to_s3_and_back_and_nothing_is_overwritten(bucket: str, tmp_path: Path) -> None:
    (tmp_path / "a" / "deep").mkdir(parents=True)
    (tmp_path / "a" / "deep" / "x").write_text("1")
    (tmp_path / "a" / "y").write_text("2")
    for source, out in (
        (tmp_path / "a", f"s3://{bucket}/a"),
        (f"s3://{bucket}/a", f"s3://{bucket}/b"),
        (f"s3://{bucket}/b", tmp_path / "b"),
        (f"s3://{bucket}/b/y", tmp_path / "y"),
    ):
        icegraph("copy", source, "--out", out)
        with pytest.raises(InputError, match="is there already"):
            icegraph("copy", source, "--out", out)
    assert sha256(tmp_path / "b") == sha256(tmp_path / "a") and (tmp_path / "y").read_text() == "2"


def test_passes_are_segmented_and_tracked_from_s3_to_s3_as_on_a_disk(bucket: str, tmp_path: Path, temporary: Path) -> None:
    at = f"s3://{bucket}"
    icegraph("simulate", "--out", f"{at}/sim", "--size-km", 24, "--passes", 2, "--interval-h", 3, "--view", "optical", "--seed", 3)
    icegraph("copy", f"{at}/sim", "--out", tmp_path / "sim")
    for passes, segmented, tracks in (
        (f"{at}/sim/passes", f"{at}/seg", f"{at}/tracks"),
        (tmp_path / "sim" / "passes", tmp_path / "seg", tmp_path / "tracks"),
    ):
        icegraph("segment", passes, "--out", segmented)
        icegraph("track", segmented, "--out", tracks)
    icegraph("copy", f"{at}/seg", "--out", tmp_path / "seg-fetched")
    icegraph("copy", f"{at}/tracks", "--out", tmp_path / "tracks-fetched")
    assert sha256(tmp_path / "seg-fetched") == sha256(tmp_path / "seg")
    assert sha256(tmp_path / "tracks-fetched") == sha256(tmp_path / "tracks")
    assert list(temporary.glob(".*")) == []
    (pass_id, *_) = sorted(os.listdir(tmp_path / "seg"))
    store, key = open_store(f"{at}/seg/{pass_id}")
    path, surroundings = store.raster(store.item(key), "labels.tif")
    with surroundings(), rasterio.open(path) as there, rasterio.open(tmp_path / "seg" / pass_id / "labels.tif") as here:
        assert (there.read() == here.read()).all()
