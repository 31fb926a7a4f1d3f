"""The loops of `icegraph.segment.instances` over pixels and runs, compiled."""

import numpy as np
from numpy.typing import NDArray

from icegraph.compiled import compiled
from icegraph.runs import END, LABEL, ROW, START, connect, find_runs

FloatArray = NDArray[np.float32]
IdArray = NDArray[np.uint32]

_MIXED = np.uint32(0xFFFFFFFF)


@compiled
def mark(depth: FloatArray, deep: np.float32, least: np.float32, reach: int) -> NDArray[np.bool_]:
    """Pixels [H, W] deeper than `deep`, and those deeper than `least` that nothing within `reach` pixels, corners too, is deeper than."""
    height, width = depth.shape
    out = np.zeros((height, width), np.bool_)
    for row in range(height):
        for col in range(width):
            here = depth[row, col]
            if here > deep:
                out[row, col] = True
            elif here > least:
                top, bottom = max(row - reach, 0), min(row + reach + 1, height)
                left, right = max(col - reach, 0), min(col + reach + 1, width)
                out[row, col] = _highest(depth[top:bottom, left:right], here)
    return out


@compiled
def _highest(depth: FloatArray, here: np.float32) -> bool:
    for row in range(depth.shape[0]):
        for col in range(depth.shape[1]):
            if depth[row, col] > here:
                return False
    return True


@compiled
def spread(ids: IdArray, depth: FloatArray, levels: NDArray[np.float64], sure: NDArray[np.bool_], large: NDArray[np.bool_]) -> None:
    """Grow ids [H, W] step by step into their neighbours that are deeper than the step's level; of two the deeper one's id wins.

    All pixels of a step see the ids before it. `levels` descend. Of equally deep neighbours the lower id wins. The outermost pixels stay.
    Pixels that are not `sure` [H, W] are not for ids that are `large` [n].
    """
    stride = ids.shape[1]
    taken, deep, open_to_all = ids.ravel(), depth.ravel(), sure.ravel()
    opens = np.zeros(len(levels) + 1, np.int64)
    for row in range(1, ids.shape[0] - 1):
        for at in range(row * stride + 1, (row + 1) * stride - 1):
            if taken[at] == 0 and deep[at] > levels[-1]:
                opens[_step(deep[at], levels) + 1] += 1
    opens = np.cumsum(opens)
    waiting, place = np.empty(opens[-1], np.int64), opens.copy()
    for row in range(1, ids.shape[0] - 1):
        for at in range(row * stride + 1, (row + 1) * stride - 1):
            if taken[at] == 0 and deep[at] > levels[-1]:
                step = _step(deep[at], levels)
                waiting[place[step]] = at
                place[step] += 1
    # What no neighbour took stays, at the front of what opens next.
    found = np.empty(len(waiting), np.uint32)
    first = 0
    for step in range(len(levels)):
        last = opens[step + 1]
        for k in range(first, last):
            at, best, winner = waiting[k], np.float32(-np.inf), np.uint32(0)
            for beside in (at + 1, at - 1, at + stride, at - stride):
                if large[taken[beside]] and not open_to_all[at]:
                    continue
                if taken[beside] > 0 and (deep[beside] > best or (deep[beside] == best and taken[beside] < winner)):
                    best, winner = deep[beside], taken[beside]
            found[k] = winner
        for k in range(first, last):
            if found[k] > 0:
                taken[waiting[k]] = found[k]
        kept = last
        for k in range(last - 1, first - 1, -1):
            if found[k] == 0:
                kept -= 1
                waiting[kept] = waiting[k]
        first = kept


@compiled
def _step(depth: np.float32, levels: NDArray[np.float64]) -> int:
    step = 0
    while depth <= levels[step]:
        step += 1
    return step


@compiled
def close_holes(ids: IdArray, probability: FloatArray, side: int, pond: int, doubt: float, enclosed: float) -> None:
    """Give holes in ids [H, W] that fit into a square of `side`, and do not touch the edge, to the floe around them; see `fill_holes`."""
    runs = find_runs(ids == 0)
    if len(runs) == 0:
        return
    pieces = connect(runs)
    boxes = _boxes(runs, pieces, pieces.max() + 1)
    order, ends = _grouped(pieces, _fitting(boxes, ids.shape, side))
    rim = np.empty(4 * side * side, np.uint32)
    for piece in range(len(ends) - 1):
        mine = order[ends[piece] : ends[piece + 1]]
        if len(mine) == 0:
            continue
        area, chance, count = 0, 0.0, 0
        for k in mine:
            row, start, end = runs[k, ROW], runs[k, START], runs[k, END]
            area += end - start
            for col in range(start, end):
                chance += probability[row, col]
            count = _rim(ids, np.uint32(0), row, start, end, rim, count)
        chance /= area
        if np.isfinite(chance) and (area <= pond or chance > doubt):
            floe, share = _most(np.sort(rim[:count]))
            if share >= enclosed:
                for k in mine:
                    ids[runs[k, ROW], runs[k, START] : runs[k, END]] = floe


@compiled
def close_islands(ids: IdArray, side: int) -> None:
    """Give pieces in ids [H, W] that fit into a square of `side`, and do not touch the edge, to the one floe all around them."""
    runs = find_runs(ids)
    if len(runs) == 0:
        return
    pieces = runs[:, LABEL].copy()
    boxes = _boxes(runs, pieces, pieces.max() + 1)
    order, ends = _grouped(pieces, _fitting(boxes, ids.shape, side))
    around = np.zeros(len(ends), np.uint32)
    rim = np.empty(2 * (side + ids.shape[1]), np.uint32)
    for piece in range(len(ends) - 1):
        for k in order[ends[piece] : ends[piece + 1]]:
            count = _rim(ids, np.uint32(piece), runs[k, ROW], runs[k, START], runs[k, END], rim, 0)
            for name in rim[:count]:
                around[piece] = name if name > 0 and (around[piece] == 0 or around[piece] == name) else _MIXED
            if around[piece] == _MIXED:
                break
    for piece in range(len(ends) - 1):
        if 0 < around[piece] < _MIXED:
            for k in order[ends[piece] : ends[piece + 1]]:
                ids[runs[k, ROW], runs[k, START] : runs[k, END]] = around[piece]


@compiled
def _boxes(runs: NDArray[np.int32], pieces: NDArray[np.int32], count: int) -> NDArray[np.int32]:
    """First and past-the-last row and column of each piece [count, 4]; nothing where there is none."""
    out = np.empty((count, 4), np.int32)
    out[:, 0], out[:, 1], out[:, 2], out[:, 3] = 1 << 30, -1, 1 << 30, -1
    for k in range(len(runs)):
        box = out[pieces[k]]
        box[0], box[1] = min(box[0], runs[k, ROW]), max(box[1], runs[k, ROW] + 1)
        box[2], box[3] = min(box[2], runs[k, START]), max(box[3], runs[k, END])
    return out


@compiled
def _fitting(boxes: NDArray[np.int32], shape: tuple[int, int], side: int) -> NDArray[np.bool_]:
    """Which boxes fit into a square and do not touch the edge of [H, W]."""
    out = np.zeros(len(boxes), np.bool_)
    for k in range(len(boxes)):
        top, bottom, left, right = boxes[k]
        out[k] = top > 0 and left > 0 and 0 < bottom < shape[0] and right < shape[1] and max(bottom - top, right - left) <= side
    return out


@compiled
def _grouped(pieces: NDArray[np.int32], wanted: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The runs of each wanted piece, one piece after another, and where those of piece k begin and end: `ends[k]`, `ends[k + 1]`."""
    ends = np.zeros(len(wanted) + 1, np.int64)
    for piece in pieces:
        ends[piece + 1] += wanted[piece]
    ends = np.cumsum(ends)
    order, place = np.empty(ends[-1], np.int64), ends.copy()
    for k in range(len(pieces)):
        if wanted[pieces[k]]:
            order[place[pieces[k]]] = k
            place[pieces[k]] += 1
    return order, ends


@compiled
def _rim(ids: IdArray, name: np.uint32, row: int, start: int, end: int, rim: IdArray, count: int) -> int:
    """Add the ids beside a run, one for each side of a pixel, that are not `name`; gives how many there are now."""
    for beside in (ids[row, start - 1], ids[row, end]):
        if beside != name:
            rim[count] = beside
            count += 1
    for line in (row - 1, row + 1):
        for col in range(start, end):
            if ids[line, col] != name:
                rim[count] = ids[line, col]
                count += 1
    return count


@compiled
def _most(names: IdArray) -> tuple[np.uint32, float]:
    """Of ids in order the most frequent one, the highest of equals, and its share."""
    best, most, first = names[0], 0, 0
    for k in range(len(names)):
        if names[k] != names[first]:
            first = k
        if k - first + 1 >= most:
            best, most = names[k], k - first + 1
    return best, most / len(names)


@compiled
def add_sums(
    ids: IdArray,
    place: tuple[int, int],
    origin: tuple[int, int],
    around: IdArray,
    unseen: NDArray[np.bool_],
    probability: FloatArray,
    brightness: FloatArray,
    sums: NDArray[np.float64],
    rims: NDArray[np.int64],
    boxes: NDArray[np.int64],
) -> None:
    """Add what the floes of a part of the scene are to what is known of them.

    Args:
        ids: Floes of the part [H, W].
        place: Row and column of the part in the three that follow.
        origin: Row and column of the part in the scene.
        around: Floes of the part and of what lies about it [S, T].
        unseen: [S, T].
        probability: [S, T].
        brightness: [S, T], NaN where it is not told.
        sums: Of the probability and the brightness over each floe, of the brightness beyond its rim, and the length that this is told of
            [4, n]; added to.
        rims: Length of each floe's rim, and of what of it borders on what was not seen [2, n]; added to.
        boxes: First and last row, first and last column of each floe [n, 4]; widened.
    """
    height, width = around.shape
    runs = find_runs(ids)
    for k in range(len(runs)):
        name = runs[k, LABEL]
        y, start, end = runs[k, ROW] + place[0], runs[k, START] + place[1], runs[k, END] + place[1]
        rim, blind = 0, 0
        for beside in (start - 1, end):
            if beside < 0 or beside == width:
                rim += 1
            elif around[y, beside] != name:
                rim += 1
                blind += unseen[y, beside]
                _add_beyond(sums, name, brightness, y, beside, 0, 1 if beside == end else -1)
        for line in (y - 1, y + 1):
            if line < 0 or line == height:
                rim += end - start
            else:
                for x in range(start, end):
                    other = around[line, x] != name
                    rim += other
                    blind += other & unseen[line, x]
                    if other:
                        _add_beyond(sums, name, brightness, line, x, line - y, 0)
        rims[0, name] += rim
        rims[1, name] += blind
        for x in range(start, end):
            sums[0, name] += probability[y, x]
            sums[1, name] += brightness[y, x]
        box = boxes[name]
        row, first, last = runs[k, ROW] + origin[0], runs[k, START] + origin[1], runs[k, END] + origin[1] - 1
        box[0], box[1], box[2], box[3] = min(box[0], row), max(box[1], row), min(box[2], first), max(box[3], last)


@compiled
def _add_beyond(sums: NDArray[np.float64], name: np.uint32, brightness: FloatArray, y: int, x: int, down: int, right: int) -> None:
    """Add the darker of the two pixels beyond a piece of a floe's rim: a crack may be one pixel wide, and the rim a pixel wide of it."""
    darker = brightness[y, x]
    if 0 <= y + down < brightness.shape[0] and 0 <= x + right < brightness.shape[1]:
        darker = np.fmin(darker, brightness[y + down, x + right])
    if np.isfinite(darker):
        sums[2, name] += darker
        sums[3, name] += 1


@compiled
def paint(runs: NDArray[np.int32], names: NDArray[np.signedinteger], shape: tuple[int, int]) -> IdArray:
    """Draw runs [R] with these ids [R]: [H, W], 0 elsewhere."""
    out = np.zeros(shape, np.uint32)
    for k in range(len(runs)):
        out[runs[k, ROW], runs[k, START] : runs[k, END]] = names[k]
    return out
