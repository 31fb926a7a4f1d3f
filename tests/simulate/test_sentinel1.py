"""The simulated Sentinel-1 product, read back with nothing but XML, TIFF and the formulas of the specification."""

import hashlib
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS

from icegraph.errors import InputError
from icegraph.grid import Grid, Window
from icegraph.simulate.field import FLOE, LEVEL, MULTIYEAR, WATER, Snapshot
from icegraph.simulate.kind import EW
from icegraph.simulate.sentinel1 import covered, plan_product, true_sigma_nought, write_safe
from icegraph.store import sha256

SIZE = 700
NS = {
    "safe": "http://www.esa.int/safe/sentinel-1.0",
    "gml": "http://www.opengis.net/gml",
    "s1": "http://www.esa.int/safe/sentinel-1.0/sentinel-1",
}


def flat_field(surface: int, ice_type: int = 0, wind: float = 6.0, size: int = SIZE) -> Snapshot:
    """One surface everywhere, without texture."""
    grid = Grid("EPSG:3413", Affine(40, 0, 400_000, 0, -40, -1_000_000), size, size)
    shape = grid.shape
    return Snapshot(
        time=datetime(2020, 3, 1, 12, 0, 0, tzinfo=UTC),
        grid=grid,
        identity=np.zeros(shape, np.uint32),
        classes=np.full(shape, surface, np.uint8),
        ice_type=np.full(shape, ice_type, np.uint8),
        wind_m_s=np.full(shape, wind, np.float32),
        cloud=np.zeros(shape, np.float32),
        texture=np.zeros(shape, np.float32),
    )


def floes(size: int = SIZE) -> Snapshot:
    """Square floes of the three types in water."""
    field = flat_field(WATER, size=size)
    row, col = np.mgrid[:size, :size]
    ice = (row % 60 > 9) & (col % 60 > 9)
    identity = np.where(ice, (row // 60) * 100 + col // 60 + 1, 0).astype(np.uint32)
    return replace(
        field,
        identity=identity,
        classes=np.where(ice, FLOE, WATER).astype(np.uint8),
        ice_type=np.where(ice, 1 + identity % 3, 0).astype(np.uint8),
    )


def write(field: Snapshot, folder: Path, seed: int = 1) -> Path:
    return folder / f"{write_safe(field, folder, rng=np.random.default_rng(seed))}.SAFE"


def numbers(text: ET.Element | None) -> np.ndarray:
    assert text is not None and text.text is not None
    values = np.array(text.text.split(), float)
    assert text.get("count") == str(len(values))
    return values


def read_dn(safe: Path, polarisation: str) -> np.ndarray:
    with rasterio.open(next((safe / "measurement").glob(f"*-{polarisation}-*.tiff"))) as dataset:
        return dataset.read(1).astype(float)


def calibration_factor(safe: Path, polarisation: str, shape: tuple[int, int]) -> np.ndarray:
    """A² of each pixel, from the XML."""
    root = ET.parse(next((safe / "annotation/calibration").glob(f"calibration-*-{polarisation}-*.xml"))).getroot()
    vectors = root.findall("calibrationVectorList/calibrationVector")
    lines = [int(vector.findtext("line")) for vector in vectors]
    across = np.array(
        [np.interp(np.arange(shape[1]), numbers(vector.find("pixel")), numbers(vector.find("sigmaNought"))) for vector in vectors]
    )
    return np.array([np.interp(np.arange(shape[0]), lines, column) for column in across.T]).T ** 2


def noise_power(safe: Path, polarisation: str, shape: tuple[int, int]) -> np.ndarray:
    """Thermal noise of each pixel, from the XML: sub-swath by sub-swath."""
    root = ET.parse(next((safe / "annotation/calibration").glob(f"noise-*-{polarisation}-*.xml"))).getroot()
    power = np.full(shape, np.nan)
    vectors = root.findall("noiseRangeVectorList/noiseRangeVector")
    lines = [int(vector.findtext("line")) for vector in vectors]
    for block in root.findall("noiseAzimuthVectorList/noiseAzimuthVector"):
        first, last = int(block.findtext("firstRangeSample")), int(block.findtext("lastRangeSample"))
        columns = np.arange(first, last + 1)
        across = []
        for vector in vectors:
            pixel, lut = numbers(vector.find("pixel")), numbers(vector.find("noiseRangeLut"))
            mine = (pixel >= first) & (pixel <= last) & (lut > 0)
            across.append(np.interp(columns, pixel[mine], lut[mine]))
        ranged = np.array([np.interp(np.arange(shape[0]), lines, column) for column in np.array(across).T]).T
        along = np.interp(np.arange(shape[0]), numbers(block.find("line")), numbers(block.find("noiseAzimuthLut")))
        power[:, columns] = ranged * along[:, None]
    return power


def decibel(linear: np.ndarray | float) -> np.ndarray:
    return 10 * np.log10(linear)


@pytest.fixture(scope="module")
def ice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(flat_field(FLOE, LEVEL), tmp_path_factory.mktemp("ice"))


def test_the_manifest_lists_every_file_with_its_size_and_md5(ice: Path) -> None:
    root = ET.parse(ice / "manifest.safe").getroot()
    objects = root.findall("dataObjectSection/dataObject/byteStream")
    listed = {stream.find("fileLocation").get("href"): stream for stream in objects}
    files = {f"./{path.relative_to(ice).as_posix()}" for path in ice.rglob("*") if path.is_file() and path.name != "manifest.safe"}
    assert set(listed) == files
    assert len(files) == 8
    for href, stream in listed.items():
        content = (ice / href).read_bytes()
        assert int(stream.get("size")) == len(content)
        assert stream.findtext("checksum") == hashlib.md5(content).hexdigest()


def test_the_manifest_tells_orbit_pass_processor_and_footprint(ice: Path) -> None:
    root = ET.parse(ice / "manifest.safe").getroot()
    assert root.find(".//safe:software", NS).get("version") == "003.10"
    assert root.findtext(".//s1:pass", namespaces=NS) == "DESCENDING"
    assert root.findtext(".//safe:platform/safe:number", namespaces=NS) == "B"
    # S1B: relative orbit = (absolute - 27) mod 175 + 1
    absolute, relative = (int(root.findtext(f".//safe:{name}", namespaces=NS)) for name in ("orbitNumber", "relativeOrbitNumber"))
    assert relative == (absolute - 27) % 175 + 1
    corners = [tuple(map(float, pair.split(","))) for pair in root.findtext(".//gml:coordinates", namespaces=NS).split()]
    assert len(corners) == 4
    assert all(70 < lat < 90 for lat, _ in corners)
    assert f"_{absolute:06d}_" in ice.name


def test_a_descending_orbit_moves_south_and_an_ascending_one_north(tmp_path: Path) -> None:
    for direction, sign in (("DESCENDING", -1), ("ASCENDING", 1)):
        geometry = plan_product(flat_field(WATER), direction).geometry
        _, lat = geometry.lonlat(np.array([0.0, geometry.lines - 1]), np.array([geometry.samples / 2] * 2))
        assert np.sign(lat[1] - lat[0]) == sign


def test_lists_hold_as_many_entries_as_their_count_says(ice: Path) -> None:
    for path in [*ice.glob("annotation/*.xml"), *ice.glob("annotation/calibration/*.xml")]:
        for element in ET.parse(path).getroot().iter():
            if element.tag.endswith("List"):
                assert int(element.get("count")) == len(element), f"{path.name}: {element.tag}"


def test_annotation_has_the_elements_of_a_real_product(ice: Path, shared_data: Path) -> None:
    """Every leaf that readers use has the same path in the simulated and in a real product."""

    def paths(root: ET.Element) -> set[str]:
        found: set[str] = set()

        def walk(element: ET.Element, prefix: str) -> None:
            found.add(prefix)
            for child in element:
                walk(child, f"{prefix}/{child.tag}")

        walk(root, root.tag)
        return found

    real = next((shared_data / "sentinel1_safe").glob("*.SAFE"))
    for pattern in ("annotation/s1b-*.xml", "annotation/calibration/calibration-*.xml", "annotation/calibration/noise-*.xml"):
        ours, theirs = (paths(ET.parse(next(safe.glob(pattern))).getroot()) for safe in (ice, real))
        assert ours - theirs == set()
        if "calibration/" in pattern:
            assert theirs - ours == set()


def test_sub_swaths_tile_the_image_at_the_published_incidences(ice: Path) -> None:
    root = ET.parse(next(ice.glob("annotation/*-hh-*.xml"))).getroot()
    bounds = root.findall(".//swathBounds")
    first = [int(bound.findtext("firstRangeSample")) for bound in bounds]
    last = [int(bound.findtext("lastRangeSample")) for bound in bounds]
    samples = int(root.findtext(".//numberOfSamples"))
    assert [merge.findtext("swath") for merge in root.findall(".//swathMerge")] == ["EW1", "EW2", "EW3", "EW4", "EW5"]
    assert first[0] == 0
    assert last[-1] == samples - 1
    assert first[1:] == [end + 1 for end in last[:-1]]
    points = root.findall(".//geolocationGridPoint")
    pixel = np.array([int(point.findtext("pixel")) for point in points[:21]])
    incidence = np.array([float(point.findtext("incidenceAngle")) for point in points[:21]])
    assert np.allclose(np.interp(first[1:], pixel, incidence), [29.2, 34.45, 39.65, 43.9], atol=0.1)
    assert incidence[0] == pytest.approx(19.0)
    assert incidence[-1] == pytest.approx(47.0)


def test_control_points_in_the_tiff_are_the_geolocation_grid(ice: Path) -> None:
    root = ET.parse(next(ice.glob("annotation/*-hv-*.xml"))).getroot()
    points = root.findall(".//geolocationGridPoint")
    with rasterio.open(next(ice.glob("measurement/*-hv-*.tiff"))) as dataset:
        gcps, crs = dataset.gcps
        assert dataset.dtypes == ("uint16",)
        assert dataset.block_shapes == [(1, dataset.width)]
    assert crs == CRS.from_epsg(4326)
    assert len(gcps) == len(points) == 21 * 10
    for gcp, point in zip(gcps, points, strict=True):
        assert (gcp.col, gcp.row) == (int(point.findtext("pixel")), int(point.findtext("line")))
        assert gcp.x == pytest.approx(float(point.findtext("longitude")), abs=1e-9)
        assert gcp.y == pytest.approx(float(point.findtext("latitude")), abs=1e-9)


def test_the_grid_lies_where_the_field_is(ice: Path) -> None:
    """Geolocation grid → EPSG:3413 by pyproj alone: inside the field's square, 40 m a pixel, at right angles."""
    from pyproj import Transformer

    root = ET.parse(next(ice.glob("annotation/*-hh-*.xml"))).getroot()
    points = root.findall(".//geolocationGridPoint")
    lonlat = np.array([[float(point.findtext(name)) for name in ("longitude", "latitude")] for point in points])
    x, y = Transformer.from_crs(4326, 3413, always_xy=True).transform(*lonlat.T)
    left, bottom, right, top = flat_field(WATER).grid.bounds
    assert x.min() >= left and x.max() <= right and y.min() >= bottom and y.max() <= top
    step = float(points[1].findtext("pixel"))
    along_range = np.array([x[1] - x[0], y[1] - y[0]])
    along_track = np.array([x[21] - x[0], y[21] - y[0]])
    assert np.hypot(*along_range) == pytest.approx(40 * step, rel=1e-6)
    assert abs(along_range @ along_track) / np.hypot(*along_range) / np.hypot(*along_track) < 1e-6
    # Right-looking: range is to the right of the flight.
    assert along_track[0] * along_range[1] - along_track[1] * along_range[0] < 0


@pytest.mark.parametrize("polarisation", ["hh", "hv"])
def test_sigma_nought_comes_back_from_the_numbers_and_the_written_vectors(tmp_path: Path, polarisation: str) -> None:
    field = floes()
    safe = write(field, tmp_path)
    dn = read_dn(safe, polarisation)
    factor, noise = calibration_factor(safe, polarisation, dn.shape), noise_power(safe, polarisation, dn.shape)
    truth = true_sigma_nought(field, plan_product(field).geometry)[polarisation.upper()]
    sigma = (dn**2 - noise) / factor
    valid = dn > 0
    above_noise = valid & (truth > 2 * noise / factor)
    assert above_noise.mean() > 0.3
    assert decibel(sigma[above_noise].mean()) == pytest.approx(decibel(truth[above_noise].mean()), abs=0.05)
    # Also in each fifth of the swath and each type: every vector counts.
    for columns in np.array_split(np.arange(dn.shape[1]), 5):
        part = np.zeros_like(valid)
        part[:, columns] = above_noise[:, columns]
        assert decibel(sigma[part].mean()) == pytest.approx(decibel(truth[part].mean()), abs=0.1)


@pytest.mark.parametrize(("surface", "ice_type"), [(WATER, 0), (FLOE, LEVEL), (FLOE, MULTIYEAR)])
def test_an_even_surface_has_the_products_number_of_looks(tmp_path: Path, surface: int, ice_type: int) -> None:
    safe = write(flat_field(surface, ice_type), tmp_path)
    dn = read_dn(safe, "hh")
    looks = []
    for columns in np.array_split(np.arange(20, dn.shape[1] - 20), 40):  # thin strips: incidence hardly changes
        power = dn[:, columns] ** 2 / noise_power(safe, "hh", dn.shape)[:, columns].mean(axis=0)
        flat = power / power.mean(axis=0)
        looks.append(flat.mean() ** 2 / flat.var())
    assert np.mean(looks) == pytest.approx(EW.enl, rel=0.05)


def test_speckle_of_neighbours_is_correlated_as_by_overlapping_resolution_cells(ice: Path) -> None:
    power = read_dn(ice, "hh")[:, 20:-20] ** 2
    flat = power / power.mean(axis=0) - 1
    for one, other in ((flat[1:], flat[:-1]), (flat[:, 1:], flat[:, :-1])):
        assert 0.3 < (one * other).mean() / flat.var() < 0.6
    assert abs((flat[4:] * flat[:-4]).mean()) / flat.var() < 0.02


def test_seams_between_sub_swaths_are_there_until_the_noise_is_taken_away(tmp_path: Path) -> None:
    field = flat_field(WATER, wind=4.0, size=1200)
    safe = write(field, tmp_path)
    dn = read_dn(safe, "hv")
    factor, noise = calibration_factor(safe, "hv", dn.shape), noise_power(safe, "hv", dn.shape)
    first = plan_product(field).geometry.swath_first
    raw, clean = dn**2 / factor, (dn**2 - noise) / factor
    for seam in (first[1], first[3]):  # the tall ones
        left, right = slice(seam - 12, seam), slice(seam, seam + 12)
        step_before = abs(decibel(raw[:, left].mean()) - decibel(raw[:, right].mean()))
        assert step_before > 0.8
        assert abs(clean[:, left].mean() - clean[:, right].mean()) < 0.1 * abs(raw[:, left].mean() - raw[:, right].mean())


def test_cross_polarised_noise_is_worst_in_ew1_and_within_the_published_range(ice: Path) -> None:
    dn = read_dn(ice, "hv")
    nesz = decibel(noise_power(ice, "hv", dn.shape) / calibration_factor(ice, "hv", dn.shape))
    nesz[dn == 0] = np.nan
    first = plan_product(flat_field(WATER)).geometry.swath_first
    means = [np.nanmean(nesz[:, a:b]) for a, b in pairwise(first)]
    assert np.argmax(means) == 0
    assert np.nanmin(nesz) > -30.5
    assert np.nanmax(nesz) < -21.0


def test_borders_are_zero_slanted_and_nothing_else_is(ice: Path) -> None:
    dn = read_dn(ice, "hh")
    first, last = np.argmax(dn > 0, axis=1), dn.shape[1] - 1 - np.argmax(dn[:, ::-1] > 0, axis=1)
    assert first[0] > first[-1] >= 2
    assert last[0] < dn.shape[1] - 1 or last[-1] < dn.shape[1] - 1
    inside = (np.arange(dn.shape[1]) >= first[:, None]) & (np.arange(dn.shape[1]) <= last[:, None])
    assert np.array_equal(dn > 0, inside)


def test_the_truth_knows_which_pixels_the_product_saw(ice: Path) -> None:
    field = flat_field(FLOE, LEVEL)
    geometry = plan_product(field).geometry
    dn = read_dn(ice, "hh")
    row, col = np.mgrid[:SIZE, :SIZE].astype(float)
    line, pixel = (np.round(at).astype(int) for at in geometry.line_pixel(*field.grid.xy(row, col)))
    inside = (line >= 0) & (line < dn.shape[0]) & (pixel >= 0) & (pixel < dn.shape[1])
    saw = np.zeros((SIZE, SIZE), bool)
    saw[inside] = dn[line[inside], pixel[inside]] > 0
    assert np.array_equal(covered(geometry, Window(0, 0, SIZE, SIZE)), saw)
    assert not np.array_equal(saw, saw[:, ::-1])
    assert 0.75 < saw.mean() < 0.95


def test_one_seed_gives_one_product_and_another_seed_another(tmp_path: Path) -> None:
    field = floes(300)
    one, again, other = (write(field, tmp_path / name, seed) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert one.name == again.name
    assert sha256(one) == sha256(again)
    assert sha256(one) != sha256(other)
    assert not list((tmp_path / "a").glob(".*"))


def test_a_field_too_small_for_an_image_is_refused() -> None:
    with pytest.raises(InputError, match="too small for a radar image"):
        plan_product(flat_field(WATER, size=50))
