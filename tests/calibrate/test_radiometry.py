"""Calibration and noise tables, held against the real annotation read anew, and against published levels."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

from icegraph.calibrate.radiometry import AzimuthVector, CalibrationTable, NoiseTable, SwathBlock, Vector, sigma_nought
from icegraph.calibrate.safe import read_annotation, read_calibration, read_noise
from icegraph.grid import Window
from icegraph.ingest.container import open_folder

WIDTH, HEIGHT = 26102, 16705


def numbers(element: ElementTree.Element, path: str) -> np.ndarray:
    return np.array(element.findtext(path, "").split(), float)


@pytest.fixture(scope="module")
def tables(real_safe: Path) -> tuple[CalibrationTable, NoiseTable]:
    container = open_folder(real_safe)
    annotation = read_annotation(container, next(name for name in container.sizes if name.startswith("annotation/s1b")))
    assert annotation.shape == (HEIGHT, WIDTH)
    names = {name.split("/")[-1].split("-")[0]: name for name in container.sizes}
    return (
        read_calibration(container, names["calibration"]),
        read_noise(container, names["noise"], annotation.shape, annotation.blocks),
    )


def test_calibration_is_bilinear_between_the_real_vectors(real_safe: Path, tables: tuple[CalibrationTable, NoiseTable]) -> None:
    root = ElementTree.parse(next(real_safe.glob("annotation/calibration/calibration-*.xml"))).getroot()
    vectors = list(root.iter("calibrationVector"))
    lines = np.array([int(vector.findtext("line", "")) for vector in vectors])
    values = np.stack([numbers(vector, "sigmaNought") for vector in vectors])
    oracle = RegularGridInterpolator((lines, numbers(vectors[0], "pixel")), values)
    for window in (Window(0, 0, 3, WIDTH), Window(5000, 12_345, 700, 80), Window(HEIGHT - 4, 0, 4, WIDTH)):
        rows, cols = np.mgrid[window.slices]
        expected = oracle((np.clip(rows, lines[0], lines[-1]), cols))
        np.testing.assert_allclose(tables[0].at(window), expected, rtol=3e-7)


def noise_at(root: ElementTree.Element, line: int, pixel: int) -> float:
    """Noise power of one pixel, worked out by hand."""
    first = next(i for i, edge in enumerate((8889, 17700, WIDTH)) if pixel <= edge)
    left, right = [(0, 8889), (8890, 17700), (17701, WIDTH - 1)][first]
    ranged = []
    for vector in root.iter("noiseRangeVector"):
        knots, lut = numbers(vector, "pixel"), numbers(vector, "noiseRangeLut")
        own = [(k, v) for k, v in zip(knots, lut, strict=True) if left <= k <= right and v > 0]
        ranged.append((int(vector.findtext("line", "")), np.interp(pixel, [k for k, _ in own], [v for _, v in own])))
    power = np.interp(line, [at for at, _ in ranged], [value for _, value in ranged])
    for vector in root.iter("noiseAzimuthVector"):
        limits = [int(vector.findtext(name, "")) for name in ("firstAzimuthLine", "lastAzimuthLine", "firstRangeSample", "lastRangeSample")]
        if limits[0] <= line <= limits[1] and limits[2] <= pixel <= limits[3]:
            power *= np.interp(line, numbers(vector, "line"), numbers(vector, "noiseAzimuthLut"))
    return float(power)


def test_noise_agrees_with_a_pixel_by_pixel_reading_of_the_real_annotation(
    real_safe: Path, tables: tuple[CalibrationTable, NoiseTable]
) -> None:
    root = ElementTree.parse(next(real_safe.glob("annotation/calibration/noise-*.xml"))).getroot()
    rng = np.random.default_rng(0)
    places = [(int(line), int(pixel)) for line, pixel in zip(rng.integers(0, HEIGHT, 25), rng.integers(0, WIDTH, 25), strict=True)]
    places += [(100, 8889), (100, 8890), (9000, 17700), (9000, 17701), (HEIGHT - 1, WIDTH - 1), (0, 0), (HEIGHT - 1, 0)]
    for line, pixel in places:
        got = tables[1].power(Window(line, pixel, 1, 1))[0, 0]
        assert got == pytest.approx(noise_at(root, line, pixel), rel=1e-6), (line, pixel)


def test_noise_levels_are_those_published_for_the_product(tables: tuple[CalibrationTable, NoiseTable]) -> None:
    calibration, noise = tables
    line = Window(8684, 0, 1, WIDTH)
    plain = NoiseTable(noise.shape, noise.vectors, noise.blocks)
    nesz = 10 * np.log10(plain.power(line)[0] / calibration.at(line)[0] ** 2)
    assert nesz[0] == pytest.approx(-22.5, abs=0.4)
    assert nesz[-1] == pytest.approx(-23.7, abs=0.4)
    for edges, floor in (((0, 8889), -25.4), ((8890, 17700), -27.2), ((17701, WIDTH), -30.1)):
        assert nesz[slice(*edges)].min() == pytest.approx(floor, abs=0.4)
    assert 0.2 < nesz[8890] - nesz[8889] < 0.7
    assert nesz[17701] - nesz[17700] == pytest.approx(-1.4, abs=0.3)


def test_a_seam_stays_a_step_and_zeros_at_the_far_end_are_not_believed() -> None:
    pixels = np.array([0, 4, 5, 9, 10, 11])
    vectors = [Vector(0, pixels, np.array([10.0, 10, 30, 30, 0, 0])), Vector(10, pixels, np.array([20.0, 20, 60, 60, 0, 0]))]
    blocks = [SwathBlock("EW1", 0, 14, 0, 4), SwathBlock("EW2", 0, 14, 5, 11)]
    power = NoiseTable((15, 12), vectors, blocks).power(Window(0, 0, 15, 12))
    np.testing.assert_allclose(power[0], [10] * 5 + [30] * 7)
    np.testing.assert_allclose(power[5], [15] * 5 + [45] * 7)
    np.testing.assert_allclose(power[14], [20] * 5 + [60] * 7)  # the last vector ends before the image


def test_one_azimuth_value_holds_for_its_whole_block() -> None:
    vectors = [Vector(0, np.array([0, 9]), np.array([2.0, 2.0]))]
    block = SwathBlock("EW1", 2, 7, 3, 9)
    azimuth = [AzimuthVector(block, np.array([4]), np.array([1.5]))]
    power = NoiseTable((10, 10), vectors, (), azimuth).power(Window(0, 0, 10, 10))
    assert power.sum() == pytest.approx(2 * 100 + 1 * 6 * 7)


def test_seams_that_move_from_block_to_block_take_each_block_own_knots() -> None:
    """The vector of line 0 has its seam at 4|5, that of line 10 at 6|7."""
    vectors = [
        Vector(0, np.array([0, 4, 5, 9]), np.array([1.0, 1, 9, 9])),
        Vector(10, np.array([0, 6, 7, 9]), np.array([1.0, 1, 9, 9])),
    ]
    blocks = [
        SwathBlock("A", 0, 4, 0, 4),
        SwathBlock("B", 0, 4, 5, 9),
        SwathBlock("A", 5, 10, 0, 6),
        SwathBlock("B", 5, 10, 7, 9),
    ]
    power = NoiseTable((11, 10), vectors, blocks).power(Window(0, 0, 11, 10))
    np.testing.assert_allclose(power[:5], np.tile([1.0] * 5 + [9] * 5, (5, 1)), rtol=1e-6)
    np.testing.assert_allclose(power[5:], np.tile([1.0] * 7 + [9] * 3, (6, 1)), rtol=1e-6)


def test_sigma_nought_is_power_less_noise_over_the_square_of_the_factor() -> None:
    sigma, removed = sigma_nought(np.array([[100, 10]], np.uint16), np.float32([[200, 200]]), np.float32([[400, 400]]))
    np.testing.assert_allclose(sigma, [[0.24, -0.0075]], rtol=1e-6)
    np.testing.assert_allclose(removed, [[0.01, 0.01]], rtol=1e-6)
