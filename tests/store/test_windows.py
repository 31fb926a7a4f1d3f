"""Scenes that are read by window straight from S3."""

import logging
import traceback
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
from s3_relay import Relay

from icegraph.errors import PassError, StoreError
from icegraph.grid import NORTH, Grid, Window, tiles
from icegraph.scene import Scene, write_band, write_item
from icegraph.store import Item, Store
from icegraph.store.s3 import S3

GRID = Grid.covering(NORTH, np.array([0.0, 40.0 * 3000]), np.array([0.0, 40.0 * 2500]), 40.0)
WINDOW = Window(1100, 700, 300, 300)
SECRET = "wJalrXUtnFEMI-K7MDENG-bPxRfiCYEXAMPLEKEY"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene of noise, which hardly packs."""
    folder = tmp_path_factory.mktemp("scene")
    noise = np.random.default_rng(0).normal(-20, 3, GRID.shape).astype(np.float32)
    for name, pixels in (("hv_db", noise), ("valid", (noise > -28).astype(np.uint8))):
        with write_band(folder / f"{name}.tif", GRID, str(pixels.dtype)) as band:
            for window in tiles(GRID.shape, 1024):
                band.write(window, pixels[window.slices])
    rasters = {"hv_db": "hv_db.tif", "valid": "valid.tif"}
    time = datetime(2020, 1, 23, 12, 6, tzinfo=UTC)
    write_item(folder, pass_id="a", time=time, sensor="sar", grid=GRID, rasters=rasters, properties={"platform": "sentinel-1b"})
    return folder


def committed(bucket: str, folder: Path) -> Item:
    return Store(S3(bucket)).commit("scenes/ä b+c/a", folder)


def test_a_window_is_read_straight_from_s3_for_a_small_part_of_the_bytes(bucket: str, relay: Relay, scene: Path) -> None:
    here, size = Scene.open(scene), (scene / "hv_db.tif").stat().st_size
    committed(bucket, scene)
    relay.received, relay.requests = 0, []
    there = Scene.open(f"s3://{bucket}/scenes/ä b+c/a")
    assert (there.id, there.grid, there.bands, there.masks) == (here.id, here.grid, here.bands, here.masks)
    assert relay.received < 20_000, "of the item, only its description has been read"
    np.testing.assert_array_equal(there.read(["hv_db"], WINDOW), here.read(["hv_db"], WINDOW))
    # At most four blocks of 512 × 512 float32, and the file's head.
    assert relay.received < 5 * 512 * 512 * 4 < 0.2 * size
    np.testing.assert_array_equal(there.mask("valid", WINDOW), here.mask("valid", WINDOW))
    gets = len(relay.requests)
    there.read(["hv_db"], WINDOW)
    assert len(relay.requests) == gets, "the blocks are not asked for again"


def test_a_scene_within_an_item_is_opened_too(bucket: str, scene: Path) -> None:
    Store(S3(bucket)).commit("out/a", scene.parent)
    there = Scene.open(f"s3://{bucket}/out/a/{scene.name}")
    np.testing.assert_array_equal(there.mask("valid", WINDOW), Scene.open(scene).mask("valid", WINDOW))


def test_a_flipped_bit_in_the_description_is_told(bucket: str, scene: Path, tmp_path: Path) -> None:
    item = committed(bucket, scene)
    text = (scene / "item.json").read_text()
    (tmp_path / "spoilt").write_text(text.replace("sentinel-1b", "sentinel-1c"))
    S3(bucket).put(item.file_key("item.json"), tmp_path / "spoilt")
    with pytest.raises(StoreError, match=r"item\.json: its content .* is not what was committed"):
        Scene.open(f"s3://{bucket}/{item.key}")


def test_where_no_scene_was_committed_it_is_told(bucket: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    S3(bucket).put("a/item.json", tmp_path / "f")
    with pytest.raises(PassError, match=r"no item with an item\.json was committed there"):
        Scene.open(f"s3://{bucket}/a")


def test_a_scene_that_was_removed_while_it_is_read_is_told(bucket: str, scene: Path) -> None:
    item = committed(bucket, scene)
    there = Scene.open(f"s3://{bucket}/{item.key}")
    S3(bucket).remove([one.key for one in S3(bucket).list("")])
    with pytest.raises(StoreError, match=rf"s3://{bucket}/.*: a window cannot be read \(.+\); check that it is there still"):
        there.read(["hv_db"], WINDOW)


def test_a_wrong_secret_is_in_no_log_of_gdal(
    bucket: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("CPL_DEBUG", "ON")
    path, surroundings = S3(bucket).raster("a/x.tif")
    with caplog.at_level(logging.DEBUG), pytest.raises(StoreError, match="a window cannot be read") as raised, surroundings():
        rasterio.open(path)
    said = capfd.readouterr()
    assert "403" in caplog.text + said.err, "GDAL has asked, and was refused"
    assert SECRET not in caplog.text + said.out + said.err + "".join(traceback.format_exception(raised.value))
