"""The field drawn on a view's grid: outlines and fragments at twice the view's resolution, then averaged.

Fragments are drawn as the cells of seed discs: each claims the ground nearer to it than to another, out to a part of its radius; where
two cells meet runs a crack. Floes are drawn over them, with a crack of uneven width around each.
"""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize
from scipy.ndimage import binary_dilation, distance_transform_edt, uniform_filter, zoom

from icegraph.grid import Grid
from icegraph.simulate.field import BRASH, FLOE, LAND, NO_ICE, WATER, Field, Float, Snapshot, snapped_grid
from icegraph.simulate.noise import power_law_noise, sample_tile

FINE = 2  # drawn pixels a view's pixel, each way
_TILE = 512
_ICE_SHARE = 0.45  # a pixel with less ice and slush is water
_SHELTER = 0.6  # share of the wind's effect on water that close ice takes away
_SHELTER_PX = 41


def take(field: Field, time: datetime, pixel_m: float, *, index: int, cloudy: bool) -> Snapshot:
    """Draw the field as it is now.

    Args:
        field: The field.
        time: Time of the view, UTC.
        pixel_m: Pixel of the view.
        index: Number of the pass: weather follows from it and the seed.
        cloudy: Whether clouds are seen.

    Returns:
        A snapshot on the grid of `snapped_grid`.
    """
    grid = snapped_grid(field, pixel_m)
    rng = np.random.default_rng([field.settings.seed, 4, index])
    drawing = _draw(field, grid)
    land = _land(field, grid)
    floe = _draw_floes(field, grid)
    piece = _pieces(drawing, floe)
    texture = _texture(field, grid, piece)
    shade = np.concatenate([[0.0], [f.shade for f in field.floes], field.fragments.shade])[piece]
    kind = np.concatenate([[NO_ICE], [f.ice_type for f in field.floes], field.fragments.ice_type]).astype(np.uint8)[piece]
    identity = np.concatenate([[0], [f.identity for f in field.floes]]).astype(np.uint32)[floe]
    ice, slush = _mean(drawing.ice), _mean(drawing.slush)
    classes = np.where(identity > 0, FLOE, np.where(ice + (1 - ice) * slush > _ICE_SHARE, BRASH, WATER)).astype(np.uint8)
    classes[land], identity[land] = LAND, 0
    kind[(classes == WATER) | land] = NO_ICE
    clear = np.zeros(grid.shape, np.float32)
    return Snapshot(
        time=time,
        grid=grid,
        identity=identity,
        classes=classes,
        ice_type=kind,
        wind_m_s=_sheltered(_wind(grid, rng), ice + (1 - ice) * slush),
        cloud=_cloud(grid, rng) if cloudy else clear,
        texture=texture,
        ice_fraction=np.where(land, 0, ice).astype(np.float32),
        slush=np.where(land, 0, slush).astype(np.float32),
        shade=shade.astype(np.float32),
        ground=None if field.settings.rubble is None else field.fragments.ice_type[drawing.fragment[::FINE, ::FINE]],
    )


@dataclass(frozen=True)
class _Drawing:
    """Fine rasters [FINE·H, FINE·W]: number of the nearest fragment, solid ice, slush in the gaps; and how many floes there are."""

    fragment: NDArray[np.int32]
    ice: NDArray[np.bool_]
    slush: NDArray[np.float32]
    floes: int


def _draw(field: Field, grid: Grid) -> _Drawing:
    fine = Grid(grid.crs, grid.transform @ Affine.scale(1 / FINE), grid.height * FINE, grid.width * FINE)
    floe = _draw_floes(field, fine)
    fragment, distance_m = _draw_fragments(field, fine)
    fragments = field.fragments
    noise = zoom(
        power_law_noise((fine.height // 4 + 2, fine.width // 4 + 2), 1.0, np.random.default_rng([field.settings.seed, 5])), 4, order=1
    )
    noise = noise[: fine.height, : fine.width]
    solid = fragments.solid[fragment]
    differs = np.zeros(fine.shape, bool)
    differs[:, 1:] = fragment[:, 1:] != fragment[:, :-1]
    differs[1:] |= fragment[1:] != fragment[:-1]
    wide = binary_dilation(differs) & (noise < field.crack_level)
    crack = np.where(solid, differs & (noise < -1.2), (differs & (noise < 1.4)) | wide)
    pixel = field.settings.pixel_m
    growth = np.minimum(fragments.growth * fragments.radius_m, 3.7 * pixel - 0.5 * fragments.radius_m)
    piece = np.where(solid, not field.solid_is_slush, distance_m <= growth[fragment])
    ice = piece & ~crack & ~_rim(floe > 0, noise - field.rim_level) | (floe > 0)
    slush = np.where(solid, 1, fragments.fill[fragment] * np.exp(-np.maximum(distance_m - 1.5 * pixel, 0) / (0.6 * pixel)))
    return _Drawing(fragment, ice, slush.astype(np.float32), len(field.floes))


def _draw_floes(field: Field, grid: Grid) -> NDArray[np.int32]:
    """Number of the floe, 1…N, whose outline holds the pixel's centre; 0 where none does."""
    shapes = []
    for number, outline in enumerate(field.outlines(), start=1):
        row, col = grid.rowcol(*(outline + field.centre_m).T)
        if row.max() > -0.5 and col.max() > -0.5 and row.min() < grid.height and col.min() < grid.width:
            ring = np.column_stack([col, row]) + 0.5
            shapes.append(({"type": "Polygon", "coordinates": [[*ring.tolist(), ring[0].tolist()]]}, number))
    if not shapes:
        return np.zeros(grid.shape, np.int32)
    return np.asarray(rasterize(shapes, grid.shape, dtype="int32"), np.int32)


def _draw_fragments(field: Field, fine: Grid) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Nearest fragment of each pixel, and the distance to its seed disc, metres."""
    fragments = field.fragments
    seed = np.full(fine.shape, -1, np.int32)
    row, col = fine.rowcol(*(fragments.place + field.centre_m).T)
    row, col = np.round(row).astype(np.int64), np.round(col).astype(np.int64)
    radius = (0.5 * fragments.radius_m / fine.pixel_m).astype(np.int64)
    for size in range(int(radius.max(initial=0)) + 1):
        chosen = np.flatnonzero(radius == size)
        for dr, dc in np.argwhere(_disc(size)) - size:
            r, c = row[chosen] + dr, col[chosen] + dc
            inside = (r >= 0) & (r < fine.height) & (c >= 0) & (c < fine.width)
            seed[r[inside], c[inside]] = chosen[inside]
    if not (seed >= 0).any():
        seed[0, 0] = 0
    distance, (r, c) = distance_transform_edt(seed < 0, return_indices=True)
    return seed[r, c], distance * fine.pixel_m


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


def _pieces(drawing: _Drawing, floe: NDArray[np.int32]) -> NDArray[np.int64]:
    """Number of the piece of ice that each view pixel shows: floes 1…N, then fragments."""
    return np.where(floe > 0, floe.astype(np.int64), drawing.fragment[::FINE, ::FINE].astype(np.int64) + 1 + drawing.floes)


def _texture(field: Field, grid: Grid, piece: NDArray[np.int64]) -> NDArray[np.float32]:
    """Noise that each piece carries with it, [H, W]."""
    tile = power_law_noise((_TILE, _TILE), 0.9, np.random.default_rng([field.settings.seed, 6]), cutoff_px=64)
    identity = np.array([f.identity for f in field.floes], np.float64)
    count = len(field.fragments.start)
    origin = np.vstack([np.zeros((1, 2)), field.position, field.fragments.place])
    angle = np.concatenate([[0.0], field.angle, np.zeros(count)])
    shift = np.vstack(
        [np.zeros((1, 2)), np.column_stack([identity * 97.31, identity * 61.7]) * field.settings.pixel_m, field.fragments.start]
    )
    x, y = _axes(grid)
    dx = x[None, :] - field.centre_m[0] - origin[piece, 0]
    dy = y[:, None] - field.centre_m[1] - origin[piece, 1]
    c, s = np.cos(angle)[piece], np.sin(angle)[piece]
    scale = field.settings.pixel_m
    return sample_tile(tile, (-s * dx + c * dy + shift[piece, 1]) / scale, (c * dx + s * dy + shift[piece, 0]) / scale)


def _axes(grid: Grid) -> tuple[Float, Float]:
    x, _ = grid.xy(np.zeros(grid.width), np.arange(grid.width, dtype=float))
    _, y = grid.xy(np.arange(grid.height, dtype=float), np.zeros(grid.height))
    return x, y


def _land(field: Field, grid: Grid) -> NDArray[np.bool_]:
    if field.coast is None:
        return np.zeros(grid.shape, bool)
    x, y = _axes(grid)
    place = np.stack(np.meshgrid(x - field.centre_m[0], y - field.centre_m[1]), axis=-1).reshape(-1, 2)
    return (field.coast.inland_m(place) > 0).reshape(grid.shape)


def _coarse_noise(shape: tuple[int, int], slope: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Noise drawn at a quarter of the resolution, so that it costs little on large grids."""
    small = power_law_noise((shape[0] // 4 + 2, shape[1] // 4 + 2), slope, rng)
    return np.asarray(zoom(small, 4, order=1)[: shape[0], : shape[1]], np.float32)


def _wind(grid: Grid, rng: np.random.Generator) -> NDArray[np.float32]:
    """Wind speed [H, W], m/s: even, with gusts, and in one field of five a squall."""
    mean, gust = float(rng.uniform(2, 9)), _coarse_noise(grid.shape, 1.7, rng)
    squall = _coarse_noise(grid.shape, 2.2, rng)
    extra = 9 / (1 + np.exp(-6 * (squall - 1.2))) if rng.random() < 0.2 else 0.0
    return np.asarray(np.clip(mean * (1 + 0.15 * gust) + extra, 0.5, 25), np.float32)


def _sheltered(wind: NDArray[np.float32], cover: NDArray[np.float32]) -> NDArray[np.float32]:
    """The wind [H, W] that open water of that roughness would need: among ice waves have no room to grow, and slush damps them."""
    near = uniform_filter(cover, _SHELTER_PX, mode="nearest")
    return np.asarray(wind * (1 - _SHELTER * np.minimum(2 * near, 1)), np.float32)


def _cloud(grid: Grid, rng: np.random.Generator) -> NDArray[np.float32]:
    """Opacity [H, W]: clear, or a thin veil, or thick cloud over a part, or both."""
    veil, thick = rng.random(2)
    shape, puffs = _coarse_noise(grid.shape, 2.0, rng), _coarse_noise(grid.shape, 1.2, rng)
    thin = float(rng.uniform(0.03, 0.3)) / (1 + np.exp(-2.5 * (shape + 0.3 * puffs - rng.uniform(-0.5, 1.0)))) if veil < 0.5 else 0.0
    level = float(rng.uniform(0.9, 1.9))
    dense = 1 / (1 + np.exp(-(shape + 0.25 * puffs - level) * rng.uniform(3, 9))) if thick < 0.35 else 0.0
    return np.asarray(np.clip(thin + dense - thin * dense, 0, 1) * np.ones(grid.shape), np.float32)
