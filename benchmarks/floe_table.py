"""How fast labels become a floe table, against scikit-image's `regionprops_table` for the same columns, in one run.

    python benchmarks/floe_table.py [--side 10000] [--floes 10000]

The labels are bumpy ellipses with water between them; one band. Both read the same file. scikit-image is asked for the
columns that it knows: label, centroid, area, axes, orientation, eccentricity, solidity, perimeter, mean and standard deviation of the
band; for want of patience on a strip of the raster, and scaled by the number of floes (`--strip 1` does them all). The floe table has
outlines, Fourier descriptors and edge flags besides. Seconds are those of the processor, so that a busy machine does no harm.
"""

import argparse
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from skimage.measure import regionprops_table

from icegraph.graph import floe_table
from icegraph.grid import Grid, Window, tiles
from icegraph.scene import Scene, write_band, write_item

COLUMNS = (
    *("label", "centroid", "area", "axis_major_length", "axis_minor_length", "orientation"),
    *("eccentricity", "solidity", "perimeter_crofton", "intensity_mean", "intensity_std"),
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=10_000)
    parser.add_argument("--floes", type=int, default=10_000)
    parser.add_argument("--strip", type=float, default=0.1, help="share of the raster that scikit-image measures")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        _made(Path(place) / "small", 200, 16)
        floe_table(Path(place) / "small", Scene.open(Path(place) / "small"))  # compiled once, and kept
        folder = Path(place) / "large"
        _made(folder, given.side, given.floes)
        scene = Scene.open(folder)
        start = time.process_time()
        table = floe_table(folder, scene)
        ours = time.process_time() - start
        start = time.process_time()
        with rasterio.open(folder / "labels.tif") as labels, rasterio.open(folder / "red.tif") as red:
            strip = Window(0, 0, int(given.side * given.strip), given.side).rasterio()
            found = regionprops_table(labels.read(1, window=strip).astype(np.int32), red.read(1, window=strip), properties=COLUMNS)
        theirs = (time.process_time() - start) * len(table) / len(found["label"])
        print("| | floes | seconds | ratio |\n|-|-|-|-|")
        print(f"| floe_table | {len(table)} | {ours:.1f} | 1 |")
        print(f"| regionprops_table ({len(found['label'])} floes measured) | {len(table)} | {theirs:.0f} | {theirs / ours:.0f} |")


def _made(folder: Path, side: int, floes: int) -> None:
    """A segment folder that is its own scene: labels, a band, all valid."""
    grid = Grid("EPSG:3413", Affine(40, 0, 300_000, 0, -40, -1_000_000), side, side)
    rng = np.random.default_rng(0)
    across = int(np.sqrt(floes))
    shapes = rng.uniform([0.3, 0.3, 0, 3], [0.47, 0.47, np.pi, 8], (across**2, 4)).astype(np.float32)
    with (
        write_band(folder / "labels.tif", grid, "uint32") as labels,
        write_band(folder / "red.tif", grid, "float32") as red,
        write_band(folder / "valid.tif", grid, "uint8") as valid,
    ):
        for window in tiles(grid.shape, 512):
            labels.write(window, _ellipses(shapes, window, side))
            red.write(window, rng.random(window.shape, dtype=np.float32))
            valid.write(window, np.ones(window.shape, np.uint8))
    rasters = {"red": "red.tif", "valid": "valid.tif"}
    write_item(
        folder, pass_id=folder.name, time=datetime(2021, 5, 1, tzinfo=UTC), sensor="optical", grid=grid, rasters=rasters, properties={}
    )


def _ellipses(shapes: NDArray[np.float32], window: Window, side: int) -> NDArray[np.uint32]:
    """One bumpy ellipse in each cell of a lattice, of given semi-axes (in cells), direction and number of bumps."""
    across = int(np.sqrt(len(shapes)))
    spans = (window.row, window.height), (window.col, window.width)
    row, col = (np.arange(first, first + size, dtype=np.float32) * (across / side) for first, size in spans)
    cell = row.astype(int)[:, None] * across + col.astype(int)
    y, x = (row % 1 - 0.5)[:, None], (col % 1 - 0.5)[None]
    long, short, turn, bumps = np.moveaxis(shapes[cell], -1, 0)
    u, v = (x * np.cos(turn) + y * np.sin(turn)) / long, (y * np.cos(turn) - x * np.sin(turn)) / short
    inside = np.hypot(u, v) < 0.95 + 0.05 * np.sin(np.floor(bumps) * np.arctan2(v, u))
    return np.where(inside, cell + 1, 0).astype(np.uint32)


if __name__ == "__main__":
    main()
