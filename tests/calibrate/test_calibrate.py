"""Calibration from end to end: what a scene holds, and that its values are those the surface was given."""

import json
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pystac
import pystac.validation
import pytest
import rasterio
from affine import Affine
from jsonschema import Draft7Validator
from pyproj import Transformer
from pystac.extensions.sar import SarExtension

from icegraph.calibrate import RadarSettings, calibrate, radar
from icegraph.calibrate.safe import SafeImage
from icegraph.calibrate.settings import Filter
from icegraph.errors import PassError
from icegraph.grid import Grid, Window
from icegraph.ingest import ingest
from icegraph.ingest.manifest import Pass
from icegraph.ingest.passes import describe
from icegraph.scene import Scene
from icegraph.simulate.ew_vectors import plan_product
from icegraph.simulate.field import FLOE, LEVEL, Snapshot
from icegraph.simulate.sentinel1 import true_sigma_nought, write_safe
from icegraph.store import sha256


@pytest.fixture(scope="module")
def scene(safe: Pass, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return calibrate(safe, tmp_path_factory.mktemp("scene") / "scene")


def test_a_scene_tells_what_it_is_and_where_it_comes_from(scene: Scene, safe: Pass) -> None:
    properties = scene.item.properties
    assert (scene.id, scene.sensor, scene.time) == (safe.id, "sar", safe.time)
    assert sorted([*scene.bands, *scene.masks]) == ["hh_db", "hv_db", "incidence_deg", "valid"]
    assert scene.grid.crs == "EPSG:3413" and scene.grid.pixel_m == 40
    assert (properties["platform"], properties["icegraph:looks"], properties["icegraph:ipf"]) == ("Sentinel-1B", 10.7, "3.10")
    assert properties["icegraph:notes"] == []
    parents = {parent["name"]: parent["sha256"] for parent in properties["icegraph:parents"]}
    assert parents == {file.path.name: file.sha256 for file in safe.files}
    assert [path.name for path in scene.folder.iterdir() if path.suffix not in (".tif", ".json") or path.name.startswith(".")] == []
    pystac.Item.from_dict(json.loads((scene.folder / "item.json").read_text()))


def test_values_are_nan_exactly_where_the_scene_is_not_valid(scene: Scene) -> None:
    valid = scene.mask()
    for band in scene.read(scene.bands):
        np.testing.assert_array_equal(np.isfinite(band), valid)
    assert 0.6 < valid.mean() < 0.95


def test_the_scene_lies_on_the_pixels_of_the_truth(scene: Scene, simulated: Path) -> None:
    with rasterio.open(simulated / "truth" / f"{scene.id}.labels.tif") as truth:
        row, col = scene.grid.rowcol(np.array([truth.transform.c]), np.array([truth.transform.f]))
    assert (row + 0.5) % 1 == pytest.approx(0, abs=1e-9) and (col + 0.5) % 1 == pytest.approx(0, abs=1e-9)


def test_floes_are_where_the_truth_says(scene: Scene, simulated: Path) -> None:
    """Of all shifts up to three pixels, none sorts the brightness of HH into the labelled floes better than no shift."""
    with rasterio.open(simulated / "truth" / f"{scene.id}.labels.tif") as truth:
        labels, transform = truth.read(1), truth.transform
    hh = scene.read(["hh_db"])[0]
    row, col = scene.grid.rowcol(np.array([transform.c + 20.0]), np.array([transform.f - 20.0]))
    top, left = round(float(row[0])), round(float(col[0]))
    shifts = {}
    padded = np.full((labels.shape[0] + 8, labels.shape[1] + 8), np.nan)
    inner = padded[4:-4, 4:-4]
    assert top >= 0 and left >= 0
    source = hh[top : top + labels.shape[0], left : left + labels.shape[1]]
    inner[: source.shape[0], : source.shape[1]] = source
    for down in range(-3, 4):
        for across in range(-3, 4):
            moved = padded[4 + down : padded.shape[0] - 4 + down, 4 + across : padded.shape[1] - 4 + across]
            shifts[down, across] = _between_floes(moved, labels)
    assert max(shifts, key=lambda shift: shifts[shift]) == (0, 0)


def _between_floes(hh: np.ndarray, labels: np.ndarray) -> float:
    """Share of the variance of HH that lies between labelled floes rather than within them."""
    use = np.isfinite(hh) & (labels > 0) & (labels < np.iinfo(labels.dtype).max)
    _, place = np.unique(labels[use], return_inverse=True)
    count = np.bincount(place)
    mean = np.bincount(place, hh[use]) / count
    return float(np.average((mean - hh[use].mean()) ** 2, weights=count) / hh[use].var())


@pytest.fixture(scope="module")
def even(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray], list[int]]:
    """A product of even first-year ice, what its surface was given, [lines, samples], and the first sample of each sub-swath."""
    grid = Grid("EPSG:3413", Affine(40, 0, 400_000, 0, -40, -900_000), 640, 700)
    ones = np.ones(grid.shape)
    snapshot = Snapshot(
        time=datetime(2021, 5, 1, tzinfo=UTC),
        grid=grid,
        identity=ones.astype(np.uint32),
        classes=np.full(grid.shape, FLOE, np.uint8),
        ice_type=np.full(grid.shape, LEVEL, np.uint8),
        wind_m_s=(5 * ones).astype(np.float32),
        cloud=(0 * ones).astype(np.float32),
        texture=(0 * ones).astype(np.float32),
    )
    folder = tmp_path_factory.mktemp("even")
    name = write_safe(snapshot, folder, rng=np.random.default_rng(0))
    geometry = plan_product(snapshot).geometry
    truth = {band.lower(): values for band, values in true_sigma_nought(snapshot, geometry).items()}
    return folder / f"{name}.SAFE", truth, geometry.swath_first


Even = tuple[Path, dict[str, np.ndarray], list[int]]


@pytest.mark.parametrize("band", ["hh", "hv"])
def test_sigma_nought_is_what_the_surface_was_given(even: Even, band: str) -> None:
    """In each sub-swath; even level ice at HV lies 2 to 6 dB below the noise in places."""
    path, truth, firsts = even
    with SafeImage.read(path, []) as image:
        sigma, removed = image.read_band(band, Window(0, 0, *image.shape))
    seen = np.isfinite(sigma)
    for first, end in pairwise(firsts):
        part = np.s_[:, first:end]
        got, given = (values[part][seen[part]].mean() for values in (sigma, truth[band]))
        noise = removed[part][seen[part]].mean()
        assert abs(got - given) < 0.01 * (given + noise), (first, 10 * np.log10(got / given))


def test_noise_removal_levels_the_swath_seams(even: Even) -> None:
    path, truth, firsts = even
    with SafeImage.read(path, []) as image:
        sigma, removed = image.read_band("hv", Window(0, 0, *image.shape))
    before, after = [], []
    for seam in firsts[1:-1]:
        left, right = np.s_[:, seam - 15 : seam], np.s_[:, seam : seam + 15]
        level = np.nanmean(truth["hv"][left]) + np.nanmean(removed[left])
        before.append(abs(np.nanmean((sigma + removed)[right]) - np.nanmean((sigma + removed)[left])) / level)
        after.append(abs(np.nanmean(sigma[right]) - np.nanmean(sigma[left])) / level)
    assert max(before) > 0.15
    assert max(after) < 0.03


def test_geocoding_is_that_of_the_simulated_geometry(scene: Scene, safe: Pass) -> None:
    """Incidence, a function of the pixel alone, comes back at every place of the map."""
    with SafeImage.read(safe.href, []) as image:
        ties = image.annotation.ties
    x, y = Transformer.from_crs("EPSG:4326", "EPSG:3413", always_xy=True).transform(ties.lon, ties.lat)
    (y0, x0), (y1, x1) = (y[0, 0], x[0, 0]), (y[0, -1], x[0, -1])
    across = np.array([x1 - x0, y1 - y0]) / ties.pixel[-1]
    row, col = np.nonzero(scene.mask())
    gx, gy = scene.grid.xy(row, col)
    pixel = ((gx - x0) * across[0] + (gy - y0) * across[1]) / (across @ across)
    expected = np.interp(pixel, ties.pixel, ties.incidence[0])
    assert np.abs(scene.read(["incidence_deg"])[0][row, col] - expected).max() < 2e-3


def test_zip_and_folder_give_the_same_bytes(scene: Scene, zipped: Pass, tmp_path: Path) -> None:
    other = calibrate(zipped, tmp_path / "zip")
    for name in [*scene.bands, *scene.masks]:
        assert other.path(name).read_bytes() == scene.path(name).read_bytes()


@pytest.mark.parametrize("kind", ["lee", "non-local"])
def test_windows_do_not_show(kind: Filter, scene: Scene, safe: Pass, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = RadarSettings(speckle=kind)
    whole = scene if kind == "lee" else calibrate(safe, tmp_path / "whole", settings)
    monkeypatch.setattr(radar, "SOURCE_SIDE", 200)
    other = calibrate(safe, tmp_path / "small", settings)
    for name in [*scene.bands, *scene.masks]:
        np.testing.assert_array_equal(other.read([name]), whole.read([name]))


def test_the_same_pass_gives_the_same_bytes(scene: Scene, safe: Pass, tmp_path: Path) -> None:
    again = calibrate(safe, tmp_path / "again")
    for name in [*scene.bands, *scene.masks]:
        assert again.path(name).read_bytes() == scene.path(name).read_bytes()


def test_a_coarser_scene_averages_power_and_not_decibels(scene: Scene, safe: Pass, tmp_path: Path) -> None:
    coarse = calibrate(safe, tmp_path / "coarse", RadarSettings(pixel_m=200.0))
    assert coarse.grid.pixel_m == 200
    fine, wide = (10 ** (one.read(["hh_db"])[0] / 10) for one in (scene, coarse))
    assert np.nanmean(wide) == pytest.approx(np.nanmean(fine), rel=0.03)
    assert np.nanstd(wide) < np.nanstd(fine)


def test_the_item_is_valid_stac_and_tells_the_radar(scene: Scene) -> None:
    fields = json.loads((scene.folder / "item.json").read_text())
    pystac.validation.validate_dict({**fields, "stac_extensions": []})
    schemas = {}
    for path in sorted((Path(__file__).parents[1] / "schemas").glob("*.json")):
        schema = json.loads(path.read_text())
        schemas[schema["$id"].rstrip("#")] = schema
        Draft7Validator(schema).validate(fields)
    # That of processing is in no package: its one field here is an object of text.
    (rest,) = set(fields["stac_extensions"]) - set(schemas)
    assert "/processing/" in rest
    assert all(isinstance(version, str) for version in fields["properties"]["processing:software"].values())
    sar = SarExtension.ext(scene.item)
    assert (sar.instrument_mode, sar.frequency_band, sar.product_type) == ("EW", "C", "GRD")
    assert [polarisation.value for polarisation in sar.polarizations] == ["HH", "HV"]
    assert (sar.center_frequency, sar.looks_equivalent_number, sar.pixel_spacing_range) == (5.405, 10.7, 40.0)
    for asset in scene.item.assets.values():
        path = scene.folder / asset.href
        assert asset.extra_fields["file:checksum"] == "1220" + sha256(path)


def test_the_item_tells_the_scenes_quality(scene: Scene, safe: Pass) -> None:
    quality = scene.item.properties["icegraph:quality"]
    assert quality["valid_share"] == pytest.approx(scene.mask().mean(), abs=0.01)
    hv = quality["bands"]["hv"]
    assert [seam["swaths"] for seam in hv["seams"]][:3] == [["EW1", "EW2"], ["EW2", "EW3"], ["EW3", "EW4"]]
    with SafeImage.read(safe.href, []) as image:
        _, noise = image.read_band("hv", Window(0, 0, *image.shape))
    assert hv["noise_floor_db"] == pytest.approx(10 * np.log10(np.median(noise)), abs=0.3)
    assert 5 < hv["enl"][0] < 14 and hv["enl"][1] > 2 * hv["enl"][0]


def test_statistics_are_those_of_the_written_pixels(scene: Scene) -> None:
    hv = scene.read(["hv_db"])[0][scene.mask()]
    assert scene.statistics("hv_db")["p50"] == pytest.approx(np.percentile(hv, 50), abs=1e-4)
    assert scene.statistics("hv_db")["std"] == pytest.approx(hv.std(), abs=1e-4)


def test_noise_beta_and_gamma_come_on_request(scene: Scene, safe: Pass, tmp_path: Path) -> None:
    gamma = calibrate(safe, tmp_path / "gamma", RadarSettings(quantity="gamma", nesz=True))
    assert gamma.bands == ["hh_gamma_db", "hv_gamma_db", "hh_nesz_db", "hv_nesz_db", "incidence_deg"]
    hh, incidence = scene.read(["hh_db", "incidence_deg"])
    bright = np.nan_to_num(hh, nan=-99) > -15
    # gamma0 = sigma0 / cos(incidence), by definition; knots of small images are far apart, and angles between them not exact.
    difference = (gamma.read(["hh_gamma_db"])[0] - hh + 10 * np.log10(np.cos(np.radians(incidence))))[bright]
    assert np.abs(difference).max() < 0.1
    beta = calibrate(safe, tmp_path / "beta", RadarSettings(quantity="beta"))
    difference = (beta.read(["hh_beta_db"])[0] - hh + 10 * np.log10(np.sin(np.radians(incidence))))[bright]
    assert np.abs(difference).max() < 0.1
    nesz = gamma.read(["hv_nesz_db"])
    assert np.nanmin(nesz) > -33 and np.nanmax(nesz) < -18


def test_an_area_is_a_part_of_the_pass(scene: Scene, safe: Pass, tmp_path: Path) -> None:
    row, col = (np.array([side * 0.4, side * 0.6]) for side in scene.grid.shape)
    lon, lat = scene.grid.lonlat(*scene.grid.xy(row, col))
    area = (float(lon.min()), float(lat.min()), float(lon.max()), float(lat.max()))
    part = calibrate(safe, tmp_path / "part", RadarSettings(area=area))
    top, left = (round(float(value[0])) for value in scene.grid.rowcol(*part.grid.xy(np.array([0.0]), np.array([0.0]))))
    window = Window(top, left, *part.grid.shape)
    assert part.grid == scene.grid.part(window)
    assert part.grid.height < 0.8 * scene.grid.height
    np.testing.assert_allclose(part.read(["hh_db"]), scene.read(["hh_db"], window), atol=0.15)  # places agree to 0.01 pixel
    with pytest.raises(PassError, match=r"has nothing in the area 0, -80, 1, -79"):
        calibrate(safe, tmp_path / "nothing", RadarSettings(area=(0, -80, 1, -79)))


def test_balance_levels_what_wrong_noise_left(safe: Pass, tmp_path: Path) -> None:
    """Noise of the second sub-swath that is told 10 % too high leaves steps at both its seams."""
    copy = Path(shutil.copytree(safe.href, tmp_path / safe.href.name))
    with SafeImage.read(copy, []) as image:
        block = image.annotation.blocks[1]
        true = {seam.swaths: seam.after_db for seam in image.seams("hv")}
    (path,) = copy.glob("annotation/calibration/noise-*-hv-*.xml")

    def higher(match: re.Match[str]) -> str:
        pixels, values = match[2].split(), match[4].split()
        inside = [block.first_pixel <= int(pixel) <= block.last_pixel for pixel in pixels]
        raised = (f"{float(value) * (1.1 if there else 1):.6e}" for value, there in zip(values, inside, strict=True))
        return match[1] + match[2] + match[3] + " ".join(raised)

    text, count = re.subn(r"(<pixel [^>]*>)([^<]*)(</pixel>\s*<noiseRangeLut [^>]*>)([^<]*)", higher, path.read_text())
    assert count > 1
    path.write_text(text)
    with SafeImage.read(copy, []) as image:
        wrong = [abs(seam.after_db - true[seam.swaths]) for seam in image.seams("hv")]
        image.balance()
        levelled = [abs(seam.after_db) for seam in image.seams("hv")]
    assert min(wrong[:2]) > 0.1
    assert max(levelled) < 0.05


def test_what_lies_below_the_noise_goes_on_falling() -> None:
    values = radar.decibel(np.float32([[-1e-2, -1e-3, -1e-4, 0, 1e-4, 1e-3, 1e-2, 1, np.nan]]))[0]
    assert np.all(np.diff(values[:-1]) > 0) and np.isnan(values[-1])
    np.testing.assert_allclose(values[5:8], [-30, -20, 0], atol=0.02)
    assert values[3] == pytest.approx(10 * np.log10(radar.FLOOR), abs=1 / radar.STEPS)


@pytest.mark.parametrize("factor", [2, 3, 4, 5])
def test_coarser_pixels_stay_where_they_are(factor: int, tmp_path: Path) -> None:
    """On a ramp the mean about a pixel is the pixel: a mean off its centre would shift the ramp."""
    ramp = np.add.outer(np.arange(240.0), 2 * np.arange(260.0)) / 2000 + 0.01
    entry = describe(write_unmapped(tmp_path / "S1_EW_20200101T000000_hh.tif", ramp, "sigma0_hh")).entry
    scene = calibrate(entry, tmp_path / "scene", RadarSettings(pixel_m=40.0 * factor))
    assert scene.grid.pixel_m == 40 * factor
    row, col = np.mgrid[10 : scene.grid.height - 10, 10 : scene.grid.width - 10].astype(float)
    x, y = scene.grid.xy(row, col)
    expected = ((-8e5 - y) / 40 - 0.5 + 2 * ((x + 4e5) / 40 - 0.5)) / 2000 + 0.01
    got = 10 ** (scene.read(["hh_db"])[0][10:-10, 10:-10] / 10)
    assert np.abs(got - expected).max() * 2000 < 0.25  # of a pixel's step; half of it is the decibels' last digit


def test_a_pass_that_fails_leaves_nothing(safe: Pass, tmp_path: Path) -> None:
    gone = safe.model_copy(update={"href": tmp_path / "gone.SAFE"})
    with pytest.raises(PassError, match=r"gone\.SAFE"):
        calibrate(gone, tmp_path / "out" / "scene")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_disk_that_takes_no_more_is_not_called_a_damaged_pass(safe: Pass, tmp_path: Path) -> None:
    code = f"""
import resource
from pathlib import Path
from icegraph.calibrate import calibrate
from icegraph.errors import told
from icegraph.ingest.passes import describe
entry = describe(Path({str(safe.href)!r})).entry
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
with told():
    calibrate(entry, Path({str(tmp_path / "scene")!r}))
"""
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith(f"icegraph: {tmp_path}/scene: file too large; ")
    assert list(tmp_path.iterdir()) == []


def test_an_amsr2_swath_is_no_scene(safe: Pass, tmp_path: Path) -> None:
    with pytest.raises(PassError, match="a partner for fuse"):
        calibrate(safe.model_copy(update={"kind": "amsr2"}), tmp_path / "out")


def write_sar(path: Path, pixels: np.ndarray, description: str = "sigma0_hv") -> Path:
    profile = {"driver": "GTiff", "count": 1, "height": pixels.shape[0], "width": pixels.shape[1], "dtype": "float32"}
    with rasterio.open(path, "w", crs="EPSG:3976", transform=Affine(40, 0, 1e6, 0, -40, 2e6), **profile) as dataset:
        dataset.write(pixels.astype(np.float32), 1)
        dataset.set_band_description(1, description)
    return path


def test_linear_and_decibel_sigma_nought_become_the_same_scene(tmp_path: Path) -> None:
    linear = np.random.default_rng(0).gamma(10.7, 0.02 / 10.7, (150, 170))
    linear[:9, :9] = np.nan
    a = describe(write_sar(tmp_path / "a_20200101T000000.tif", linear)).entry
    b = describe(write_sar(tmp_path / "b_20200101T000000.tif", 10 * np.log10(linear), "hv_db")).entry
    one, two = calibrate(a, tmp_path / "one"), calibrate(b, tmp_path / "two")
    np.testing.assert_allclose(one.read(["hv_db"]), two.read(["hv_db"]), atol=1.01 / radar.STEPS)
    assert one.grid.transform == Affine(40, 0, 1e6, 0, -40, 2e6) and one.grid.crs == "EPSG:3976"
    assert one.mask().sum() == 150 * 170 - 81
    assert np.nanmean(10 ** (one.read(["hv_db"]) / 10)) == pytest.approx(0.02, rel=0.01)
    assert "taken as linear, 0% of its values are negative" in " ".join(one.item.properties["icegraph:notes"])


def write_unmapped(path: Path, pixels: np.ndarray, description: str = "sigma0_hv", spacing: float = 40.0) -> Path:
    """Radar pixels with control points at the corners of every sixteenth, north up, west of the pole in EPSG:3413."""
    height, width = pixels.shape
    to_lonlat = Transformer.from_crs("EPSG:3413", "EPSG:4326", always_xy=True)
    points = []
    for row in np.linspace(0, height, 5):
        for col in np.linspace(0, width, 5):
            lon, lat = to_lonlat.transform(-4e5 + spacing * col, -8e5 - spacing * row)
            points.append(rasterio.control.GroundControlPoint(row=row, col=col, x=lon, y=lat))
    profile = {"driver": "GTiff", "count": 1, "height": height, "width": width, "dtype": "float32"}
    with rasterio.open(path, "w", gcps=points, crs="EPSG:4326", **profile) as dataset:
        dataset.write(pixels.astype(np.float32), 1)
        dataset.set_band_description(1, description)
    return path


@pytest.mark.parametrize(("name", "looks", "noted"), [("S1_IW_GRDH", 4.4, False), ("S1B_EW_GRDM", 10.7, False), ("NIWA", 10.7, True)])
def test_the_mode_is_told_by_a_whole_word(name: str, looks: float, noted: bool, tmp_path: Path) -> None:
    path = write_sar(tmp_path / f"{name}_20200101T000000.tif", np.random.default_rng(0).gamma(10.7, 0.02 / 10.7, (150, 170)))
    properties = calibrate(describe(path).entry, tmp_path / "scene").item.properties
    assert properties["icegraph:looks"] == looks
    assert ("looks: nothing tells their number" in " ".join(properties["icegraph:notes"])) == noted


@pytest.mark.parametrize("with_item", [True, False])
def test_a_band_of_incidence_is_neither_checked_nor_taken_as_sigma_nought(with_item: bool, tmp_path: Path) -> None:
    linear = np.random.default_rng(0).gamma(10.7, 0.02 / 10.7, (150, 170))
    path = tmp_path / "a_20200101T000000.tif"
    profile = {"driver": "GTiff", "count": 2, "height": 150, "width": 170, "dtype": "float32"}
    with rasterio.open(path, "w", crs="EPSG:3976", transform=Affine(40, 0, 1e6, 0, -40, 2e6), **profile) as dataset:
        dataset.write(np.stack([np.full(linear.shape, 2e4), linear]).astype(np.float32))
        dataset.descriptions = ("incidence", "sigma0_hv")
    if with_item:
        bands = [{"name": "incidence"}, {"name": "sigma0_hv"}]
        item = {"type": "Feature", "id": "a", "properties": {"datetime": "2020-01-01T00:00:00Z", "instruments": ["c-sar"]}}
        (tmp_path / "a.json").write_text(json.dumps(item | {"assets": {"data": {"href": path.name, "bands": bands}}}))
    manifest = ingest([tmp_path], tmp_path / "out")
    (entry,) = manifest.passes
    assert not manifest.refused
    assert entry.bands == ["incidence", "hv_db"]
    assert "band incidence is of no polarisation and is not used" in entry.notes
    scene = calibrate(entry, tmp_path / "scene")
    assert scene.bands == ["hv_db"]
    assert np.nanmean(10 ** (scene.read(["hv_db"]) / 10)) == pytest.approx(0.02, rel=0.01)


def test_a_radar_item_without_any_polarisation_is_refused(tmp_path: Path) -> None:
    write_sar(tmp_path / "a.tif", np.random.default_rng(0).gamma(10.7, 0.02 / 10.7, (150, 170)), "x")
    item = {"type": "Feature", "id": "a", "properties": {"datetime": "2020-01-01T00:00:00Z", "instruments": ["c-sar"]}}
    (tmp_path / "a.json").write_text(json.dumps(item | {"assets": {"data": {"href": "a.tif", "bands": [{"name": "x"}]}}}))
    with pytest.raises(PassError, match=r"a\.json: has no band of HH, HV, VV or VH \(found: x\)"):
        describe(tmp_path / "a.json")


@pytest.mark.parametrize(("gsd", "pixel_m", "noted"), [(0.001, 40, True), (4000.0, 40, True), (50.0, 50, False)])
def test_a_pixel_size_that_the_control_points_belie_is_not_used(gsd: float, pixel_m: float, noted: bool, tmp_path: Path) -> None:
    write_unmapped(tmp_path / "a.tif", np.random.default_rng(0).gamma(10.7, 0.02 / 10.7, (150, 170)))
    item = {"type": "Feature", "id": "a", "properties": {"datetime": "2020-01-01T00:00:00Z", "gsd": gsd}}
    (tmp_path / "a.json").write_text(json.dumps(item | {"assets": {"hv": {"href": "a.tif"}}}))
    scene = calibrate(describe(tmp_path / "a.json").entry, tmp_path / "scene")
    assert scene.grid.pixel_m == pixel_m
    assert (f"the item's {gsd:g} m is not used" in " ".join(scene.item.properties["icegraph:notes"])) == noted


def test_a_bright_pixel_lies_where_the_control_points_put_it(tmp_path: Path) -> None:
    """GDAL counts control points from the corner of the first pixel: half a pixel away is another place."""
    pixels = np.full((150, 170), 0.01)
    pixels[60, 80] = 10.0
    scene = calibrate(describe(write_unmapped(tmp_path / "S1_EW_20200101T000000.tif", pixels)).entry, tmp_path / "scene")
    power = 10 ** (scene.read(["hv_db"])[0] / 10) - 0.01
    power[~np.isfinite(power) | (power < 0.01)] = 0
    row, col = ((power * place).sum() / power.sum() for place in np.mgrid[: power.shape[0], : power.shape[1]])
    x, y = scene.grid.xy(row, col)
    assert (float(x), float(y)) == pytest.approx((-4e5 + 40 * 80.5, -8e5 - 40 * 60.5), abs=2)


@pytest.mark.parametrize("name", ["S1B_EW_GRDM_1SDH_20200123T120618", "S1B_EW_GRDM_1SDH_20200125T114955"])
def test_the_real_chips_are_placed_by_their_control_points(name: str, shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "sentinel1_ew_pair" / f"{name}.json"
    scene = calibrate(describe(path).entry, tmp_path / "scene")
    with rasterio.open(path.with_suffix(".tif")) as dataset:
        points, crs = dataset.gcps
        raw = dataset.read(1)
    assert scene.grid.crs == "EPSG:3413" and scene.grid.pixel_m == 40
    # Where the control point of a pixel lies on the map, the map shows that pixel's neighbourhood.
    to_map = Transformer.from_crs(crs.to_wkt(), "EPSG:3413", always_xy=True)
    linear = 10 ** (scene.read(["hv_db"])[0] / 10)
    ratios = []
    for point in points:
        row, col = (int(np.floor(value[0])) for value in scene.grid.rowcol(*(np.array([v]) for v in to_map.transform(point.x, point.y))))
        line, pixel = int(point.row), int(point.col)
        if 40 < line < 960 and 40 < pixel < 960:
            ratios.append(
                linear[row - 20 : row + 20, col - 20 : col + 20].mean() / raw[line - 20 : line + 20, pixel - 20 : pixel + 20].mean()
            )
    assert len(ratios) > 60
    assert np.median(ratios) == pytest.approx(1, abs=0.02) and np.std(ratios) < 0.06
    assert "104 control points" in " ".join(scene.item.properties["icegraph:notes"])


def test_the_real_pair_overlaps_and_agrees_where_it_does(shared_data: Path, tmp_path: Path) -> None:
    """Two days apart, the same ice: over 4 km blocks the chips of both days correlate on the common grid."""
    scenes = [calibrate(describe(path).entry, tmp_path / path.stem) for path in sorted((shared_data / "sentinel1_ew_pair").glob("*.json"))]
    first, second = scenes
    row, col = (round(float(value[0])) for value in first.grid.rowcol(*second.grid.xy(np.array([0.0]), np.array([0.0]))))
    a = first.read(["hv_db"])[0]
    b = np.full(a.shape, np.nan, np.float32)
    other = second.read(["hv_db"])[0]
    top, left = max(row, 0), max(col, 0)
    part = other[top - row :, left - col :][: a.shape[0] - top, : a.shape[1] - left]
    b[top : top + part.shape[0], left : left + part.shape[1]] = part
    blocks = [
        (a[r : r + 100, c : c + 100].mean(), b[r : r + 100, c : c + 100].mean())
        for r in range(0, a.shape[0] - 100, 100)
        for c in range(0, a.shape[1] - 100, 100)
    ]
    table = pd.DataFrame(blocks).dropna()
    assert len(table) > 30
    assert table.corr().iloc[0, 1] > 0.7


@pytest.mark.parametrize(("surface", "slopes"), [("first-year", (-0.24, -0.16)), ("water", (-0.60, -0.30))])
def test_the_incidence_angle_is_taken_out_once_and_said_to_be(
    surface: str, slopes: tuple[float, float], scene: Scene, safe: Pass, tmp_path: Path
) -> None:
    flat = calibrate(safe, tmp_path / "flat", RadarSettings(normalise=surface))
    away = scene.read(["incidence_deg"])[0] - 35
    for band, slope in zip(("hh_db", "hv_db"), slopes, strict=True):
        np.testing.assert_allclose(flat.read([band])[0], scene.read([band])[0] - slope * away, atol=2 / radar.STEPS)
    told = flat.item.properties["icegraph:normalised"]
    assert told == {"surface": surface, "reference_deg": 35.0, "slopes_db_per_deg": dict(zip(("hh_db", "hv_db"), slopes, strict=True))}
    assert "icegraph:normalised" not in scene.item.properties
    np.testing.assert_array_equal(flat.read(["incidence_deg"]), scene.read(["incidence_deg"]))


def test_without_a_filter_speckle_stays(scene: Scene, safe: Pass, tmp_path: Path) -> None:
    raw = calibrate(safe, tmp_path / "raw", RadarSettings(speckle="none"))
    rough, smooth = (np.diff(one.read(["hh_db"])[0]) for one in (raw, scene))
    assert np.nanstd(rough) > 1.5 * np.nanstd(smooth)
    np.testing.assert_array_equal(raw.mask(), scene.mask())
