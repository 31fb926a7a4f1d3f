"""Segment a scene: tiles through the network, then floes out of the maps, never more of the scene in memory than a window."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import rasterio
from numpy.typing import NDArray

from icegraph.errors import ModelError
from icegraph.grid import Grid, Window, tiles
from icegraph.progress import Progress, silent
from icegraph.scene import BLOCK, Scene, write_band, write_item
from icegraph.segment.engine import Engine, precision
from icegraph.segment.frames import FloatArray, cut_tile, predict_tile, predict_tiles
from icegraph.segment.instances import WINDOW, Floes, IdArray, find_floes
from icegraph.segment.model import BRASH, CONFIG, FLOE, WATER, WEIGHTS, FloeRule, SegmenterConfig, load_segmenter
from icegraph.store import atomic_dir, lineage, sha256

INVALID = 255


def segment(scene: Scene, model: Path, out: Path, *, min_confidence: float | None = None, progress: Progress = silent) -> None:
    """Outline the floes of a scene; the folder `out` appears, whole, at the end.

    Writes `labels.tif` (uint32: 0 no floe, 1…N), `classes.tif` (uint8: 0 water, 1 brash, 2 floe, 255 invalid), `floe_probability.tif`
    (float32, NaN where invalid) and `item.json`, all on the scene's grid.

    Args:
        scene: The pass.
        model: Folder of a segmenter.
        out: Where the results go.
        min_confidence: Drop floes of a lower mean floe probability; default: what the model's rule says.
        progress: Told what is being done and the share done, 0..1.

    Raises:
        ModelError: The model cannot be loaded, or does not fit the scene.
    """
    segmenter = load_segmenter(model)
    config = segmenter.config
    require_fit(config, scene, model)
    if min_confidence is not None:
        rule = config.rule.model_copy(update={"min_confidence": min_confidence})
        segmenter.config = config = config.model_copy(update={"rule": rule})
    engine = Engine(segmenter)
    grid = scene.grid
    with atomic_dir(out) as folder:
        with tempfile.TemporaryDirectory(dir=folder.parent) as work, _on_disk(Path(work), grid) as maps:
            outlined = _outline(engine, scene, Window(0, 0, *grid.shape), maps, progress)
            progress("outline floes", 0.95)
            _write(folder, grid, outlined)
        parents = [(f"scene {scene.id}", sha256(scene.folder / "item.json")), ("segmenter config", sha256(model / CONFIG))]
        parents.append(("segmenter weights", sha256(model / WEIGHTS)))
        write_item(
            folder,
            pass_id=scene.id,
            time=scene.time,
            sensor=scene.sensor,
            grid=grid,
            rasters={name: f"{name}.tif" for name in ("labels", "classes", "floe_probability")},
            properties=lineage(parents) | {"icegraph:precision": precision(), "icegraph:min_confidence": config.rule.min_confidence},
        )
    progress("outline floes", 1.0)


@dataclass(frozen=True)
class Outlines:
    """The floes of a window.

    Args:
        labels: uint32 [H, W]: 0 no floe, 1…N.
        classes: uint8 [H, W]: 0 water, 1 brash, 2 floe, 255 invalid.
        probability: Floe probability [H, W], NaN where invalid.
    """

    labels: IdArray
    classes: NDArray[np.uint8]
    probability: FloatArray


def segment_window(engine: Engine, scene: Scene, window: Window, *, progress: Progress = silent) -> Outlines:
    """Outline the floes of a window of a scene, in memory; of a whole scene they are, byte for byte, what `segment` writes.

    The probabilities are those of the whole scene. Floes are found as if the scene ended at the window's edges.

    Args:
        engine: The network; see `require_fit`.
        scene: The pass.
        window: Which part.
        progress: Told the share done; what it raises ends the work.
    """
    outlined = _outline(engine, scene, window, _in_memory(window.shape), progress)
    return outlined.read(Window(0, 0, *window.shape))


def require_fit(config: SegmenterConfig, scene: Scene, model: Path) -> list[str]:
    """The bands that the model and the scene share.

    Raises:
        ModelError: There is none, or the scene is of another sensor.
    """
    shared = [band for band in config.bands if band in scene.bands and scene.statistics(band)]
    if config.sensor != scene.sensor:
        raise ModelError(
            model, f"made for {config.sensor} scenes, and {scene.id} is {scene.sensor}", f"use a model for {scene.sensor} scenes"
        )
    if not shared:
        bands = f"it reads {', '.join(config.bands)}; scene {scene.id} has {', '.join(scene.bands) or 'none'}"
        raise ModelError(model, f"no band in common: {bands}", "use a model trained on such scenes")
    return shared


def predict_window(engine: Engine, scene: Scene, window: Window) -> FloatArray:
    """Predict a window of a scene; its bytes are those that the whole scene's prediction has there.

    Args:
        engine: The network.
        scene: The pass.
        window: Any part of it.

    Returns:
        [5, H, W]: the probabilities of water, brash and floe, the distance to the floe's boundary in pixels, and the brightness (see
        `icegraph.segment.frames.Tile`); NaN where the scene is invalid.
    """
    maps = np.empty((5, *window.shape), np.float32)
    for part, values in predict_tiles(engine, scene, window):
        maps[:, *part.within(window).slices] = values
    return maps


def outline(maps: FloatArray, rule: FloeRule) -> Outlines:
    """Outline the floes of what `predict_window` gives, as if the scene ended at its edges."""
    shape = (maps.shape[1], maps.shape[2])
    kept, whole = _in_memory(shape), Window(0, 0, *shape)
    kept.write(whole, maps)
    return _Outlined.of(kept, shape, rule).read(whole)


def predict_values(engine: Engine, values: FloatArray, valid: NDArray[np.bool_], window: Window, outer: Window) -> FloatArray:
    """Predict one tile from values on the scene's scale (see `predict_window`); `values` [C, H, W] and `valid` [H, W] cover `outer`."""
    return predict_tile(engine, cut_tile(engine.config, values, valid, window, outer))


class _Raster(Protocol):
    """Pixels that are written and read by windows."""

    def write(self, window: Window, pixels: NDArray[Any]) -> None: ...
    def read(self, window: Window) -> NDArray[Any]: ...


class Array:
    """A raster in memory, zero at first."""

    def __init__(self, shape: tuple[int, int], dtype: str) -> None:
        self._pixels: NDArray[Any] = np.zeros(shape, dtype)

    def write(self, window: Window, pixels: NDArray[Any]) -> None:
        """Write the pixels [H, W] of a window."""
        self._pixels[window.slices] = pixels

    def read(self, window: Window) -> NDArray[Any]:
        """The pixels [H, W] of a window."""
        return self._pixels[window.slices]


@dataclass(frozen=True)
class _Maps:
    """What the network says of a scene or a window of one, and scratch rasters for its floes; windows count from its upper left corner."""

    probability: _Raster
    distance: _Raster
    brightness: _Raster
    water: _Raster
    markers: _Raster
    pieces: _Raster

    def write(self, window: Window, maps: FloatArray) -> None:
        """Take what is said of a window: [5, H, W], see `predict_window`."""
        self.probability.write(window, maps[FLOE])
        self.distance.write(window, maps[3])
        self.brightness.write(window, maps[4])
        self.water.write(window, (maps[WATER] > maps[BRASH] + maps[FLOE]).astype(np.uint8))

    def read(self, window: Window) -> tuple[FloatArray, FloatArray]:
        """Floe probability and distance [H, W] of a window."""
        return self.probability.read(window), self.distance.read(window)


_KINDS = dict.fromkeys(("probability", "distance", "brightness"), "float32") | {"water": "uint8", "markers": "uint32", "pieces": "uint32"}


@dataclass(frozen=True)
class _Outlined:
    floes: Floes
    maps: _Maps

    @classmethod
    def of(cls, maps: _Maps, shape: tuple[int, int], rule: FloeRule) -> Self:
        return cls(find_floes(maps.read, maps.brightness.read, shape, rule, maps.markers, maps.pieces), maps)

    def read(self, window: Window) -> Outlines:
        ids, chance = self.floes.read(window), self.maps.probability.read(window)
        # Ice that belongs to no floe is brash, also where it looks like a floe's: pieces too small to outline.
        kinds = np.where(ids > 0, FLOE, np.where(self.maps.water.read(window) == 1, WATER, BRASH))
        return Outlines(ids, np.where(np.isfinite(chance), kinds, INVALID).astype(np.uint8), chance)


def _outline(engine: Engine, scene: Scene, window: Window, maps: _Maps, tell: Progress) -> _Outlined:
    done = 0
    for part, values in predict_tiles(engine, scene, window):
        maps.write(part.within(window), values)
        done += part.height * part.width
        tell("classify pixels", 0.9 * done / (window.height * window.width))
    return _Outlined.of(maps, window.shape, engine.config.rule)


def _write(folder: Path, grid: Grid, outlined: _Outlined) -> None:
    with (
        write_band(folder / "labels.tif", grid, "uint32") as labels,
        write_band(folder / "classes.tif", grid, "uint8") as classes,
        write_band(folder / "floe_probability.tif", grid, "float32") as probability,
    ):
        for window in tiles(grid.shape, WINDOW):
            found = outlined.read(window)
            labels.write(window, found.labels)
            classes.write(window, found.classes)
            probability.write(window, found.probability)


def _in_memory(shape: tuple[int, int]) -> _Maps:
    return _Maps(**{name: Array(shape, dtype) for name, dtype in _KINDS.items()})


class _File:
    """A raster in the work folder."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def write(self, window: Window, pixels: NDArray[Any]) -> None:
        self._dataset.write(pixels, 1, window=window.rasterio())

    def read(self, window: Window) -> NDArray[Any]:
        pixels: NDArray[Any] = self._dataset.read(1, window=window.rasterio())
        return pixels


@contextmanager
def _on_disk(folder: Path, grid: Grid) -> Iterator[_Maps]:
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
        for name, dtype in _KINDS.items():
            profile = {"height": grid.height, "width": grid.width, "count": 1, "dtype": dtype}
            dataset = rasterio.open(folder / f"{name}.tif", "w+", driver="GTiff", **profile, **layout)
            rasters[name] = _File(stack.enter_context(dataset))
        yield _Maps(**rasters)
