"""What one look at each pixel of a label raster gives: sums over every floe, and the sides where its outline runs.

Compiled loops; the arrays grow with the number of floes and the length of their outlines, not with the raster.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from icegraph.calibrate.compiled import compiled


@compiled
def largest(labels: NDArray[Any]) -> int:
    """The largest label."""
    most = 0
    for label in labels.ravel():
        most = max(most, label)
    return most


@compiled
def add_pixels(labels: NDArray[Any], first_row: int, first_col: int, sums: NDArray[np.float64]) -> None:
    """Add count, row, col, row², col² and row·col of the pixels [H, W] of a window to the sums [L, 6] of their labels."""
    for row in range(labels.shape[0]):
        y = float(row + first_row)
        col = 0
        while col < labels.shape[1]:
            label = labels[row, col]
            start = col
            while col < labels.shape[1] and labels[row, col] == label:
                col += 1
            if label > 0:  # a run of one label: its sums have closed forms
                number = float(col - start)
                middle = first_col + (start + col - 1) / 2
                x = number * middle
                sums[label, 0] += number
                sums[label, 1] += number * y
                sums[label, 2] += x
                sums[label, 3] += number * y * y
                sums[label, 4] += x * middle + number * (number * number - 1) / 12
                sums[label, 5] += x * y


@compiled
def add_values(labels: NDArray[Any], values: NDArray[np.float32], valid: NDArray[np.bool_], sums: NDArray[np.float64]) -> None:
    """Add count, sum and sum of squares of the finite values [H, W] at valid pixels to the sums [L, 3] of their labels."""
    for row in range(labels.shape[0]):
        for col in range(labels.shape[1]):
            label = labels[row, col]
            if label > 0 and valid[row, col]:
                value = float(values[row, col])
                if np.isfinite(value):
                    sums[label, 0] += 1
                    sums[label, 1] += value
                    sums[label, 2] += value * value


@compiled
def mark_edges(labels: NDArray[Any], seen: NDArray[np.bool_], at_edge: NDArray[np.bool_]) -> None:
    """Mark the labels [L] of pixels [H, W] of which one of the 3 × 3 around is not seen; `seen` [H + 2, W + 2] has a rim of one pixel."""
    for row in range(labels.shape[0]):
        for col in range(labels.shape[1]):
            label = labels[row, col]
            if label > 0 and not at_edge[label] and not seen[row : row + 3, col : col + 3].all():
                at_edge[label] = True


@compiled
def sides(labels: NDArray[Any], first_row: int, first_col: int, width: int, found: NDArray[np.int64]) -> int:
    """Write the sides between labelled pixels and others into `found` [S, 2] (label, 4 × corner + way); gives their number.

    A side starts at a corner (row × (`width` + 1) + column of corners) and leads along it with the labelled pixel on the left as seen on
    a map (rows run down): way 0 right, below the pixel; 1 up, right of it; 2 left, above it; 3 down, left of it. `labels` [H + 2, W + 2]
    has a rim of one pixel. Of more than S sides, S are written.
    """
    count = 0
    most = found.shape[0]
    for row in range(1, labels.shape[0] - 1):
        for col in range(1, labels.shape[1] - 1):
            label = labels[row, col]
            if label == 0:
                continue
            top, left = row - 1 + first_row, col - 1 + first_col
            for way in range(4):
                if way == 0:
                    other, y, x = labels[row + 1, col], top + 1, left
                elif way == 1:
                    other, y, x = labels[row, col + 1], top + 1, left + 1
                elif way == 2:
                    other, y, x = labels[row - 1, col], top, left + 1
                else:
                    other, y, x = labels[row, col - 1], top, left
                if other != label:
                    if count < most:
                        found[count, 0] = label
                        found[count, 1] = 4 * (y * (width + 1) + x) + way
                    count += 1
    return count


@compiled
def rings(codes: NDArray[np.int64], ends: NDArray[np.int64], width: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Join the sides of each floe to closed rings, counter-clockwise on a map around floes and clockwise around their holes.

    Args:
        codes: Codes of `sides`, those of each floe sorted [S].
        ends: Where the sides of floe k begin and end: `ends[k]`, `ends[k + 1]` [N + 1].
        width: Columns of the raster.

    Returns:
        The rings' corners (codes without way) where they turn, one ring after another, closed (first = last) [P]; where each ring ends
        [R]; and the floe of each ring [R]. Pixels that touch at a corner alone are joined.
    """
    step = np.array([1, -(width + 1), -1, width + 1])
    corners, stops, owner = np.empty(2 * codes.size, np.int64), np.empty(codes.size, np.int64), np.empty(codes.size, np.int64)
    used = np.zeros(codes.size, np.bool_)
    count, number = 0, 0
    for floe in range(ends.size - 1):
        low, high = ends[floe], ends[floe + 1]
        mine = codes[low:high]
        for start in range(low, high):
            if used[start]:
                continue
            side, before, first = start, -1, count
            while not used[side]:
                used[side] = True
                corner, way = codes[side] // 4, codes[side] % 4
                if way != before:
                    corners[count] = corner
                    count += 1
                before = way
                there = 4 * (corner + step[way])
                at = low + np.searchsorted(mine, there)
                side = -1
                # Where two ways lead on, the right turn joins pixels that touch at the corner.
                for turn in (3, 0, 1):
                    wanted = there + (way + turn) % 4
                    k = at
                    while k < high and codes[k] < wanted:
                        k += 1
                    if k < high and codes[k] == wanted and (not used[k] or k == start):
                        side = k
                        break
                if side < 0:
                    side = start
            corners[count] = corners[first]
            count += 1
            stops[number], owner[number] = count, floe
            number += 1
    return corners[:count], stops[:number], owner[:number]
