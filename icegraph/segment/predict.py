"""Segment a scene: tiles through the network, then floes out of the maps, never more of the scene in memory than a window."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from icegraph.errors import ModelError
from icegraph.grid import Grid, Window, tiles
from icegraph.progress import Progress, silent
from icegraph.scene import BLOCK, Scene, write_band, write_item
from icegraph.segment.instances import WINDOW, Floes, find_floes
from icegraph.segment.model import BRASH, CONFIG, FLOE, WATER, WEIGHTS, Segmenter, load_segmenter
from icegraph.segment.networks import STRIDE
from icegraph.segment.normalise import network_input, read_scaled
from icegraph.store import atomic_dir, lineage, sha256

FloatArray = NDArray[np.float32]
INVALID = 255
_SMOOTH_PX = 0.7


def segment(scene: Scene, model: Path, out: Path, *, progress: Progress = silent) -> None:
    """Outline the floes of a scene; the folder `out` appears, whole, at the end.

    Writes `labels.tif` (uint32: 0 no floe, 1…N), `classes.tif` (uint8: 0 water, 1 brash, 2 floe, 255 invalid), `floe_probability.tif`
    (float32, NaN where invalid) and `item.json`, all on the scene's grid.

    Args:
        scene: The pass.
        model: Folder of a segmenter.
        out: Where the results go.
        progress: Told what is being done and the share done, 0..1.

    Raises:
        ModelError: The model cannot be loaded, or does not fit the scene.
    """
    segmenter = load_segmenter(model)
    require_fit(segmenter, scene, model)
    grid = scene.grid
    with atomic_dir(out) as folder:
        with tempfile.TemporaryDirectory(dir=folder.parent) as work, _Maps.scratch(Path(work), grid) as maps:
            _predict(segmenter, scene, maps, progress)
            floes = find_floes(maps.read, grid.shape, segmenter.config.rule, maps.markers, maps.pieces)
            progress("outline floes", 0.95)
            _write(folder, grid, floes, maps)
        parents = [(f"scene {scene.id}", sha256(scene.folder / "item.json")), ("segmenter config", sha256(model / CONFIG))]
        parents.append(("segmenter weights", sha256(model / WEIGHTS)))
        write_item(
            folder,
            pass_id=scene.id,
            time=scene.time,
            sensor=scene.sensor,
            grid=grid,
            rasters={name: f"{name}.tif" for name in ("labels", "classes", "floe_probability")},
            properties=lineage(parents),
        )
    progress("outline floes", 1.0)


def require_fit(segmenter: Segmenter, scene: Scene, model: Path) -> list[str]:
    """The bands that the model and the scene share.

    Raises:
        ModelError: There is none, or the scene is of another sensor.
    """
    config = segmenter.config
    shared = [band for band in config.bands if band in scene.bands and scene.statistics(band)]
    if config.sensor != scene.sensor:
        raise ModelError(
            model, f"made for {config.sensor} scenes, and {scene.id} is {scene.sensor}", f"use a model for {scene.sensor} scenes"
        )
    if not shared:
        bands = f"it reads {', '.join(config.bands)}; scene {scene.id} has {', '.join(scene.bands) or 'none'}"
        raise ModelError(model, f"no band in common: {bands}", "use a model trained on such scenes")
    return shared


def predict_window(segmenter: Segmenter, scene: Scene, window: Window) -> tuple[FloatArray, FloatArray]:
    """Predict one tile of a scene.

    Args:
        segmenter: The network.
        scene: The pass.
        window: At most `tile_px` high and wide.

    Returns:
        Class probabilities [3, H, W] and the distance to the floe's boundary [H, W], pixels; NaN where the scene is invalid.
    """
    config = segmenter.config
    outer = window.padded(config.halo_px + config.local_px, scene.grid.shape)
    values, valid = read_scaled(scene, config.bands, outer)
    probabilities, distance = predict_values(segmenter, values, valid, window, outer)
    return probabilities, distance


def predict_values(
    segmenter: Segmenter, values: FloatArray, valid: NDArray[np.bool_], window: Window, outer: Window
) -> tuple[FloatArray, FloatArray]:
    """Predict one tile from values on the scene's scale (see `predict_window`); `values` [C, H, W] and `valid` [H, W] cover `outer`."""
    config = segmenter.config
    if not valid[window.within(outer).slices].any():
        return np.full((3, *window.shape), np.nan, np.float32), np.full(window.shape, np.nan, np.float32)
    inputs = network_input(values, valid, config.local_px)
    halo = config.halo_px
    sides = (-(-window.height // STRIDE) * STRIDE + 2 * halo, -(-window.width // STRIDE) * STRIDE + 2 * halo)
    frame = np.zeros((inputs.shape[0], *sides), np.float32)
    # The part of the frame that the scene covers; the rest stays zero, as where a scene is invalid.
    top, left = window.row - halo, window.col - halo
    row, col = max(outer.row, top), max(outer.col, left)
    height = min(outer.row + outer.height, top + frame.shape[1]) - row
    width = min(outer.col + outer.width, left + frame.shape[2]) - col
    source = Window(row, col, height, width).within(outer).slices
    frame[:, row - top : row - top + height, col - left : col - left + width] = inputs[:, *source]
    with torch.inference_mode():
        logits, distance = segmenter(torch.from_numpy(frame)[None])
        maps = torch.cat([logits.softmax(1), distance[:, None]], 1)[0].numpy()
    maps = _smoothed(maps, frame[-1] > 0)[:, *Window(halo, halo, *window.shape).slices]
    maps[:, ~valid[window.within(outer).slices]] = np.nan
    return maps[:3], maps[3]


def _smoothed(maps: FloatArray, seen: NDArray[np.bool_]) -> FloatArray:
    """Maps [C, H, W] without the last pixel of raggedness, from the seen pixels only: outlines come closer to the ice's."""
    weight = np.maximum(gaussian_filter(seen.astype(np.float32), _SMOOTH_PX), 1e-3)
    return np.asarray(gaussian_filter(maps * seen, (0, _SMOOTH_PX, _SMOOTH_PX)) / weight, np.float32)


def _predict(segmenter: Segmenter, scene: Scene, maps: "_Maps", tell: Progress) -> None:
    windows = list(tiles(scene.grid.shape, segmenter.config.tile_px))
    for index, window in enumerate(windows):
        probabilities, distance = predict_window(segmenter, scene, window)
        maps.probability.write(window, probabilities[FLOE])
        maps.distance.write(window, distance)
        maps.water.write(window, (probabilities[WATER] > probabilities[BRASH] + probabilities[FLOE]).astype(np.uint8))
        tell("classify pixels", 0.9 * (index + 1) / len(windows))


def _write(folder: Path, grid: Grid, floes: Floes, maps: "_Maps") -> None:
    with (
        write_band(folder / "labels.tif", grid, "uint32") as labels,
        write_band(folder / "classes.tif", grid, "uint8") as classes,
        write_band(folder / "floe_probability.tif", grid, "float32") as probability,
    ):
        for window in tiles(grid.shape, WINDOW):
            ids, chance = floes.read(window), maps.probability.read(window)
            # Ice that belongs to no floe is brash, also where it looks like a floe's: pieces too small to outline.
            kinds = np.where(ids > 0, FLOE, np.where(maps.water.read(window) == 1, WATER, BRASH))
            labels.write(window, ids)
            classes.write(window, np.where(np.isfinite(chance), kinds, INVALID).astype(np.uint8))
            probability.write(window, chance)


class _Raster:
    """A raster in the work folder, written and read by windows."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def write(self, window: Window, pixels: NDArray[Any]) -> None:
        self._dataset.write(pixels, 1, window=window.rasterio())

    def read(self, window: Window) -> NDArray[Any]:
        pixels: NDArray[Any] = self._dataset.read(1, window=window.rasterio())
        return pixels


@dataclass(frozen=True)
class _Maps:
    """What the network says of the whole scene, in files of a work folder."""

    probability: _Raster
    distance: _Raster
    water: _Raster
    markers: _Raster
    pieces: _Raster

    @classmethod
    @contextmanager
    def scratch(cls, folder: Path, grid: Grid) -> Iterator["_Maps"]:
        kinds = {"probability": "float32", "distance": "float32", "water": "uint8", "markers": "uint32", "pieces": "uint32"}
        layout = {
            "tiled": True,
            "blockxsize": BLOCK,
            "blockysize": BLOCK,
            "BIGTIFF": "IF_SAFER",
            "crs": grid.crs,
            "transform": grid.transform,
        }
        with ExitStack() as stack:
            rasters = {}
            for name, dtype in kinds.items():
                profile = {"height": grid.height, "width": grid.width, "count": 1, "dtype": dtype}
                dataset = rasterio.open(folder / f"{name}.tif", "w+", driver="GTiff", **profile, **layout)
                rasters[name] = _Raster(stack.enter_context(dataset))
            yield cls(**rasters)

    def read(self, window: Window) -> tuple[FloatArray, FloatArray]:
        """Floe probability and distance [H, W] of a window."""
        return self.probability.read(window), self.distance.read(window)
