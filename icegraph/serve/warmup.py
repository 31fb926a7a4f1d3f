"""What a model answers before it comes into service: floes of a small scene, or tracks of two.

What is compiled at its first use is compiled by that, so that no request waits for it.
"""

from datetime import timedelta
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from icegraph.errors import ModelError
from icegraph.graph import make_graph
from icegraph.grid import NORTH
from icegraph.segment import Outlines, segment_window
from icegraph.segment.engine import Engine
from icegraph.segment.model import FLOE, WATER
from icegraph.serve.array_scene import ArrayScene, Place
from icegraph.serve.measure import measured

_SIDE, _RADIUS = 96, 9
_TRANSFORM = Affine(250, 0, 0, 0, -250, -1_000_000)  # north of Greenland


def try_segmenter(engine: Engine, folder: Path) -> None:
    """Have a segmenter find discs on water, and measure those that are there.

    Raises:
        ModelError: Its answer is not finite.
    """
    scene, known = _discs(engine.config.bands, 0)
    found = segment_window(engine, scene, scene.held)
    if not np.isfinite(found.probability).all():
        raise ModelError(folder, "its answer to a small image is not finite", "train it anew, or promote another version")
    measured(scene, scene.held, known)


def try_matcher(folder: Path) -> None:
    """Have a matcher follow discs from one pass to the next.

    Raises:
        ModelError: It cannot be read.
    """
    from icegraph.track.follow import follow

    passes = (_discs(("red",), number) for number in range(2))
    follow(make_graph([measured(scene, scene.held, known) for scene, known in passes]), folder, "")


def _discs(bands: tuple[str, ...], number: int) -> tuple[ArrayScene, Outlines]:
    """Nine discs, brighter than what is around them, an hour and a pixel further with each number; and their outlines."""
    rows, cols = np.indices((_SIDE, _SIDE)) - number
    cell = _SIDE // 3
    inside = (rows % cell - cell // 2) ** 2 + (cols % cell - cell // 2) ** 2 < _RADIUS**2
    names: NDArray[np.uint32] = np.where(inside, rows // cell * 3 + cols // cell + 1, 0).astype(np.uint32)
    values = np.stack([inside.astype(np.float32)] * len(bands))
    place = Place(f"warm-up-{number}", Place.time + number * timedelta(hours=1), NORTH, _TRANSFORM)
    outlines = Outlines(names, np.where(inside, FLOE, WATER).astype(np.uint8), inside.astype(np.float32))
    return ArrayScene.of_image(values, bands, None, None, place), outlines
