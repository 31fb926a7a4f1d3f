"""How the ice itself has moved between two passes, floes or none: pattern matching by maximum cross-correlation, from coarse to fine.

A patch of the earlier pass is looked for in the later one where the normalised cross-correlation is highest (Ninnis et al. 1986, doi
10.1029/JC091iC09p10725). In pack ice that has no separate floes this is the drift; where there are floes it is a second witness of their
matches. Both pictures are halved until they are small enough to be searched whole; every finer level looks only around what the one
before it found, and the finest finds parts of a pixel.

    coarsest    searched whole      ──► mode of 5 × 5 neighbours ─┐ × 2
    finer       ± 6 pixels          ──► mode of 5 × 5 neighbours ─┤ × 2
    finest      ± 6 pixels, and back again ──► places, displacements, correlations
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from scipy import fft
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from icegraph.grid import Grid
from icegraph.scene import Scene

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Whole = NDArray[np.int64]

_BANDS = ("hh_db", "vv_db", "hv_db", "vh_db", "nir", "red")  # the first that both passes have
_PATCH = 32  # pixels
_STRIDE = 16  # pixels
_SEARCH = 6  # pixels around what the coarser level found
_FINEST = 4096  # a longer side is thinned to so many pixels
_COARSEST = 256  # a side of so many pixels is searched whole
_SEEN = 0.6  # of a patch, at least
_FLATTEN_PX = 8.0
_HEARD = 0.15  # correlation of a patch that has a vote among its neighbours
_SURE = 0.4  # correlation of a patch that is told; chance reaches about 0.25
_MAJORITY = 0.5  # of the neighbours' votes
_AGREE_PX, _RETURN_PX = 2.0, 1.5
_EVEN, _REACH = 1.5, 3  # patches: how far neighbours speak for each other (Gaussian), and where that is cut
_ROUNDS, _ODD_PX = 3, 1.0  # a neighbour that is so far off what is fitted counts half
_LEVEL = np.diag([1e-9, 0.01, 0.01])  # where few neighbours speak, the plane through them is level rather than steep
_BATCH = 256


@dataclass(frozen=True)
class PatternDrift:
    """Displacements of patches of ice.

    Args:
        xy: Middle of each patch in the earlier pass [K, 2], metres in the grid.
        shift: Its displacement [K, 2], metres in the grid.
        correlation: Normalised cross-correlation at the place found [K], 0.4..1.
        patch_m: Side of a patch.
        pixel_m: Side of a pixel of the pictures compared.
    """

    xy: Doubles
    shift: Doubles
    correlation: Doubles
    patch_m: float = 0.0
    pixel_m: float = 0.0

    def __len__(self) -> int:
        """Number of patches."""
        return len(self.xy)

    def at(self, xy: NDArray[np.floating]) -> Doubles:
        """Displacement [N, 2] at places [N, 2], from the nearest patches; NaN where none lies within a patch's side."""
        if not len(self) or not len(xy):
            return np.full((len(xy), 2), np.nan)
        distance, near = cKDTree(self.xy).query(xy, k=min(4, len(self)), distance_upper_bound=self.patch_m)
        distance, near = distance.reshape(len(xy), -1), near.reshape(len(xy), -1)
        known = np.isfinite(distance)
        weight = np.where(known, 1 / (np.where(known, distance, 0) + 0.1 * self.patch_m) ** 2, 0)
        total = (weight[..., None] * self.shift[np.where(known, near, 0)]).sum(axis=1)
        return np.asarray(np.where(known.any(axis=1), total.T / np.maximum(weight.sum(axis=1), 1e-30), np.nan).T)


NO_PATTERN = PatternDrift(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0))


class _Picture(NamedTuple):
    """A band on one level, without its slow changes and of even contrast, 0 where nothing is seen; and where something is seen."""

    values: Floats
    seen: NDArray[np.bool_]


def pattern_drift(a: Scene, b: Scene, reach_m: float) -> PatternDrift:
    """Find how patches of 32 × 32 pixels, one every 16, have moved from one pass to a later one.

    A patch is told where it correlates, where the way back ends at its start, and where it moves as most of its neighbours do. Ice that
    has turned by more than some ten degrees between the passes does not correlate.

    Args:
        a: The earlier pass.
        b: The later pass, in the same projection.
        reach_m: How far ice may have moved.

    Returns:
        The patches, row by row; none where the passes have no band in common.
    """
    band = next((band for band in _BANDS if band in a.bands and band in b.bands), None)
    if band is None:
        return NO_PATTERN
    grid = _common_grid(a.grid, b.grid)
    raw = [tuple(_read(scene, band, grid) for scene in (a, b))]
    while max(raw[-1][0].shape) > _COARSEST:
        raw.append(tuple(_halved(picture) for picture in raw[-1]))
    places, shift, correlation = match_pictures([(_flattened(one), _flattened(other)) for one, other in raw], reach_m / grid.pixel_m)
    x, y = grid.xy(*(places.T + (_PATCH - 1) / 2))
    t = grid.transform
    moved = np.column_stack([t.a * shift[:, 1], t.e * shift[:, 0]])
    return PatternDrift(np.column_stack([x, y]), moved, correlation, _PATCH * grid.pixel_m, grid.pixel_m)


def match_pictures(levels: list[tuple[_Picture, _Picture]], reach_px: float) -> tuple[Whole, Doubles, Doubles]:
    """Match patches through a pyramid of two pictures of the same size.

    Args:
        levels: Earlier and later picture, the finest first, each level half the size of the one before.
        reach_px: How far a patch may have moved, pixels of the finest level.

    Returns:
        Upper left corners (row, col) [K, 2] in the finest level, displacements (row, col) [K, 2], correlations [K].
    """
    expected, share = np.zeros((0, 0, 2)), np.zeros((0, 0))
    for level, (one, other) in reversed(list(enumerate(levels))):
        rows, cols, enough = _patch_places(one)
        places = np.column_stack([rows[enough], cols[enough]])
        if not expected.size:
            shift, correlation = _search_whole(one, other, places, reach_px / 2**level + 2)
        else:
            i, j = (places // 2 // _STRIDE).clip(0, np.array(expected.shape[:2]) - 1).T  # the patch of the coarser level that holds it
            shift, correlation = _search_around(one, other, places, np.rint(2 * expected[i, j]).astype(np.int64))
            correlation[share[i, j] < _MAJORITY] = 0  # what begins at a place found by chance agrees with what begins there too
        table, votes = np.zeros((*rows.shape, 2)), np.zeros(rows.shape)
        table[enough], votes[enough] = shift, np.where(correlation > _HEARD, correlation, 0) ** 2
        expected, share = _mode(table, votes)
    landed = np.rint(places + shift).astype(np.int64).clip(0, np.array(other.values.shape) - _PATCH)
    back, _ = _search_around(other, one, landed, places - landed)
    returns = np.hypot(*(landed + back - places).T) < _RETURN_PX
    alike = (np.hypot(*(shift - expected[enough]).T) < _AGREE_PX) & (share[enough] >= _MAJORITY)
    told = (correlation > _SURE) & returns & alike
    told &= np.hypot(*shift.T) <= reach_px + 2
    table[enough], votes[enough] = shift, np.where(told, correlation, 0) ** 2
    return places[told], _evened(table, votes)[enough][told], correlation[told]


def _common_grid(a: Grid, b: Grid) -> Grid:
    """A north-up grid over both, of the coarser one's pixels, or of as many of these together as keep it within bounds."""
    bounds = np.array([a.bounds, b.bounds])
    low, high = bounds[:, :2].min(axis=0), bounds[:, 2:].max(axis=0)
    pixel = max(a.pixel_m, b.pixel_m)
    pixel *= max(1, -(-int(np.ceil((high - low).max() / pixel)) // _FINEST))
    return Grid.covering(a.crs, np.array([low[0], high[0]]), np.array([low[1], high[1]]), pixel)


def _read(scene: Scene, band: str, grid: Grid) -> Floats:
    """A band on a grid; NaN where nothing is seen."""
    place = {"crs": grid.crs, "transform": grid.transform, "width": grid.width, "height": grid.height}
    finer = grid.pixel_m > 1.5 * scene.grid.pixel_m
    with (
        rasterio.open(scene.path(band), driver="GTiff") as file,
        WarpedVRT(file, resampling=Resampling.average if finer else Resampling.bilinear, nodata=np.nan, **place) as picture,
    ):
        values = picture.read(1)
    with (
        rasterio.open(scene.path("valid"), driver="GTiff") as file,
        WarpedVRT(file, resampling=Resampling.nearest, nodata=0, **place) as mask,
    ):
        return np.where(mask.read(1) > 0, values, np.float32(np.nan))


def _halved(picture: Floats) -> Floats:
    """Mean of 2 × 2 pixels, of those seen."""
    height, width = (extent - extent % 2 for extent in picture.shape)
    four = picture[:height, :width].reshape(height // 2, 2, width // 2, 2)
    seen = np.isfinite(four)
    count = seen.sum(axis=(1, 3))
    total = np.where(seen, four, 0).sum(axis=(1, 3))
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan), np.float32)


def _flattened(picture: Floats) -> _Picture:
    """Take off the local mean and divide by the local standard deviation: light, haze and incidence angle differ between passes."""
    seen = np.isfinite(picture)
    share = np.maximum(gaussian_filter(seen.astype(np.float32), _FLATTEN_PX), 1e-3)
    mean = gaussian_filter(np.where(seen, picture, 0).astype(np.float32), _FLATTEN_PX) / share
    rest = np.where(seen, picture - mean, 0).astype(np.float32)
    variance = gaussian_filter(rest * rest, _FLATTEN_PX) / share
    least = 0.01 * float(variance[seen].mean()) if seen.any() else 0.0  # what is quite flat stays so
    return _Picture(rest / np.sqrt(variance + max(least, 1e-12)), seen)


def _patch_places(picture: _Picture) -> tuple[Whole, Whole, NDArray[np.bool_]]:
    """Rows, columns [R, C] of the patches' upper left corners, and which see enough."""
    height, width = picture.values.shape
    rows, cols = np.meshgrid(*(np.arange(0, extent - _PATCH + 1, _STRIDE) for extent in (height, width)), indexing="ij")
    if not rows.size:
        return rows, cols, np.zeros(rows.shape, bool)
    return rows, cols, _box_sum(picture.seen[None])[0][rows, cols] >= _SEEN * _PATCH**2


def _search_whole(one: _Picture, other: _Picture, places: Whole, reach: float) -> tuple[Doubles, Doubles]:
    """The best place within `reach` pixels for each patch: displacements [K, 2] and correlations [K]."""
    pad = _PATCH // 2
    values, seen = (np.pad(array, pad)[None] for array in other)
    shift, correlation = np.zeros((len(places), 2)), np.zeros(len(places))
    for number, (row, col) in enumerate(places):
        found = _correlate(one.values[None, row : row + _PATCH, col : col + _PATCH], values, seen)
        down, right = np.ogrid[: found.shape[1], : found.shape[2]]
        found[0, np.hypot(down - pad - row, right - pad - col) > reach] = -1
        peak, correlation[number] = (part[0] for part in _peaks(found))
        shift[number] = peak - pad - (row, col)
    return shift, correlation


def _search_around(one: _Picture, other: _Picture, places: Whole, expected: Whole) -> tuple[Doubles, Doubles]:
    """The best place within `_SEARCH` pixels of where each patch is expected: displacements [K, 2] and correlations [K]."""
    pad = _PATCH + _SEARCH
    values, seen = (np.pad(array, pad) for array in other)
    shift, correlation = np.zeros((len(places), 2)), np.zeros(len(places))
    for first in range(0, len(places), _BATCH):
        rows = slice(first, first + _BATCH)
        corner = (places[rows] + expected[rows] - _SEARCH + pad).clip(0, np.array(values.shape) - _PATCH - 2 * _SEARCH)
        wide = _PATCH + 2 * _SEARCH
        found = _correlate(_cut(one.values, places[rows], _PATCH), _cut(values, corner, wide), _cut(seen, corner, wide))
        peak, correlation[rows] = _peaks(found)
        shift[rows] = peak + corner - pad - places[rows]
    return shift, correlation


def _cut(picture: NDArray[np.generic], corners: Whole, side: int) -> NDArray[np.generic]:
    """Squares [K, side, side]."""
    views = np.lib.stride_tricks.sliding_window_view(picture, (side, side))
    return np.asarray(views[corners[:, 0], corners[:, 1]])


def _correlate(patches: NDArray[np.generic], windows: NDArray[np.generic], seen: NDArray[np.generic]) -> Floats:
    """Normalised cross-correlation of patches [K, P, P] with windows [K, H, W] everywhere [K, H−P+1, W−P+1]; −1 where little is seen."""
    patches = patches - patches.mean(axis=(1, 2), keepdims=True)
    height, width = windows.shape[1] - _PATCH + 1, windows.shape[2] - _PATCH + 1
    size = [fft.next_fast_len(extent, real=True) for extent in windows.shape[1:]]
    spectrum = fft.rfft2(windows, size) * np.conj(fft.rfft2(patches, size))
    product = fft.irfft2(spectrum, size)[:, :height, :width]
    total, square = _box_sum(windows), _box_sum(np.square(windows))
    spread = np.maximum(square - total * total / _PATCH**2, 1e-3) * np.maximum(np.square(patches).sum(axis=(1, 2)), 1e-3)[:, None, None]
    return np.where(_box_sum(seen) >= _SEEN * _PATCH**2, product / np.sqrt(spread), -1).astype(np.float32)


def _box_sum(pictures: NDArray[np.generic]) -> Doubles:
    """Sum over the patch that begins at each pixel [K, H−P+1, W−P+1]."""
    total = np.pad(pictures.astype(np.float64), ((0, 0), (1, 0), (1, 0))).cumsum(axis=1).cumsum(axis=2)
    p = _PATCH
    return np.asarray(total[:, p:, p:] - total[:, :-p, p:] - total[:, p:, :-p] + total[:, :-p, :-p])


def _peaks(found: Floats) -> tuple[Doubles, Doubles]:
    """Highest place (row, col) [K, 2], to parts of a pixel by parabolas, and its height [K]: 0 where it lies on the border."""
    count, height, width = found.shape
    number = np.arange(count)
    row, col = np.divmod(found.reshape(count, -1).argmax(axis=1), width)
    top = found[number, row, col].astype(float)
    inside = (row > 0) & (row < height - 1) & (col > 0) & (col < width - 1) & (top > 0)
    r, c = row.clip(1, height - 2), col.clip(1, width - 2)
    down = _parabola(found[number, r - 1, c], found[number, r, c], found[number, r + 1, c])
    right = _parabola(found[number, r, c - 1], found[number, r, c], found[number, r, c + 1])
    return np.column_stack([row + down, col + right]), np.where(inside, top, 0)


def _parabola(before: Floats, middle: Floats, after: Floats) -> Doubles:
    """Where the top of the parabola through three neighbouring values lies, −0.5..0.5 from the middle one."""
    bend = (before - 2 * middle + after).astype(float)
    return np.where(bend < 0, 0.5 * (before - after) / np.minimum(bend, -1e-9), 0).clip(-0.5, 0.5)


def _mode(shift: Doubles, votes: Doubles) -> tuple[Doubles, Doubles]:
    """For each patch the displacement [R, C, 2] that most votes among its 5 × 5 neighbours agree on, and the share [R, C] that does."""
    pad, (height, width) = 2, votes.shape
    shifts, weights = np.pad(shift, ((pad, pad), (pad, pad), (0, 0))), np.pad(votes, pad)
    offsets = [(i, j) for i in range(2 * pad + 1) for j in range(2 * pad + 1)]
    shifts = np.stack([shifts[i : i + height, j : j + width] for i, j in offsets])
    weights = np.stack([weights[i : i + height, j : j + width] for i, j in offsets])
    most, best = np.full((height, width), -1.0), np.zeros((height, width, 2))
    for candidate, own in zip(shifts, weights, strict=True):
        agree = np.where((np.hypot(*np.moveaxis(shifts - candidate, -1, 0)) <= _AGREE_PX) & (own > 0), weights, 0)
        support = agree.sum(axis=0)
        mean = (agree[..., None] * shifts).sum(axis=0) / np.maximum(support, 1e-9)[..., None]
        better = support > most
        best[better], most[better] = mean[better], support[better]
    return best, most / np.maximum(weights.sum(axis=0), 1e-9)


def _evened(shift: Doubles, votes: Doubles) -> Doubles:
    """Displacements [R, C, 2] that change evenly from patch to patch, but where the ice is broken.

    Through the displacements around each patch goes a plane, weighted by votes and nearness. What one patch errs by, a third of a pixel and
    more, others do not; those beyond a lead or along a shear, which do not move as this patch does, hardly count.
    """
    height, width = votes.shape
    offsets = [(i, j) for i in range(-_REACH, _REACH + 1) for j in range(-_REACH, _REACH + 1)]
    shifts, weights = np.pad(shift, ((_REACH, _REACH), (_REACH, _REACH), (0, 0))), np.pad(votes, _REACH)
    plane = np.zeros((height, width, 3, 2))  # at the patch, and what is added for each row and column
    plane[:, :, 0] = shift
    for _ in range(_ROUNDS):
        moments, sums = np.zeros((height, width, 3, 3)), np.zeros((height, width, 3, 2))
        for i, j in offsets:
            part = np.s_[_REACH + i : _REACH + i + height, _REACH + j : _REACH + j + width]
            place = np.array([1.0, i, j])
            off = np.hypot(*np.moveaxis(shifts[part] - place @ plane, -1, 0))
            weight = weights[part] * np.exp(-(i * i + j * j) / (2 * _EVEN**2)) / (1 + (off / _ODD_PX) ** 2)
            moments += weight[..., None, None] * np.outer(place, place)
            sums += weight[..., None, None] * (place[:, None] * shifts[part][..., None, :])
        plane[:] = np.linalg.solve(moments + _LEVEL, sums)
    return np.asarray(plane[:, :, 0])
