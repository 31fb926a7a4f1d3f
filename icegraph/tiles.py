"""A raster tile by tile: what a model says of each square, in a table that names what it was made from.

Tiles are squares of the raster's own grid, from the top left, row by row. Those at the lower and right edge reach beyond it: they are
padded to full size and marked, and only pixels that the raster has are judged.

    <out>/
      tiles.parquet   a row a tile
      tiles.json      the same
      run.json        run, model, input, and the health report
"""

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256 as sha256_of
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window as Part

from icegraph import __version__
from icegraph.errors import PassError
from icegraph.grid import Window
from icegraph.grid import tiles as windows
from icegraph.progress import Progress, silent
from icegraph.scene import Scene
from icegraph.segment import Engine, Outlines, outline, predict_window
from icegraph.segment.model import BRASH, FLOE, WATER
from icegraph.store import atomic_dir, sha256

SIZE = 256
THRESHOLD = "threshold"  # the simplest model
_BINS = 256

Pixels = NDArray[np.float32]
Mask = NDArray[np.bool_]
Judge = Callable[[Window], tuple[dict[str, Any], "Prediction"]]


@dataclass(frozen=True)
class Prediction:
    """What a model says of a tile; shares are of the pixels that are valid, None where there is none.

    Args:
        floe_share: Floes.
        brash_share: Brash; None of a model that does not tell.
        water_share: Water.
        floe_probability: Mean probability of floe.
        floes: Floes that the tile shows a part of.
    """

    floe_share: float | None = None
    brash_share: float | None = None
    water_share: float | None = None
    floe_probability: float | None = None
    floes: int | None = None


@dataclass(frozen=True)
class Source:
    """A raster to read tiles from.

    Args:
        path: The file.
        crs: Its projection; empty where it has none.
        transform: From (column, row) to (x, y).
        shape: Rows, columns.
    """

    path: Path
    crs: str
    transform: Affine
    shape: tuple[int, int]

    @classmethod
    def of(cls, path: Path) -> "Source":
        """The source that a raster file is.

        Raises:
            PassError: It cannot be read.
        """
        try:
            with rasterio.open(path, driver="GTiff") as dataset:
                crs = dataset.crs.to_string() if dataset.crs else ""
                return cls(path, crs, dataset.transform, dataset.shape)
        except RasterioError as error:
            raise PassError(path, f"cannot be read as a raster ({error})", "name a GeoTIFF") from error


def read_tile(dataset: rasterio.io.DatasetReader, window: Window, size: int = SIZE) -> tuple[Pixels, Mask]:
    """Read the first band of a tile.

    Args:
        dataset: The open raster.
        window: The part of the tile that the raster has.
        size: The tile's side.

    Returns:
        Values [size, size], 0 where there is none, and which of them are valid: in the raster, not its nodata, and finite.
    """
    part = Part(window.col, window.row, window.width, window.height)
    values = dataset.read(1, window=part).astype(np.float32)
    there = (dataset.read_masks(1, window=part) > 0) & np.isfinite(values)
    pixels, valid = np.zeros((size, size), np.float32), np.zeros((size, size), bool)
    pixels[: window.height, : window.width] = np.where(there, values, 0)
    valid[: window.height, : window.width] = there
    return pixels, valid


def otsu(source: Source, size: int = SIZE) -> float:
    """The threshold that parts a raster's values best (Otsu 1979, doi 10.1109/TSMC.1979.4310076), from the histogram of all tiles.

    Raises:
        PassError: No pixel is valid, or all have one value.
    """
    lowest, highest = math.inf, -math.inf
    for pixels in _valid_pixels(source, size):
        lowest, highest = min(lowest, float(pixels.min())), max(highest, float(pixels.max()))
    if not lowest < highest:
        raise PassError(source.path, "has no two different valid pixels", "name a raster that shows something, or give --threshold")
    edges = np.linspace(lowest, highest, _BINS + 1)
    counts = np.zeros(_BINS)
    for pixels in _valid_pixels(source, size):
        counts += np.histogram(pixels, edges)[0]
    centres = (edges[:-1] + edges[1:]) / 2
    below, above = np.cumsum(counts), np.cumsum(counts[::-1])[::-1]
    mean_below = np.cumsum(counts * centres) / np.maximum(below, 1)
    mean_above = (np.cumsum((counts * centres)[::-1]) / np.maximum(above[::-1], 1))[::-1]
    between = below[:-1] * above[1:] * (mean_below[:-1] - mean_above[1:]) ** 2
    return float(centres[np.argmax(between)])


def predict_tiles(
    raster: Path,
    out: Path,
    *,
    opened: Callable[[Path], tuple[Scene, Engine, str]] | None = None,
    threshold: float | None = None,
    size: int = SIZE,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Judge every tile of a raster; `out` appears, whole, at the end. The same raster, model and size give the same bytes.

    Args:
        raster: The raster.
        out: Gets `tiles.parquet`, `tiles.json` and `run.json`.
        opened: Makes a scene of the raster in a folder that it is given; gives it with the model that judges it and that one's version.
            None: what is brighter than a threshold is floe.
        threshold: That threshold, in the raster's unit; default: Otsu's.
        size: Side of a tile, pixels.
        progress: Is told where it stands.

    Returns:
        What `run.json` holds.

    Raises:
        PassError: The raster cannot be used.
        ModelError: The model cannot.
    """
    digest = sha256(raster)
    with atomic_dir(out) as folder:
        if opened is None:
            source = Source.of(raster)
            level = otsu(source, size) if threshold is None else threshold
            version, judge = f"{THRESHOLD} {level:.9g}", _threshold(source, level, size)
        else:
            scene, engine, version = opened(folder / "work")
            source, judge = Source(raster, scene.grid.crs, scene.grid.transform, scene.grid.shape), _by_model(scene, engine, size)
        run = {"input": raster.name, "input_sha256": digest, "model_version": version, "tile_px": size, "release": __version__}
        run_id = sha256_of(json.dumps(run, sort_keys=True).encode()).hexdigest()[:32]
        rows = []
        parts = list(windows(source.shape, size))
        for number, window in enumerate(parts):
            padded = (window.height, window.width) != (size, size)
            row = tile_row(window, padded, source.crs, source.transform, version, *judge(window))
            rows.append({"run_id": run_id, "tile": number, "input_sha256": digest} | row)
            progress(f"tiles: {raster.name}", (number + 1) / len(parts))
        said = {"run_id": run_id, **run, "crs": source.crs, "shape": list(source.shape), "health": _health(rows)}
        _write(folder, rows, said)
        shutil.rmtree(folder / "work", ignore_errors=True)
    return said


def tile_row(
    window: Window, padded: bool, crs: str, transform: Affine, version: str, health: Mapping[str, Any], prediction: Prediction
) -> dict[str, Any]:
    """What is said of a tile, whoever asks.

    Args:
        window: The tile, as far as the raster reaches.
        padded: Whether it reaches beyond.
        crs: Of the raster.
        transform: Of the raster, from (column, row) to (x, y).
        version: Of the model: its name and the first digits of its SHA-256.
        health: See `judged`.
        prediction: See `judged`.
    """
    place = transform * Affine.translation(window.col, window.row)
    shape = {"row": window.row, "col": window.col, "height": window.height, "width": window.width, "padded": padded}
    return shape | {"crs": crs, "transform": list(place)[:6], "model_version": version} | dict(health) | asdict(prediction)


def judged(found: Outlines) -> tuple[dict[str, Any], Prediction]:
    """Health and prediction of a tile from what a segmenter outlined in it."""
    seen = np.isfinite(found.probability)
    health = _described(found.probability[seen], found.probability.shape)
    if not seen.any():
        return health, Prediction()
    floe, brash, water = (float((found.classes[seen] == kind).mean()) for kind in (FLOE, BRASH, WATER))
    mean = float(found.probability[seen].mean(dtype=np.float64))
    return health, Prediction(floe, brash, water, mean, int(found.labels.max()))


def _by_model(scene: Scene, engine: Engine, size: int) -> Judge:
    """Each tile as if the scene ended at its sides, but for what the network sees around it: as `segment_window` outlines it.

    The network looks at its own tiles, which are larger: those of a few tiles are predicted at once.
    """
    rule, side = engine.config.rule, size * max(1, engine.config.tile_px // size)
    last: tuple[Window, Pixels] | None = None

    def judge(window: Window) -> tuple[dict[str, Any], Prediction]:
        nonlocal last
        top = window.row // side * side
        strip = Window(top, 0, min(side, scene.grid.height - top), scene.grid.width)
        if last is None or last[0] != strip:
            last = (strip, predict_window(engine, scene, strip))
        return judged(outline(last[1][:, *window.within(strip).slices], rule))

    return judge


def _threshold(source: Source, level: float, size: int) -> Judge:
    def judge(window: Window) -> tuple[dict[str, Any], Prediction]:
        with rasterio.open(source.path, driver="GTiff") as dataset:
            pixels, valid = read_tile(dataset, window, size)
        seen = pixels[valid]
        if not seen.size:
            return _described(seen, window.shape), Prediction()
        share = float((seen > level).mean())
        return _described(seen, window.shape), Prediction(floe_share=share, water_share=1 - share)

    return judge


def _described(seen: NDArray[Any], shape: tuple[int, int]) -> dict[str, Any]:
    """Health of a tile: the share of the raster's pixels there that are valid, and their range."""
    share = seen.size / (shape[0] * shape[1])
    ends = (float(seen.min()), float(seen.max())) if seen.size else (None, None)
    return {"valid_share": share, "lowest": ends[0], "highest": ends[1]}


def _health(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    empty = [row["tile"] for row in rows if row["valid_share"] == 0]
    flat = [row["tile"] for row in rows if row["valid_share"] > 0 and row["lowest"] == row["highest"]]
    warnings = [f"{len(empty)} tiles have no valid pixel"] if empty else []
    warnings += [f"{len(flat)} tiles have one value throughout"] if flat else []
    return {
        "tiles": len(rows),
        "padded": sum(row["padded"] for row in rows),
        "empty": empty,
        "flat": flat,
        "valid_share": sum(row["valid_share"] * row["height"] * row["width"] for row in rows)
        / max(sum(row["height"] * row["width"] for row in rows), 1),
        "warnings": warnings,
    }


def _write(folder: Path, rows: list[dict[str, Any]], said: Mapping[str, Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (folder / "tiles.json").write_text(json.dumps(rows, indent=1, allow_nan=False) + "\n")
    (folder / "run.json").write_text(json.dumps(said, indent=1, allow_nan=False) + "\n")
    kinds = {"run_id": pa.string(), "tile": pa.int32(), "row": pa.int32(), "col": pa.int32(), "height": pa.int32(), "width": pa.int32()}
    kinds |= {"padded": pa.bool_(), "crs": pa.string(), "transform": pa.list_(pa.float64(), 6), "input_sha256": pa.string()}
    kinds |= {"model_version": pa.string(), "valid_share": pa.float64(), "lowest": pa.float64(), "highest": pa.float64()}
    kinds |= {name: pa.float64() for name in ("floe_share", "brash_share", "water_share", "floe_probability")} | {"floes": pa.int32()}
    pq.write_table(pa.Table.from_pylist(rows, pa.schema(list(kinds.items()))), folder / "tiles.parquet")


def _valid_pixels(source: Source, size: int) -> Iterator[Pixels]:
    with rasterio.open(source.path, driver="GTiff") as dataset:
        for window in windows(source.shape, size):
            pixels, valid = read_tile(dataset, window, size)
            if valid.any():
                yield pixels[valid]
