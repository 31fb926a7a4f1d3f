"""Known floes: label rasters made by hand or by the simulator, found for a pass and brought onto its grid.

A truth raster holds 0 where there is no floe, 1…N the identity of a floe (the same in every pass that shows it), and the largest
value of its integer type (65535 for uint16) where the truth is not known: *ignore*.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT

from icegraph.errors import InputError, PassError
from icegraph.grid import Grid, Window, tiles
from icegraph.ingest.pixels import open_raster
from icegraph.ingest.stac import read_json
from icegraph.ingest.tiff import check_tiff
from icegraph.scene import Scene, scene_folders

IGNORE = np.iinfo(np.uint32).max


def find_truth(places: Iterable[Path]) -> dict[str, Path]:
    """Pass id → label raster, for label files and for folders searched through.

    `<pass id>.labels.tif` belongs to that pass; `x.labels.tif` beside a STAC item `x.json` belongs to the item's id;
    a JSON file without an id is no item.

    Raises:
        InputError: A place does not exist or holds no `*.labels.tif`.
    """
    found: dict[str, Path] = {}
    for place in places:
        files = [place] if place.is_file() else sorted(place.rglob("*.labels.tif"))
        if not files:
            raise InputError(place, "no *.labels.tif found", "name a label raster or a folder that holds some")
        for file in files:
            stem = file.name.removesuffix(".tif").removesuffix(".labels")
            item = read_json(file.with_name(f"{stem}.json")) or {}
            found[str(item.get("id") or stem)] = file
    return found


def require_labels(path: Path, grid: Grid) -> None:
    """Check that a label raster can be read on `grid`.

    Raises:
        InputError: It is cut off, holds no whole numbers, lies nowhere, or lies elsewhere.
    """
    mend = "write it again as a GeoTIFF of whole numbers on the grid of the pass"
    try:
        check_tiff(path)
        with open_raster(path) as dataset:
            if not np.issubdtype(np.dtype(dataset.dtypes[0]), np.integer):
                raise InputError(path, f"holds {dataset.dtypes[0]}, where labels are whole numbers", mend)
            if dataset.crs is None or dataset.transform.is_identity:
                raise InputError(path, "says nowhere where it lies", mend)
            options = {"crs": grid.crs, "transform": grid.transform, "height": grid.height, "width": grid.width}
            with WarpedVRT(dataset, add_alpha=True, **options) as warped:
                thin = warped.read(warped.count, out_shape=(min(grid.height, 256), min(grid.width, 256)))
    except (PassError, RasterioError, CPLE_BaseError) as error:
        raise InputError(path, f"cannot be read as labels ({' '.join(str(error).split()).rstrip('.')})", mend) from error
    if not thin.any():
        raise InputError(path, "does not overlap the pass that it is named after", mend)


def read_labels(path: Path, grid: Grid, window: Window | None = None) -> NDArray[np.uint32]:
    """Read a label raster [H, W] on `grid` (nearest neighbour); `IGNORE` where the truth is unknown or does not reach."""
    part = window or Window(0, 0, *grid.shape)
    with rasterio.open(path, driver="GTiff") as dataset:
        unknown = np.iinfo(dataset.dtypes[0]).max
        options = {"crs": grid.crs, "transform": grid.transform, "height": grid.height, "width": grid.width}
        with WarpedVRT(dataset, resampling=Resampling.nearest, nodata=unknown, src_nodata=unknown, **options) as warped:
            labels: NDArray[np.uint32] = warped.read(1, window=part.rasterio()).astype(np.uint32)
    labels[labels == unknown] = IGNORE
    return labels


@dataclass(frozen=True)
class Overlap:
    """Common pixels of the floes found in a pass and the floes known there.

    Args:
        found: Ids of the floes found, [F], sorted.
        found_px: Their areas outside ignore, [F], pixels.
        found_total_px: Their whole areas, [F], pixels.
        known: Identities of the known floes, [K], sorted.
        known_px: Their areas, [K], pixels.
        pairs: Index into `found` and into `known` of each pair that shares pixels, [P, 2].
        pairs_px: Shared pixels of each pair, [P].
    """

    found: NDArray[np.int64]
    found_px: NDArray[np.int64]
    found_total_px: NDArray[np.int64]
    known: NDArray[np.int64]
    known_px: NDArray[np.int64]
    pairs: NDArray[np.int64]
    pairs_px: NDArray[np.int64]

    @property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of each pair, [P], both areas taken outside ignore."""
        union = self.found_px[self.pairs[:, 0]] + self.known_px[self.pairs[:, 1]] - self.pairs_px
        return np.asarray(self.pairs_px / np.maximum(union, 1))

    def identities(self) -> dict[int, int]:
        """Found floe → known identity, for pairs of IoU > 0.5 (each floe then has at most one partner)."""
        good = self.pairs[self.iou > 0.5]
        return {int(self.found[f]): int(self.known[k]) for f, k in good}


def overlap(labels: Path, truth: Path, grid: Grid) -> Overlap:
    """Count, window by window, the common pixels of found floes (`labels`, uint32 on `grid`) and known ones."""
    counts: dict[tuple[int, int], int] = {}
    with rasterio.open(labels, driver="GTiff") as dataset:
        for window in tiles(grid.shape, 1024):
            high = dataset.read(1, window=window.rasterio()).astype(np.uint64) << np.uint64(32)
            keys, number = np.unique(high | read_labels(truth, grid, window).astype(np.uint64), return_counts=True)
            for key, pixels in zip(keys.tolist(), number.tolist(), strict=True):
                pair = (key >> 32, key & 0xFFFFFFFF)
                counts[pair] = counts.get(pair, 0) + pixels
    table = np.array([(f, k, n) for (f, k), n in counts.items()], np.int64).reshape(-1, 3)
    clear = table[table[:, 1] != IGNORE]
    found, found_total = _sum_by(table[table[:, 0] > 0], 0)
    _, found_clear = _sum_by(np.vstack([clear[clear[:, 0] > 0], np.column_stack([found, 0 * found, 0 * found])]), 0)
    known, known_px = _sum_by(clear[clear[:, 1] > 0], 1)
    both = clear[(clear[:, 0] > 0) & (clear[:, 1] > 0)]
    pairs = np.column_stack([np.searchsorted(found, both[:, 0]), np.searchsorted(known, both[:, 1])])
    return Overlap(found, found_clear, found_total, known, known_px, pairs.astype(np.int64), both[:, 2])


def identities(segments: Path, truth: Mapping[str, Path]) -> dict[str, dict[int, int]]:
    """Pass id → floe id → known identity, for the segmented passes below `segments` that have a truth."""
    found = {}
    for pass_id, folder in scene_folders([segments]).items():
        if pass_id in truth:
            found[pass_id] = overlap(folder / "labels.tif", truth[pass_id], Scene.open(folder).grid).identities()
    return found


def _sum_by(table: NDArray[np.int64], column: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    ids, place = np.unique(table[:, column], return_inverse=True)
    return ids, np.bincount(place, weights=table[:, 2], minlength=len(ids)).astype(np.int64)
