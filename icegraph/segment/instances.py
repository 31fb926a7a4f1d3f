"""From pixels to floes: markers grown over the distance map, window by window, the same wherever the windows fall.

A whole-scene watershed cannot be cut into windows: how far one pixel's fate depends on others has no bound. So each step here looks at a
bounded neighbourhood, and what is not local (which pieces are one floe) goes through a union-find over the windows' seams:

1. *Markers*: pixels deeper inside a floe than `marker_px`, and the deepest pixel of floes too small to be that deep; connected pixels
   are one marker, across seams too.
2. *Growth*: markers take the floe pixels around them, from deep to shallow, one pixel a step, `STEPS` steps at most: a marker-controlled
   watershed of the distance map with a bounded reach, which is enough as markers end only `marker_px` inside the boundary.
3. *Holes*: what is enclosed in one floe becomes part of it, if it is small, or not large and not surely water; so do islands, pieces
   with no gap to the one floe around them.
4. Areas and convex hulls are gathered over all windows. A piece with bays is cut where that gives rounder ones (`icegraph.segment.split`).
   Small floes are dropped, and what is still too ragged to be one: fields of slush and consolidated pack come out as one piece with bays
   and holes and a rim that winds; and what lies along land or cloud: ice that is fast, or not wholly seen. Ids are made dense in the order
   of each floe's first marker pixel, those that were cut off last.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, find_objects, label, maximum_filter

from icegraph.grid import Window, tiles
from icegraph.segment.model import FloeRule
from icegraph.segment.split import SOLID, Hulls, cut, filling

FloatArray = NDArray[np.float32]
IdArray = NDArray[np.uint32]
Maps = Callable[[Window], tuple[FloatArray, FloatArray]]

WINDOW = 1024
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
_SIDES = ((0, 1), (0, -1), (1, 0), (-1, 0))


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


def find_floes(maps: Maps, shape: tuple[int, int], rule: FloeRule, markers: IdRaster, floes: IdRaster, size: int = WINDOW) -> Floes:
    """Outline the floes of a scene.

    Args:
        maps: Gives the floe probability [H, W] and the distance to the floe's boundary [H, W] (pixels) of a window; NaN where invalid.
        shape: Rows and columns of the scene.
        rule: The thresholds.
        markers: Scratch raster.
        floes: Receives the floes.
        size: Side of the windows; the floes do not depend on it.
    """
    numbers = _mark(maps, shape, rule, markers, size)
    areas = np.zeros(int(numbers.max(initial=0)) + 1, np.int64)
    hulls = Hulls(len(areas))
    for window in tiles(shape, size):
        outer = window.padded(HALO, shape)
        grown = numbers[markers.read(outer)]
        if grown.any():
            probability, distance = maps(outer)
            grown = fill_holes(grow(grown, probability, distance, rule), probability)
        pixels = grown[window.within(outer).slices]
        floes.write(window, pixels)
        areas += np.bincount(pixels.ravel(), minlength=len(areas))
        hulls.add(window, pixels)
    hull_areas, boxes = hulls.measure()
    areas, solidity = _cut_ragged(maps, floes, areas, areas / np.maximum(hull_areas, 1), boxes)
    sums, spans = _measure(maps, floes, shape, size, len(areas))
    kept = (areas >= rule.min_area_px) & (solidity >= rule.min_solidity) & (sums.chance >= rule.min_confidence * areas)
    kept &= (sums.unseen <= _UNSEEN * sums.rim) & (sums.rim <= rule.max_roughness * spans)
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


@dataclass(frozen=True)
class _Sums:
    """Of each id [n]: floe probability summed over its pixels; length of its rim, and of what of it lies along what was not seen."""

    chance: NDArray[np.float64]
    rim: NDArray[np.int64]
    unseen: NDArray[np.int64]


def _measure(maps: Maps, floes: IdRaster, shape: tuple[int, int], size: int, count: int) -> tuple[_Sums, NDArray[np.int64]]:
    """Sums of the ids 0…count - 1, and the rims of their boxes: a piece without bays has a rim as long as its box."""
    chance, rims = np.zeros(count), np.zeros((2, count), np.int64)
    first, last = np.full((2, count), max(shape)), np.full((2, count), -1)
    for window in tiles(shape, size):
        outer = window.padded(_ALONG_PX + 1, shape)
        ids = floes.read(outer)
        if not ids.any():
            continue
        probability, part = maps(outer)[0], window.within(outer)
        inner = ids[part.slices]
        chance += np.bincount(inner[inner > 0], probability[part.slices][inner > 0], count)
        unseen, padded = np.pad(binary_dilation(np.isnan(probability), iterations=_ALONG_PX), 1), np.pad(ids, 1)
        for down, right in _SIDES:
            beside = Window(part.row + 1 + down, part.col + 1 + right, *part.shape).slices
            rows, cols = np.nonzero((inner > 0) & (inner != padded[beside]))
            of = inner[rows, cols]
            rims += np.bincount(of, minlength=count), np.bincount(of[unseen[beside][rows, cols]], minlength=count)
            for axis, places in enumerate((rows + window.row, cols + window.col)):
                np.minimum.at(first[axis], of, places)
                np.maximum.at(last[axis], of, places)
    return _Sums(chance, *rims), 2 * np.maximum(last - first + 1, 0).sum(0)


def marker_pixels(probability: FloatArray, distance: FloatArray, rule: FloeRule) -> NDArray[np.bool_]:
    """Where floes begin [H, W]; depends on `_PEAK_REACH` pixels around each pixel."""
    inside = probability > rule.probability
    depth = np.where(inside, distance, np.float32(0))
    # A peak counts alone only where nothing deep is near: else it is a bump on a larger floe's shoulder.
    near = maximum_filter(depth, 2 * _PEAK_REACH + 1, mode="constant")
    return np.asarray((depth > rule.marker_px) | ((depth >= near) & (depth > _PEAK_PX)))


def grow(markers: IdArray, probability: FloatArray, distance: FloatArray, rule: FloeRule) -> IdArray:
    """Let markers take the floe pixels around them, from deep to shallow, one pixel a step; of two neighbours the deeper one's floe wins.

    Args:
        markers: Ids [H, W], 0 elsewhere.
        probability: Floe probability [H, W], NaN where invalid.
        distance: Distance to the floe's boundary [H, W], pixels.
        rule: The thresholds.
    """
    inside = probability > rule.probability
    depth = np.where(inside, distance, np.float32(-1))
    ids = np.pad(markers, 1)
    depth = np.pad(depth, 1, constant_values=-1)
    levels = np.append(np.linspace(rule.marker_px, 0.0, STEPS - 3)[1:], [-0.5] * 4)
    for level in levels:
        rows, cols = np.nonzero((ids == 0) & (depth > level))
        best, taken = np.full(len(rows), -np.inf, np.float32), np.zeros(len(rows), np.uint32)
        for down, right in _SIDES:
            neighbour, deep = ids[rows + down, cols + right], depth[rows + down, cols + right]
            better = (neighbour > 0) & ((deep > best) | ((deep == best) & (neighbour < taken)))
            best, taken = np.where(better, deep, best), np.where(better, neighbour, taken)
        ids[rows, cols] = taken
    return ids[1:-1, 1:-1]


def fill_holes(ids: IdArray, probability: FloatArray) -> IdArray:
    """Give small or doubtful holes, and then islands, to the floe around them; depends on 2 `HOLE_PX` pixels around each pixel.

    Args:
        ids: Floes [H, W], 0 elsewhere.
        probability: Floe probability [H, W]; NaN where invalid: such pixels, and the holes they are in, stay 0.
    """
    holes, count = label(ids == 0)
    flat = holes.ravel()
    area = np.maximum(np.bincount(flat, minlength=count + 1), 1)
    chance = np.bincount(flat, probability.ravel(), count + 1) / area
    floe, share = _around(holes, ids)
    closed = _compact(holes) & (share >= _ENCLOSED) & ((area <= _POND_PX) | (chance > _DOUBT)) & np.isfinite(chance)
    ids = np.where(ids > 0, ids, np.where(closed, floe, 0)[holes]).astype(np.uint32)

    names, pieces = np.unique(ids, return_inverse=True)
    pieces = pieces.reshape(ids.shape) + int(names[0] != 0)
    floe, share = _around(pieces, ids)
    islands = _compact(pieces) & (share == 1) & (floe > 0)
    return np.where(islands[pieces], floe[pieces], ids).astype(np.uint32)


def _compact(pieces: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Which of the pieces 1…n of [H, W] fit into a square of `HOLE_PX` and do not touch the edge [n + 1]; false for 0."""
    boxes = find_objects(pieces)
    fits = np.zeros(len(boxes) + 1, bool)
    for number, box in enumerate(boxes, 1):
        if box is not None:
            inner = all(part.start > 0 and part.stop < size for part, size in zip(box, pieces.shape, strict=True))
            fits[number] = inner and max(part.stop - part.start for part in box) <= HOLE_PX
    return fits


def _around(pieces: NDArray[np.integer], ids: IdArray) -> tuple[IdArray, NDArray[np.float64]]:
    """For each of the pieces 0…n of [H, W]: the id that most of its rim touches, and the share of the rim that does, [n + 1] each."""
    rims = []
    for axis in (0, 1):
        one, other = [(slice(None),) * axis + (part,) for part in (slice(1, None), slice(None, -1))]
        for here, there in ((one, other), (other, one)):
            rim = pieces[here] != pieces[there]
            rims.append((pieces[here][rim].astype(np.uint64) << np.uint64(32)) | ids[there][rim])
    pairs, contacts = np.unique(np.concatenate(rims), return_counts=True)
    piece, neighbour = (pairs >> np.uint64(32)).astype(np.int64), (pairs & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    count = int(pieces.max(initial=0)) + 1
    total = np.bincount(piece, contacts, count)
    order = np.argsort(contacts, kind="stable")
    most, floe = np.zeros(count), np.zeros(count, np.uint32)
    most[piece[order]], floe[piece[order]] = contacts[order], neighbour[order]
    return floe, most / np.maximum(total, 1)


def _mark(maps: Maps, shape: tuple[int, int], rule: FloeRule, markers: IdRaster, size: int) -> IdArray:
    """Number the markers' pieces window by window; gives piece → marker number, one number a marker, in the order of first pixels."""
    seams = _Seams(shape)
    for window in tiles(shape, size):
        outer = window.padded(_PEAK_REACH, shape)
        inside = marker_pixels(*maps(outer), rule)[window.within(outer).slices]
        pieces, _ = label(inside)
        markers.write(window, seams.join(window, pieces))
    return seams.numbers()


class _Seams:
    """Joins pieces of windows, taken row by row, that touch across a seam."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self._width = shape[1]
        self._parent: list[int] = [0]
        self._first: list[int] = [-1]  # scene-wide index of each piece's first pixel
        self._above = np.zeros(shape[1], np.uint32)
        self._left = np.zeros(0, np.uint32)

    def join(self, window: Window, pieces: NDArray[np.int32]) -> IdArray:
        """Take the pieces 1…n of the next window [H, W]; gives them with scene-wide numbers."""
        base = len(self._parent) - 1
        count = int(pieces.max(initial=0))
        ids = np.where(pieces > 0, pieces + base, 0).astype(np.uint32)
        self._parent.extend(range(base + 1, base + 1 + count))
        _, places = np.unique(pieces.ravel()[np.flatnonzero(pieces)], return_index=True)
        rows, cols = np.divmod(np.flatnonzero(pieces)[places], window.width)
        self._first.extend(((rows + window.row) * self._width + cols + window.col).tolist())
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

    def numbers(self) -> IdArray:
        roots = np.array([self._root(piece) for piece in range(len(self._parent))])
        first = np.array(self._first)[roots]
        return np.unique(first, return_inverse=True)[1].astype(np.uint32)
