"""What is true of a simulated pass: label and class rasters, and one row a floe."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from icegraph.grid import Window
from icegraph.scene import write_band
from icegraph.simulate.field import BRASH, LAND, SMALLEST_PX, Field, Float, Snapshot
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


@dataclass(frozen=True)
class Seen:
    """What of a snapshot can be told from an image.

    Args:
        labels: Identity, uint32 [H, W]; 0 no floe, the largest uint32 where it cannot be known.
        classes: 0 water, 1 brash, 2 floe, 255 cannot be known; uint8 [H, W].
        hidden: Identities that lie, all or most of them, where they cannot be known.
        shown: Identities in `labels`.
    """

    labels: NDArray[np.uint32]
    classes: NDArray[np.uint8]
    hidden: frozenset[int]
    shown: frozenset[int]


def seen(snapshot: Snapshot, *, optical: bool, swath: NDArray[np.bool_] | None = None) -> Seen:
    """Tell what can be known of a snapshot, of which `swath` [H, W] is in the image (default: all).

    Land is unknown, what lies outside the swath, and what thick cloud (optical) or water as
    bright as ice (radar) hides. Floes under `SMALLEST_PX` pixels are brash;
    of larger ones that the edge or something else cuts down to fewer pixels, the rest is unknown.
    """
    veiled = snapshot.cloud >= CLOUD_HIDES if optical else snapshot.wind_m_s >= WIND_HIDES_M_S
    unknown = veiled | (snapshot.classes == LAND)
    if swath is not None:
        unknown |= ~swath
    labels = snapshot.identity.copy()
    classes = snapshot.classes.copy()
    number = int(labels.max()) + 1
    whole = np.bincount(labels.ravel(), minlength=number)
    clear = np.bincount(labels[~unknown].ravel(), minlength=number)
    hidden = (whole >= SMALLEST_PX) & (clear < 0.5 * whole)
    small = (clear < SMALLEST_PX) & ~hidden
    edge = np.zeros(number, bool)
    for side in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        edge[side] = True
    hidden[0] = small[0] = edge[0] = False
    unknown |= hidden[labels] | (small & (edge | (whole >= SMALLEST_PX)))[labels]
    classes[small[labels]] = BRASH
    labels[small[labels]] = 0
    labels[unknown] = np.iinfo(np.uint32).max
    classes[unknown] = IGNORE_CLASS
    shown = frozenset(np.flatnonzero((whole > 0) & ~small & ~hidden).tolist()) - {0}
    return Seen(labels, classes, frozenset(np.flatnonzero(hidden).tolist()), shown)


def write_truth(snapshot: Snapshot, folder: Path, pass_id: str, *, optical: bool, swath: NDArray[np.bool_] | None = None) -> Seen:
    """Write `<pass id>.labels.tif` and `<pass id>.classes.tif` into the folder; arguments as those of `seen`."""
    what = seen(snapshot, optical=optical, swath=swath)
    everything = Window(0, 0, *snapshot.grid.shape)
    with write_band(folder / f"{pass_id}.labels.tif", snapshot.grid, "uint32") as band:
        band.write(everything, what.labels)
    with write_band(folder / f"{pass_id}.classes.tif", snapshot.grid, "uint8") as band:
        band.write(everything, what.classes)
    return what


def rows(field: Field, snapshot: Snapshot, what: Seen, pass_id: str) -> list[dict[str, Any]]:
    """One row for each floe of the field that is labelled or hidden in the pass; `u` and `v` are for `with_velocity` to fill."""
    out = []
    for floe, position in zip(field.floes, field.position, strict=True):
        if floe.identity in what.shown or floe.identity in what.hidden:
            x, y = field.centre_m + position
            out.append(
                {
                    "pass_id": pass_id,
                    "identity": floe.identity,
                    "time": snapshot.time,
                    "x": float(x),
                    "y": float(y),
                    "area_m2": floe.area_m2,
                    "parent": floe.parent,
                    "hidden": floe.identity in what.hidden,
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
