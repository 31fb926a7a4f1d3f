"""Cut what came out as one floe and is several: where the crack between floes is faint.

A floe fills most of its convex hull; two floes joined across a faint crack leave bays where they meet. So a piece that fills too little of
its hull is eroded, by the distance to the boundary that the network gave, until it falls apart; if the parts, grown back, fill their hulls
clearly better, they are the floes. What becomes of a piece depends on nothing outside it.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from icegraph.compiled import compiled
from icegraph.grid import Window
from icegraph.runs import END, LABEL, ROW, START, area, chain, find_runs

FloatArray = NDArray[np.float32]
IdArray = NDArray[np.uint32]

SOLID = 0.9  # what fills more of its hull is not looked at
_GAIN = 0.01  # solidity that a cut must gain, in the mean over the parts' pixels
_LEVELS_PX = (2.0, 2.5, 3.0, 4.0, 5.0)
_PLACE_BITS = 18  # of a row or column in half pixels: enough for 131,072 × 131,072
_LEAST_PX = 6  # a part begins with so many pixels


class Hulls:
    """The convex hulls of floes 1…n - 1, from the windows that they lie in.

    Attributes:
        areas: Of the floes themselves so far [n], pixels.
    """

    def __init__(self, count: int) -> None:
        self.areas = np.zeros(count, np.int64)
        self._corners = [np.zeros((0, 3), np.int64)]

    def add(self, window: Window, ids: IdArray) -> None:
        """Take the ids [H, W] of a window. A hull runs through the middles of its outermost pixels' sides."""
        runs = find_runs(ids)
        np.add.at(self.areas, runs[:, LABEL], runs[:, END] - runs[:, START])
        runs = runs[np.argsort(runs[:, LABEL], kind="stable")]
        self._corners.append(_corners(runs) + np.array([0, 2 * window.row, 2 * window.col]))

    def measure(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Area of each floe's hull [n], pixels, 0 where there was none; and first and past-the-last row and column of its box [n, 4]."""
        corners = np.concatenate(self._corners)
        order = np.argsort((corners[:, 0] << 2 * _PLACE_BITS) + (corners[:, 1] << _PLACE_BITS) + corners[:, 2])
        return _measured(corners[order], len(self.areas))


def cut(inside: NDArray[np.bool_], depth: FloatArray) -> IdArray:
    """Cut one piece into the floes that it is: ids 1…n [H, W], 0 outside.

    Args:
        inside: The piece [H, W].
        depth: Distance to the floe's boundary [H, W], pixels, as the network gave it.
    """
    whole = inside.astype(np.uint32)
    solidity = filling(whole)[1]
    if solidity > SOLID:
        return whole
    from skimage.segmentation import watershed  # a third of a second, which a server that starts has not

    for level in _LEVELS_PX:
        seeds, _ = label(inside & (depth > level))
        seeds[np.bincount(seeds.ravel())[seeds] < _LEAST_PX] = 0
        if len(np.unique(seeds)) > 2:
            parts = watershed(-depth, seeds, mask=inside).astype(np.uint32)  # type: ignore[no-untyped-call]
            names, area = np.unique(parts[parts > 0], return_counts=True)
            if np.average(filling(parts)[names], weights=area) > solidity + _GAIN:
                return _each(parts, names, depth)
    return whole


def _each(parts: IdArray, names: IdArray, depth: FloatArray) -> IdArray:
    """Cut the parts further."""
    out = np.zeros_like(parts)
    for name in names:
        again = cut(parts == name, depth)
        out = np.where(again > 0, again + out.max(), out)
    return out


def filling(ids: IdArray) -> NDArray[np.float64]:
    """Solidity of the pieces 1…n of [H, W], [n + 1]: the share of its convex hull that each fills."""
    hulls = Hulls(int(ids.max()) + 1)
    hulls.add(Window(0, 0, *ids.shape), ids)
    return hulls.areas / np.maximum(hulls.measure()[0], 1)


@compiled
def _corners(runs: NDArray[np.int32]) -> NDArray[np.int64]:
    """The corners of the hulls (id, row, col) [C, 3], in half pixels, of runs in the order of their ids and rows."""
    out, points = np.empty((6 * len(runs), 3), np.int64), np.empty((6 * len(runs), 2), np.int64)
    count, k = 0, 0
    while k < len(runs):
        name, number = runs[k, LABEL], 0
        line, least, most = -1, 0, 0  # the line below a row, and its outermost points
        while k < len(runs) and runs[k, LABEL] == name:
            row, start, end = runs[k, ROW], runs[k, START], runs[k, END]
            while k < len(runs) and runs[k, LABEL] == name and runs[k, ROW] == row:
                end = runs[k, END]
                k += 1
            left, right = 2 * start + 1, 2 * end - 1
            if line == 2 * row:
                left, right = min(left, least), max(right, most)
            elif line >= 0:
                number = _put(points, number, line, least, most)
            number = _put(points, number, 2 * row, left, right)
            number = _put(points, number, 2 * row + 1, 2 * start, 2 * end)
            line, least, most = 2 * row + 2, 2 * start + 1, 2 * end - 1
        number = _put(points, number, line, least, most)
        for corner in chain(points[:number]):
            out[count, 0], out[count, 1], out[count, 2] = name, corner[0], corner[1]
            count += 1
    return out[:count].copy()


@compiled
def _put(points: NDArray[np.int64], number: int, line: int, least: int, most: int) -> int:
    points[number, 0], points[number, 1], points[number + 1, 0], points[number + 1, 1] = line, least, line, most
    return number + 2


@compiled
def _measured(corners: NDArray[np.int64], count: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Area and box of each id's hull, of corners (id, row, col) [C, 3], half pixels, in order."""
    areas, boxes = np.zeros(count), np.zeros((count, 4), np.int64)
    first = 0
    for k in range(1, len(corners) + 1):
        if k == len(corners) or corners[k, 0] != corners[first, 0]:
            hull, name = corners[first:k, 1:].copy(), corners[first, 0]
            areas[name] = area(chain(hull)) / 4
            box = hull[:, 0].min(), hull[:, 0].max(), hull[:, 1].min(), hull[:, 1].max()
            boxes[name] = np.array(box) // 2
            first = k
    return areas, boxes
