from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
from pyproj import Transformer
from shapely.geometry import Point, shape

from icegraph.errors import PassError
from icegraph.grid import NORTH, Grid, Window, tiles
from icegraph.scene import Scene, extend, scene_folders, write_band, write_item
from icegraph.store import atomic_dir, sha256

GRID = Grid.covering(NORTH, np.array([0.0, 40.0 * 700]), np.array([0.0, 40.0 * 600]), 40.0)
TIME = datetime(2020, 1, 23, 12, 6, tzinfo=UTC)


def write(folder: Path, pass_id: str = "a", time: datetime = TIME, sensor: str = "sar") -> np.ndarray:
    pixels = np.random.default_rng(0).normal(-20, 3, GRID.shape).astype(np.float32)
    pixels[:50] = np.nan
    with atomic_dir(folder) as fresh:
        with write_band(fresh / "hv_db.tif", GRID, "float32", unit="dB") as band:
            for window in tiles(GRID.shape, 256):
                band.write(window, pixels[window.slices])
        with write_band(fresh / "valid.tif", GRID, "uint8") as band:
            for window in tiles(GRID.shape, 512):
                band.write(window, np.isfinite(pixels[window.slices]).astype(np.uint8))
        rasters = {"hv_db": "hv_db.tif", "valid": "valid.tif"}
        write_item(fresh, pass_id=pass_id, time=time, sensor=sensor, grid=GRID, rasters=rasters, properties={"platform": "sentinel-1b"})
    return pixels


def test_scene_gives_back_what_was_written(tmp_path: Path) -> None:
    pixels = write(tmp_path / "s")
    scene = Scene.open(tmp_path / "s")
    assert (scene.id, scene.sensor, scene.time, scene.bands, scene.masks) == ("a", "sar", TIME, ["hv_db"], ["valid"])
    assert scene.grid == GRID
    window = Window(30, 100, 300, 320)
    np.testing.assert_array_equal(scene.read(["hv_db"], window)[0], pixels[window.slices])
    np.testing.assert_array_equal(scene.mask("valid", window), np.isfinite(pixels[window.slices]))
    assert not scene.mask("land").any()
    assert scene.statistics("hv_db")["p50"] == pytest.approx(np.nanmedian(pixels), abs=1e-4)


def test_bands_are_cloud_optimized_geotiffs_with_their_unit(tmp_path: Path) -> None:
    write(tmp_path / "s")
    with rasterio.open(tmp_path / "s" / "hv_db.tif") as dataset:
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert dataset.units == ("dB",)
        assert dataset.overviews(1) == [2]


def test_item_is_valid_stac_and_names_the_files_by_checksum(tmp_path: Path) -> None:
    write(tmp_path / "s")
    item = pystac.Item.from_file(str(tmp_path / "s" / "item.json"))
    assert item.assets["hv_db"].extra_fields["file:checksum"] == "1220" + sha256(tmp_path / "s" / "hv_db.tif")
    # A corner of the grid is the pole, and its edges lie on the meridians of 45 and 135 degrees east.
    x, y = 40.0 * 700 - 20, 40.0 * 600 - 20
    lon, lat = Transformer.from_crs(NORTH, "EPSG:4326", always_xy=True).transform([x, 20, x, 20], [20, y, y, 20])
    assert item.bbox == pytest.approx([lon[0], lat[2], lon[1], lat[3]], abs=1e-5)


def test_a_scene_across_180_degrees_is_bounded_and_outlined_there(tmp_path: Path) -> None:
    to_metres = Transformer.from_crs("EPSG:4326", NORTH, always_xy=True)
    x, y = to_metres.transform([178.0, -178.0], [75.0, 75.0])
    grid = Grid.covering(NORTH, np.array(x), np.add(y, [0, 9000.0]), 250.0)
    with write_band(tmp_path / "valid.tif", grid, "uint8") as band:
        band.write(Window(0, 0, *grid.shape), np.ones(grid.shape, np.uint8))
    scene = write_item(tmp_path, pass_id="a", time=TIME, sensor="sar", grid=grid, rasters={"valid": "valid.tif"}, properties={})
    west, _, east, _ = scene.item.bbox
    assert 177 < west < 180 and -180 < east < -177
    outline = shape(scene.item.geometry)
    for lon, inside in ((179.9, True), (-179.9, True), (0, False), (170, False)):
        row, col = (values[0] for values in grid.rowcol(*(np.array([v]) for v in to_metres.transform(lon, 75.0))))
        assert (0 <= row < grid.height and 0 <= col < grid.width) == inside
        assert outline.covers(Point(lon, 75.0)) == inside


def test_an_error_while_writing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="power cut"), write_band(tmp_path / "x.tif", GRID, "uint8") as band:
        band.write(Window(0, 0, 10, 10), np.ones((10, 10), np.uint8))
        raise RuntimeError("power cut")
    assert list(tmp_path.iterdir()) == []


def test_extend_shares_the_rasters(tmp_path: Path) -> None:
    write(tmp_path / "s")
    (tmp_path / "t").mkdir()
    assert extend(Scene.open(tmp_path / "s"), tmp_path / "t") == {"hv_db": "hv_db.tif", "valid": "valid.tif"}
    assert (tmp_path / "t" / "hv_db.tif").samefile(tmp_path / "s" / "hv_db.tif")


def test_rasters_taken_over_keep_their_checksum_and_statistics(tmp_path: Path) -> None:
    write(tmp_path / "s")
    first = Scene.open(tmp_path / "s")
    (tmp_path / "t").mkdir()
    rasters = extend(first, tmp_path / "t")
    said = {"pass_id": "a", "time": TIME, "sensor": "sar", "grid": GRID, "rasters": rasters, "properties": {}}
    kept, anew = (write_item(tmp_path / "t", **said, kept=known) for known in (first.item.assets, None))
    assert kept.item.to_dict()["assets"] == anew.item.to_dict()["assets"]


def test_a_band_of_whole_numbers_with_a_scale_is_read_in_its_unit(tmp_path: Path) -> None:
    write(tmp_path / "s")
    scene = Scene.open(tmp_path / "s")
    numbers = np.arange(GRID.height * GRID.width, dtype=np.uint16).reshape(GRID.shape) % 30_000
    numbers[:, :7] = 65535
    profile = {"height": GRID.height, "width": GRID.width, "count": 1, "crs": GRID.crs, "transform": GRID.transform}
    with rasterio.open(tmp_path / "s" / "tb.tif", "w", driver="GTiff", dtype="uint16", nodata=65535, **profile) as dataset:
        dataset.write(numbers, 1)
        dataset.scales, dataset.offsets = (0.01,), (-50.0,)
    rasters = {name: scene.path(name).name for name in ("hv_db", "valid")} | {"tb_18h_k": "tb.tif"}
    scene = write_item(tmp_path / "s", pass_id="a", time=TIME, sensor="sar", grid=GRID, rasters=rasters, properties={})
    window = Window(60, 3, 90, 80)
    seen, expected = scene.read(["tb_18h_k"], window)[0], numbers[window.slices] * 0.01 - 50
    assert seen.dtype == np.float32
    assert np.isnan(seen[:, :4]).all()
    np.testing.assert_allclose(seen[:, 4:], expected[:, 4:], atol=1e-4)
    valid = scene.mask("valid")
    valid[:, :7] = False
    assert scene.statistics("tb_18h_k")["mean"] == pytest.approx((numbers[valid] * 0.01 - 50).mean(), abs=0.01)


def test_scene_folders_come_in_time_order_and_by_sensor(tmp_path: Path) -> None:
    write(tmp_path / "x" / "late", "late", datetime(2021, 1, 1, tzinfo=UTC))
    write(tmp_path / "x" / "early", "early", datetime(2019, 1, 1, tzinfo=UTC), sensor="optical")
    assert list(scene_folders([tmp_path / "x"])) == ["early", "late"]
    assert list(scene_folders([tmp_path / "x" / "late", tmp_path / "x" / "early"], sensor="sar")) == ["late"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"type": "Feature"}'])
def test_a_broken_item_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "item.json").write_text(text)
    with pytest.raises(PassError, match=r"item\.json: not a readable STAC item"):
        Scene.open(tmp_path)
