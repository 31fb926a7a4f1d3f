"""How long calibration takes beside gdalwarp and satpy, and how much memory, in one run on one machine.

    icegraph simulate --size-km 442 --passes 1 --view sar --out ew     # 10 198 × 10 198 × 2: as many pixels as a full EW product
    python benchmarks/calibrate.py ew/passes/*.SAFE --satpy PYTHON --larger

gdalwarp (Debian's gdal-bin) only warps the raw numbers, by their ground control points, to the grid of ours, and writes them with the
settings of ours, on two threads: what any chain that ends in a COG on this grid must do at least. satpy and pyresample, run by a PYTHON
that has them, rasterio and rioxarray, calibrate, take off noise, resample and write the same bands with overviews, without a speckle
filter; how far their bands are from ours is told, as a check that the work is the same. `--larger` calibrates a product of twice the lines
and twice the samples. Times are wall clock and CPU, peaks the proportional set size (PSS) of the process tree. Ours runs once before it is
timed: what is compiled on a first run (modules, loops) is then, and the product lies in memory, for gdalwarp and satpy as well.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio

from icegraph.calibrate.speckle import FILTERS

SATPY_VERSIONS = """
import pyresample, rasterio, rioxarray, satpy, satpy.readers.sar_c_safe, satpy.writers.geotiff
print("satpy", satpy.__version__, "pyresample", pyresample.__version__, "GDAL", rasterio.__gdal_version__)
"""
OURS = """
import sys
from pathlib import Path
from icegraph.calibrate import RadarSettings, calibrate
from icegraph.ingest.passes import describe
calibrate(describe(Path(sys.argv[1])).entry, Path(sys.argv[2]), RadarSettings(speckle=sys.argv[3]))
"""
SATPY = """
import glob, sys
import numpy
import dask
from pyresample import create_area_def
from satpy import Scene
from satpy.dataset.dataid import DataQuery
dask.config.set(scheduler="threads", num_workers=2)
product, out, height, width, left, bottom, right, top, band = sys.argv[1:]
scene = Scene(sorted(glob.glob(product + "/[am]*/**/*.*", recursive=True)), reader="sar-c_safe")
scene.load([DataQuery(name="measurement", polarization=band, calibration="sigma_nought", quantity="natural")])
extent = [float(value) for value in (left, bottom, right, top)]
area = create_area_def("polar", "EPSG:3413", shape=(int(height), int(width)), area_extent=extent)
local = scene.resample(area, resampler="nearest", radius_of_influence=100)
settings = {"compress": "ZSTD", "level": 1, "predictor": "YES", "blocksize": 512, "overviews": [], "num_threads": 2}
local.save_dataset("measurement", out, writer="geotiff", driver="COG", dtype=numpy.float32, fill_value=numpy.nan, enhance=False, **settings)
"""


@dataclass(frozen=True)
class Cost:
    """Seconds of wall clock, seconds of CPU, peak in MiB."""

    wall: float
    cpu: float
    peak: float


def main() -> None:
    """Run all and print a line each, with what ours costs as a share of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("product", type=Path)
    parser.add_argument("--satpy", type=Path, help="a Python with satpy, pyresample and rasterio")
    parser.add_argument("--larger", action="store_true", help="calibrate a product four times as large, too")
    parser.add_argument("--speckle", default="lee", choices=(*FILTERS, "none"), help="the filter of ours")
    told = parser.parse_args()
    print(subprocess.run(["gdalwarp", "--version"], check=True, capture_output=True, text=True).stdout.strip())  # noqa: S607
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # elsewhere modules are compiled once, so here too
        os.environ["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")
        measure([sys.executable, "-c", OURS, str(told.product), str(folder / "first"), told.speckle])
        shutil.rmtree(folder / "first")
        ours = measure([sys.executable, "-c", OURS, str(told.product), str(folder / "ours"), told.speckle])
        show("icegraph", ours, ours)
        with rasterio.open(folder / "ours" / "valid.tif") as dataset:
            bounds, shape = dataset.bounds, dataset.shape
        for overviews in ("NONE", "AUTO"):
            warped = [measure(warp(tiff, folder / "warped.tif", bounds, shape, overviews)) for tiff in measurements(told.product)]
            show(f"gdalwarp of {len(warped)} bands, overviews {overviews}", total(warped), ours)
        if told.satpy:
            bands = sorted({"hh", "hv", "vv", "vh"} & {path.name.split("-")[3] for path in measurements(told.product)})
            numbers = [str(value) for value in (*shape, *bounds)]
            measure([str(told.satpy), "-c", SATPY_VERSIONS])
            costs = [
                measure([str(told.satpy), "-c", SATPY, str(told.product), str(folder / f"{band}.tif"), *numbers, band]) for band in bands
            ]
            show(f"satpy + pyresample of {len(costs)} bands", total(costs), ours)
            for band in bands:
                compare(band, folder / "ours" / f"{band}_db.tif", folder / f"{band}.tif")
        if told.larger:
            larger = enlarge(told.product, folder / "larger")
            four = measure([sys.executable, "-c", OURS, str(larger), str(folder / "ours4"), told.speckle])
            show("icegraph, four times the pixels", four, ours)


def measure(command: list[str]) -> Cost:
    """Run a command to its end, looking at the memory of its process tree ten times a second."""
    before, start = os.times(), time.perf_counter()
    process = subprocess.Popen(command)  # noqa: S603
    peak, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            peak[0] = max(peak[0], sum(map(pss, tree(process.pid))))

    watcher = threading.Thread(target=watch)
    watcher.start()
    failed = process.wait()
    wall, after = time.perf_counter() - start, os.times()
    done.set()
    watcher.join()
    if failed:
        raise SystemExit(f"{command[0]} ended with {failed}")
    return Cost(wall, after.children_user + after.children_system - before.children_user - before.children_system, peak[0])


def tree(pid: int) -> list[int]:
    """A process and what came of it."""
    pids = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            pids += [one for child in task.read_text().split() for one in tree(int(child))]
        except OSError:
            continue
    return pids


def pss(pid: int) -> float:
    """MiB; 0 of a process that has just ended."""
    try:
        found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
    except OSError:
        return 0.0
    return int(found[1]) / 1024 if found else 0.0


def total(costs: list[Cost]) -> Cost:
    """One after the other."""
    return Cost(sum(cost.wall for cost in costs), sum(cost.cpu for cost in costs), max(cost.peak for cost in costs))


def show(name: str, cost: Cost, ours: Cost) -> None:
    """A line of the table."""
    shares = (
        f"ours is {ours.wall / cost.wall:.2f} of its time, {ours.cpu / cost.cpu:.2f} of its CPU, {ours.peak / cost.peak:.2f} of its peak"
    )
    print(f"{name:36} {cost.wall:6.1f} s  {cost.cpu:6.1f} s CPU  {cost.peak:6.0f} MiB   {shares}", flush=True)


def compare(band: str, ours: Path, theirs: Path) -> None:
    """Tell how far squares of 64 × 64 pixels, means of linear sigma nought, are from those of satpy."""
    levels = []
    for path, linear in ((ours, lambda pixels: 10 ** (pixels / 10)), (theirs, lambda pixels: pixels)):
        with rasterio.open(path) as dataset:
            rows, cols = dataset.height // 64, dataset.width // 64
            strips = (dataset.read(1, window=rasterio.windows.Window(0, 64 * row, 64 * cols, 64)) for row in range(rows))
            levels.append(np.array([linear(strip.astype(float)).reshape(64, cols, 64).mean(axis=(0, 2)) for strip in strips]))
    with np.errstate(invalid="ignore", divide="ignore"):
        away = 10 * np.log10(levels[0] / levels[1])
    away = away[np.isfinite(away)]
    print(
        f"  {band}: ours less satpy's {np.median(away):+.3f} dB in the median of {away.size} squares, {np.abs(away).max():.2f} dB at most"
    )


def measurements(product: Path) -> list[Path]:
    """The rasters."""
    return sorted(product.glob("measurement/*.tiff"))


def warp(tiff: Path, out: Path, bounds: tuple[float, ...], shape: tuple[int, ...], overviews: str) -> list[str]:
    """The command that warps one band to a grid."""
    options = {"COMPRESS": "ZSTD", "LEVEL": "1", "PREDICTOR": "YES", "BLOCKSIZE": "512", "NUM_THREADS": "2", "OVERVIEWS": overviews}
    return [
        *("gdalwarp", "-q", "-overwrite", "-t_srs", "EPSG:3413", "-r", "bilinear", "-multi", "-wo", "NUM_THREADS=2", "-wm", "256"),
        *("-te", *map(str, bounds), "-ts", str(shape[1]), str(shape[0]), "-of", "COG"),
        *(word for name, value in options.items() for word in ("-co", f"{name}={value}")),
        *(str(tiff), str(out)),
    ]


def enlarge(product: Path, folder: Path) -> Path:
    """The same place in pixels of half the side: numbers of lines and pixels doubled, pixels repeated."""
    larger = folder / product.name
    shutil.copytree(product, larger, ignore=shutil.ignore_patterns("*.tiff"))
    for path in larger.glob("annotation/**/*.xml"):
        text = path.read_text()
        text = re.sub(r"(<(?:line|pixel)(?: [^>]*)?>)([^<]*)", lambda m: m[1] + " ".join(str(2 * int(n)) for n in m[2].split()), text)
        text = re.sub(r"(<(?:numberOfLines|numberOfSamples|first\w+(?:Line|Sample))>)(\d+)", lambda m: f"{m[1]}{2 * int(m[2])}", text)
        text = re.sub(r"(<last\w+(?:Line|Sample)>)(\d+)", lambda m: f"{m[1]}{2 * int(m[2]) + 1}", text)
        text = re.sub(r"(<(?:range|azimuth)PixelSpacing>)([^<]*)", lambda m: f"{m[1]}{float(m[2]) / 2}", text)
        path.write_text(text)
    warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
    for tiff in measurements(product):
        with rasterio.open(tiff) as source:
            profile = source.profile | {"height": 2 * source.height, "width": 2 * source.width, "blockysize": 1}
            with rasterio.open(larger / "measurement" / tiff.name, "w", **profile) as out:
                for row in range(0, source.height, 256):
                    lines = source.read(1, window=rasterio.windows.Window(0, row, source.width, min(256, source.height - row)))
                    window = rasterio.windows.Window(0, 2 * row, out.width, 2 * len(lines))
                    out.write(np.repeat(np.repeat(lines, 2, axis=0), 2, axis=1), 1, window=window)
    return larger


if __name__ == "__main__":
    main()
