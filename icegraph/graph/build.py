"""The graph of several passes: floes as nodes, neighbours as spatial edges, possible identities as candidate edges.

<folder>/
  graph.json          passes, pairs, feature names, parameters, lineage
  graph.safetensors   nodes.*, spatial, and candidates.<n>, drift.<n>, pattern.<n> of pair n
  floes.parquet       the floe tables of all passes, in the order of the nodes
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyproj import CRS
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from shapely import box

from icegraph.errors import InputError
from icegraph.graph.candidates import CANDIDATES, candidate_edges
from icegraph.graph.floes import ABOUT, FILE, read_floes
from icegraph.graph.nodes import NAMES, NEIGHBOURS, Nodes, floe_nodes, neighbours
from icegraph.graph.pattern import NO_PATTERN, PatternDrift, pattern_drift
from icegraph.graph.scale import grid_scale
from icegraph.scene import Scene
from icegraph.store import atomic_dir, lineage

MAX_STEP = 4  # a track bridges three passes that miss its floe
# A floe's centroid moves by about a pixel when its outline is drawn anew; products are placed to a few hundred metres at worst.
_UNCERTAIN_M = 500.0


@dataclass(frozen=True)
class GraphPass:
    """One pass of a graph.

    Args:
        id: Pass id.
        time: UTC.
        crs: Projection of all coordinates.
        pixel_m: Side of a pixel.
        bounds: Left, bottom, right, top of the pass, metres.
        table: Its floe table.
        nodes: The same floes as nodes, in the same order.
        spatial: Neighbours of each floe [N, K], nearest first.
    """

    id: str
    time: datetime
    crs: str
    pixel_m: float
    bounds: tuple[float, float, float, float]
    table: gpd.GeoDataFrame
    nodes: Nodes
    spatial: NDArray[np.int64]

    @property
    def floes(self) -> NDArray[np.int64]:
        """Floe ids [N]."""
        return np.asarray(self.table["floe_id"].to_numpy(np.int64))


@dataclass(frozen=True)
class GraphPair:
    """Candidate edges from one pass to a later one.

    Args:
        first: Index of the earlier pass.
        second: Index of the later pass.
        reach_m: How far a floe may have moved, metres in the grid.
        candidates: [2, E], index into the floes of either pass.
        drift: Coarse drift of each floe of the earlier pass [N, 2], metres.
        pattern: How the ice itself moved, floes or none.
    """

    first: int
    second: int
    reach_m: float
    candidates: NDArray[np.int64]
    drift: NDArray[np.float64]
    pattern: PatternDrift = NO_PATTERN


@dataclass(frozen=True)
class Graph:
    """Passes in time order and the pairs among them that may share floes.

    Args:
        passes: In time order.
        pairs: Among them, by index.
        about: How it was made, and from what.
    """

    passes: list[GraphPass]
    pairs: list[GraphPair]
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seas(self) -> NDArray[np.int64]:
        """For each pass, the number of its sea: the passes that pairs join with it, directly or through others."""
        first, second = (np.array([getattr(pair, end) for pair in self.pairs], np.int64) for end in ("first", "second"))
        joined = coo_array((np.ones(first.size), (first, second)), shape=(len(self.passes),) * 2)
        return np.asarray(connected_components(joined, directed=False)[1], np.int64)


def build_graph(
    tables: Sequence[Path | gpd.GeoDataFrame],
    out: Path,
    *,
    scenes: Mapping[str, Path] | None = None,
    max_speed_m_s: float = 1.0,
) -> None:
    """Make the graph of several passes and write it to the folder `out`: see `make_graph`."""
    write_graph(make_graph(tables, scenes=scenes, max_speed_m_s=max_speed_m_s), out)


def make_graph(tables: Sequence[Path | gpd.GeoDataFrame], *, scenes: Mapping[str, Path] | None = None, max_speed_m_s: float = 1.0) -> Graph:
    """Make the graph of several passes.

    Pairs are passes whose footprints overlap: each pass with the next ones in time, up to `MAX_STEP` further, so that tracks bridge passes
    that miss a floe. A floe may have moved `max_speed_m_s` × the time between, plus the uncertainty of its place.

    Args:
        tables: Floe tables, or `floes.parquet` files, or the segment folders they lie in; any order.
        scenes: Pass id → folder of its scene; passes whose scenes are given are compared pixel by pixel too.
        max_speed_m_s: Fastest drift, metres a second.

    Raises:
        InputError: No tables, a broken one, two of one pass, or passes in different projections.
    """
    passes = _read_passes(tables)
    pairs = []
    for first, earlier in enumerate(passes):
        partners = [k for k in range(first + 1, len(passes)) if _overlap(earlier, passes[k])][:MAX_STEP]
        for second in partners:
            seconds = (passes[second].time - earlier.time).total_seconds()
            reach = max_speed_m_s * seconds * _scale(earlier) + _UNCERTAIN_M + 2 * max(earlier.pixel_m, passes[second].pixel_m)
            pattern = NO_PATTERN
            if scenes and {earlier.id, passes[second].id} <= scenes.keys():
                pattern = pattern_drift(Scene.open(scenes[earlier.id]), Scene.open(scenes[passes[second].id]), reach)
            edges, drift = candidate_edges(earlier.nodes, passes[second].nodes, reach, pattern=pattern)
            pairs.append(GraphPair(first, second, reach, edges, drift, pattern))
    about = {"parameters": {"max_speed_m_s": max_speed_m_s, "max_candidates": CANDIDATES, "max_step": MAX_STEP}}
    parents = ((entry.id, parent) for entry in passes for parent in entry.table.attrs[ABOUT]["icegraph:parents"])
    about |= lineage([(f"{name} {parent['name']}", parent["sha256"]) for name, parent in parents])
    return Graph(passes, pairs, about)


def write_graph(graph: Graph, out: Path) -> None:
    """Write a graph to the folder `out`, whole or not at all."""
    tensors = {f"nodes.{field.name}": np.concatenate([getattr(p.nodes, field.name) for p in graph.passes]) for field in fields(Nodes)}
    tensors["spatial"] = _spatial(graph)
    for number, pair in enumerate(graph.pairs):
        ice = pair.pattern
        tensors |= {f"candidates.{number}": pair.candidates, f"drift.{number}": pair.drift}
        tensors[f"pattern.{number}"] = np.column_stack([ice.xy, ice.shift, ice.correlation])
    with atomic_dir(out) as folder:
        # Safetensors takes the bytes as they lie, whatever the strides.
        (folder / "graph.safetensors").write_bytes(save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}))
        (folder / "graph.json").write_text(description(graph))
        _all_floes(graph).to_parquet(folder / FILE, index=False)


def description(graph: Graph) -> str:
    """What `graph.json` says."""
    passes = [
        {"id": p.id, "time": p.time.isoformat(), "crs": p.crs, "pixel_m": p.pixel_m, "bounds": list(p.bounds), "floes": len(p.nodes)}
        for p in graph.passes
    ]
    pairs = [
        {"first": p.first, "second": p.second, "reach_m": p.reach_m, "candidates": p.candidates.shape[1]}
        | {"pattern": {"patch_m": p.pattern.patch_m, "pixel_m": p.pattern.pixel_m}}
        for p in graph.pairs
    ]
    everything = {**graph.about, "features": list(NAMES), "neighbours": NEIGHBOURS, "passes": passes, "pairs": pairs}
    return json.dumps(everything, indent=1, sort_keys=True) + "\n"


def read_graph(folder: Path) -> Graph:
    """Read a graph folder.

    Raises:
        InputError: It is not one that `build_graph` wrote with this set of features.
    """
    try:
        about = json.loads((folder / "graph.json").read_text())
        tensors = load_file(folder / "graph.safetensors")
        table = gpd.read_parquet(folder / FILE)
        if tuple(about["features"]) != NAMES:
            raise InputError(folder, f"its nodes have the features {about['features']}, not {list(NAMES)}", "build the graph anew")
        passes, start, edge = [], 0, 0
        for entry in about["passes"]:
            rows = slice(start, start + entry["floes"])
            nodes = Nodes(**{field.name: tensors[f"nodes.{field.name}"][rows] for field in fields(Nodes)})
            part = table.iloc[rows].reset_index(drop=True)
            values = (entry["id"], datetime.fromisoformat(entry["time"]), entry["crs"], entry["pixel_m"], tuple(entry["bounds"]))
            number = min(NEIGHBOURS, max(len(nodes) - 1, 0))
            spatial = tensors["spatial"][1, edge : edge + len(nodes) * number].reshape(len(nodes), number) - start
            passes.append(GraphPass(*values, part, nodes, spatial))
            start, edge = rows.stop, edge + spatial.size
        pairs = [
            GraphPair(
                entry["first"],
                entry["second"],
                entry["reach_m"],
                tensors[f"candidates.{n}"],
                tensors[f"drift.{n}"],
                _pattern(tensors[f"pattern.{n}"], entry["pattern"]),
            )
            for n, entry in enumerate(about["pairs"])
        ]
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise InputError(folder, f"not a readable graph ({error})", "name a folder that `graph` wrote") from error
    return Graph(passes, pairs, {name: value for name, value in about.items() if name not in ("passes", "pairs", "features", "neighbours")})


def _read_passes(tables: Sequence[Path | gpd.GeoDataFrame]) -> list[GraphPass]:
    if not tables:
        raise InputError("graph", "no floe tables given", "segment at least two passes first")
    passes = []
    for given in tables:
        table = read_floes(given) if isinstance(given, Path) else given
        about = table.attrs[ABOUT]
        nodes = floe_nodes(table, about["pixel_m"])
        values = (about["pass_id"], datetime.fromisoformat(about["time"]), about["crs"], about["pixel_m"], tuple(about["bounds"]))
        passes.append(GraphPass(*values, table, nodes, neighbours(nodes.xy)))
    passes.sort(key=lambda entry: (entry.time, entry.id))
    for one, other in pairwise(passes):
        if CRS.from_user_input(one.crs) != CRS.from_user_input(other.crs):
            raise InputError(other.id, f"lies in {other.crs}, {one.id} in {one.crs}", "build one graph for each projection")
    names = [entry.id for entry in passes]
    if len(set(names)) < len(names):
        raise InputError(max(names, key=names.count), "given more than once", "give each pass once")
    return passes


def _scale(entry: GraphPass) -> float:
    """`grid_scale` at the middle of a pass."""
    left, bottom, right, top = entry.bounds
    return float(grid_scale(entry.crs, np.array([(left + right) / 2]), np.array([(bottom + top) / 2]))[0])


def _overlap(one: GraphPass, other: GraphPass) -> bool:
    return bool(box(*one.bounds).intersection(box(*other.bounds)).area > 0)


def _pattern(table: NDArray[np.float64], about: Mapping[str, float]) -> PatternDrift:
    return PatternDrift(table[:, :2], table[:, 2:4], table[:, 4], **about)


def _spatial(graph: Graph) -> NDArray[np.int64]:
    """Spatial edges [2, E] of all passes, in the order of all nodes."""
    edges, start = [], 0
    for entry in graph.passes:
        source = np.repeat(np.arange(len(entry.nodes)), entry.spatial.shape[1])
        edges.append(np.stack([source, entry.spatial.ravel()]) + start)
        start += len(entry.nodes)
    return np.concatenate(edges, axis=1)


def _all_floes(graph: Graph) -> gpd.GeoDataFrame:
    # Passes without floes have all columns but nothing to say of their types.
    full = [entry.table for entry in graph.passes if len(entry.table)] or [graph.passes[0].table]
    together = pd.concat(full, ignore_index=True)
    return gpd.GeoDataFrame(together, geometry="geometry", crs=graph.passes[0].crs)
