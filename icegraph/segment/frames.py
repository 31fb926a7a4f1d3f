"""Tiles of a pass through the network: one way, and the same bytes, for whole scenes and for what a server is asked.

A frame is a tile with its halo. It goes through the network alone (`icegraph.segment.engine`), as many frames at once as there are cores.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from icegraph.ahead import cores
from icegraph.grid import Window, tiles
from icegraph.scene import Scene
from icegraph.segment.engine import Engine
from icegraph.segment.model import BRASH, FLOE, WATER, SegmenterConfig
from icegraph.segment.networks import EDGE, STRIDE
from icegraph.segment.normalise import BRIGHT, network_input, read_scaled

FloatArray = NDArray[np.float32]
_SMOOTH_PX = 0.7  # reaches 3 pixels, which `EDGE` has
_AHEAD = 2  # tiles under way for each core: enough that none waits, few enough that requests beside each other take turns


@dataclass(frozen=True)
class Tile:
    """What the network sees of one tile.

    Args:
        window: The tile.
        valid: Which of its pixels are seen [H, W].
        brightness: In red, on the scene's scale [H, W]; NaN where that is not told.
        frame: The tile with its halo [2C + 1, S, T], zero beyond the scene; None where no pixel is seen.
    """

    window: Window
    valid: NDArray[np.bool_]
    brightness: FloatArray
    frame: FloatArray | None


def predict_tiles(engine: Engine, scene: Scene, window: Window) -> Iterator[tuple[Window, FloatArray]]:
    """Predict a window of a scene, tile by tile.

    The tiles are those of the whole scene, counted from its upper left corner, so that a pixel's bytes do not depend on the window.

    Args:
        engine: The network.
        scene: The pass.
        window: Any part of it.

    Yields:
        Each tile's part of the window, in the scene's pixels, and its maps [5, H, W]: the probabilities of water, brash and floe, the
        distance to the floe's boundary in pixels, and the brightness (see `Tile`); NaN where the scene is invalid.
    """

    def predict(tile: Window) -> FloatArray:
        return predict_tile(engine, read_tile(engine.config, scene, tile))

    for tile, maps in _in_order(predict, _touching(scene.grid.shape, engine.config.tile_px, window)):
        part = _overlap(tile, window)
        yield part, maps[:, *part.within(tile).slices]


def read_tile(config: SegmenterConfig, scene: Scene, window: Window) -> Tile:
    """Read a tile of at most `tile_px` pixels a side, and of the scene around it what the network looks at."""
    outer = window.padded(config.halo_px + config.local_px, scene.grid.shape)
    return cut_tile(config, *read_scaled(scene, config.bands, outer), window, outer)


def cut_tile(config: SegmenterConfig, values: FloatArray, valid: NDArray[np.bool_], window: Window, outer: Window) -> Tile:
    """A tile from values on the scene's scale [C, H, W] and their valid mask [H, W], which cover `outer`."""
    inner = window.within(outer).slices
    seen = valid[inner]
    bright = values[config.bands.index(BRIGHT), *inner] if BRIGHT in config.bands else np.full(window.shape, np.nan, np.float32)
    if not seen.any():
        return Tile(window, seen, bright, None)
    inputs = network_input(values, valid, config.local_px)
    halo = config.halo_px
    sides = (-(-window.height // STRIDE) * STRIDE + 2 * halo, -(-window.width // STRIDE) * STRIDE + 2 * halo)
    frame = np.zeros((inputs.shape[0], *sides), np.float32)
    # The part of the frame that the scene covers; the rest stays zero, as where a scene is invalid.
    top, left = window.row - halo, window.col - halo
    row, col = max(outer.row, top), max(outer.col, left)
    height = min(outer.row + outer.height, top + frame.shape[1]) - row
    width = min(outer.col + outer.width, left + frame.shape[2]) - col
    source = Window(row, col, height, width).within(outer).slices
    frame[:, row - top : row - top + height, col - left : col - left + width] = inputs[:, *source]
    return Tile(window, seen, bright, frame)


def predict_tile(engine: Engine, tile: Tile) -> FloatArray:
    """The maps [5, H, W] of a tile; see `predict_tiles`."""
    if tile.frame is None:
        return np.full((5, *tile.window.shape), np.nan, np.float32)
    maps = engine(tile.frame)
    halo = engine.config.halo_px
    edge = min(halo, EDGE)
    seen = tile.frame[-1, *Window(halo - edge, halo - edge, maps.shape[1], maps.shape[2]).slices] > 0
    maps = _smoothed(maps, seen)[:, *Window(edge, edge, *tile.window.shape).slices]
    if engine.config.sharpness != 1:
        maps[: FLOE + 1] = sharpened(maps[: FLOE + 1], engine.config.sharpness)
    maps = np.concatenate([maps, tile.brightness[None]])
    maps[:, ~tile.valid] = np.nan
    return maps


def sharpened(chances: FloatArray, power: float) -> FloatArray:
    """Probabilities of water, brash and floe [3, …], the odds of floe against the others to a power: surer where it is above 1."""
    floe, other = chances[FLOE].clip(0, 1), (1 - chances[FLOE]).clip(0, 1)
    surer = floe**power / np.maximum(floe**power + other**power, 1e-12)
    rest = (1 - surer) / np.maximum(other, 1e-12)
    return np.stack([chances[WATER] * rest, chances[BRASH] * rest, surer]).astype(np.float32)


def _smoothed(maps: FloatArray, seen: NDArray[np.bool_]) -> FloatArray:
    """Maps [C, H, W] without the last pixel of raggedness, from the seen pixels only: outlines come closer to the ice's."""
    weight = np.maximum(gaussian_filter(seen.astype(np.float32), _SMOOTH_PX), 1e-3)
    return np.asarray(gaussian_filter(maps * seen, (0, _SMOOTH_PX, _SMOOTH_PX)) / weight, np.float32)


def _touching(shape: tuple[int, int], size: int, window: Window) -> Iterator[Window]:
    """The tiles of a scene that share pixels with a window."""
    top, left = window.row // size * size, window.col // size * size
    bottom, right = min(window.row + window.height, shape[0]), min(window.col + window.width, shape[1])
    for tile in tiles((bottom - top, right - left), size):
        row, col = top + tile.row, left + tile.col
        yield Window(row, col, min(size, shape[0] - row), min(size, shape[1] - col))


def _overlap(one: Window, other: Window) -> Window:
    row, col = max(one.row, other.row), max(one.col, other.col)
    bottom, right = min(one.row + one.height, other.row + other.height), min(one.col + one.width, other.col + other.width)
    return Window(row, col, bottom - row, right - col)


def _in_order(work: Callable[[Window], FloatArray], windows: Iterable[Window]) -> Iterator[tuple[Window, FloatArray]]:
    """Give each window's result, in order; a few windows are worked on ahead. What is ahead is dropped where the caller stops."""
    ahead: deque[tuple[Window, Future[FloatArray]]] = deque()
    try:
        for window in windows:
            ahead.append((window, _workers().submit(work, window)))
            if len(ahead) >= _AHEAD * cores():
                first, result = ahead.popleft()
                yield first, result.result()
        while ahead:
            first, result = ahead.popleft()
            yield first, result.result()
    finally:
        for _, result in ahead:
            result.cancel()


@cache
def _workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(cores(), "predict")
