"""Drift: a vector for each link of a track and each patch of ice, and their field on a regular grid for each sea (CF-1.8)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from scipy.spatial import cKDTree

from icegraph.graph import Graph, GraphPass
from icegraph.graph.floes import ABOUT
from icegraph.graph.nodes import neighbours
from icegraph.graph.scale import grid_scale
from icegraph.store import atomic_path, code_version
from icegraph.track.link import Link

if TYPE_CHECKING:
    import xarray as xr

_NEIGHBOURS = 12
# Below this time between passes a velocity says more of the error of place than of drift.
LEAST_S = 600.0
_TRUSTED = 0.25
# Of each component of a patch's displacement: what matching costs, and placing both passes to a pixel's width, 1 / sqrt(12), each.
_PATTERN_SIGMA_PX = 0.5


@dataclass(frozen=True)
class Vectors:
    """Drift vectors, one a link, in the order of the links.

    Args:
        start: Place of the earlier sighting [L, 2], metres in the grid.
        end: Place of the later sighting [L, 2].
        span: Indices of the passes [L, 2].
        velocity: u, v along grid x and y [L, 2], m/s over the ground; NaN where the passes are less than `LEAST_S` apart.
        sigma: Standard deviation of each component [L], m/s.
        place_sigma: What the uncertainty of the two centroids adds to it [L], m/s.
        confidence: 0..1 [L]: of the match, lowered for vectors unlike their neighbours', and for floes cut by an edge.
        cut: One of the sightings touches the edge of what is seen [L]: its centroid moves with the edge, not with the ice.
    """

    start: NDArray[np.float64]
    end: NDArray[np.float64]
    span: NDArray[np.int64]
    velocity: NDArray[np.float64]
    sigma: NDArray[np.float64]
    place_sigma: NDArray[np.float64]
    confidence: NDArray[np.float64]
    cut: NDArray[np.bool_]


def centroid_sigma_m(area_m2: NDArray[np.float64], pixel_m: float) -> NDArray[np.float64]:
    """Standard deviation of each coordinate of a centroid, metres.

    Drawn anew with errors of half a pixel that are independent along the outline, a floe of radius r pixels moves its centroid by less than
    0.3 / sqrt(r) pixels; to this comes what placing the whole pass costs, taken as that of a pixel's width, 1 / sqrt(12) pixels.
    """
    radius = np.sqrt(np.maximum(area_m2, pixel_m**2) / np.pi) / pixel_m
    return np.asarray(pixel_m * np.sqrt(1 / 12 + 0.09 / radius))


def place_sigmas(graph: Graph) -> list[NDArray[np.float64]]:
    """`centroid_sigma_m` of the floes of each pass."""
    return [centroid_sigma_m(entry.nodes.size_m.astype(float) ** 2, entry.pixel_m) for entry in graph.passes]


def drift_vectors(graph: Graph, links: Sequence[Link]) -> Vectors:
    """Drift of each link.

    `sigma` is the larger of the centroids' uncertainty over time and the robust scatter of the neighbours' vectors (of the same two passes)
    about a linear field fitted to them. A vector further than 3 sigma from that fit loses confidence by exp(1 − off / 3 sigma).
    """
    ends = np.array([(link.first, link.floe, link.second, link.partner) for link in links], np.int64).reshape(-1, 2, 2)
    start, end = (np.array([graph.passes[p].nodes.xy[f] for p, f in side]).reshape(-1, 2) for side in ends.swapaxes(0, 1))
    times = np.array([entry.time.timestamp() for entry in graph.passes])
    span = ends[:, :, 0]
    seconds = times[span[:, 1]] - times[span[:, 0]]
    seconds = np.where(seconds >= LEAST_S, seconds, np.nan)
    # All that is divided by this is over the ground.
    lapse = seconds * grid_scale(graph.passes[0].crs, *(start + end).T / 2)
    velocity = (end - start) / lapse[:, None]
    sigmas, edges = place_sigmas(graph), [entry.table["touches_edge"].to_numpy(bool) for entry in graph.passes]
    place = np.hypot(*np.array([[sigmas[p][f] for p, f in link] for link in ends]).reshape(-1, 2).T) / lapse
    cut = np.array([any(edges[p][f] for p, f in link) for link in ends], bool)
    sigma, confidence = place.copy(), np.array([link.confidence for link in links])
    for pair in np.unique(span, axis=0):
        rows = np.nonzero((span == pair).all(axis=1) & np.isfinite(seconds))[0]
        if rows.size:
            off, scatter = _departure(start[rows], velocity[rows], cut[rows])
            sigma[rows] = np.maximum(place[rows], scatter)
            confidence[rows] *= np.minimum(np.exp(1 - off / (3 * sigma[rows])), 1.0)
    return Vectors(start, end, span, velocity, sigma, place, confidence * np.where(cut, 0.5, 1.0), cut)


def pattern_vectors(graph: Graph) -> Vectors:
    """Drift of the patches of ice between each pass and the next that overlaps it; their confidence is their correlation."""
    parts = []
    for pair in {pair.first: pair for pair in reversed(graph.pairs)}.values():  # the first pair of each pass
        ice, seconds = pair.pattern, (graph.passes[pair.second].time - graph.passes[pair.first].time).total_seconds()
        if len(ice) and seconds >= LEAST_S:
            end = ice.xy + ice.shift
            lapse = seconds * grid_scale(graph.passes[0].crs, *(ice.xy + end).T / 2)
            sigma = _PATTERN_SIGMA_PX * ice.pixel_m / lapse
            span = np.tile([pair.first, pair.second], (len(ice), 1))
            parts.append(Vectors(ice.xy, end, span, ice.shift / lapse[:, None], sigma, sigma, ice.correlation, np.zeros(len(ice), bool)))
    return _joined(parts)


def _joined(parts: Sequence[Vectors]) -> Vectors:
    """Vectors one after another."""
    empty = Vectors(*(np.zeros((0, 2)),) * 2, np.zeros((0, 2), np.int64), np.zeros((0, 2)), *(np.zeros(0),) * 3, np.zeros(0, bool))
    return Vectors(*(np.concatenate([getattr(part, field.name) for part in (empty, *parts)]) for field in fields(Vectors)))


def _departure(
    place: NDArray[np.float64], velocity: NDArray[np.float64], cut: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far each vector is from a linear field through its neighbours' [L], and the scatter of these about it [L], m/s.

    The fit is weighted again by its residuals (Huber weights), so that one wrong neighbour does not draw it. With fewer than five
    neighbours the field is their weighted mean; with fewer than two nothing is known and both are 0.
    """
    off, scatter = np.zeros(len(place)), np.zeros(len(place))
    near = neighbours(place, _NEIGHBOURS)
    for row, index in enumerate(near):
        index = index[~cut[index]]
        if index.size < 2:
            continue
        design = np.column_stack([np.ones(index.size), (place[index] - place[row]) / max(np.ptp(place[index] - place[row]), 1.0)])
        design = design if index.size >= 5 else design[:, :1]
        weight = np.ones(index.size)
        for _ in range(4):
            root = np.sqrt(weight)[:, None]
            field = np.linalg.lstsq(design * root, velocity[index] * root, rcond=None)[0]
            rest = np.linalg.norm(velocity[index] - design @ field, axis=1)
            # Median length of a two-dimensional normal vector is 1.1774 sigma.
            middle = float(np.median(rest)) / 1.1774 * index.size / (index.size - design.shape[1])
            weight = np.minimum(1.5 * middle / np.maximum(rest, 1e-12), 1.0) if middle > 0 else np.where(rest > 1e-12, 1e-6, 1.0)
        off[row] = np.linalg.norm(velocity[row] - field[0])
        scatter[row] = middle
    return off, scatter


def write_drift(graph: Graph, vectors: Vectors, path: Path, about: Mapping[str, Any]) -> None:
    """Write the drift field as CF-1.8 NetCDF: one time step for each interval between passes that follow each other and links span.

    Each sea (`Graph.seas`) has a regular grid of its own. One sea lies at the root of the file, several in the groups `sea_1`, `sea_2`, …;
    a pass that no other overlaps is in none.

    Floes and patches of ice (`pattern_vectors`) count alike. A vector counts in every interval that its two sightings span. Each cell is
    the mean of the vectors within two cells, with Gaussian weights of distance (one cell) over variance, NaN where there is none; floes cut
    by an edge and vectors of confidence below 0.25 are left out. Cells are max(8 pixels, widest pass / 32) wide.

    Conventions: https://cfconventions.org/Data/cf-conventions/cf-conventions-1.8/cf-conventions.html, sections 2.7, 4.4, 5.6, 7.1.

    Args:
        graph: The passes.
        vectors: The drift of their floes.
        path: File to write.
        about: Lineage, kept as JSON in the attribute `icegraph`.
    """
    import xarray as xr

    vectors = _joined([vectors, pattern_vectors(graph)])
    seas = [np.flatnonzero(graph.seas == sea) for sea in np.unique(graph.seas)]
    seas = [passes for passes in seas if passes.size > 1]
    names = ["/"] if len(seas) == 1 else [f"sea_{number}" for number in range(1, len(seas) + 1)]
    root = {
        "Conventions": "CF-1.8",
        "title": "Sea-ice drift of floes and patterns",
        "source": f"icegraph {code_version()}",
    }
    with atomic_path(path) as final:
        xr.Dataset(attrs=root | {ABOUT: json.dumps(about, sort_keys=True)}).to_netcdf(final, engine="netcdf4")
        fills = {name: np.float32(np.nan) if kind is np.float32 else None for name, kind, _ in _VARIABLES}
        for group, passes in zip(names, seas, strict=True):
            dataset = _sea(graph, vectors, passes)
            encoding = {str(name): {"_FillValue": fills.get(str(name)), "zlib": name in fills} for name in dataset.variables}
            dataset.to_netcdf(final, mode="a", group=group, engine="netcdf4", encoding=encoding)


def _sea(graph: Graph, vectors: Vectors, passes: NDArray[np.int64]) -> "xr.Dataset":
    """The field of the passes of one sea."""
    import xarray as xr

    x, y, cell = _cells([graph.passes[k] for k in passes])
    here = np.isin(vectors.span[:, 0], passes)
    intervals = [
        (first, second)
        for first, second in pairwise(passes)
        if (graph.passes[second].time - graph.passes[first].time).total_seconds() >= LEAST_S
        and (here & _spans(vectors, first, second)).any()
    ]
    good = here & np.isfinite(vectors.velocity).all(axis=1) & ~vectors.cut & (vectors.confidence >= _TRUSTED)
    fields = [_field(vectors, good & _spans(vectors, *interval), x, y, cell) for interval in intervals]
    stack = np.stack(fields) if fields else np.zeros((0, 5, y.size, x.size))
    crs = CRS.from_user_input(graph.passes[0].crs)
    lon, lat = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(*np.meshgrid(x, y))
    bounds = np.array([[graph.passes[k].time.timestamp() for k in interval] for interval in intervals]).reshape(-1, 2)
    coordinates = {
        "time": ("time", bounds.mean(axis=1), _TIME),
        "x": ("x", x, {"standard_name": "projection_x_coordinate", "units": "m", "axis": "X"}),
        "y": ("y", y, {"standard_name": "projection_y_coordinate", "units": "m", "axis": "Y"}),
        "lat": (("y", "x"), lat, {"standard_name": "latitude", "units": "degrees_north"}),
        "lon": (("y", "x"), lon, {"standard_name": "longitude", "units": "degrees_east"}),
    }
    data: dict[str, Any] = {name: (("time", "y", "x"), stack[:, k].astype(kind), told) for k, (name, kind, told) in enumerate(_VARIABLES)}
    data |= {"crs": ((), np.int32(0), _grid_mapping(crs)), "time_bnds": (("time", "nv"), bounds)}
    return xr.Dataset(data, coordinates, {"passes": ", ".join(graph.passes[k].id for k in passes), "cell_size_m": cell})


def _spans(vectors: Vectors, first: int, second: int) -> NDArray[np.bool_]:
    """Whether the sightings of each vector lie at or on either side of two passes."""
    return np.asarray((vectors.span[:, 0] <= first) & (vectors.span[:, 1] >= second))


def _grid_mapping(crs: CRS) -> dict[str, Any]:
    """Attributes of the grid mapping; pyproj leaves out the pole, which CF's appendix F asks for."""
    mapping = crs.to_cf()
    if mapping.get("grid_mapping_name") == "polar_stereographic" and "standard_parallel" in mapping:
        mapping.setdefault("latitude_of_projection_origin", float(np.copysign(90.0, mapping["standard_parallel"])))
    return dict(mapping)


_TIME = {"standard_name": "time", "units": "seconds since 1970-01-01 00:00:00", "calendar": "standard", "bounds": "time_bnds", "axis": "T"}
_SPEED = {
    "units": "m s-1",
    "grid_mapping": "crs",
    "cell_methods": "time: mean",
    "ancillary_variables": "velocity_uncertainty number_of_vectors quality",
}
_VARIABLES: tuple[tuple[str, type, dict[str, str]], ...] = (
    ("sea_ice_x_velocity", np.float32, {**_SPEED, "standard_name": "sea_ice_x_velocity", "long_name": "drift along the grid's x axis"}),
    ("sea_ice_y_velocity", np.float32, {**_SPEED, "standard_name": "sea_ice_y_velocity", "long_name": "drift along the grid's y axis"}),
    (
        "velocity_uncertainty",
        np.float32,
        {"units": "m s-1", "grid_mapping": "crs", "long_name": "standard deviation of each velocity component"},
    ),
    (
        "number_of_vectors",
        np.int32,
        {"units": "1", "grid_mapping": "crs", "long_name": "floes and patches within two cells"},
    ),
    (
        "quality",
        np.float32,
        {"units": "1", "grid_mapping": "crs", "long_name": "mean confidence of floes' matches and correlation of patches, 0 to 1"},
    ),
)


def _cells(passes: Sequence[GraphPass]) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Cell centres x [C], y [R] (downwards) and the cell's side; all lie on multiples of the cell."""
    bounds = np.array([entry.bounds for entry in passes])
    widest = float(np.max(np.maximum(bounds[:, 2] - bounds[:, 0], bounds[:, 3] - bounds[:, 1])))
    pixel = max(entry.pixel_m for entry in passes)
    cell = float(max(8 * pixel, np.ceil(widest / 32 / pixel) * pixel))
    low, high = np.floor(bounds[:, :2].min(axis=0) / cell), np.ceil(bounds[:, 2:].max(axis=0) / cell)
    x, y = (np.arange(low[k], high[k]) for k in (0, 1))
    return (x + 0.5) * cell, (y[::-1] + 0.5) * cell, cell


def _field(vectors: Vectors, use: NDArray[np.bool_], x: NDArray[np.float64], y: NDArray[np.float64], cell: float) -> NDArray[np.float64]:
    """u, v, sigma, number and quality [5, R, C] of one interval."""
    total = np.zeros((6, y.size * x.size))
    index = np.nonzero(use)[0]
    if index.size:
        centres = np.column_stack([axis.ravel() for axis in np.meshgrid(x, y)])
        middle = (vectors.start[index] + vectors.end[index]) / 2
        near = cKDTree(centres).query_ball_point(middle, 2 * cell)
        which = np.repeat(index, [len(cells) for cells in near])
        where = np.concatenate([np.array(cells, np.int64) for cells in near])
        away = centres[where] - (vectors.start[which] + vectors.end[which]) / 2
        weight = np.exp(-((away**2).sum(axis=1)) / (2 * cell**2)) / np.maximum(vectors.sigma[which], 1e-6) ** 2
        parts = (weight, weight * vectors.velocity[which, 0], weight * vectors.velocity[which, 1], weight * vectors.sigma[which] ** 2)
        for row, values in enumerate((*parts, np.ones(which.size), weight * vectors.confidence[which])):
            total[row] = np.bincount(where, values, total.shape[1])
    mass = np.where(total[0] > 0, total[0], np.nan)
    # Neighbouring vectors err together: the mean variance, not that of a mean of independent values.
    return np.stack([total[1] / mass, total[2] / mass, np.sqrt(total[3] / mass), total[4], total[5] / mass]).reshape(5, y.size, x.size)
