"""Rasters tile by tile."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from affine import Affine
from rasterio.windows import Window
from skimage.filters import threshold_otsu
from typer.testing import CliRunner

from icegraph import grid
from icegraph.cli import app
from icegraph.errors import PassError
from icegraph.laptop import open_raster
from icegraph.registry import SHIPPED
from icegraph.segment import segment_window
from icegraph.simulate import simulate
from icegraph.store import sha256
from icegraph.tiles import Source, otsu, predict_tiles

SHAPE = (600, 515)
TRANSFORM = Affine(40, 0, 1000, 0, -40, 2000)


@pytest.fixture
def raster(tmp_path: Path) -> Path:
    """Bright discs on dark ground; a corner without data."""
    rng = np.random.default_rng(0)
    row, col = np.mgrid[: SHAPE[0], : SHAPE[1]]
    ice = ((row // 60 + col // 60) % 2 == 0) & ((row % 60 - 30) ** 2 + (col % 60 - 30) ** 2 < 600)
    pixels = (np.where(ice, 200, 40) + rng.normal(0, 8, SHAPE)).clip(1, 255).astype(np.uint8)
    pixels[:256, :256] = 0
    profile = {"driver": "GTiff", "height": SHAPE[0], "width": SHAPE[1], "count": 1, "dtype": "uint8", "nodata": 0}
    with rasterio.open(tmp_path / "ice.tif", "w", crs="EPSG:3413", transform=TRANSFORM, **profile) as dataset:
        dataset.write(pixels, 1)
    return tmp_path / "ice.tif"


def rows(out: Path) -> list[dict[str, object]]:
    found = json.loads((out / "tiles.json").read_text())
    assert pq.read_table(out / "tiles.parquet").to_pylist() == found
    return list(found)


def test_every_pixel_is_in_one_tile_and_edge_tiles_are_marked(raster: Path, tmp_path: Path) -> None:
    predict_tiles(raster, tmp_path / "out")
    covered = np.zeros(SHAPE, int)
    for row in rows(tmp_path / "out"):
        covered[row["row"] : row["row"] + row["height"], row["col"] : row["col"] + row["width"]] += 1
        assert row["padded"] == ((row["height"], row["width"]) != (256, 256))
        with rasterio.open(raster) as dataset:  # rasterio's own arithmetic
            expected = dataset.window_transform(Window(row["col"], row["row"], row["width"], row["height"]))
        assert row["transform"] == pytest.approx(list(expected)[:6])
    assert (covered == 1).all()
    assert sum(row["padded"] for row in rows(tmp_path / "out")) == 5


def test_a_threshold_gives_the_share_of_bright_pixels_among_the_valid(raster: Path, tmp_path: Path) -> None:
    said = predict_tiles(raster, tmp_path / "out", threshold=120)
    with rasterio.open(raster) as dataset:
        pixels = dataset.read(1)
    for row in rows(tmp_path / "out"):
        part = pixels[row["row"] : row["row"] + 256, row["col"] : row["col"] + 256]
        assert row["valid_share"] == pytest.approx((part > 0).mean())
        assert row["floe_share"] == (pytest.approx((part[part > 0] > 120).mean()) if (part > 0).any() else None)
    assert said["health"]["empty"] == [0]
    assert said["health"]["warnings"] == ["1 tiles have no valid pixel"]


def test_the_threshold_is_otsus(raster: Path) -> None:
    with rasterio.open(raster) as dataset:
        pixels = dataset.read(1)
    assert otsu(Source.of(raster)) == pytest.approx(threshold_otsu(pixels[pixels > 0], nbins=256), abs=1)


def test_same_input_same_bytes_and_each_row_names_its_origin(raster: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        predict_tiles(raster, tmp_path / name)
    assert sha256(tmp_path / "a") == sha256(tmp_path / "b")
    run = json.loads((tmp_path / "a" / "run.json").read_text())
    for row in rows(tmp_path / "a"):
        assert row["input_sha256"] == sha256(raster)
        assert (row["run_id"], row["model_version"], row["crs"]) == (run["run_id"], run["model_version"], "EPSG:3413")
    predict_tiles(raster, tmp_path / "c", threshold=100)
    assert json.loads((tmp_path / "c" / "run.json").read_text())["run_id"] != run["run_id"]


def test_what_is_no_raster_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "x.tif").write_bytes(b"not a raster")
    with pytest.raises(PassError, match="cannot be read as a raster"):
        predict_tiles(tmp_path / "x.tif", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_registered_models_tiles_are_what_a_server_finds_in_them(tmp_path: Path) -> None:
    simulate(tmp_path / "field", seed=4, size_km=75.0, passes=1, views=("optical",))
    image = next((tmp_path / "field" / "passes").glob("*.json"))
    told = CliRunner().invoke(app, ["tiles", str(image), "--out", str(tmp_path / "out"), "--model", str(SHIPPED)], catch_exceptions=False)
    assert told.exit_code == 0, told.output
    scene, engine, version = open_raster(image, str(SHIPPED), tmp_path / "own")
    found = rows(tmp_path / "out")
    assert {row["model_version"] for row in found} == {version}
    assert len(found) == -(-scene.grid.height // 256) * -(-scene.grid.width // 256) > 1
    for row in found:
        tile = segment_window(engine, scene, grid.Window(row["row"], row["col"], row["height"], row["width"]))
        assert row["floe_share"] == (tile.classes == 2).sum() / (tile.classes != 255).sum()
        assert row["floes"] == tile.labels.max()
    assert sum(row["floes"] for row in found) > 10
