"""A label raster as its runs: stretches of one label along a row.

A floe of n pixels has about as many runs as rows, √n: what is asked of labels costs runs, not pixels, once the pixels were looked at.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from icegraph.compiled import compiled

ROW, START, END, LABEL = range(4)


@compiled
def find_runs(labels: NDArray[Any]) -> NDArray[np.int32]:
    """The runs [R, 4] of [H, W] in the order of their pixels: row, first column, column past the last, label; 0 is no label."""
    height, width = labels.shape
    count = 0
    for row in range(height):
        line = labels[row]
        count += line[0] != 0
        for col in range(1, width):
            count += (line[col] != line[col - 1]) & (line[col] != 0)
    runs = np.empty((count, 4), np.int32)
    at = -1
    for row in range(height):
        line = labels[row]
        before = labels.dtype.type(0)
        for col in range(width):
            label = line[col]
            if label != before:
                if before != 0:
                    runs[at, END] = col
                if label != 0:
                    at += 1
                    runs[at, ROW], runs[at, START], runs[at, LABEL] = row, col, label
                before = label
        if before != 0:
            runs[at, END] = width
    return runs


@compiled
def chain(points: NDArray[np.int64]) -> NDArray[np.int64]:
    """The corners [C, 2] of the convex hull of points [P, 2] that are in order, of the first column and then the second.

    Andrew 1979, doi 10.1016/0020-0190(79)90072-3.
    """
    number = len(points)
    corners = np.empty((2 * number, 2), np.int64)
    count = 0
    for half in range(2):
        first = count
        for k in range(number):
            y, x = points[k if half == 0 else number - 1 - k]
            while count >= first + 2:
                (y0, x0), (y1, x1) = corners[count - 2], corners[count - 1]
                if (y1 - y0) * (x - x0) - (x1 - x0) * (y - y0) > 0:
                    break
                count -= 1
            corners[count, 0], corners[count, 1] = y, x
            count += 1
        count -= 1  # the last point of one half is the first of the other
    return corners[: max(count, 1)]


@compiled
def area(corners: NDArray[np.int64]) -> float:
    """Area within a polygon of corners [C, 2], positive where it turns from the first axis to the second."""
    twice = 0
    for k in range(len(corners)):
        twice += corners[k - 1, 0] * corners[k, 1] - corners[k, 0] * corners[k - 1, 1]
    return twice / 2


@compiled
def connect(runs: NDArray[np.int32]) -> NDArray[np.int32]:
    """Number the pieces 1…n of runs [R] of one label that touch along a side, in the order of their first runs."""
    parent = np.arange(len(runs))
    above = 0
    for k in range(len(runs)):
        row, start, end = runs[k, ROW], runs[k, START], runs[k, END]
        while runs[above, ROW] < row - 1 or (runs[above, ROW] == row - 1 and runs[above, END] <= start):
            above += 1
        other = above
        while runs[other, ROW] == row - 1 and runs[other, START] < end:
            if runs[other, LABEL] == runs[k, LABEL]:
                one, two = _root(parent, k), _root(parent, other)
                parent[max(one, two)] = min(one, two)
            other += 1
    pieces, count = np.empty(len(runs), np.int32), 0
    for k in range(len(runs)):
        if parent[k] == k:
            count += 1
            pieces[k] = count
        else:
            pieces[k] = pieces[parent[k]]  # a run's parent comes before it
    return pieces


@compiled
def _root(parent: NDArray[np.int64], run: int) -> int:
    while parent[run] != run:
        parent[run] = parent[parent[run]]
        run = parent[run]
    return run
