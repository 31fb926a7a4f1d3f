"""How well floes were found in a pass: counts of matched outlines, classes of pixels, false floes on ground that has none.

A pair of outlines matches at an intersection over union above 0.5, so that no floe can have two partners. Panoptic quality is from
Kirillov et al. 2019, doi:10.1109/CVPR.2019.00963. Areas and intersections are counted outside *ignore*, where the truth is unknown.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import rasterio
from numpy.typing import NDArray

from icegraph.grid import Grid, tiles
from icegraph.truth import Overlap, read_labels

LEAST_PX = 40  # a found floe with fewer pixels outside ignore is not scored
CLASSES = ("water", "brash", "floe")
NO_FLOE_GROUND = {1: "cloud", 2: "fast_ice_or_land", 3: "open_water", 4: "slush"}  # values of <pass>.negatives.tif
SIZE_EDGES_PX = (0, 40, 150, 400, 1000, 4000)  # lower ends of the size classes by which recall is told


@dataclass(frozen=True)
class FloeCounts:
    """Floes known, found and matched, of one pass or added up over several.

    Args:
        known: Known floes.
        found: Found floes that count.
        matched: Pairs of IoU > 0.5.
        iou_sum: Sum of the matched pairs' IoU.
        known_by_size: Known floes in each class of `SIZE_EDGES_PX`.
        matched_by_size: Those of them that were found.
    """

    known: int = 0
    found: int = 0
    matched: int = 0
    iou_sum: float = 0.0
    known_by_size: tuple[int, ...] = (0,) * len(SIZE_EDGES_PX)
    matched_by_size: tuple[int, ...] = (0,) * len(SIZE_EDGES_PX)

    def __add__(self, other: Self) -> "FloeCounts":
        """Counts of both together."""
        return FloeCounts(
            self.known + other.known,
            self.found + other.found,
            self.matched + other.matched,
            self.iou_sum + other.iou_sum,
            tuple(a + b for a, b in zip(self.known_by_size, other.known_by_size, strict=True)),
            tuple(a + b for a, b in zip(self.matched_by_size, other.matched_by_size, strict=True)),
        )

    def metrics(self) -> dict[str, float]:
        """Counts, `precision`, `recall`, `f1`, `mean_iou` (of the matched) and `pq`; a figure that is not defined is left out."""
        out: dict[str, float] = {"known": self.known, "found": self.found, "matched": self.matched}
        if self.found:
            out["precision"] = self.matched / self.found
        if self.known:
            out["recall"] = self.matched / self.known
        if self.known + self.found:
            out["f1"] = 2 * self.matched / (self.known + self.found)
            out["pq"] = 2 * self.iou_sum / (self.known + self.found)
        if self.matched:
            out["mean_iou"] = self.iou_sum / self.matched
        return out


def scored(overlap: Overlap) -> NDArray[np.bool_]:
    """Which found floes count, [F]: more than half of the area, and at least 40 px, lie outside ignore."""
    return (2 * overlap.found_px > overlap.found_total_px) & (overlap.found_px >= LEAST_PX)


def matched(overlap: Overlap) -> dict[int, int]:
    """Found floe → known identity, for the scored floes that match one."""
    return {int(overlap.found[f]): int(overlap.known[k]) for f, k in overlap.pairs[_hits(overlap)]}


def count_floes(overlap: Overlap) -> FloeCounts:
    """Count known, found and matched floes of one pass."""
    hits = _hits(overlap)
    size = np.searchsorted(SIZE_EDGES_PX, overlap.known_px, side="right") - 1
    by_size = np.bincount(size, minlength=len(SIZE_EDGES_PX))
    hit_by_size = np.bincount(size[overlap.pairs[hits, 1]], minlength=len(SIZE_EDGES_PX))
    return FloeCounts(
        known=len(overlap.known),
        found=int(scored(overlap).sum()),
        matched=int(hits.sum()),
        iou_sum=float(overlap.iou[hits].sum()),
        known_by_size=tuple(by_size.tolist()),
        matched_by_size=tuple(hit_by_size.tolist()),
    )


def count_classes(classes: Path, truth: Path, grid: Grid) -> NDArray[np.int64]:
    """Confusion of pixels [3, 3]: rows are true classes, columns predicted ones (water, brash, floe); unknown pixels are left out.

    Args:
        classes: Predicted classes on `grid`, uint8: 0, 1, 2, and 255 where there is no data.
        truth: True classes, the same values, on any grid.
        grid: The grid of the pass.
    """
    number = len(CLASSES)
    confusion = np.zeros(number * number, np.int64)
    with rasterio.open(classes, driver="GTiff") as dataset:
        for window in tiles(grid.shape, 1024):
            predicted = dataset.read(1, window=window.rasterio())
            true = read_labels(truth, grid, window)
            use = (predicted < number) & (true < number)
            confusion += np.bincount(true[use] * number + predicted[use], minlength=number * number)
    return confusion.reshape(number, number)


def class_metrics(confusion: NDArray[np.int64]) -> dict[str, float]:
    """`iou_water`, `iou_brash`, `iou_floe`, their mean `miou`, and `accuracy`; a class neither present nor predicted is left out."""
    hit = np.diag(confusion)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - hit
    out = {f"iou_{name}": float(h / u) for name, h, u in zip(CLASSES, hit, union, strict=True) if u}
    if out:
        out["miou"] = float(np.mean(list(out.values())))
        out["accuracy"] = float(hit.sum() / confusion.sum())
    return out


def count_false_ground(labels: Path, negatives: Path, grid: Grid) -> NDArray[np.int64]:
    """Pixels of each kind of ground without floes, and how many of them were called floe, [4, 2] in the order of `NO_FLOE_GROUND`."""
    counts = np.zeros((len(NO_FLOE_GROUND), 2), np.int64)
    with rasterio.open(labels, driver="GTiff") as dataset:
        for window in tiles(grid.shape, 1024):
            found = dataset.read(1, window=window.rasterio()) > 0
            ground = read_labels(negatives, grid, window)
            for row, value in enumerate(NO_FLOE_GROUND):
                here = ground == value
                counts[row] += int(here.sum()), int((here & found).sum())
    return counts


def false_ground_metrics(counts: NDArray[np.int64]) -> dict[str, float]:
    """Share of each kind of no-floe ground that was called floe, `cloud_called_floe` and so on; kinds without pixels are left out."""
    return {f"{name}_called_floe": float(bad / all_) for name, (all_, bad) in zip(NO_FLOE_GROUND.values(), counts, strict=True) if all_}


def floe_areas_px(labels: Path, grid: Grid) -> NDArray[np.int64]:
    """Pixels of each label of a raster on `grid`, [largest label + 1]; entry 0 is set to 0."""
    areas = np.zeros(1, np.int64)
    with rasterio.open(labels, driver="GTiff") as dataset:
        for window in tiles(grid.shape, 1024):
            counts = np.bincount(dataset.read(1, window=window.rasterio()).ravel())
            size = max(len(areas), len(counts))
            areas = np.pad(areas, (0, size - len(areas))) + np.pad(counts, (0, size - len(counts)))
    areas[0] = 0
    return areas


def unknown_share(overlap: Overlap) -> float:
    """Share of the found floes that are not scored, because the truth does not reach them or they are too small."""
    return float(1 - scored(overlap).mean()) if len(overlap.found) else 0.0


def _hits(overlap: Overlap) -> NDArray[np.bool_]:
    return (overlap.iou > 0.5) & scored(overlap)[overlap.pairs[:, 0]]
