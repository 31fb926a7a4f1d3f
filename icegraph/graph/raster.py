"""What the runs of floes give (`icegraph.runs`): sums over every floe, and its outline.

Compiled loops; the arrays grow with the number of floes and the length of their outlines, not with the raster.
"""

import numpy as np
from numpy.typing import NDArray

from icegraph.compiled import compiled
from icegraph.runs import END, LABEL, ROW, START, area, chain


@compiled
def add_values(
    runs: NDArray[np.int32], floe: NDArray[np.int64], values: NDArray[np.float32], valid: NDArray[np.bool_], sums: NDArray[np.float64]
) -> None:
    """Add count, sum and sum of squares of the finite values [H, W] at valid pixels to the sums [N, 3] of each run's floe [R]."""
    for k in range(len(runs)):
        row = runs[k, ROW]
        number, total, squares = 0, 0.0, 0.0
        for col in range(runs[k, START], runs[k, END]):
            counts = valid[row, col] and np.isfinite(values[row, col])
            value = float(values[row, col]) if counts else 0.0
            number += counts
            total += value
            squares += value * value
        sums[floe[k], 0] += number
        sums[floe[k], 1] += total
        sums[floe[k], 2] += squares


@compiled
def mark_edges(runs: NDArray[np.int32], floe: NDArray[np.int64], seen: NDArray[np.bool_], at_edge: NDArray[np.bool_]) -> None:
    """Mark the floes [N] of pixels of which one of the 3 × 3 around is not seen; `seen` [H + 2, W + 2] has a rim of one pixel."""
    for k in range(len(runs)):
        if at_edge[floe[k]]:
            continue
        unseen = False
        for row in range(runs[k, ROW], runs[k, ROW] + 3):
            for col in range(runs[k, START], runs[k, END] + 2):
                unseen |= not seen[row, col]
        at_edge[floe[k]] = unseen


@compiled
def joined(runs: NDArray[np.int32]) -> NDArray[np.int32]:
    """Runs [R, 4] in the order of label, row and column, with those joined that a seam between windows had parted."""
    out = np.empty_like(runs)
    count = 0
    for k in range(len(runs)):
        if (
            count
            and runs[k, START] == out[count - 1, END]
            and runs[k, ROW] == out[count - 1, ROW]
            and runs[k, LABEL] == out[count - 1, LABEL]
        ):
            out[count - 1, END] = runs[k, END]
        else:
            out[count] = runs[k]
            count += 1
    return out[:count].copy()


@compiled
def moments(runs: NDArray[np.int32], ends: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sums over the pixels of each floe [N, 6], counted from its first pixel: 1, row, col, row², col², row·col.

    Args:
        runs: Those of one floe after another.
        ends: Where the runs of floe k begin and end: `ends[k]`, `ends[k + 1]` [N + 1].
    """
    out = np.zeros((len(ends) - 1, 6))
    for floe in range(len(ends) - 1):
        first_row, first_col = runs[ends[floe], ROW], runs[ends[floe], START]
        for k in range(ends[floe], ends[floe + 1]):
            y = float(runs[k, ROW] - first_row)
            number = float(runs[k, END] - runs[k, START])
            middle = (runs[k, START] + runs[k, END] - 1) / 2 - first_col
            x = number * middle
            out[floe, 0] += number
            out[floe, 1] += number * y
            out[floe, 2] += x
            out[floe, 3] += number * y * y
            out[floe, 4] += x * middle + number * (number * number - 1) / 12
            out[floe, 5] += x * y
    return out


@compiled
def rings(runs: NDArray[np.int32], ends: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """The outlines of floes: closed rings, counter-clockwise on a map (rows run down) around floes and clockwise around their holes.

    Args:
        runs: Those of one floe after another, by row and column.
        ends: Where the runs of floe k begin and end: `ends[k]`, `ends[k + 1]` [N + 1].

    Returns:
        The rings' corners (row, col) where they turn, one ring after another, each from its uppermost, leftmost corner and closed (first =
        last) [P, 2]; where each ring ends [R]; and the floe of each ring [R]. Pixels that touch at a corner alone are joined.
    """
    following = _following(runs, ends)
    corners = np.empty((5 * len(runs), 2), np.int32)
    stops, owner = np.empty(len(runs), np.int64), np.empty(len(runs), np.int64)
    used = np.zeros(len(following), np.bool_)
    count, number = 0, 0
    for floe in range(len(ends) - 1):
        for start in range(2 * ends[floe], 2 * ends[floe + 1]):
            if used[start]:
                continue
            first, side = count, start
            corners[count, 0], corners[count, 1] = runs[start >> 1, ROW], _column(runs, start)
            count += 1
            while not used[side]:
                used[side] = True
                then = following[side]
                if _column(runs, then) != _column(runs, side):
                    # A left side leads down from its row's upper corner, a right side up to it.
                    if side != start or start & 1 == 0:
                        corners[count, 0], corners[count, 1] = runs[side >> 1, ROW] + 1 - (side & 1), _column(runs, side)
                        count += 1
                    if then != start or start & 1 == 1:
                        corners[count, 0], corners[count, 1] = runs[then >> 1, ROW] + (then & 1), _column(runs, then)
                        count += 1
                side = then
            corners[count] = corners[first]
            count += 1
            stops[number], owner[number] = count, floe
            number += 1
    return corners[:count].copy(), stops[:number].copy(), owner[:number].copy()


@compiled
def _column(runs: NDArray[np.int32], side: int) -> int:
    """The column of corners of side 2k, left of run k, or 2k + 1, right of it."""
    return int(runs[side >> 1, START + (side & 1)])


@compiled
def _following(runs: NDArray[np.int32], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """The side that the outline reaches next from each left or right side [2R] of the runs, be it straight on or along a row."""
    following = np.empty(2 * len(runs), np.int64)
    for floe in range(len(ends) - 1):
        above, here, last = ends[floe], ends[floe], ends[floe + 1]
        while above < here or here < last:
            row = runs[above, ROW] + 1 if above < here else runs[here, ROW]
            below = here
            while below < last and runs[below, ROW] == row:
                below += 1
            _link(runs, above, here, below, following)
            above, here = here, below
    return following


@compiled
def _link(runs: NDArray[np.int32], above: int, here: int, below: int, following: NDArray[np.int64]) -> None:
    """Tell what follows the sides that lead to the line between a row of runs `above`…`here` and the next, `here`…`below`.

    Left to right along the line; where just one of the rows is within the floe, the outline runs along it: to the right below the upper
    row, to the left above the lower one.
    """
    upper, lower = 2 * above, 2 * here
    from_left, to_left = -1, -1  # the side whose outline comes along the line from the left; the side that one towards the left reaches
    in_upper, in_lower = False, False
    while upper < 2 * here or lower < 2 * below:
        x, y = 1 << 60, 1 << 60
        if upper < 2 * here:
            x = _column(runs, upper)
        if lower < 2 * below:
            y = _column(runs, lower)
        at_upper, at_lower = x <= y, y <= x
        if at_upper and at_lower and in_upper != in_lower:  # two pixels touch at a corner: the right turn joins them
            if in_upper:
                following[from_left] = lower
                to_left = upper
            else:
                following[upper] = to_left
                from_left = lower
        else:
            come, go = -1, -1
            if at_upper and not in_upper:
                come = upper
            elif at_lower and in_lower:
                come = lower
            elif in_upper and not in_lower:
                come = from_left
            if at_upper and in_upper:
                go = upper
            elif at_lower and not in_lower:
                go = lower
            elif in_lower and not in_upper:
                go = to_left
            if come >= 0 and go >= 0:
                following[come] = go
            elif come >= 0:
                from_left = come
            else:
                to_left = go
        if at_upper:
            in_upper = not in_upper
            upper += 1
        if at_lower:
            in_lower = not in_lower
            lower += 1


@compiled
def sizes(corners: NDArray[np.int32], stops: NDArray[np.int64]) -> NDArray[np.float64]:
    """Area within each ring of `rings`, negative around holes, and area of its convex hull [R, 2], pixels."""
    out = np.empty((len(stops), 2))
    first = 0
    for number in range(len(stops)):
        ring = corners[first : stops[number]].astype(np.int64)
        # Rows run down: what turns counter-clockwise on a map turns from rows to columns.
        out[number, 0], out[number, 1] = area(ring), area(chain(_outermost(ring)))
        first = stops[number]
    return out


@compiled
def _outermost(ring: NDArray[np.int64]) -> NDArray[np.int64]:
    """The leftmost and rightmost corner in each row, in order [2H, 2]."""
    top, bottom = ring[:, 0].min(), ring[:, 0].max()
    least, most = np.full(bottom - top + 1, 1 << 60), np.full(bottom - top + 1, -1)
    for row, col in ring:
        least[row - top], most[row - top] = min(least[row - top], col), max(most[row - top], col)
    out = np.empty((2 * len(least), 2), np.int64)
    count = 0
    for k in range(len(least)):
        if most[k] >= 0:
            out[count, 0], out[count, 1], out[count + 1, 0], out[count + 1, 1] = top + k, least[k], top + k, most[k]
            count += 2
    return out[:count]
