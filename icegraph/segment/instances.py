"""From pixels to floes: markers grown over the distance map, window by window, the same wherever the windows fall.

A whole-scene watershed cannot be cut into windows: how far one pixel's fate depends on others has no bound. So each step here looks at a
bounded neighbourhood, and what is not local (which pieces are one floe) goes through a union-find over the windows' seams:

1. *Markers*: pixels deeper inside a floe than `marker_px`, and the deepest pixel of floes too small to be that deep; connected pixels
   are one marker, across seams too.
2. *Growth*: markers take the floe pixels around them, from deep to shallow, one pixel a step, `STEPS` steps at most: a marker-controlled
   watershed of the distance map with a bounded reach, which is enough as markers end only `marker_px` inside the boundary. Large floes
   end where pixels are as likely ice of a floe as not; small ones, most of which is rim, may go on.
3. *Holes*: what is enclosed in one floe becomes part of it, if it is small, or not large and not surely water; so do islands, pieces
   with no gap to the one floe around them.
4. Areas and convex hulls are gathered over all windows. A piece with bays is cut where that gives rounder ones (`icegraph.segment.split`).
   Small floes are dropped, and what is no floe: fields of slush and consolidated pack come out as one piece with bays and holes and a rim
   that winds, or as pieces hardly brighter than what lies beyond their rims; along land or cloud is ice that is fast, or not wholly seen.
   Ids are made dense in the order of each floe's first marker pixel, those that were cut off last.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from icegraph.ahead import map_ahead
from icegraph.grid import Window, tiles
from icegraph.runs import END, ROW, START, connect, find_runs
from icegraph.segment.growth import add_sums, close_holes, close_islands, mark, paint, spread
from icegraph.segment.model import FloeRule
from icegraph.segment.split import SOLID, Hulls, cut, filling

FloatArray = NDArray[np.float32]
IdArray = NDArray[np.uint32]
Maps = Callable[[Window], tuple[FloatArray, FloatArray]]
Map = Callable[[Window], FloatArray]

WINDOW = 1024
LARGE_PX = 20  # a floe that begins with so many pixels is one of about 60
STEPS = 14
HOLE_PX = 64  # holes and islands are looked at if they fit into a square of this side
HALO = STEPS + 2 * HOLE_PX  # what a window must see beyond its sides
CUT_PX = 512  # larger pieces are not cut, so that memory stays bounded
_UNSEEN = 0.2  # share of its rim along land, cloud or no data, beyond which ice is fast, or not wholly seen
_ALONG_PX = 3  # so far from them is along them: masks of land and cloud are right to a few pixels
_POND_PX = 24  # so small a hole is a melt pond or noise, whatever the network says
_DOUBT = 0.1  # a larger one is filled only if the network gives it this much floe probability on the mean: a lead has next to none
_ENCLOSED = 0.85  # share of a hole's rim that is one floe's
_PEAK_PX = 1.1  # the deepest pixel of a floe of about 20 pixels is predicted no shallower than this
_PEAK_REACH = 3


class IdRaster(Protocol):
    """A raster of ids that is written and read by windows."""

    def write(self, window: Window, pixels: IdArray) -> None:
        """Write the ids [H, W] of a window."""

    def read(self, window: Window) -> IdArray:
        """Read the ids [H, W] of a window."""


@dataclass(frozen=True)
class Floes:
    """The floes of a scene, before they are numbered densely.

    Args:
        window_ids: Raster of ids, 0 where there is no floe.
        numbers: Id in that raster → final id, 1…N, or 0 for a floe that was dropped.
    """

    window_ids: IdRaster
    numbers: IdArray

    def read(self, window: Window) -> IdArray:
        """Final ids [H, W] of a window."""
        return self.numbers[self.window_ids.read(window)]


def find_floes(
    maps: Maps, brightness: Map, shape: tuple[int, int], rule: FloeRule, markers: IdRaster, floes: IdRaster, size: int = WINDOW
) -> Floes:
    """Outline the floes of a scene.

    Args:
        maps: Gives the floe probability [H, W] and the distance to the floe's boundary [H, W] (pixels) of a window; NaN where invalid.
        brightness: Gives the brightness [H, W] of a window, on the scene's scale; NaN where it is not told.
        shape: Rows and columns of the scene.
        rule: The thresholds.
        markers: Scratch raster.
        floes: Receives the floes.
        size: Side of the windows; the floes do not depend on it.
    """
    numbers, large = _mark(maps, shape, rule, markers, size)
    hulls = Hulls(int(numbers.max(initial=0)) + 1)

    def read() -> Iterator[tuple[Window, Window, IdArray, FloatArray, FloatArray]]:
        for window in tiles(shape, size):
            outer = window.padded(HALO, shape)
            yield window, outer, numbers[markers.read(outer)], *maps(outer)

    for window, pixels in map_ahead(partial(_grown, rule, large), read()):
        floes.write(window, pixels)
        hulls.add(window, pixels)
    hull_areas, boxes = hulls.measure()
    areas, solidity = _cut_ragged(maps, floes, hulls.areas, hulls.areas / np.maximum(hull_areas, 1), boxes)
    sums = _measure(maps, brightness, floes, shape, size, areas)
    kept = (areas >= rule.min_area_px) & (solidity >= rule.min_solidity) & (sums.chance >= rule.min_confidence * areas)
    kept &= (sums.unseen <= _UNSEEN * sums.rim) & (sums.rim <= rule.max_roughness * sums.box)
    kept &= ~(sums.contrast < rule.min_contrast)
    kept[0] = False
    return Floes(floes, np.where(kept, np.cumsum(kept), 0).astype(np.uint32))


def _cut_ragged(
    maps: Maps, floes: IdRaster, areas: NDArray[np.int64], solidity: NDArray[np.float64], boxes: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Cut the floes that fill little of their hulls; gives areas and solidity of all, those cut off at the end."""
    more: list[tuple[int, float]] = []
    for floe in np.flatnonzero((solidity < SOLID) & (areas > 0) & ((boxes[:, 1::2] - boxes[:, ::2]).max(1) <= CUT_PX)):
        top, bottom, left, right = boxes[floe].tolist()
        window = Window(top, left, bottom - top, right - left)
        ids = floes.read(window)
        parts = cut(ids == floe, maps(window)[1])
        if parts.max() > 1:
            pieces = [int(floe), *range(len(areas) + len(more), len(areas) + len(more) + int(parts.max()) - 1)]
            floes.write(window, np.where(parts > 0, np.array([0, *pieces], np.uint32)[parts], ids))
            count, filled = np.bincount(parts.ravel()), filling(parts)
            areas[floe], solidity[floe] = count[1], filled[1]
            more += zip(count[2:].tolist(), filled[2:].tolist(), strict=True)
    return np.append(areas, [area for area, _ in more]).astype(np.int64), np.append(solidity, [filled for _, filled in more])


def _grown(
    rule: FloeRule, large: NDArray[np.bool_], piece: tuple[Window, Window, IdArray, FloatArray, FloatArray]
) -> tuple[Window, IdArray]:
    """The floes [H, W] of a window, grown from what lies in it and around it."""
    window, outer, grown, probability, distance = piece
    if grown.any():
        grown = fill_holes(grow(grown, large, probability, distance, rule), probability)
    return window, np.ascontiguousarray(grown[window.within(outer).slices])


@dataclass(frozen=True)
class _Sums:
    """What is told of each id [n].

    Args:
        chance: Floe probability summed over its pixels.
        rim: Length of its rim.
        unseen: Length of what of its rim lies along what was not seen.
        box: Length of the rim of its box: a piece without bays has a rim as long.
        contrast: How much brighter it is in the mean than what lies beyond its rim; NaN where that is not told.
    """

    chance: NDArray[np.float64]
    rim: NDArray[np.int64]
    unseen: NDArray[np.int64]
    box: NDArray[np.int64]
    contrast: NDArray[np.float64]


def _measure(maps: Maps, brightness: Map, floes: IdRaster, shape: tuple[int, int], size: int, areas: NDArray[np.int64]) -> _Sums:
    count = len(areas)
    sums, rims = np.zeros((4, count)), np.zeros((2, count), np.int64)
    boxes = np.tile([max(shape), -1, max(shape), -1], (count, 1))
    for window in tiles(shape, size):
        outer = window.padded(_ALONG_PX + 1, shape)
        ids = floes.read(outer)
        if not ids.any():
            continue
        probability = maps(outer)[0]
        unseen = np.isnan(probability)
        if unseen.any():
            unseen = binary_dilation(unseen, iterations=_ALONG_PX)
        inner = window.within(outer)
        pixels = np.ascontiguousarray(ids[inner.slices])
        places = (inner.row, inner.col), (window.row, window.col)
        add_sums(pixels, *places, ids, unseen, probability, brightness(outer), sums, rims, boxes)
    first, last = boxes[:, ::2], boxes[:, 1::2]
    chance, bright, beyond, told = sums
    contrast = bright / np.maximum(areas, 1) - np.divide(beyond, told, out=np.full(count, np.nan), where=told > 0)
    return _Sums(chance, rims[0], rims[1], 2 * np.maximum(last - first + 1, 0).sum(1), contrast)


def marker_pixels(probability: FloatArray, distance: FloatArray, rule: FloeRule) -> NDArray[np.bool_]:
    """Where floes begin [H, W]; depends on `_PEAK_REACH` pixels around each pixel."""
    depth = np.where(probability > rule.probability, distance, np.float32(0))
    # A peak counts alone only where nothing deep is near: else it is a bump on a larger floe's shoulder.
    return mark(depth, np.float32(rule.marker_px), np.float32(_PEAK_PX), _PEAK_REACH)


def grow(markers: IdArray, large: NDArray[np.bool_], probability: FloatArray, distance: FloatArray, rule: FloeRule) -> IdArray:
    """Let markers take the floe pixels around them, from deep to shallow, one pixel a step; of two neighbours the deeper one's floe wins.

    Args:
        markers: Ids [H, W], 0 elsewhere.
        large: Which ids are large floes' [n].
        probability: Floe probability [H, W], NaN where invalid.
        distance: Distance to the floe's boundary [H, W], pixels.
        rule: The thresholds.
    """
    depth = np.full((markers.shape[0] + 2, markers.shape[1] + 2), np.float32(-1))
    np.copyto(depth[1:-1, 1:-1], distance, where=probability > rule.probability)
    ids = np.pad(markers, 1)
    levels = np.append(np.linspace(rule.marker_px, 0.0, STEPS - 3)[1:], [-0.5] * 4)
    spread(ids, depth, levels, np.pad(probability > rule.edge, 1), large)
    return ids[1:-1, 1:-1]


def fill_holes(ids: IdArray, probability: FloatArray) -> IdArray:
    """Give small or doubtful holes, and then islands, to the floe around them; depends on 2 `HOLE_PX` pixels around each pixel.

    Args:
        ids: Floes [H, W], 0 elsewhere.
        probability: Floe probability [H, W]; NaN where invalid: such pixels, and the holes they are in, stay 0.
    """
    ids = ids.copy()
    close_holes(ids, probability, HOLE_PX, _POND_PX, _DOUBT, _ENCLOSED)
    close_islands(ids, HOLE_PX)
    return ids


def _mark(maps: Maps, shape: tuple[int, int], rule: FloeRule, markers: IdRaster, size: int) -> tuple[IdArray, NDArray[np.bool_]]:
    """Number the markers' pieces window by window.

    Returns:
        Piece → marker number, one number a marker, in the order of first pixels; and which markers are large.
    """
    seams = _Seams(shape)
    for window in tiles(shape, size):
        outer = window.padded(_PEAK_REACH, shape)
        inside = marker_pixels(*maps(outer), rule)[window.within(outer).slices]
        markers.write(window, seams.join(window, find_runs(inside)))
    return seams.numbers()


class _Seams:
    """Joins pieces of windows, taken row by row, that touch across a seam."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self._width = shape[1]
        self._parent: list[int] = [0]
        self._first: list[int] = [-1]  # scene-wide index of each piece's first pixel
        self._size: list[int] = [0]
        self._above = np.zeros(shape[1], np.uint32)
        self._left = np.zeros(0, np.uint32)

    def join(self, window: Window, runs: NDArray[np.int32]) -> IdArray:
        """Take the runs of markers in the next window; gives their pieces [H, W] with scene-wide numbers."""
        base = len(self._parent) - 1
        pieces, places = connect(runs), runs[:, ROW].astype(np.int64) * self._width + runs[:, START]
        _, first = np.unique(pieces, return_index=True)
        ids = paint(runs, pieces + base, window.shape)
        self._parent.extend(range(base + 1, base + 1 + len(first)))
        self._first.extend((places[first] + window.row * self._width + window.col).tolist())
        self._size.extend(np.bincount(pieces, runs[:, END] - runs[:, START])[1:].astype(int).tolist())
        columns = slice(window.col, window.col + window.width)
        self._unite(self._above[columns], ids[0])
        if window.col > 0:
            self._unite(self._left, ids[:, 0])
        self._above[columns] = ids[-1]
        self._left = ids[:, -1]
        return ids

    def _unite(self, these: IdArray, those: IdArray) -> None:
        touching = (these > 0) & (those > 0)
        for one, other in np.unique(np.column_stack([these[touching], those[touching]]), axis=0).tolist():
            a, b = self._root(one), self._root(other)
            if a != b:
                keep, drop = (a, b) if self._first[a] < self._first[b] else (b, a)
                self._parent[drop] = keep

    def _root(self, piece: int) -> int:
        while self._parent[piece] != piece:
            self._parent[piece] = self._parent[self._parent[piece]]
            piece = self._parent[piece]
        return piece

    def numbers(self) -> tuple[IdArray, NDArray[np.bool_]]:
        roots = np.array([self._root(piece) for piece in range(len(self._parent))])
        first = np.array(self._first)[roots]
        numbers = np.unique(first, return_inverse=True)[1]
        return numbers.astype(np.uint32), np.bincount(numbers, self._size) >= LARGE_PX
