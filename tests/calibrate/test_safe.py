"""The SAFE reader: annotation, borders, older processors."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from icegraph.calibrate.border import border, line_limits
from icegraph.calibrate.safe import SafeImage, read_annotation, read_calibration
from icegraph.errors import PassError
from icegraph.grid import Window
from icegraph.ingest.container import open_folder
from icegraph.ingest.manifest import Pass


def test_the_real_annotation_reads_as_published(real_safe: Path) -> None:
    container = open_folder(real_safe)
    annotation = read_annotation(container, next(name for name in container.sizes if name.startswith("annotation/s1b")))
    assert (annotation.shape, annotation.spacing_m, annotation.mode) == ((16705, 26102), 10.0, "IW")
    assert (annotation.nominal_looks, annotation.noise_removed) == (5.0, False)
    assert annotation.ties.incidence.shape == (10, 21)
    assert annotation.ties.incidence.min() == pytest.approx(30.3, abs=0.05)
    assert annotation.ties.incidence.max() == pytest.approx(46.1, abs=0.1)
    assert [(block.swath, block.first_pixel, block.last_pixel) for block in annotation.blocks] == [
        ("IW1", 0, 8889),
        ("IW2", 8890, 17700),
        ("IW3", 17701, 26101),
    ]


def test_border_is_zeros_that_fill_a_square_or_meet_the_edge() -> None:
    dn = np.full((60, 80), 50, np.uint16)
    for row in range(60):
        dn[row, : 12 - row // 6] = 0  # slanted, as in products
    dn[:, 78:] = 0
    dn[30, 40] = dn[31, 41] = 0  # dark water
    dn[0, 50:52] = 0
    found = border(dn)
    assert not found[30, 40] and not found[31, 41]
    assert found[:, 78:].all() and not found[:, 20:78].any()
    slanted = dn[:, :20] == 0
    assert (found[:, :20] == slanted).mean() > 0.98
    assert not found[dn > 0].any()


def test_borders_of_old_products_are_told_by_power_below_the_noise() -> None:
    rng = np.random.default_rng(0)
    noise = np.full((300, 1000), 600, np.float32)
    dn = np.sqrt(noise * rng.gamma(10.7, 1 / 10.7, noise.shape)).round().astype(np.uint16)  # dark water: noise alone
    dn[:, :120] = rng.integers(0, 9, (300, 120))
    dn[:, 950:] = rng.integers(0, 4, (300, 50))
    dn[290:] = rng.integers(0, 9, (10, 1000))
    dn[7] = 0
    limits = line_limits(dn, noise)
    lines = np.delete(np.arange(290), 7)
    assert limits[lines, 0].min() >= 120 and limits[lines, 0].max() < 152
    assert limits[lines, 1].max() < 950 and limits[lines, 1].min() > 917
    assert np.array_equal(limits[290:], np.tile([1000, -1], (10, 1))) and tuple(limits[7]) == (1000, -1)
    assert np.array_equal(line_limits(dn[:290, 120:950], noise[:290, 120:950])[lines], np.tile([0, 829], (289, 1)))


@pytest.fixture
def copy(safe: Pass, tmp_path: Path) -> Path:
    return Path(shutil.copytree(safe.href, tmp_path / safe.href.name))


def change(copy: Path, pattern: str, old: str, new: str) -> None:
    for path in copy.glob(pattern):
        text, count = re.subn(old, new, path.read_text())
        assert count, (path, old)
        path.write_text(text)


def read(copy: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    notes: list[str] = []
    with SafeImage.read(copy, notes) as image:
        sigma, removed = image.read_band("hv", Window(0, 0, *image.shape))
    return sigma, removed, notes


def test_noise_that_the_processor_took_off_is_not_taken_off_again(copy: Path) -> None:
    plain = read(copy)
    change(copy, "annotation/*.xml", "(<thermalNoiseCorrectionPerformed>)false", r"\1true")
    sigma, removed, notes = read(copy)
    assert notes == ["thermal noise was subtracted by the processor"]
    assert not removed.any()
    np.testing.assert_allclose(sigma, plain[0] + plain[1], rtol=1e-4)


@pytest.mark.parametrize(
    ("version", "note", "taken"),
    [
        ("002.36", "thermal noise stays in: the noise vectors of IPF 2.36 are unusable", False),
        ("002.50", "thermal noise is doubtful: the noise vectors of IPF 2.50 are", True),
        ("002.84", "IPF 2.84: noise without an azimuth part; borders may hold small values, which are masked", True),
    ],
)
def test_older_processors_are_told_of(copy: Path, version: str, note: str, taken: bool) -> None:
    change(copy, "manifest.safe", r'(Sentinel-1 IPF" version=)"[0-9.]+"', rf'\1"{version}"')
    _, removed, notes = read(copy)
    assert note in notes
    assert removed.any() == taken


def test_noise_vectors_of_before_2018_have_no_azimuth_part(copy: Path) -> None:
    new = read(copy)[1]
    pattern = "annotation/calibration/noise-*.xml"
    change(copy, pattern, "(?s)<noiseAzimuthVectorList.*</noiseAzimuthVectorList>", "")
    change(copy, pattern, "noiseRangeVector", "noiseVector")
    change(copy, pattern, "noiseRangeLut", "noiseLut")
    old = read(copy)[1]
    gain = new / old
    assert gain.min() >= 1 - 1e-5
    assert gain.max() == pytest.approx(1.136, abs=0.01)  # the deepest scallop, of EW1


@pytest.mark.parametrize(
    ("pattern", "old", "new", "problem"),
    [
        ("annotation/calibration/calibration-*.xml", "(<sigmaNought [^>]*>)[0-9.e+]+ ", r"\1", "pixels for"),
        ("annotation/calibration/calibration-*.xml", "(<sigmaNought [^>]*>)[0-9.e+]+ ", r"\1many ", "holds text where a number belongs"),
        ("annotation/calibration/noise-*.xml", "(?s)<noiseRangeVectorList.*</noiseRangeVectorList>", "", "has 0 <noiseVector>"),
        ("annotation/s1b*.xml", "<lastRangeSample>[^<]*<", "<lastRangeSample>999999999<", "reaches out of the image"),
        ("annotation/s1b*.xml", "<rangePixelSpacing>[^<]*<", "<rangePixelSpacing>1e-9<", "has pixels of 1e-09 m"),
        ("annotation/s1b*.xml", "<latitude>[^<]*</latitude>", "", "has no <latitude>"),
    ],
)
def test_annotation_that_does_not_add_up_is_refused_by_name(copy: Path, pattern: str, old: str, new: str, problem: str) -> None:
    change(copy, pattern, old, new)
    with pytest.raises(PassError, match=problem) as caught:
        read(copy)
    assert caught.value.subject.startswith(str(copy))


def test_early_noise_whose_scale_is_no_number_is_refused_by_name(copy: Path) -> None:
    change(copy, "annotation/calibration/noise-*.xml", r"e\+\d\d\b", "e-06")
    change(copy, "annotation/calibration/calibration-*.xml", "(<dn[^>]*>)[^<]*<", r"\1many<")
    with pytest.raises(PassError, match=r"calibration-.*\.xml: holds text where a number belongs"):
        read(copy)


def test_calibration_vectors_out_of_order_are_refused(copy: Path) -> None:
    name = next(copy.glob("annotation/calibration/calibration-*-hh-*.xml")).relative_to(copy).as_posix()
    change(copy, name, "(<pixel [^>]*>)0 ", r"\g<1>9999 ")
    with pytest.raises(PassError, match="pixels out of order"):
        read_calibration(open_folder(copy), name)
