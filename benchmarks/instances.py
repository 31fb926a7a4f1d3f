"""How fast a distance map becomes floes, against scikit-image's watershed on the same map, in one run, each in a process of its own.

    python benchmarks/instances.py [--side 10000] [--profile]

The map is that of rounded cells with water between them, a square of 1000 pixels repeated. scikit-image's share is what it does after the
markers: label and watershed; ours is all that makes floes of a scene: markers, growth, holes, islands, rims, hulls, and cuts. Processor
seconds on one core, then seconds by the clock with all cores. Memory is the most that the process held, with Python, its libraries, the map
(8 bytes a pixel) and the floes (4 bytes a pixel, ours 8 with its scratch raster, which `segment` has on disk).
"""

import argparse
import cProfile
import json
import os
import pstats
import resource
import subprocess
import sys
import time

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, label
from scipy.spatial import cKDTree

from icegraph.segment.instances import find_floes, marker_pixels
from icegraph.segment.model import FloeRule
from icegraph.segment.predict import Array

FLOE_PX = 40.0
PERIOD = 1000
Maps = tuple[NDArray[np.float32], NDArray[np.float32]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=10_000, help=f"a multiple of {PERIOD}")
    parser.add_argument("--profile", action="store_true", help="of ours alone")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(_measured(given.side, *given.one)))
        return
    if given.profile:
        maps = _maps(given.side)
        with cProfile.Profile() as profile:
            _ours(maps)
        pstats.Stats(profile).sort_stats("cumulative").print_stats(25)
        return
    theirs = _in_process(given.side, "scikit-image", "one")
    ours, fast = (_in_process(given.side, "icegraph", cores) for cores in ("one", "all"))
    print("| | floes | one core, CPU s | ratio | all cores, clock s | ratio | memory, GiB |\n|-|-|-|-|-|-|-|")
    for name, one, every in (("find_floes", ours, fast), ("scikit-image watershed", theirs, theirs)):
        seconds = [f"{one['cpu']:.2f} | {theirs['cpu'] / one['cpu']:.1f}", f"{every['clock']:.2f} | {theirs['clock'] / every['clock']:.1f}"]
        print(f"| {name} | {one['floes']} | {' | '.join(seconds)} | {one['gib']:.2f} |")


def _in_process(side: int, who: str, cores: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--side", str(side), "--one", who, cores]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - this script itself
    told: dict[str, float] = json.loads(answer)
    return told


def _measured(side: int, who: str, cores: str) -> dict[str, float]:
    if cores == "one":
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    work = _ours if who == "icegraph" else _theirs
    work(_maps(2 * PERIOD))  # compiled once, and kept; more than a window, as slices of arrays are compiled apart
    maps = _maps(side)
    cpu, clock = time.process_time(), time.perf_counter()
    floes = work(maps)
    cpu, clock = time.process_time() - cpu, time.perf_counter() - clock
    return {"floes": floes, "cpu": cpu, "clock": clock, "gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


def _ours(maps: Maps) -> int:
    probability, distance = maps
    shape = (probability.shape[0], probability.shape[1])
    scratch = Array(shape, "uint32"), Array(shape, "uint32")
    found = find_floes(
        lambda at: (probability[at.slices], distance[at.slices]), lambda at: probability[at.slices], shape, FloeRule(), *scratch
    )
    return int(found.numbers.max())


def _theirs(maps: Maps) -> int:
    from skimage.segmentation import watershed

    probability, distance = maps
    markers, _ = label(marker_pixels(probability, distance, FloeRule()))
    return int(watershed(-distance, markers, mask=probability > FloeRule().probability).max())


def _maps(side: int) -> Maps:
    """Floe probability and distance to the boundary."""
    seeds = np.random.default_rng(0).uniform(0, PERIOD, (int((PERIOD / FLOE_PX) ** 2), 2))
    places = np.indices((PERIOD, PERIOD)).reshape(2, -1).T
    apart, _ = cKDTree(seeds, boxsize=PERIOD).query(places, k=2)
    inside = (apart[:, 1] - apart[:, 0] > 4).reshape(PERIOD, PERIOD)
    around = distance_transform_edt(np.pad(inside, 10, mode="wrap"))[10:-10, 10:-10]
    distance, times = np.minimum(around, 8).astype(np.float32), side // PERIOD
    return np.tile(np.where(inside, np.float32(0.9), np.float32(0.1)), (times, times)), np.tile(distance, (times, times))


if __name__ == "__main__":
    main()
