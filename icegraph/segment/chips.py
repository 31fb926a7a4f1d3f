"""Training data: chips cut from scenes, and the crops that augmentation makes of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter
from torch.nn import functional

from icegraph.errors import InputError
from icegraph.grid import Window, tiles
from icegraph.scene import Scene
from icegraph.segment.model import BRASH, FLOE, WATER
from icegraph.segment.normalise import network_input, read_scaled
from icegraph.truth import IGNORE, read_labels

FloatArray = NDArray[np.float32]
UNKNOWN = 255  # class of a pixel of which nothing is known
NOT_FLOE = 254  # class of a pixel of which only that is known
ZOOM = (0.6, 1.8)
_ON_FLOES = 0.9  # share of the crops that lie about a known floe, where a chip has any
_NEAR_PX = 2.5
_SMALLEST_PX = 16  # a whole floe below this after zooming cannot be told from brash: it is left out of the loss


@dataclass(frozen=True)
class Chip:
    """A piece of a scene, kept in memory.

    Args:
        values: Bands on the scene's scale [C, H, W], NaN where there is nothing.
        valid: Sea surface seen [H, W].
        labels: Floe identities [H, W], 0 none; all 0 for a scene without truth.
        classes: 0 water, 1 brash, 2 floe, `NOT_FLOE`, `UNKNOWN` [H, W].
        source: The pass it is from.
        radar: Whether a radar saw it: disturbed by speckle and gain instead of light and haze.
    """

    values: FloatArray
    valid: NDArray[np.bool_]
    labels: NDArray[np.uint32]
    classes: NDArray[np.uint8]
    source: str
    radar: bool = False

    @property
    def floes(self) -> int:
        """How many are known."""
        return len(np.unique(self.labels[self.labels > 0]))


@dataclass(frozen=True)
class Crop:
    """One example for the network.

    Args:
        inputs: [2C + 1, H, W].
        classes: As in `Chip` [H, W].
        distance: To the floe's boundary [H, W], pixels, capped; 0 outside floes.
        near: 1 within two pixels of a boundary, else 0 [H, W].
    """

    inputs: FloatArray
    classes: NDArray[np.uint8]
    distance: FloatArray
    near: FloatArray


def cut_chips(
    scenes: Sequence[Path], truth: Mapping[str, Path], bands: Sequence[str], side: int, most: int, rng: np.random.Generator
) -> list[Chip]:
    """Cut scenes into chips of about `side` pixels; of more than `most`, a random choice, so that memory is bounded.

    Raises:
        InputError: No scene has a pixel that could be learnt from.
    """
    places = [(scene, window) for scene in map(Scene.open, scenes) for window in _pieces(scene.grid.shape, side)]
    if len(places) > most:
        places = [places[index] for index in sorted(rng.choice(len(places), most, replace=False))]
    chips = [_cut(scene, window, truth.get(scene.id), bands) for scene, window in places]
    chips = [chip for chip in chips if chip.valid.mean() > 0.1 and (chip.source not in truth or (chip.classes != UNKNOWN).mean() > 0.02)]
    if not chips:
        raise InputError(scenes[0] if scenes else "scenes", "no valid pixels to learn from", "give scenes that show the sea, with truth")
    return chips


def crop_at_random(chip: Chip, size: int, reach: int, cap: float, rng: np.random.Generator) -> Crop:
    """One augmented example of `size` × `size` pixels from a chip."""
    values, valid, labels, classes = _zoomed(chip, size, rng)
    values = (_radar_disturbed if chip.radar else _disturbed)(values, rng)
    values = np.where(valid, values, np.nan)
    turns, flip = int(rng.integers(4)), bool(rng.integers(2))

    def turn(image: NDArray[np.generic]) -> NDArray[np.generic]:
        image = np.rot90(image, turns, (-2, -1))
        return np.ascontiguousarray(image[..., ::-1] if flip else image)

    values, valid, labels, classes = (turn(image) for image in (values, valid, labels, classes))  # type: ignore[assignment]
    return _example(values, valid, labels, classes, reach, cap)


def edge_distance(labels: NDArray[np.uint32]) -> FloatArray:
    """Distance [H, W] in pixels to the nearest pixel that has a neighbour of another label; infinite where there is none.

    The edge of the array is no boundary.
    """
    edge = _edges(labels)
    if not edge.any():
        return np.full(labels.shape, np.inf, np.float32)
    return np.asarray(distance_transform_edt(~edge), np.float32)


def _edges(labels: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Pixels with a neighbour, above, below or beside, of another label."""
    edge = np.zeros(labels.shape, bool)
    down, right = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    return edge


def _pieces(shape: tuple[int, int], side: int) -> list[Window]:
    """Windows of `side`, the last row and column shifted inwards so that all are whole where the scene allows it."""
    height, width = shape
    found = []
    for window in tiles(shape, side):
        row, col = max(min(window.row, height - side), 0), max(min(window.col, width - side), 0)
        found.append(Window(row, col, min(side, height), min(side, width)))
    return list(dict.fromkeys(found))


def _cut(scene: Scene, window: Window, truth: Path | None, bands: Sequence[str]) -> Chip:
    values, valid = read_scaled(scene, bands, window)
    labels = np.zeros(window.shape, np.uint32)
    classes = np.full(window.shape, UNKNOWN, np.uint8)
    if truth is not None:
        labels = read_labels(truth, scene.grid, window)
        classes = np.where(labels > 0, FLOE, NOT_FLOE).astype(np.uint8)
        kinds = _read_classes(truth, scene, window)
        classes[(kinds == WATER) & (labels == 0)] = WATER
        classes[(kinds == BRASH) & (labels == 0)] = BRASH
        classes[labels == IGNORE] = UNKNOWN
        labels[labels == IGNORE] = 0
        bare = _read_negatives(truth, scene, window)
        classes[bare] = NOT_FLOE
        classes[~valid] = UNKNOWN
        labels[bare] = 0
    return Chip(values, valid, labels, classes, scene.id, scene.sensor == "sar")


def _read_classes(truth: Path, scene: Scene, window: Window) -> NDArray[np.uint8]:
    """Classes [H, W] that lie beside a label raster, 255 where unknown or where there is no such file."""
    path = truth.with_name(truth.name.removesuffix(".tif").removesuffix(".labels") + ".classes.tif")
    if not path.exists():
        return np.full(window.shape, UNKNOWN, np.uint8)
    with rasterio.open(path, driver="GTiff") as dataset:
        if dataset.crs != rasterio.crs.CRS.from_user_input(scene.grid.crs) or not dataset.transform.almost_equals(
            scene.grid.transform, 1e-3
        ):
            kinds = read_labels(path, scene.grid, window)
            return np.where(kinds == IGNORE, UNKNOWN, kinds).astype(np.uint8)
        pixels: NDArray[np.uint8] = dataset.read(1, window=window.rasterio(), boundless=True, fill_value=UNKNOWN)
    return pixels


def _read_negatives(truth: Path, scene: Scene, window: Window) -> NDArray[np.bool_]:
    """Where [H, W] `<stem>.negatives.tif` beside a label raster says, by more than 0, that there are no floes."""
    path = truth.with_name(truth.name.removesuffix(".tif").removesuffix(".labels") + ".negatives.tif")
    if not path.exists():
        return np.zeros(window.shape, bool)
    kinds = read_labels(path, scene.grid, window)
    return np.asarray((kinds > 0) & (kinds != IGNORE))


def _zoomed(chip: Chip, size: int, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_], NDArray[np.uint32], NDArray[np.uint8]]:
    """A random place of the chip at a random zoom, `size` × `size`; unknown and invalid where the chip does not reach."""
    zoom = float(np.exp(rng.uniform(*np.log(ZOOM))))
    side = round(size / zoom)
    shape = chip.valid.shape
    floes = np.flatnonzero(chip.labels)
    if floes.size and rng.random() < _ON_FLOES:
        centre = np.divmod(int(rng.choice(floes)), shape[1])
        corner = [int(middle) - int(rng.integers(side // 4, side - side // 4)) for middle in centre]
    else:
        corner = [int(rng.integers(min(0, extent - side), max(0, extent - side) + 1)) for extent in shape]
    row, col = (int(np.clip(at, min(0, extent - side), max(0, extent - side))) for at, extent in zip(corner, shape, strict=True))
    height, width = shape
    place = np.clip((np.arange(size) + 0.5) / zoom, 0, side - 1).astype(int)
    rows, cols = place + row, place + col
    inside = ((rows >= 0) & (rows < height))[:, None] & ((cols >= 0) & (cols < width))
    rows, cols = rows.clip(0, height - 1), cols.clip(0, width - 1)
    pick = np.ix_(rows, cols)
    valid = chip.valid[pick] & inside
    labels = np.where(inside, chip.labels[pick], 0).astype(np.uint32)
    classes = np.where(inside, chip.classes[pick], UNKNOWN).astype(np.uint8)
    part_rows, part_cols = np.arange(row, row + side).clip(0, height - 1), np.arange(col, col + side).clip(0, width - 1)
    part = chip.values[:, part_rows[:, None], part_cols]
    seen = np.isfinite(part)
    image = torch.from_numpy(np.where(seen, part, np.float32(0)))[None]
    values = functional.interpolate(image, size=(size, size), mode="bilinear", antialias=zoom < 1)[0].numpy()
    values = np.where(seen[:, place[:, None], place], values, np.nan).astype(np.float32)
    return values, valid, labels, classes


def _disturbed(values: FloatArray, rng: np.random.Generator) -> FloatArray:
    """The same surface under other light, haze, noise and sharpness, and with bands missing; [C, H, W] on the scene's scale."""
    count, height, width = values.shape
    seen = np.isfinite(values)
    values = np.where(seen, values, np.float32(0))
    if rng.random() < 0.4:
        values = gaussian_filter(values, (0.0, (sigma := float(rng.uniform(0.3, 0.9))), sigma))
    # A common change and a smaller one of each band; the scene's scale runs from -1 to 1, a gamma needs it from 0.
    gamma, gain = np.exp(_common_and_own(0.15, 0.05, count, rng)), np.exp(_common_and_own(0.1, 0.04, count, rng))
    bright = (np.clip(values, -1, 3) + np.float32(1.001)) / 2
    values = np.where(values > -1, 2 * bright**gamma - 1, values) * gain + _common_and_own(0.1, 0.04, count, rng)
    if rng.random() < 0.4:
        coarse = torch.from_numpy(rng.uniform(-1, 1, (1, 1, 4, 4)).astype(np.float32))
        veil = functional.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=True)[0, 0].numpy()
        veil = np.clip(veil * np.float32(rng.uniform(0.2, 0.7)), 0, 0.8)
        values = values * (1 - veil) + veil * np.float32(rng.uniform(0.6, 1.2))
    values = values + rng.standard_normal((count, height, width), np.float32) * np.float32(rng.uniform(0, 0.08))
    dropped = rng.random(count) < rng.choice([0.0, 0.1, 0.6], p=[0.5, 0.3, 0.2])
    kept = np.flatnonzero(seen.any((1, 2)))
    if len(kept) and dropped[kept].all():
        dropped[rng.choice(kept)] = False
    return np.where(seen & ~dropped[:, None, None], values, np.float32(np.nan))


def _radar_disturbed(values: FloatArray, rng: np.random.Generator) -> FloatArray:
    """The same surface through another radar: gain, contrast, a slope across the swath, a noise floor, more speckle, and bands missing.

    The bands are in dB, where speckle and gain add up; [C, H, W] on the scene's scale.
    """
    count, height, width = values.shape
    seen = np.isfinite(values)
    values = np.where(seen, values, np.float32(0))
    if rng.random() < 0.3:
        values = gaussian_filter(values, (0.0, (sigma := float(rng.uniform(0.3, 1.0))), sigma))
    values = values * np.exp(_common_and_own(0.15, 0.1, count, rng)) + _common_and_own(0.15, 0.1, count, rng)
    if rng.random() < 0.15:  # noise that nobody took off: a floor, as half the scene's range is about 8 dB
        steep = np.float32(8 * np.log(10) / 10)
        values = np.logaddexp(steep * values, steep * np.float32(rng.uniform(-1.2, -0.3))) / steep
    down, right = rng.normal(0, 0.15, (2, 1, 1)).astype(np.float32)
    values = values + down * np.linspace(-1, 1, height, dtype=np.float32)[:, None] + right * np.linspace(-1, 1, width, dtype=np.float32)
    speckle = gaussian_filter(rng.standard_normal((count, height, width), np.float32), (0, *[float(rng.uniform(0, 0.8))] * 2))
    values = values + speckle * np.float32(rng.uniform(0, 0.15) / max(speckle.std(), 1e-6))
    missing = rng.random()
    if missing < 0.75:  # no radiometer, perhaps only one polarisation; these come first in a scene
        polarisations = np.flatnonzero(seen.any((1, 2)))[:2]
        kept = rng.permutation(polarisations)[:1] if missing < 0.1 else polarisations
        seen = seen & np.isin(np.arange(count), kept)[:, None, None]
    return np.where(seen, values, np.float32(np.nan))


def _common_and_own(common: float, own: float, count: int, rng: np.random.Generator) -> FloatArray:
    """A normal deviate that all bands share plus one of each band's own [C, 1, 1]."""
    return (rng.normal(0, common) + rng.normal(0, own, (count, 1, 1))).astype(np.float32)


def _example(
    values: FloatArray, valid: NDArray[np.bool_], labels: NDArray[np.uint32], classes: NDArray[np.uint8], reach: int, cap: float
) -> Crop:
    names, compact = np.unique(labels, return_inverse=True)
    compact = (compact.reshape(labels.shape) + (names[0] != 0)).astype(np.uint32)
    area = np.bincount(compact.ravel())
    small = area < _SMALLEST_PX
    for side in (compact[0], compact[-1], compact[:, 0], compact[:, -1]):
        small[side] = False
    small[0] = False
    away = edge_distance(compact)
    distance = np.where(compact > 0, np.minimum(away + 1, np.float32(cap)), np.float32(0))
    known = np.where(valid, np.where(small[compact], UNKNOWN, classes), UNKNOWN).astype(np.uint8)
    return Crop(network_input(values, valid, reach), known, distance, (away < _NEAR_PX).astype(np.float32))
