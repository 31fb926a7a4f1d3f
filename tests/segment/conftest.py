"""Small ice fields for the segmenter's tests."""

from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from icegraph.grid import Grid, Window
from icegraph.scene import Scene, write_band, write_item


class Discs(NamedTuple):
    """A scene of bright discs on dark water, with its truth."""

    scene: Path
    labels: Path


def write_scene(folder: Path, bands: dict[str, NDArray[np.float32]], valid: NDArray[np.bool_], sensor: str = "optical") -> Scene:
    folder.mkdir(parents=True, exist_ok=True)
    grid = Grid("EPSG:3413", Affine(250.0, 0, 0, 0, -250.0, 0), *valid.shape)
    whole = Window(0, 0, *valid.shape)
    for name, pixels in bands.items():
        with write_band(folder / f"{name}.tif", grid, "float32") as band:
            band.write(whole, np.where(valid, pixels, np.nan).astype(np.float32))
    with write_band(folder / "valid.tif", grid, "uint8") as band:
        band.write(whole, valid.astype(np.uint8))
    rasters = {name: f"{name}.tif" for name in [*bands, "valid"]}
    time = datetime(2021, 5, 1, tzinfo=UTC)
    return write_item(folder, pass_id=folder.name, time=time, sensor=sensor, grid=grid, rasters=rasters, properties={})


def write_truth(path: Path, labels: NDArray[np.uint32]) -> None:
    grid = Grid("EPSG:3413", Affine(250.0, 0, 0, 0, -250.0, 0), *labels.shape)
    with write_band(path, grid, "uint32") as band:
        band.write(Window(0, 0, *labels.shape), labels)


def disc_field(shape: tuple[int, int], seed: int, ignore: bool = True) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.uint32]]:
    """Discs of 5 to 14 pixels that do not touch: bands and labels."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint32)
    rows, cols = np.ogrid[: shape[0], : shape[1]]
    for radius in np.sort(rng.uniform(5, 14, 200))[::-1]:
        row, col = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        reach = (rows - row) ** 2 + (cols - col) ** 2
        if not labels[reach < (radius + 2) ** 2].any():
            labels[reach < radius**2] = labels.max() + 1
    bands = {}
    for name, dark, bright in (("red", 0.05, 0.6), ("nir", 0.02, 0.5)):
        pixels = np.where(labels > 0, bright, dark) + rng.normal(0, 0.02, shape)
        bands[name] = gaussian_filter(pixels, 0.5).astype(np.float32)
    if ignore:
        labels[:10, :10] = np.iinfo(np.uint32).max
    return bands, labels


def make_discs(folder: Path, shape: tuple[int, int], seed: int) -> Discs:
    bands, labels = disc_field(shape, seed)
    write_scene(folder, bands, np.ones(shape, bool))
    truth = folder.with_name(f"{folder.name}.labels.tif")
    write_truth(truth, labels)
    return Discs(folder, truth)


@pytest.fixture(scope="session")
def discs(tmp_path_factory: pytest.TempPathFactory) -> list[Discs]:
    """Two scenes of 256 × 256 pixels."""
    place = tmp_path_factory.mktemp("discs")
    return [make_discs(place / f"pass-{seed}", (256, 256), seed) for seed in (1, 2)]
