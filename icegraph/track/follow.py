"""From a graph and a matcher to matches, tracks, drift and forecast."""

from datetime import UTC, datetime
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from icegraph.errors import InputError
from icegraph.graph import Graph, read_graph
from icegraph.store import atomic_dir
from icegraph.track import forecast
from icegraph.track.drift import Vectors, centroid_sigma_m, drift_vectors, write_drift
from icegraph.track.link import Link, Scored, Tracks, link_tracks
from icegraph.track.matcher import Matcher, one_thread, read_matcher
from icegraph.track.pair import make_pair

# A floe that so many later passes of its place have not shown is given up: tracks bridge no longer gap.
_LIVE_PASSES = 3


class NothingToTrackError(InputError):
    """Passes that are well, of which no two show the same place."""


def track(graph: Path, model: Path, out: Path) -> None:
    """Track the floes of a graph; writes matches.parquet, tracks.parquet, drift.nc and forecast.parquet into `out`.

    Args:
        graph: Graph folder.
        model: Matcher folder.
        out: Folder to write, whole or not at all.

    Raises:
        NothingToTrackError: The graph has one pass, or no two passes overlap.
        InputError: The graph cannot be read.
        ModelError: The matcher cannot be read.
    """
    loaded = read_graph(graph)
    names = ", ".join(entry.id for entry in loaded.passes)
    if len(loaded.passes) < 2:
        raise NothingToTrackError(names, "is the only pass, so no floe can be followed", "add a pass of the same place at another time")
    if not loaded.pairs:
        raise NothingToTrackError(names, "no two of these passes overlap, so no floe can be followed", "add passes of the same place")
    matcher = read_matcher(model)
    tracks = link_tracks(loaded, [score(matcher, loaded, number) for number in range(len(loaded.pairs))])
    vectors = drift_vectors(loaded, tracks.links)
    sightings, ahead = _follow(loaded, tracks, vectors)
    with atomic_dir(out) as folder:
        _matches(loaded, tracks.links).to_parquet(folder / "matches.parquet", index=False)
        sightings.to_parquet(folder / "tracks.parquet", index=False)
        write_drift(loaded, vectors, folder / "drift.nc")
        ahead.to_parquet(folder / "forecast.parquet", index=False)


def score(matcher: Matcher, graph: Graph, number: int) -> Scored:
    """Let the matcher judge the candidates of one pair of a graph."""
    edge = graph.pairs[number]
    a, b = graph.passes[edge.first].nodes, graph.passes[edge.second].nodes
    if edge.candidates.shape[1] == 0:
        return Scored(edge.first, edge.second, edge.candidates, np.zeros(0), np.zeros(0))
    pair = make_pair(a, b, edge.candidates, edge.drift, edge.reach_m)
    with torch.inference_mode(), one_thread():
        result = matcher(pair)[-1]
    return Scored(edge.first, edge.second, edge.candidates, result.gain(pair).double().numpy(), result.confidence.double().numpy())


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
    weights = np.where(np.isfinite(vectors.velocity).all(axis=1) & ~vectors.cut, vectors.confidence, 0.0)
    sigmas = [centroid_sigma_m(entry.nodes.size_m.astype(float) ** 2, entry.pixel_m) for entry in graph.passes]
    states: dict[tuple[int, int], forecast.State] = {}
    rows, ahead = [], []
    followers = np.bincount([pair.first for pair in graph.pairs], minlength=len(graph.passes))
    last = _last_times(graph)
    for number, entry in enumerate(graph.passes):
        seconds = entry.time.timestamp()
        for floe, place in enumerate(entry.nodes.xy):
            name, sigma = int(tracks.track[number][floe]), float(sigmas[number][floe])
            came, goes = arriving.get((number, floe)), leaving.get((number, floe))
            if came is None:
                state = forecast.start(seconds, place, sigma, *_prior(vectors, weights, number, place))
            else:
                before = tracks.links[came]
                state = forecast.update(forecast.predict(states[before.first, before.floe], seconds), place, sigma)
            states[number, floe] = state
            confidence = 0.0 if came is None and goes is None else float(vectors.confidence[came if goes is None else goes])
            if goes is not None and np.isfinite(vectors.velocity[goes]).all():
                motion = (*map(float, vectors.velocity[goes]), float(vectors.sigma[goes]))
            else:
                motion = (*map(float, state.mean[2:]), float(np.sqrt(np.trace(state.covariance[2:, 2:]) / 2)))
            rows.append((name, entry.time, entry.id, int(entry.floes[floe]), *motion, confidence, *place))
            if goes is None and came is not None and followers[number] < _LIVE_PASSES:
                ahead += _ahead(name, state, last[number], confidence)
    return _sightings(rows, graph.passes[0].crs), _forecast(ahead, graph.passes[0].crs)


def _last_times(graph: Graph) -> list[datetime]:
    """For each pass, the time of the last pass that overlapping passes join it with: a graph may hold several seas."""
    first, second = (np.array([getattr(pair, end) for pair in graph.pairs], np.int64) for end in ("first", "second"))
    table = coo_array((np.ones(first.size), (first, second)), shape=(len(graph.passes),) * 2)
    sea = connected_components(table, directed=False)[1]
    return [max(other.time for other, there in zip(graph.passes, sea, strict=True) if there == here) for here in sea]


def _prior(vectors: Vectors, weights: NDArray[np.float64], number: int, place: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Velocity that the surroundings of a new track have: vectors that begin at or span its pass, else those that end there."""
    spans = (vectors.span[:, 0] <= number) & (vectors.span[:, 1] > number)
    use = spans if (weights[spans] > 0).any() else vectors.span[:, 1] == number
    return forecast.surroundings(place, vectors.start[use], vectors.velocity[use], weights[use])


def _ahead(name: int, state: forecast.State, last: datetime, confidence: float) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for hours in forecast.HORIZONS_H:
        then = forecast.predict(state, last.timestamp() + 3600 * hours)
        time = datetime.fromtimestamp(then.seconds, UTC)
        rows.append((name, time, hours, *forecast.ellipse(then.covariance[:2, :2]), confidence, *map(float, then.mean[:2])))
    return rows


def _sightings(rows: list[tuple[object, ...]], crs: str) -> gpd.GeoDataFrame:
    names = ["track_id", "time", "pass_id", "floe_id", "u", "v", "sigma", "confidence", "px", "py"]
    table = _points(rows, names, crs).astype({"track_id": np.int64, "floe_id": np.int64, "pass_id": "str"})
    return table.sort_values(["track_id", "time", "pass_id"], kind="stable", ignore_index=True)


def _forecast(rows: list[tuple[object, ...]], crs: str) -> gpd.GeoDataFrame:
    names = ["track_id", "time", "horizon_h", "sigma_major_m", "sigma_minor_m", "angle_deg", "confidence", "px", "py"]
    table = _points(rows, names, crs).astype({"track_id": np.int64, "horizon_h": float})
    return table.sort_values(["track_id", "horizon_h"], kind="stable", ignore_index=True)


def _points(rows: list[tuple[object, ...]], names: list[str], crs: str) -> gpd.GeoDataFrame:
    table = pd.DataFrame(rows, columns=names)
    geometry = gpd.points_from_xy(table.pop("px").astype(float), table.pop("py").astype(float))
    table["time"] = pd.to_datetime(table["time"], utc=True).astype("datetime64[us, UTC]")
    for name in table.columns.difference(["time", "pass_id", "track_id", "floe_id"]):
        table[name] = table[name].astype(float)
    return gpd.GeoDataFrame(table, geometry=geometry, crs=crs)
