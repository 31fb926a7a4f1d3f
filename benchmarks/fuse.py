"""How long fuse takes on a full-size pass, against pyresample's kd-tree on every pixel, and how much memory.

The scene has the size of a Sentinel-1 EW pass, 10 400 × 10 000 pixels of 40 m, and constant bands; the granule has the 2040 scans of half
an orbit, of which those over the scene are simulated. fuse runs in a process of its own, from its imports to the finished folder.
pyresample is timed on two strips of the same grid, and the line through both gives the whole; it reads, resamples, and writes nothing.

    python benchmarks/fuse.py
"""

import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np
from affine import Affine

from icegraph.fuse.l1r import read_swath
from icegraph.grid import Grid, tiles
from icegraph.scene import Scene, write_band, write_item
from icegraph.simulate.amsr2 import write_amsr2
from icegraph.simulate.field import FLOE, LEVEL, NO_ICE, WATER, Snapshot

TIME = datetime(2020, 3, 1, 12, tzinfo=UTC)
GRID = Grid("EPSG:3413", Affine(40, 0, 400_000, 0, -40, -1_000_000), 10_400, 10_000)
HALF_ORBIT = 2040  # scans
STRIPS = (40, 120)  # rows
_FUSE = """
import sys
from pathlib import Path
from icegraph.fuse import fuse
from icegraph.ingest.passes import describe
from icegraph.scene import Scene
scene, out, *partners = map(Path, sys.argv[1:])
fuse(Scene.open(scene), [describe(path).entry for path in partners], out)
"""


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        scene, granule = _scene(folder / "scene"), _granule(folder)
        seconds, cpu_s, peak_mib = _timed([str(scene), str(folder / "fused"), str(granule)])
        fused = Scene.open(folder / "fused")
        bands = [band for band in fused.bands if band.startswith(("tb_", "sic_", "amsr2_"))]
        size_mb = sum(fused.path(band).stat().st_size for band in bands) / 1e6
        print(f"fuse, {GRID.height} × {GRID.width} pixels, {len(bands)} bands, {size_mb:.0f} MB written:")
        print(f"  {seconds:.1f} s ({cpu_s:.1f} s of processor), peak memory {peak_mib:.0f} MiB")
        for name, gaussian in (("nearest", False), ("Gaussian, 16 neighbours", True)):
            whole_s = _pyresample(granule, gaussian=gaussian)
            print(f"pyresample, {name}: {whole_s:.0f} s of processor for the whole grid, {whole_s / cpu_s:.0f} times as much")


def _scene(folder: Path) -> Path:
    folder.mkdir(parents=True)
    rasters = {}
    for name, value in (("hh_db", -15.0), ("hv_db", -25.0), ("incidence_deg", 33.0), ("valid", 1)):
        dtype = "uint8" if name == "valid" else "float32"
        rasters[name] = f"{name}.tif"
        with write_band(folder / rasters[name], GRID, dtype) as writer:
            for window in tiles(GRID.shape, 2048):
                writer.write(window, np.full(window.shape, value, dtype))
    said = {"pass_id": "S1B_EW_FULL", "time": TIME, "sensor": "sar", "grid": GRID, "rasters": rasters}
    write_item(folder, **said, properties={"platform": "sentinel-1b"})
    return folder


def _granule(folder: Path) -> Path:
    """Ice in the west, water in the east of the scene, seen by a granule lengthened by scans at the equator."""
    step = 25
    grid = Grid(GRID.crs, GRID.transform @ Affine.scale(step), GRID.height // step, GRID.width // step)
    ice = np.broadcast_to(np.arange(grid.width) < grid.width / 2, grid.shape)
    nothing = np.zeros(grid.shape, np.float32)
    field = Snapshot(
        time=TIME,
        grid=grid,
        identity=np.zeros(grid.shape, np.uint32),
        classes=np.where(ice, FLOE, WATER).astype(np.uint8),
        ice_type=np.where(ice, LEVEL, NO_ICE).astype(np.uint8),
        wind_m_s=nothing + 5,
        cloud=nothing,
        texture=nothing,
    )
    path = write_amsr2(field, folder, rng=np.random.default_rng(0))
    with h5py.File(path, "r+") as file:
        scans = file["Scan Time"].shape[0]
        for name, dataset in list(file.items()):
            axis = dataset.shape.index(scans)
            values, attributes = dataset[:], dict(dataset.attrs)
            more = np.repeat(values.take([-1], axis), HALF_ORBIT - scans, axis)
            if name.startswith("Latitude"):
                more[:] = np.linspace(-5, 5, HALF_ORBIT - scans)[:, None]
            if name == "Scan Time":
                more += 1.5 * np.arange(1, len(more) + 1)
            del file[name]
            file.create_dataset(name, data=np.concatenate([values, more], axis), compression="gzip", shuffle=True).attrs.update(attributes)
    return path


def _timed(arguments: list[str]) -> tuple[float, float, float]:
    """Seconds that a process of fuse takes, seconds of processor, and the largest memory (PSS) of it and its children, MiB."""
    start, peak = time.perf_counter(), 0.0
    with subprocess.Popen([sys.executable, "-c", _FUSE, *arguments]) as process:  # noqa: S603 - this script's own words
        while process.poll() is None:
            peak = max(peak, sum(map(_pss_mib, _tree(process.pid))))
            time.sleep(0.05)
    if process.returncode:
        raise SystemExit(process.returncode)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)  # this is the only child
    return time.perf_counter() - start, used.ru_utime + used.ru_stime, peak


def _tree(pid: int) -> list[int]:
    try:
        children = [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]
    except OSError:
        return []
    return [pid, *(below for child in children for below in _tree(child))]


def _pss_mib(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def _pyresample(granule: Path, *, gaussian: bool) -> float:
    """Seconds of processor for every channel on every pixel, from two strips of it."""
    from pyresample.geometry import AreaDefinition, SwathDefinition
    from pyresample.kd_tree import resample_gauss, resample_nearest

    seconds = []
    for rows in STRIPS:
        start = time.process_time()
        left, _, right, top = GRID.bounds
        area = AreaDefinition("strip", "", "", GRID.crs, GRID.width, rows, (left, top - 40 * rows, right, top))
        for points in read_swath(granule).channels:
            swath, reach = SwathDefinition(points.lon, points.lat), 3 * points.sigma_m
            if gaussian:
                sigmas = [points.sigma_m] * len(points.bands)
                resample_gauss(swath, points.values, area, reach, sigmas, neighbours=16, fill_value=np.nan)
            else:
                resample_nearest(swath, points.values, area, reach, fill_value=np.nan)
        seconds.append(time.process_time() - start)
    slope = (seconds[1] - seconds[0]) / (STRIPS[1] - STRIPS[0])
    return seconds[1] + slope * (GRID.height - STRIPS[1])


if __name__ == "__main__":
    main()
