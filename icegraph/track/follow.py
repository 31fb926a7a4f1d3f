"""From a graph and a matcher to matches, tracks, drift and forecast."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import torch

from icegraph.errors import InputError
from icegraph.graph import Graph, read_graph
from icegraph.graph.build import MAX_STEP
from icegraph.graph.floes import ABOUT
from icegraph.graph.scale import grid_scale
from icegraph.store import atomic_dir, lineage, sha256
from icegraph.track import forecast
from icegraph.track.drift import Vectors, drift_vectors, place_sigmas, write_drift
from icegraph.track.events import find_events, without_breaks
from icegraph.track.link import Link, Scored, Tracks, link_tracks
from icegraph.track.matcher import Matcher, one_thread, read_matcher
from icegraph.track.pair import make_pair


class NothingToTrackError(InputError):
    """Passes that are well, of which no two show the same place."""


@dataclass(frozen=True)
class Followed:
    """What became of the floes of a graph.

    Args:
        matches: Which floe is which, a row a link.
        tracks: A row a sighting.
        forecast: Where the floes of live tracks will be.
        about: Lineage, which the tables have too, in their attributes under `icegraph`.
    """

    matches: pd.DataFrame
    tracks: gpd.GeoDataFrame
    forecast: gpd.GeoDataFrame
    about: dict[str, Any]
    _graph: Graph
    _vectors: Vectors

    def write_drift(self, path: Path) -> None:
        """Write the drift field; see `icegraph.track.drift.write_drift`."""
        write_drift(self._graph, self._vectors, path, self.about)


def track(graph: Path, model: Path, out: Path) -> None:
    """Track the floes of a graph folder; writes matches.parquet, tracks.parquet, drift.nc and forecast.parquet into `out`.

    Args:
        graph: Graph folder.
        model: Matcher folder.
        out: Folder to write, whole or not at all.

    Raises:
        NothingToTrackError: The graph has one pass, or no two passes overlap.
        InputError: The graph cannot be read.
        ModelError: The matcher cannot be read.
    """
    found = follow(read_graph(graph), model, sha256(graph / "graph.json"))
    with atomic_dir(out) as folder:
        for name in ("matches", "tracks", "forecast"):
            getattr(found, name).to_parquet(folder / f"{name}.parquet", index=False)
        found.write_drift(folder / "drift.nc")


def follow(graph: Graph, model: Path, graph_sha256: str) -> Followed:
    """Track the floes of a graph.

    Args:
        graph: The graph.
        model: Matcher folder.
        graph_sha256: Of its `graph.json`, for the lineage.

    Raises:
        NothingToTrackError: The graph has one pass, or no two passes overlap.
        ModelError: The matcher cannot be read.
    """
    names = ", ".join(entry.id for entry in graph.passes)
    if len(graph.passes) < 2:
        raise NothingToTrackError(names, "is the only pass, so no floe can be followed", "add a pass of the same place at another time")
    if not graph.pairs:
        raise NothingToTrackError(names, "no two of these passes overlap, so no floe can be followed", "add passes of the same place")
    matcher = read_matcher(model)
    tracks = without_breaks(graph, link_tracks(graph, [score(matcher, graph, number) for number in range(len(graph.pairs))]))
    vectors = drift_vectors(graph, tracks.links)
    sightings, ahead = _follow(graph, tracks, vectors)
    parents = [(f"matcher {name}", sha256(model / name)) for name in ("config.json", "model.safetensors")]
    about = lineage([("graph.json", graph_sha256), *parents])
    matches = _matches(graph, tracks.links)
    for table in (matches, sightings, ahead):
        table.attrs[ABOUT] = about
    return Followed(matches, sightings, ahead, about, graph, vectors)


def score(matcher: Matcher, graph: Graph, number: int) -> Scored:
    """Let the matcher judge the candidates of one pair of a graph."""
    edge = graph.pairs[number]
    a, b = graph.passes[edge.first], graph.passes[edge.second]
    if edge.candidates.shape[1] == 0:
        return Scored(edge.first, edge.second, edge.candidates, np.zeros(0), np.zeros(0), edge.pattern)
    pair = make_pair(a.nodes, b.nodes, (a.spatial, b.spatial), edge.candidates, edge.drift, edge.reach_m)
    with torch.inference_mode(), one_thread():
        result = matcher(pair)[-1]
    gain, confidence = (values.double().numpy() for values in (result.gain(pair), result.confidence))
    return Scored(edge.first, edge.second, edge.candidates, gain, confidence, edge.pattern)


def _matches(graph: Graph, links: list[Link]) -> pd.DataFrame:
    passes = graph.passes
    return pd.DataFrame(
        {
            "pass_from": pd.Series([passes[link.first].id for link in links], dtype="str"),
            "floe_from": np.array([passes[link.first].floes[link.floe] for link in links], np.int64),
            "pass_to": pd.Series([passes[link.second].id for link in links], dtype="str"),
            "floe_to": np.array([passes[link.second].floes[link.partner] for link in links], np.int64),
            "confidence": np.array([link.confidence for link in links], float),
        }
    )


def _follow(graph: Graph, tracks: Tracks, vectors: Vectors) -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]:
    """Walk along each track: its rows, and its forecast where it is live."""
    leaving = {(link.first, link.floe): number for number, link in enumerate(tracks.links)}
    arriving = {(link.second, link.partner): number for number, link in enumerate(tracks.links)}
    states, events = _states(graph, tracks, vectors, leaving), find_events(graph, tracks)
    rows, ahead = [], []
    followers = np.bincount([pair.first for pair in graph.pairs], minlength=len(graph.passes))
    seas = graph.seas
    for number, entry in enumerate(graph.passes):
        scale = grid_scale(entry.crs, *entry.nodes.xy.T)
        last = max(other.time for other, sea in zip(graph.passes, seas, strict=True) if sea == seas[number])
        for floe, place in enumerate(entry.nodes.xy):
            name, state = int(tracks.track[number][floe]), states[number, floe]
            came, goes = arriving.get((number, floe)), leaving.get((number, floe))
            link = came if goes is None else goes
            confidence = 0.0 if link is None else float(vectors.confidence[link])
            if link is not None and np.isfinite(vectors.velocity[link]).all():
                motion = (*map(float, vectors.velocity[link]), float(vectors.sigma[link]))
            else:
                on_grid = (*state.mean[2:], np.sqrt(np.trace(state.covariance[2:, 2:]) / 2))
                motion = tuple(float(value / scale[floe]) for value in on_grid)
            begins, ends = "" if came is not None else events.begins.get(name, ""), "" if goes is not None else events.ends.get(name, "")
            parents, children = events.parents.get(name, []) if begins else [], events.children.get(name, []) if ends else []
            told = begins, ends, parents, children
            rows.append((name, entry.time, entry.id, int(entry.floes[floe]), *motion, confidence, *told, *place))
            # A floe that as many later passes of its place have not shown as tracks can bridge is given up.
            if goes is None and came is not None and followers[number] < MAX_STEP:
                ahead += _ahead(name, state, last, confidence)
    return _sightings(rows, graph.passes[0].crs), _forecast(ahead, graph.passes[0].crs)


def _states(
    graph: Graph, tracks: Tracks, vectors: Vectors, leaving: Mapping[tuple[int, int], int]
) -> dict[tuple[int, int], forecast.State]:
    """The state of each floe of each pass."""
    keys = [(number, floe) for number, entry in enumerate(graph.passes) for floe in range(len(entry.nodes))]
    keys.sort(key=lambda key: (tracks.track[key[0]][key[1]], key[0]))
    sigmas = place_sigmas(graph)
    sightings = forecast.Sightings(
        track=np.array([tracks.track[number][floe] for number, floe in keys], np.int64),
        seconds=np.array([graph.passes[number].time.timestamp() for number, _ in keys]),
        place=np.array([graph.passes[number].nodes.xy[floe] for number, floe in keys]).reshape(-1, 2),
        place_sigma=np.array([sigmas[number][floe] for number, floe in keys]),
        confidence=np.array([vectors.confidence[leaving[key]] if key in leaving else 0.0 for key in keys]),
        cut=np.array([graph.passes[number].table["touches_edge"].iat[floe] for number, floe in keys], bool),
    )
    return dict(zip(keys, forecast.walk(sightings), strict=True))


def _ahead(name: int, state: forecast.State, last: datetime, confidence: float) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for hours in forecast.HORIZONS_H:
        then = forecast.predict(state, last.timestamp() + 3600 * hours)
        time = datetime.fromtimestamp(then.seconds, UTC)
        rows.append((name, time, hours, *forecast.ellipse(then), forecast.DOF, confidence, *map(float, then.mean[:2])))
    return rows


def _sightings(rows: list[tuple[object, ...]], crs: str) -> gpd.GeoDataFrame:
    names = ["track_id", "time", "pass_id", "floe_id", "u", "v", "sigma", "confidence", "begins", "ends", "parents", "children", "px", "py"]
    table = _points(rows, names, crs).astype(
        {"track_id": np.int64, "floe_id": np.int64} | dict.fromkeys(("pass_id", "begins", "ends"), "str")
    )
    return table.sort_values(["track_id", "time", "pass_id"], kind="stable", ignore_index=True)


def _forecast(rows: list[tuple[object, ...]], crs: str) -> gpd.GeoDataFrame:
    names = ["track_id", "time", "horizon_h", "sigma_major_m", "sigma_minor_m", "angle_deg", "dof", "confidence", "px", "py"]
    table = _points(rows, names, crs).astype({"track_id": np.int64, "horizon_h": float})
    return table.sort_values(["track_id", "horizon_h"], kind="stable", ignore_index=True)


def _points(rows: list[tuple[object, ...]], names: list[str], crs: str) -> gpd.GeoDataFrame:
    table = pd.DataFrame(rows, columns=names)
    geometry = gpd.points_from_xy(table.pop("px").astype(float), table.pop("py").astype(float))
    table["time"] = pd.to_datetime(table["time"], utc=True).astype("datetime64[us, UTC]")
    for name in table.columns.difference(["time", "pass_id", "track_id", "floe_id", "begins", "ends", "parents", "children"]):
        table[name] = table[name].astype(float)
    return gpd.GeoDataFrame(table, geometry=geometry, crs=crs)
