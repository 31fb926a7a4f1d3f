"""How well drift was measured: displacement of rightly matched floes against the displacement that is known.

Known places come from `floes.parquet` beside the truth rasters (a simulation), else from the centroids of the labels. Floes that
touch the edge of a pass, or of the part of it that is labelled, are left out: the centroid of a cut outline moves without any drift.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from pyproj import Transformer

from icegraph.evaluate.matching import Link
from icegraph.graph.scale import grid_scale
from icegraph.grid import Grid, Window, tiles
from icegraph.scene import read_grid
from icegraph.truth import IGNORE, read_labels


@dataclass(frozen=True)
class Places:
    """Where the floes of one pass are.

    Args:
        ids: Floe ids or identities, [N], sorted.
        x: Metres along the grid, [N].
        y: Metres along the grid, [N].
        at_edge: Whether the outline is cut, [N].
    """

    ids: NDArray[np.int64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    at_edge: NDArray[np.bool_]

    def whole(self) -> dict[int, tuple[float, float]]:
        """Id → (x, y) of the floes whose outline is not cut."""
        return {int(i): (float(x), float(y)) for i, x, y, cut in zip(self.ids, self.x, self.y, self.at_edge, strict=True) if not cut}


def known_places(truth: Path, pass_id: str, crs: str) -> Places:
    """Where the known floes of a pass are, in `crs`, metres.

    Args:
        truth: The pass's label raster; a `floes.parquet` beside it, if it tells of the pass, gives the places.
        pass_id: The pass.
        crs: The projection of the answer.
    """
    with rasterio.open(truth, driver="GTiff") as dataset:
        grid = read_grid(dataset)
    places = label_places(truth, grid)
    table = _truth_table(truth, pass_id)
    if table is not None:
        row = np.searchsorted(places.ids, table["identity"])
        seen = np.zeros(len(row), bool)
        inside = row < len(places.ids)
        seen[inside] = places.ids[row[inside]] == table["identity"][inside]
        cut = ~seen | table["hidden"]
        cut[seen] |= places.at_edge[row[seen]]
        order = np.argsort(table["identity"], kind="stable")
        places = Places(table["identity"][order], table["x"][order], table["y"][order], cut[order])
    if grid.crs == crs:
        return places
    x, y = Transformer.from_crs(grid.crs, crs, always_xy=True).transform(places.x, places.y)
    return Places(places.ids, np.asarray(x), np.asarray(y), places.at_edge)


def label_places(labels: Path, grid: Grid) -> Places:
    """Centroids of a label raster's floes, metres in `grid`; cut are those that touch the border of what is labelled."""
    extent = _known_extent(labels, grid)
    parts, border = [], set()
    for window in tiles(grid.shape, 1024):
        block = read_labels(labels, grid, window)
        row, col = np.nonzero((block != 0) & (block != IGNORE))
        ids, place = np.unique(block[row, col], return_inverse=True)
        row, col = row + window.row, col + window.col
        parts.append(np.column_stack([ids, np.bincount(place), np.bincount(place, weights=row), np.bincount(place, weights=col)]))
        last_row, last_col = extent.row + extent.height - 1, extent.col + extent.width - 1
        outer = (row == extent.row) | (row == last_row) | (col == extent.col) | (col == last_col)
        border |= set(ids[np.unique(place[outer])].tolist())
    table = np.concatenate(parts)
    ids, place = np.unique(table[:, 0].astype(np.int64), return_inverse=True)
    count, row_sum, col_sum = (np.bincount(place, weights=table[:, column], minlength=len(ids)) for column in (1, 2, 3))
    x, y = grid.xy(row_sum / np.maximum(count, 1), col_sum / np.maximum(count, 1))
    return Places(ids.astype(np.int64), x, y, np.isin(ids, list(border)))


@dataclass(frozen=True)
class DriftErrors:
    """Errors of displacements, measured minus known.

    Args:
        error_m: Along x and y, [N, 2], metres over the ground.
        known_m: Known displacement, [N, 2], metres over the ground.
        seconds: Time between the two passes, [N].
    """

    error_m: NDArray[np.float64]
    known_m: NDArray[np.float64]
    seconds: NDArray[np.float64]

    def metrics(self) -> dict[str, float]:
        """Figures of the displacement error and of the speed error; empty without a floe.

        `floes`, `rmse_m`, `median_m` (of the error's length), `bias_x_m`, `bias_y_m`, `rmse_m_s`, `bias_x_m_s`, `bias_y_m_s`, and for
        scale `known_speed_m_s` (mean).
        """
        if not len(self.error_m):
            return {}
        length = np.hypot(*self.error_m.T)
        speed_error = self.error_m / self.seconds[:, None]
        return {
            "floes": len(length),
            "rmse_m": float(np.sqrt(np.mean(length**2))),
            "median_m": float(np.median(length)),
            "bias_x_m": float(self.error_m[:, 0].mean()),
            "bias_y_m": float(self.error_m[:, 1].mean()),
            "rmse_m_s": float(np.sqrt(np.mean((length / self.seconds) ** 2))),
            "bias_x_m_s": float(speed_error[:, 0].mean()),
            "bias_y_m_s": float(speed_error[:, 1].mean()),
            "known_speed_m_s": float(np.mean(np.hypot(*self.known_m.T) / self.seconds)),
        }


def drift_errors(
    links: Iterable[Link],
    found: Mapping[str, Mapping[int, tuple[float, float]]],
    known: Mapping[str, Mapping[int, tuple[float, float]]],
    identities: Mapping[str, Mapping[int, int]],
    times: Mapping[str, datetime],
    crs: str,
) -> DriftErrors:
    """Compare displacements of rightly matched floes with the known ones, over the ground.

    Args:
        links: Right links only (`matching.right_links`).
        found: Pass id → floe id → (x, y) in metres, of found floes that are not cut by the edge.
        known: Pass id → identity → (x, y) in metres and the same projection, of known floes that are not cut.
        identities: Pass id → floe id → identity.
        times: Pass id → time.
        crs: The projection of the places.
    """
    error, truth, seconds, middle = [], [], [], []
    for link in links:
        identity = identities[link.pass_from][link.floe_from]
        ends = (
            found.get(link.pass_from, {}).get(link.floe_from),
            found.get(link.pass_to, {}).get(link.floe_to),
            known.get(link.pass_from, {}).get(identity),
            known.get(link.pass_to, {}).get(identity),
        )
        lapse = (times[link.pass_to] - times[link.pass_from]).total_seconds()
        if any(end is None for end in ends) or lapse <= 0:
            continue
        a, b, c, d = np.array(ends)
        error.append((b - a) - (d - c))
        truth.append(d - c)
        seconds.append(lapse)
        middle.append((c + d) / 2)
    scale = grid_scale(crs, *np.array(middle).reshape(-1, 2).T)[:, None]
    return DriftErrors(np.array(error).reshape(-1, 2) / scale, np.array(truth).reshape(-1, 2) / scale, np.array(seconds, float))


def _known_extent(labels: Path, grid: Grid) -> Window:
    """The rectangle outside which nothing is known."""
    top, left, bottom, right = grid.height, grid.width, 0, 0
    for window in tiles(grid.shape, 1024):
        known = read_labels(labels, grid, window) != IGNORE
        rows, cols = np.flatnonzero(known.any(axis=1)), np.flatnonzero(known.any(axis=0))
        if len(rows):
            top, bottom = min(top, window.row + int(rows[0])), max(bottom, window.row + int(rows[-1]) + 1)
            left, right = min(left, window.col + int(cols[0])), max(right, window.col + int(cols[-1]) + 1)
    return Window(top, left, max(bottom - top, 0), max(right - left, 0))


def _truth_table(truth: Path, pass_id: str) -> dict[str, NDArray[Any]] | None:
    """Columns of the pass's rows in `floes.parquet` beside the truth raster, or None."""
    path = truth.with_name("floes.parquet")
    if not path.exists():
        return None
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=["identity", "x", "y", "hidden"], filters=[("pass_id", "=", pass_id)])
    if not len(table):
        return None
    columns = {name: table[name].to_numpy() for name in table.column_names}
    return {
        "identity": columns["identity"].astype(np.int64),
        "x": columns["x"].astype(float),
        "y": columns["y"].astype(float),
        "hidden": columns["hidden"].astype(bool),
    }
