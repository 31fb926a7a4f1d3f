"""The optical view: the structure of Worldview images, and grey levels like theirs."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely.geometry

from icegraph.grid import Window
from icegraph.simulate import view
from icegraph.simulate.field import FLOE, WATER, Field, Settings, Snapshot
from icegraph.simulate.optical import Look, reflectances, stretched, write_optical

TIME = datetime(2021, 5, 1, 10, 30, tzinfo=UTC)
CASE = "hudson_bay-100km-20060513"


def snapshot(seed: int, *, cloudy: bool = False, **changes: object) -> Snapshot:
    whole = view.View(Field(Settings(seed, 40.0, 250.0, **changes)), TIME, 250.0, index=0, cloudy=cloudy)
    return whole.part(Window(0, 0, *whole.grid.shape))


def test_the_stretch_agrees_with_published_pairs() -> None:
    """Reflectances and their 8-bit values as derived from the broken line by hand."""
    assert stretched(np.array([0.03, 0.05, 0.4, 0.6, 0.8], np.float32)).tolist() == [34, 51, 188, 219, 238]
    assert stretched(np.array([-1.0, 2.0], np.float32)).tolist() == [0, 255]


def test_the_files_have_the_structure_of_real_ones(tmp_path: Path, shared_data: Path) -> None:
    pass_id = write_optical(snapshot(1, land=True), tmp_path, rng=np.random.default_rng(0), platform="aqua")
    real = shared_data / "modis_floes" / CASE
    item, real_item = json.loads((tmp_path / f"{pass_id}.json").read_text()), json.loads((real / "aqua.json").read_text())
    real_item["properties"].pop("icegraph:datetime_accuracy")
    assert item.keys() == real_item.keys()
    assert item["properties"].keys() == real_item["properties"].keys()
    assert item["id"] == pass_id
    assert item["properties"]["platform"] == "aqua"
    for name, asset in real_item["assets"].items():
        mine = item["assets"][name]
        assert mine.get("eo:bands") == asset.get("eo:bands")
        with rasterio.open(tmp_path / mine["href"]) as made, rasterio.open(real / asset["href"]) as known:
            assert (made.count, made.dtypes, made.colorinterp) == (known.count, known.dtypes, known.colorinterp)
            assert made.crs == known.crs
            assert made.res == known.res
            assert list(made.transform)[:6] == item["properties"]["proj:transform"]


def test_land_is_in_the_mask_and_only_land(tmp_path: Path) -> None:
    seen = snapshot(1, land=True)
    pass_id = write_optical(seen, tmp_path, rng=np.random.default_rng(0))
    with rasterio.open(tmp_path / f"{pass_id}.landmask.tif") as dataset:
        assert np.array_equal(dataset.read(1) > 0, seen.classes == 3)


def test_ice_is_bright_water_dark_and_only_cloud_white_at_two_micrometres() -> None:
    clear = snapshot(2, land=False, regime="mixed")
    look = Look.random(np.random.default_rng(1))
    red, _, blue, _, swir = reflectances(clear, look, np.random.default_rng(2))
    floe, water = clear.classes == FLOE, (clear.classes == WATER) & (clear.slush < 0.02) & (clear.ice_fraction < 0.02)
    assert np.median(red[floe]) == pytest.approx(look.ice, rel=0.15)
    assert np.median(red[water]) < 0.12
    assert np.median((blue - red)[water]) > np.median((blue - red)[floe])
    assert np.abs(swir).max() < 0.06
    cloud = np.zeros(clear.grid.shape, np.float32)
    cloud[:50] = 1
    covered = Snapshot(**{name: getattr(clear, name) for name in clear.__dataclass_fields__} | {"cloud": cloud})
    under = reflectances(covered, look, np.random.default_rng(2))
    assert under[4][:50].mean() == pytest.approx(look.cloud[1], rel=0.1)
    assert np.abs(np.corrcoef(under[0][:50].ravel(), red[:50].ravel())[0, 1]) < 0.2


def test_looks_span_the_grey_levels_of_real_scenes(shared_data: Path) -> None:
    levels = []
    for seed in range(12):
        seen = snapshot(seed, land=False)
        red = stretched(reflectances(seen, Look.random(np.random.default_rng(seed)), np.random.default_rng(seed))[0])
        if (seen.classes == FLOE).sum() > 200:
            levels.append(float(np.median(red[seen.classes == FLOE])))
    for case in sorted((shared_data / "modis_floes").iterdir()):
        with rasterio.open(case / "aqua.truecolor.tif") as image, rasterio.open(case / "aqua.labels.tif") as known:
            labels = known.read(1)
            real = float(np.median(image.read(1)[(labels > 0) & (labels < 65535)]))
        assert min(levels) - 5 < real < max(levels) + 5


@pytest.mark.parametrize(("lon", "lat"), [(180.0, 75.0), (0.0, 89.99)])
def test_the_item_tells_its_bounds_across_180_degrees_and_at_the_pole(tmp_path: Path, lon: float, lat: float) -> None:
    seen = snapshot(1, land=False, lon=lon, lat=lat)
    item = json.loads((tmp_path / f"{write_optical(seen, tmp_path, rng=np.random.default_rng(0))}.json").read_text())
    west, south, east, north = item["bbox"]
    outline = shapely.geometry.shape(item["geometry"])
    assert outline.is_valid
    half_deg = np.degrees(20 / 6371)
    if lat < 80:
        assert west > 175 and east < -175  # RFC 7946, section 5.2: west is the greater across 180 degrees
        assert (south, north) == pytest.approx((lat - half_deg, lat + half_deg), abs=0.1)
        assert outline.geom_type == "MultiPolygon"
    else:
        assert (west, east, north) == (-180, 180, 90)
        assert south == pytest.approx(lat - half_deg, abs=0.1)
