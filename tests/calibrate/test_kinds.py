"""Products of every kind, pixel by pixel: platforms, modes, single polarisation, old processors, folder or zip."""

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from affine import Affine

from icegraph.calibrate.safe import SafeImage
from icegraph.grid import Grid, Window
from icegraph.ingest import ingest
from icegraph.simulate.ew_vectors import plan_product
from icegraph.simulate.field import FLOE, MULTIYEAR, Snapshot
from icegraph.simulate.kind import EW, IW, Kind
from icegraph.simulate.sentinel1 import true_sigma_nought, write_safe

KINDS = {
    "s1a-ew": (Kind("S1A"), "S1A_EW_GRDM_1SDH_"),
    "s1c-ew-hh": (Kind("S1C", EW, ("HH",), "004.01"), "S1C_EW_GRDM_1SSH_"),
    "s1b-iw": (Kind("S1B", IW, ("VV", "VH")), "S1B_IW_GRDH_1SDV_"),
    "s1a-iw-vv": (Kind("S1A", IW, ("VV",)), "S1A_IW_GRDH_1SSV_"),
    "s1a-ew-2017": (Kind("S1A", EW, ("HH", "HV"), "002.84"), "S1A_EW_GRDM_1SDH_"),
    "s1b-iw-2017": (Kind("S1B", IW, ("VV", "VH"), "002.84"), "S1B_IW_GRDH_1SDV_"),
}


@dataclass
class Made:
    """A product of even old ice, and what it was made from."""

    kind: Kind
    start: str
    safe: Path
    sigma: dict[str, np.ndarray]
    noise: dict[str, np.ndarray]
    swath_first: list[int]
    samples: tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module", params=KINDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    kind, start = KINDS[request.param]
    pixel_m = 40.0 if kind.mode is EW else 10.0
    grid = Grid("EPSG:3413", Affine(pixel_m, 0, 400_000, 0, -pixel_m, -900_000), 480, 520)
    ones = np.ones(grid.shape, np.float32)
    snapshot = Snapshot(
        time=datetime(2021, 5, 1, tzinfo=UTC),
        grid=grid,
        identity=ones.astype(np.uint32),
        classes=np.full(grid.shape, FLOE, np.uint8),
        ice_type=np.full(grid.shape, MULTIYEAR, np.uint8),
        wind_m_s=5 * ones,
        cloud=0 * ones,
        texture=0 * ones,
    )
    folder = tmp_path_factory.mktemp("kind")
    name = write_safe(snapshot, folder, rng=np.random.default_rng(0), kind=kind)
    product = plan_product(snapshot, kind=kind)
    geometry, factor = product.geometry, product.calibration.factor(product.geometry)
    sigma = {k.lower(): v for k, v in true_sigma_nought(snapshot, geometry, polarisations=kind.polarisations).items()}
    noise = {k.lower(): v.power(geometry, slice(None)) / factor**2 for k, v in product.noise.items()}
    return Made(kind, start, folder / f"{name}.SAFE", sigma, noise, geometry.swath_first, geometry.data_samples)


def read(place: Path, bands: list[str]) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], list[str]]:
    notes: list[str] = []
    with SafeImage.read(place, notes) as image:
        assert image.bands == bands
        return {band: image.read_band(band, Window(0, 0, *image.shape)) for band in bands}, notes


def inside(made: Made) -> np.ndarray:
    """Where the product holds data, [lines, samples]."""
    first, last = made.samples
    pixel = np.arange(next(iter(made.sigma.values())).shape[1])
    return (pixel >= first[:, None]) & (pixel <= last[:, None])


def test_noise_is_that_of_the_product_at_every_pixel(made: Made) -> None:
    read_bands, notes = read(made.safe, list(made.sigma))
    for band, (sigma, removed) in read_bands.items():
        seen = np.isfinite(sigma) & inside(made)
        np.testing.assert_allclose(removed[seen], made.noise[band][seen], rtol=2e-3)
    assert any("noise without an azimuth part" in note for note in notes) == (not made.kind.has_azimuth_noise)


def test_sigma_nought_is_that_of_the_surface_within_a_twentieth_of_a_decibel(made: Made) -> None:
    """In each sub-swath, where the surface is brighter than the noise; the mean of so many looks is known to less than 0.03 dB."""
    read_bands, _ = read(made.safe, list(made.sigma))
    for band, (sigma, removed) in read_bands.items():
        for first, end in pairwise(made.swath_first):
            part = (np.isfinite(sigma) & inside(made))[:, first:end]
            got, given, noise = (values[:, first:end][part].mean(dtype=float) for values in (sigma, made.sigma[band], removed))
            assert given > noise
            assert abs(10 * np.log10(got / given)) < 0.05, (band, first)


def test_what_holds_no_data_is_masked_and_nothing_else(made: Made) -> None:
    """Small numbers in the borders of old products too; these are found to within a few pixels."""
    read_bands, _ = read(made.safe, list(made.sigma))
    for sigma, _ in read_bands.values():
        wrong = np.isfinite(sigma) != inside(made)
        assert wrong.sum(axis=1).max() <= (0 if made.kind.has_azimuth_noise else 8)


def test_a_zip_is_read_in_place_and_gives_the_same_pixels(made: Made, tmp_path: Path) -> None:
    archive = Path(shutil.make_archive(str(tmp_path / made.safe.stem), "zip", made.safe.parent, made.safe.name))
    (zipped, _), (folder, _) = (read(place, list(made.sigma)) for place in (archive, made.safe))
    for band in made.sigma:
        for one, other in zip(zipped[band], folder[band], strict=True):
            np.testing.assert_array_equal(one, other)
    assert [path.name for path in tmp_path.iterdir()] == [archive.name]


def test_ingest_knows_it(made: Made, tmp_path: Path) -> None:
    (entry,) = ingest([made.safe], tmp_path).passes
    assert entry.id.startswith(made.start)
    assert entry.platform == f"Sentinel-1{made.kind.platform[-1]}"
    assert entry.bands == [*(f"{band}_db" for band in made.sigma), "incidence_deg"]
