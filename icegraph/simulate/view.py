"""The field drawn on a view's grid, window by window: outlines and fragments at twice the view's resolution, then averaged.

Fragments are drawn as the cells of seed discs: each claims the ground nearer to it than to another, out to a part of its radius; where
two cells meet runs a crack. Floes are drawn over them, with a crack of uneven width around each.

What a pixel shows follows from the field, the seed and the pixel's place in the grid, to the last bit, whatever the window: all that is
random is a function of place, and a window is drawn with a margin as wide as anything reaches.
"""

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize
from scipy.ndimage import binary_dilation, correlate1d, distance_transform_edt

from icegraph.ahead import map_ahead
from icegraph.grid import Grid, Window, tiles
from icegraph.simulate.field import BRASH, FLOE, LAND, NO_ICE, WATER, Drawn, Field, Float, Fragments, Snapshot, snapped_grid
from icegraph.simulate.noise import power_law_noise, sample_grid, sample_tile

FINE = 2  # drawn pixels a view's pixel, each way
_TILE = 512  # pixels, a side, drawn at a time
_TEXTURE_PX = 512  # after which the texture of a piece repeats
_NOISE_PX = 1024  # the most that random rasters measure; those of cracks repeat after it, those of weather are drawn out
_ICE_SHARE = 0.45  # a pixel with less ice and slush is water
_SHELTER = 0.6  # share of the wind's effect on water that close ice takes away
_SHELTER_PX = 41
_REACH_PX = 10  # a fragment and its slush end before
_MARGIN_PX = _SHELTER_PX // 2 + _REACH_PX + 4  # and 4 for cracks
_PLACE_BITS = 1024  # outlines are drawn to this share of a pixel, so that no rounding depends on the window


class View:
    """The field as it is now, as a view shows it; it is drawn where a window is asked for, and until the field moves on.

    Args:
        field: The field.
        time: Time of the view, UTC.
        pixel_m: Pixel of the view.
        index: Number of the pass: weather follows from it and the seed.
        cloudy: Whether clouds are seen.

    Attributes:
        time: Time of the view.
        grid: That of `snapped_grid`.
    """

    def __init__(self, field: Field, time: datetime, pixel_m: float, *, index: int, cloudy: bool) -> None:
        self.time = time
        self.grid = snapped_grid(field, pixel_m)
        self._field = field
        self._fine = Grid(self.grid.crs, self.grid.transform @ Affine.scale(1 / FINE), self.grid.height * FINE, self.grid.width * FINE)
        seed = field.settings.seed
        rng = np.random.default_rng([seed, 4, index])
        self._wind = _Wind.random(self.grid.shape, rng)
        self._cloud = _Cloud.random(self.grid.shape, rng) if cloudy else None
        size = min(self._fine.height // 4 + 2, _NOISE_PX)
        self._crack_noise = power_law_noise((size, size), 1.0, np.random.default_rng([seed, 5]))
        self._grain = power_law_noise((_TEXTURE_PX, _TEXTURE_PX), 0.9, np.random.default_rng([seed, 6]), cutoff_px=64)
        self._pieces = _Pieces.of_floes(field)

    def part(self, window: Window) -> Snapshot:
        """Draw a window."""
        outer = window.padded(_MARGIN_PX, self.grid.shape)
        inner = window.within(outer).slices
        bounds = np.array(self.grid.part(outer).bounds) - np.tile(self._field.centre_m, 2)
        around = 4 * self._field.settings.pixel_m * np.array([-1, -1, 1, 1])  # a fragment's core may reach in
        fragments = self._field.fragments_in(*(bounds + around).tolist())
        drawing = self._draw(fragments, outer)
        ice, slush = _mean(drawing.ice), _mean(drawing.slush)
        cover = ice + (1 - ice) * slush
        wind = _sheltered(self._wind.speed(outer), cover)[inner]
        ice, slush, cover = ice[inner], slush[inner], cover[inner]
        nearest = drawing.fragment[::FINE, ::FINE][inner]
        land = self._land(window)
        floe = self._draw_floes(self.grid, window)
        pieces = self._pieces.with_fragments(fragments)
        piece = np.where(floe > 0, floe, nearest + len(self._pieces.shade))
        identity = self._pieces.identity[floe]
        classes = np.where(identity > 0, FLOE, np.where(cover > _ICE_SHARE, BRASH, WATER)).astype(np.uint8)
        kind = pieces.ice_type[piece]
        classes[land], identity[land] = LAND, 0
        kind[(classes == WATER) | land] = NO_ICE
        return Snapshot(
            time=self.time,
            grid=self.grid.part(window),
            identity=identity,
            classes=classes,
            ice_type=kind,
            wind_m_s=wind,
            cloud=np.zeros(window.shape, np.float32) if self._cloud is None else self._cloud.opacity(window),
            texture=self._texture(pieces, piece, window),
            ice_fraction=np.where(land, 0, ice).astype(np.float32),
            slush=np.where(land, 0, slush).astype(np.float32),
            shade=pieces.shade[piece].astype(np.float32),
            ground=None if self._field.settings.rubble is None else fragments.ice_type[nearest],
        )

    def _draw(self, fragments: Fragments, window: Window) -> "_Drawing":
        field = self._field
        fine = Window(*(FINE * size for size in (window.row, window.col, window.height, window.width)))
        floe = self._draw_floes(self._fine, fine)
        fragment, distance_m = self._draw_fragments(fragments, fine)
        row, col = (first + np.arange(size) for first, size in zip((fine.row, fine.col), fine.shape, strict=True))
        noise = sample_grid(self._crack_noise, row / 4, col / 4)
        solid = fragments.solid[fragment]
        differs = np.zeros(fine.shape, bool)
        differs[:, 1:] = fragment[:, 1:] != fragment[:, :-1]
        differs[1:] |= fragment[1:] != fragment[:-1]
        wide = binary_dilation(differs) & (noise < field.crack_level)
        crack = np.where(solid, differs & (noise < -1.2), (differs & (noise < 1.4)) | wide)
        pixel = field.settings.pixel_m
        growth = np.minimum(fragments.growth * fragments.radius_m, 3.7 * pixel - 0.5 * fragments.radius_m)
        piece = np.where(solid, not field.solid_is_slush, distance_m <= growth[fragment])
        ice = piece & ~crack & ~_rim(floe > 0, noise - np.float32(field.rim_level)) | (floe > 0)
        fading = np.exp(-np.maximum(distance_m - 1.5 * pixel, 0) / (0.6 * pixel))
        slush = np.where(solid, 1, fragments.fill[fragment] * fading)
        return _Drawing(fragment, ice, slush.astype(np.float32))

    def _draw_floes(self, grid: Grid, window: Window) -> NDArray[np.int32]:
        """Number of the floe, 1…N, whose outline holds the pixel's centre, in a window of a grid; 0 where none does."""
        field, pieces = self._field, self._pieces
        row, col = grid.rowcol(*(pieces.origin + field.centre_m).T)
        reach = pieces.reach_m / grid.pixel_m + 1
        near = (row + reach > window.row) & (row - reach < window.row + window.height)
        near &= (col + reach > window.col) & (col - reach < window.col + window.width)
        shapes = []
        for number in (np.flatnonzero(near[1:]) + 1).tolist():
            row, col = grid.rowcol(*(field.outline(number - 1) + field.centre_m).T)
            ring = np.round(np.column_stack([col, row]) * _PLACE_BITS) / _PLACE_BITS
            shapes.append(({"type": "Polygon", "coordinates": [[*ring.tolist(), ring[0].tolist()]]}, number))
        if not shapes:
            return np.zeros(window.shape, np.int32)
        corner = Affine.translation(window.col - 0.5, window.row - 0.5)
        return np.asarray(rasterize(shapes, window.shape, transform=corner, dtype="int32"), np.int32)

    def _draw_fragments(self, fragments: Fragments, window: Window) -> tuple[NDArray[np.int32], Float]:
        """Nearest fragment of each pixel (the last, open water, beyond `_REACH_PX`), and the distance to its seed disc, metres."""
        open_water = len(fragments.fill) - 1
        seed = np.full(window.shape, -1, np.int32)
        row, col = self._fine.rowcol(*(fragments.place[:-1] + self._field.centre_m).T)
        top, left = np.round(row).astype(np.int64) - window.row, np.round(col).astype(np.int64) - window.col
        radius = (0.5 * fragments.radius_m[:-1] / self._fine.pixel_m).astype(np.int64)
        for size in range(int(radius.max(initial=0)) + 1):
            chosen = np.flatnonzero(radius == size)
            for dr, dc in np.argwhere(_disc(size)) - size:
                r, c = top[chosen] + dr, left[chosen] + dc
                inside = (r >= 0) & (r < window.height) & (c >= 0) & (c < window.width)
                seed[r[inside], c[inside]] = chosen[inside]
        if not (seed >= 0).any():
            return np.full(window.shape, open_water, np.int32), np.full(window.shape, np.inf)
        distance, (r, c) = distance_transform_edt(seed < 0, return_indices=True)
        return np.where(distance <= _REACH_PX * FINE, seed[r, c], open_water).astype(np.int32), distance * self._fine.pixel_m

    def _texture(self, pieces: "_Pieces", piece: NDArray[np.int64], window: Window) -> NDArray[np.float32]:
        """Noise that each piece carries with it, [H, W]."""
        x, y = self._axes(window)
        dx, dy = x[None, :] - pieces.origin[piece, 0], y[:, None] - pieces.origin[piece, 1]
        c, s = np.cos(pieces.angle)[piece], np.sin(pieces.angle)[piece]
        scale = self._field.settings.pixel_m
        row, col = -s * dx + c * dy + pieces.shift[piece, 1], c * dx + s * dy + pieces.shift[piece, 0]
        return sample_tile(self._grain, row / scale, col / scale)

    def _axes(self, window: Window) -> tuple[Float, Float]:
        """Places of a window's columns along x and of its rows along y, metres from the field's centre."""
        col, row = window.col + np.arange(window.width, dtype=float), window.row + np.arange(window.height, dtype=float)
        (x, _), (_, y) = self.grid.xy(np.zeros(window.width), col), self.grid.xy(row, np.zeros(window.height))
        return x - self._field.centre_m[0], y - self._field.centre_m[1]

    def _land(self, window: Window) -> NDArray[np.bool_]:
        if self._field.coast is None:
            return np.zeros(window.shape, bool)
        place = np.stack(np.meshgrid(*self._axes(window)), axis=-1).reshape(-1, 2)
        return (self._field.coast.inland_m(place) > 0).reshape(window.shape)


class Sheet:
    """A view drawn once and kept in files, so that it may be larger than memory.

    Args:
        view: What to draw.
        folder: An empty folder for the files, for the caller to remove.
    """

    def __init__(self, view: Drawn, folder: Path) -> None:
        self.time, self.grid = view.time, view.grid
        self._folder = folder
        self._kinds: dict[str, np.dtype[Any]] = {}
        windows = list(tiles(self.grid.shape, _TILE))
        for window, part in zip(windows, map_ahead(view.part, windows), strict=True):
            for name, raster in part.rasters.items():
                self._file(name, raster.dtype)[window.slices] = raster

    def part(self, window: Window) -> Snapshot:
        """Read a window."""
        rasters = {name: np.array(self._file(name, kind)[window.slices]) for name, kind in self._kinds.items()}
        return Snapshot(time=self.time, grid=self.grid.part(window), **rasters)

    def _file(self, name: str, kind: np.dtype[Any]) -> np.memmap[Any, Any]:
        """A raster, opened for as long as the caller holds it: pages of an open file would count as this process's memory."""
        path = self._folder / name
        if name not in self._kinds:
            # Where the disk is full, to write to mapped memory would kill the process; this raises an error.
            with path.open("wb") as file:
                try:
                    os.posix_fallocate(file.fileno(), 0, kind.itemsize * self.grid.height * self.grid.width)
                except OSError as error:
                    raise OSError(error.errno, error.strerror, str(path)) from error
            self._kinds[name] = kind
        return np.memmap(path, kind, "r+", shape=self.grid.shape)


@dataclass(frozen=True)
class _Drawing:
    """Fine rasters [FINE·H, FINE·W]: number of the nearest fragment, solid ice, slush in the gaps."""

    fragment: NDArray[np.int32]
    ice: NDArray[np.bool_]
    slush: NDArray[np.float32]


@dataclass(frozen=True)
class _Pieces:
    """What there is to see, P of them: nothing, floes 1…N, fragments.

    Args:
        identity: Of floes, uint32 [N + 1].
        reach_m: How far floes reach from their origin, [N + 1].
        shade: [P].
        ice_type: [P].
        origin: Metres from the field's centre, [P, 2].
        angle: How far each has turned, [P].
        shift: Which part of the texture each carries, metres, [P, 2].
    """

    identity: NDArray[np.uint32]
    reach_m: Float
    shade: Float
    ice_type: NDArray[np.uint8]
    origin: Float
    angle: Float
    shift: Float

    @classmethod
    def of_floes(cls, field: Field) -> "_Pieces":
        identity = np.array([0, *(f.identity for f in field.floes)], np.uint32)
        return cls(
            identity,
            np.array([-np.inf, *(float(np.hypot(*f.outline.T).max()) for f in field.floes)]),
            np.array([0.0, *(f.shade for f in field.floes)]),
            np.array([NO_ICE, *(f.ice_type for f in field.floes)], np.uint8),
            np.vstack([np.zeros((1, 2)), field.position]),
            np.concatenate([[0.0], field.angle]),
            identity[:, None] * np.array([97.31, 61.7]) * field.settings.pixel_m,
        )

    def with_fragments(self, fragments: Fragments) -> "_Pieces":
        return _Pieces(
            self.identity,
            self.reach_m,
            np.concatenate([self.shade, fragments.shade]),
            np.concatenate([self.ice_type, fragments.ice_type]),
            np.vstack([self.origin, fragments.place]),
            np.concatenate([self.angle, np.zeros(len(fragments.shade))]),
            np.vstack([self.shift, fragments.start]),
        )


def _disc(radius: int) -> NDArray[np.bool_]:
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return np.asarray(x * x + y * y <= (radius + 0.3) ** 2)


def _rim(floe: NDArray[np.bool_], noise: NDArray[np.float32]) -> NDArray[np.bool_]:
    """A band around floes, one to five fine pixels wide, in places none."""
    rim, grown = np.zeros_like(floe), floe
    for level in (-1.5, -0.9, -0.1, 0.8, 1.6):
        grown = binary_dilation(grown)
        rim |= grown & (noise > level)
    return np.asarray(rim & ~floe)


def _mean(fine: NDArray[np.bool_] | NDArray[np.float32]) -> NDArray[np.float32]:
    height, width = fine.shape[0] // FINE, fine.shape[1] // FINE
    return np.asarray(fine.reshape(height, FINE, width, FINE).mean(axis=(1, 3), dtype=np.float32))


@dataclass(frozen=True)
class _Broad:
    """Noise of broad features over a whole view, kept at a quarter of its resolution or less, so that it costs little."""

    values: NDArray[np.float32]
    step: float

    @classmethod
    def random(cls, shape: tuple[int, int], slope: float, rng: np.random.Generator) -> "_Broad":
        step = max(4.0, max(shape) / (_NOISE_PX - 2))
        size = (int(shape[0] / step) + 2, int(shape[1] / step) + 2)
        return cls(power_law_noise(size, slope, rng), step)

    def at(self, window: Window) -> NDArray[np.float32]:
        row, col = window.row + np.arange(window.height), window.col + np.arange(window.width)
        return sample_grid(self.values, row / self.step, col / self.step)


@dataclass(frozen=True)
class _Wind:
    """Wind over a view: even, with gusts, and in one pass of five a squall."""

    mean_m_s: float
    gusts: _Broad
    squall: _Broad | None

    @classmethod
    def random(cls, shape: tuple[int, int], rng: np.random.Generator) -> "_Wind":
        mean, gusts, squall = float(rng.uniform(2, 9)), _Broad.random(shape, 1.7, rng), _Broad.random(shape, 2.2, rng)
        return cls(mean, gusts, squall if rng.random() < 0.2 else None)

    def speed(self, window: Window) -> NDArray[np.float32]:
        """Wind speed [H, W], m/s."""
        extra = 0.0 if self.squall is None else 9 / (1 + np.exp(-6 * (self.squall.at(window) - 1.2)))
        return np.asarray(np.clip(self.mean_m_s * (1 + 0.15 * self.gusts.at(window)) + extra, 0.5, 25), np.float32)


def _sheltered(wind: NDArray[np.float32], cover: NDArray[np.float32]) -> NDArray[np.float32]:
    """The wind [H, W] that open water of that roughness would need: among ice waves have no room to grow, and slush damps them."""
    near = cover
    for axis in (0, 1):  # not uniform_filter, whose running sums remember where they began
        near = correlate1d(near, np.full(_SHELTER_PX, 1 / _SHELTER_PX), axis, mode="nearest")
    return np.asarray(wind * (1 - _SHELTER * np.minimum(2 * near, 1)), np.float32)


@dataclass(frozen=True)
class _Cloud:
    """Cloud over a view: clear, or a thin veil, or thick cloud over a part, or both."""

    shape: _Broad
    puffs: _Broad
    veil: tuple[float, float] | None
    thick: tuple[float, float] | None

    @classmethod
    def random(cls, shape: tuple[int, int], rng: np.random.Generator) -> "_Cloud":
        veiled, thick = rng.random(2)
        shapes, puffs = _Broad.random(shape, 2.0, rng), _Broad.random(shape, 1.2, rng)
        veil = (float(rng.uniform(0.03, 0.3)), float(rng.uniform(-0.5, 1.0)))
        level = (float(rng.uniform(0.9, 1.9)), float(rng.uniform(3, 9)))
        return cls(shapes, puffs, veil if veiled < 0.5 else None, level if thick < 0.35 else None)

    def opacity(self, window: Window) -> NDArray[np.float32]:
        """Opacity [H, W], 0..1."""
        shape, puffs = self.shape.at(window), self.puffs.at(window)
        thin: Any = 0.0
        dense: Any = 0.0
        if self.veil is not None:
            thin = self.veil[0] / (1 + np.exp(-2.5 * (shape + 0.3 * puffs - self.veil[1])))
        if self.thick is not None:
            dense = 1 / (1 + np.exp(-(shape + 0.25 * puffs - self.thick[0]) * self.thick[1]))
        return np.asarray(np.clip(thin + dense - thin * dense, 0, 1) * np.ones(window.shape), np.float32)
