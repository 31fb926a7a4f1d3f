"""How fast a distance map becomes floes, against scikit-image's watershed on the same map, in one run.

    python benchmarks/instances.py [--side 2000] [--profile]

The map is that of rounded cells with water between them. scikit-image's share is what it does after the markers: label and watershed.
Seconds are those of the processor.
"""

import argparse
import cProfile
import pstats
import time

import numpy as np
from scipy.ndimage import distance_transform_edt, label
from scipy.spatial import cKDTree
from skimage.segmentation import watershed

from icegraph.grid import Window
from icegraph.segment.instances import find_floes, marker_pixels
from icegraph.segment.model import FloeRule

FLOE_PX = 40.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=2000)
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    probability, distance = _maps(given.side)
    shape, rule = probability.shape, FloeRule()

    profile = cProfile.Profile()
    start = time.process_time()
    if given.profile:
        profile.enable()
    found = find_floes(lambda window: (probability[window.slices], distance[window.slices]), shape, rule, _Raster(shape), _Raster(shape))
    profile.disable()
    ours = time.process_time() - start

    start = time.process_time()
    markers, _ = label(marker_pixels(probability, distance, rule))
    other = watershed(-distance, markers, mask=probability > rule.probability)
    theirs = time.process_time() - start
    floes = int(found.read(Window(0, 0, *shape)).max())
    print("| | floes | seconds | ratio |\n|-|-|-|-|")
    print(
        f"| find_floes | {floes} | {ours:.2f} | 1 |\n| scikit-image watershed | {int(other.max())} | {theirs:.2f} | {theirs / ours:.2f} |"
    )
    if given.profile:
        pstats.Stats(profile).sort_stats("cumulative").print_stats(18)


class _Raster:
    """A raster in memory."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.pixels = np.zeros(shape, np.uint32)

    def write(self, window: Window, pixels: np.ndarray) -> None:  # type: ignore[type-arg]
        self.pixels[window.slices] = pixels

    def read(self, window: Window) -> np.ndarray:  # type: ignore[type-arg]
        return self.pixels[window.slices]


def _maps(side: int) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Floe probability and distance to the boundary."""
    rng = np.random.default_rng(0)
    seeds = rng.uniform(0, side, (int((side / FLOE_PX) ** 2), 2))
    apart, _ = cKDTree(seeds).query(np.indices((side, side)).reshape(2, -1).T, k=2)
    inside = (apart[:, 1] - apart[:, 0] > 4).reshape(side, side)
    distance = np.minimum(distance_transform_edt(inside), 8).astype(np.float32)
    return np.where(inside, 0.9, 0.1).astype(np.float32), distance


if __name__ == "__main__":
    main()
