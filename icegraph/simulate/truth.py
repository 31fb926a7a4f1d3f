"""What is true of a simulated pass: label and class rasters, and one row a floe."""

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from icegraph.grid import Grid, Window, tiles
from icegraph.scene import BLOCK, write_band
from icegraph.simulate.field import BRASH, LAND, SMALLEST_PX, Drawn, Field, Float, Snapshot
from icegraph.store import atomic_path

IGNORE_CLASS = 255
CLOUD_HIDES = 0.55  # opacity from which nobody could draw an outline
WIND_HIDES_M_S = 13.0  # from here water is as bright as ice to a C-band radar (HH: level ice -17 to -14 dB, water at 15 m/s -11 dB)
_SCHEMA = pa.schema(
    [
        ("pass_id", pa.string()),
        ("identity", pa.uint32()),
        ("time", pa.timestamp("us", tz="UTC")),
        ("x", pa.float64()),
        ("y", pa.float64()),
        ("area_m2", pa.float64()),
        ("u", pa.float64()),
        ("v", pa.float64()),
        ("parent", pa.uint32()),
        ("hidden", pa.bool_()),
    ]
)


Covered = Callable[[Window], NDArray[np.bool_]]
"""Tells which pixels [H, W] of a window are in an image."""


class Known:
    """What of a view can be told from an image of it.

    Land is unknown, what lies outside the image, and what thick cloud (optical) or water as bright as ice (radar) hides. Floes under
    `SMALLEST_PX` pixels are brash; of larger ones that the edge or something else cuts down to fewer pixels, the rest is unknown.

    Args:
        view: The view.
        optical: Whether a camera sees it, or else a radar.
        covered: What of it is in the image; default: all.

    Attributes:
        hidden: Identities of floes that lie, all or most of them, where they cannot be known.
        shown: Identities that have labels.
    """

    def __init__(self, view: Drawn, *, optical: bool, covered: Covered | None = None) -> None:
        self._view, self._optical, self._covered = view, optical, covered
        whole, clear, at_edge = np.zeros(1, np.int64), np.zeros(1, np.int64), {0}
        for window in tiles(view.grid.shape, BLOCK):
            part = view.part(window)
            whole = _counted(whole, part.identity)
            clear = _counted(clear, part.identity[~self._unknown(part, window)])
            at_edge |= _at_edge(part.identity, window, view.grid)
        clear = np.pad(clear, (0, len(whole) - len(clear)))
        edge = np.zeros(len(whole), bool)
        edge[list(at_edge)] = True
        self._hidden = (whole >= SMALLEST_PX) & (clear < 0.5 * whole)
        self._small = (clear < SMALLEST_PX) & ~self._hidden
        self._hidden[0] = self._small[0] = edge[0] = False
        self._cut = self._small & (edge | (whole >= SMALLEST_PX))
        self.hidden = frozenset(np.flatnonzero(self._hidden).tolist())
        self.shown = frozenset(np.flatnonzero((whole > 0) & ~self._small & ~self._hidden).tolist()) - {0}

    def labels_and_classes(self, window: Window) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
        """Two rasters [H, W] of a window.

        Returns:
            Identities, 0 where there is no floe, the largest uint32 where it cannot be known; and 0 water, 1 brash, 2 floe, 255 cannot
            be known.
        """
        part = self._view.part(window)
        labels, classes = part.identity.copy(), part.classes.copy()
        unknown = self._unknown(part, window) | (self._hidden | self._cut)[labels]
        small = self._small[labels]
        classes[small] = BRASH
        labels[small] = 0
        labels[unknown] = np.iinfo(np.uint32).max
        classes[unknown] = IGNORE_CLASS
        return labels, classes

    def _unknown(self, part: Snapshot, window: Window) -> NDArray[np.bool_]:
        veiled = part.cloud >= CLOUD_HIDES if self._optical else part.wind_m_s >= WIND_HIDES_M_S
        unknown = veiled | (part.classes == LAND)
        return np.asarray(unknown if self._covered is None else unknown | ~self._covered(window))


def _counted(count: NDArray[np.int64], identity: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Pixels of each identity: those counted before, and these."""
    more = np.bincount(identity.ravel(), minlength=len(count))
    more[: len(count)] += count
    return more


def _at_edge(identity: NDArray[np.uint32], window: Window, grid: Grid) -> set[int]:
    """Identities in those pixels of a window that lie at the grid's edge."""
    row, col = (np.arange(first, first + size) for first, size in ((window.row, window.height), (window.col, window.width)))
    outer = np.isin(row, (0, grid.height - 1))[:, None] | np.isin(col, (0, grid.width - 1))
    return set(np.unique(identity[outer]).tolist())


def write_truth(known: Known, grid: Grid, folder: Path, pass_id: str) -> None:
    """Write `<pass id>.labels.tif` and `<pass id>.classes.tif` into the folder."""
    with (
        write_band(folder / f"{pass_id}.labels.tif", grid, "uint32") as labels,
        write_band(folder / f"{pass_id}.classes.tif", grid, "uint8") as classes,
    ):
        for window in tiles(grid.shape, BLOCK):
            identity, kind = known.labels_and_classes(window)
            labels.write(window, identity)
            classes.write(window, kind)


def rows(field: Field, known: Known, pass_id: str, time: datetime) -> list[dict[str, Any]]:
    """One row for each floe of the field that is labelled or hidden in the pass; `u` and `v` are for `with_velocity` to fill."""
    out = []
    for floe, position in zip(field.floes, field.position, strict=True):
        if floe.identity in known.shown or floe.identity in known.hidden:
            x, y = field.centre_m + position
            out.append(
                {
                    "pass_id": pass_id,
                    "identity": floe.identity,
                    "time": time,
                    "x": float(x),
                    "y": float(y),
                    "area_m2": floe.area_m2,
                    "parent": floe.parent,
                    "hidden": floe.identity in known.hidden,
                }
            )
    return out


def with_velocity(table: list[dict[str, Any]], velocity: Mapping[int, Float]) -> list[dict[str, Any]]:
    """The rows with the velocity until the next pass, m/s along grid x and y."""
    return [row | {"u": float(velocity[row["identity"]][0]), "v": float(velocity[row["identity"]][1])} for row in table]


def write_floes(table: list[dict[str, Any]], path: Path) -> None:
    """Write all rows as Parquet."""
    with atomic_path(path) as beside:
        pq.write_table(pa.Table.from_pylist(table, schema=_SCHEMA), beside, compression="zstd")
