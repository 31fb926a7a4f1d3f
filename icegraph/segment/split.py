"""Cut what came out as one floe and is several: where the crack between floes is faint.

A floe fills most of its convex hull; two floes joined across a faint crack leave bays where they meet. So a piece that fills too little of
its hull is eroded, by the distance to the boundary that the network gave, until it falls apart; if the parts, grown back, fill their hulls
clearly better, they are the floes. What becomes of a piece depends on nothing outside it.
"""

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.ndimage import label
from skimage.segmentation import watershed

from icegraph.grid import Window

FloatArray = NDArray[np.float32]
IdArray = NDArray[np.uint32]

SOLID = 0.9  # what fills more of its hull is not looked at
_GAIN = 0.07  # solidity that a cut must gain, in the mean over the parts' pixels
_LEVELS_PX = (2.0, 2.5, 3.0, 4.0, 5.0)
_LEAST_PX = 6  # a part begins with so many pixels


class Hulls:
    """The convex hulls of floes 1…n - 1, from the windows that they lie in."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._ids: list[NDArray[np.int64]] = []
        self._points: list[NDArray[np.float64]] = []

    def add(self, window: Window, ids: IdArray) -> None:
        """Take the ids [H, W] of a window. A hull runs through the middles of its outermost pixels' sides."""
        padded = np.pad(ids, ((0, 0), (1, 1)))
        rows, cols = np.nonzero(padded[:, 1:] != padded[:, :-1])  # a run of one id ends before col, and one of another begins at it
        of = np.concatenate([padded[rows, cols], padded[rows, cols + 1]]).astype(np.int64)
        row, side = np.tile(rows + window.row + 0.5, 2), np.tile(cols + float(window.col), 2)
        inwards = np.repeat([-0.5, 0.5], len(rows))  # from the side to the middle of the pixel of this id
        points = [np.stack([row, side], 1), *(np.stack([row + up, side + inwards], 1) for up in (-0.5, 0.5))]
        names, hulls = _hulls(np.tile(of, 3), np.concatenate(points))
        corners, index = shapely.get_coordinates(hulls, return_index=True)
        self._ids.append(names[index])
        self._points.append(corners)

    def measure(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Area of each floe's hull [n], pixels, 0 where there was none; and first and past-the-last row and column of its box [n, 4]."""
        area, box = np.zeros(self._count), np.zeros((self._count, 4), np.int64)
        if self._ids:
            names, hulls = _hulls(np.concatenate(self._ids), np.concatenate(self._points))
            area[names] = shapely.area(hulls)
            box[names] = shapely.bounds(hulls)[:, [0, 2, 1, 3]]
        return area, box


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
    return np.asarray(np.bincount(ids.ravel()) / np.maximum(hulls.measure()[0], 1))


def _hulls(ids: NDArray[np.int64], points: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Each id but 0 with the hull of its points."""
    order = np.flatnonzero(ids)[np.argsort(ids[ids > 0], kind="stable")]
    names, index = np.unique(ids[order], return_inverse=True)
    return names, shapely.convex_hull(shapely.multipoints(points[order], indices=index))
