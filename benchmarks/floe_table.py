"""How fast labels become a floe table, against scikit-image's `regionprops_table`, in one run, each in a process of its own.

    python benchmarks/floe_table.py [--side 10000] [--floes 10000]

The labels are bumpy ellipses with water between them; one band. scikit-image is asked for the columns of the floe table that it knows:
label, centroid, area, axes, orientation, eccentricity, solidity, perimeter, mean and standard deviation of the band. The floe table is
the whole of it always: outlines as polygons, Fourier descriptors, circularity, edge flags, longitude and latitude besides.

*From arrays*: labels and band are in memory already. *From files*: both read the same COGs. Processor seconds on one core, so that a busy
machine does no harm; then seconds by the clock with all cores. Memory is the most that the process held, Python and its libraries with it.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

from icegraph.graph.floes import Pixels, Reader, floe_table, measure
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
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(_measured(Path(given.one[0]), given.one[1], given.one[2] == "all")))
        return
    with tempfile.TemporaryDirectory() as place:
        _made(Path(place) / "small", 200, 16)
        _made(Path(place) / "large", given.side, given.floes)
        print("| | floes | one core, CPU s | ratio | all cores, clock s | ratio | memory, GiB |\n|-|-|-|-|-|-|-|")
        for source in ("arrays", "files"):
            theirs = _in_process(place, f"scikit-image {source}", "one")
            ours, fast = (_in_process(place, f"icegraph {source}", cores) for cores in ("one", "all"))
            for name, one, every in (("floe table", ours, fast), ("regionprops_table", theirs, theirs)):
                ratios = (
                    f"{one['cpu']:.2f} | {theirs['cpu'] / one['cpu']:.1f} | {every['clock']:.2f} | {theirs['clock'] / every['clock']:.1f}"
                )
                print(f"| {name}, from {source} | {one['floes']} | {ratios} | {one['gib']:.2f} |", flush=True)


def _in_process(place: str, what: str, cores: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", place, what, cores]
    told: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # noqa: S603 - this script itself
    return told


def _measured(place: Path, what: str, every: bool) -> dict[str, float]:
    if not every:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    floe_table(place / "small", Scene.open(place / "small"))  # compiled once, and kept
    folder = place / "large"
    peer, source = what.split()
    prepared = _peer if peer == "scikit-image" else _table_of_arrays if source == "arrays" else _table
    work = prepared(folder) if source == "arrays" else lambda: prepared(folder)()
    cpu, clock = time.process_time(), time.perf_counter()
    floes = work()
    cpu, clock = time.process_time() - cpu, time.perf_counter() - clock
    return {"floes": floes, "cpu": cpu, "clock": clock, "gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


def _table(folder: Path) -> Callable[[], int]:
    return lambda: len(floe_table(folder, Scene.open(folder)))


def _table_of_arrays(folder: Path) -> Callable[[], int]:
    labels, red = _arrays(folder)
    seen = np.pad(np.ones(labels.shape, bool), 1)

    @contextmanager
    def opened() -> Iterator[Reader]:
        def read(window: Window) -> Pixels:
            around = Window(window.row, window.col, window.height + 2, window.width + 2)
            return Pixels(np.ascontiguousarray(labels[window.slices]), seen[around.slices], [red[window.slices]])

        yield read

    grid = Scene.open(folder).grid
    measure(opened, grid.part(Window(0, 0, 64, 64)), ["red"])  # compiled for arrays of this kind
    return lambda: len(measure(opened, grid, ["red"])["geometry"])


def _peer(folder: Path) -> Callable[[], int]:
    from skimage.measure import regionprops_table

    labels, red = _arrays(folder)
    labels = labels.view(np.int32)
    return lambda: len(regionprops_table(labels, red, properties=COLUMNS)["label"])


def _arrays(folder: Path) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    with rasterio.open(folder / "labels.tif") as labels, rasterio.open(folder / "red.tif") as red:
        return labels.read(1), red.read(1)


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
