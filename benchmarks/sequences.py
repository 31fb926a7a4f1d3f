"""How well floes are followed over ten passes of a simulated field that is hard to follow.

    python benchmarks/sequences.py [--model models/matcher] [--fields 2]

The field (250 × 250 km, pixels of 250 m, one pass a day) turns by up to 180 degrees from the first pass to the last, shears, is moved by
weather, and its floes spin by themselves and break. Two of twelve passes are missing, and each pass misses 15 % of the floes. Floes are
measured on rasters; tracks are scored against the identities of the floes that the passes show, and, in brackets, of all there are. Beside
it the same passes followed by the nearest neighbour after the mean shift, and by the Hungarian method on place, area and shape, of which
the most that they accept is chosen with the truth at hand.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import geopandas as gpd
import numpy as np
from affine import Affine
from matching import HARDEST, Pairs, hungarian, nearest, written
from numpy.typing import NDArray
from rasterio.features import rasterize
from shapely.geometry import Polygon

from icegraph.evaluate.tracking import PassPairs, hota, idf1
from icegraph.graph import build_graph, floe_table
from icegraph.graph.floes import ABOUT
from icegraph.grid import Grid
from icegraph.simulate.field import Field, Settings, snapped_grid
from icegraph.track.follow import track

PIXEL_M, SIZE_KM, PASSES, MISSING, MISSED = 250.0, 250.0, 12, (4, 8), 0.15
DAY_S = 86400.0
START = datetime(2021, 5, 1, tzinfo=UTC)

Table = gpd.GeoDataFrame


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path(__file__).parents[1] / "models" / "matcher")
    parser.add_argument("--fields", type=int, default=2)
    given = parser.parse_args()
    print("| field | tracker | HOTA | IDF1 | gaps bridged | splits told / true, right |\n|-|-|-|-|-|-|")
    for seed in range(given.fields):
        with tempfile.TemporaryDirectory() as place:
            passes, truth, parents = _simulated(seed, Path(place))
            build_graph(passes, Path(place) / "graph")
            track(Path(place) / "graph", given.model, Path(place) / "tracks")
            ours = gpd.read_parquet(Path(place) / "tracks" / "tracks.parquet")
            names = {(row.pass_id, row.floe_id): row.track_id for row in ours.itertuples()}
            _print(seed, "icegraph", passes, truth, names, _splits(ours, passes, parents))
            for name, by in (("nearest neighbour", nearest), ("Hungarian", hungarian)):
                choices = zip(*(by(a, b, HARDEST) for a, b in pairwise(passes)), strict=True)
                best = max((_joined(passes, choice) for choice in choices), key=lambda names: _figures(passes, names)[0])
                _print(seed, name, passes, truth, best, "")


def _simulated(seed: int, place: Path) -> tuple[list[Table], list[set[int]], dict[int, int]]:
    """Floe tables of the passes (floe id = identity), the identities there are in each, and the parent of each piece."""
    settings = Settings(
        1000 + seed, SIZE_KM, PIXEL_M, PASSES * DAY_S, DAY_S, regime="pack", smallest_px=9.0, largest=0.06, cover=0.35, land=False,
        drift_m_s=0.03, rotation_per_day=np.pi / (PASSES - 1), shear_per_day=0.02, spin_per_day=0.35, breaking=0.06,
    )  # fmt: skip
    field, rng = Field(settings), np.random.default_rng(seed)
    grid = snapped_grid(field, PIXEL_M)
    passes, truth, parents = [], [], {}
    for number in range(PASSES):
        if number not in MISSING:
            labels = _drawn(field, grid)
            about = {"pass_id": f"pass-{number:02}", "time": (START + timedelta(days=number)).isoformat()}
            table = floe_table(*written(place / "pass", labels, {}, grid, about))
            table = table[table["area_m2"] > 40 * PIXEL_M**2].reset_index(drop=True)
            # What a camera shows of a floe beside its outline: its own brightness, measured with noise.
            shade = {floe.identity: floe.shade for floe in field.floes}
            table["red_mean"] = [0.6 + 0.05 * shade[int(k)] for k in table["floe_id"]] + rng.normal(0, 0.02, len(table))
            table["red_std"] = 0.05 + rng.normal(0, 0.01, len(table))
            truth.append(set(table["floe_id"].astype(int)))
            seen = table[rng.random(len(table)) >= MISSED].reset_index(drop=True)
            seen.attrs = table.attrs
            passes.append(seen)
        field.step(DAY_S)
        parents |= {floe.identity: floe.parent for floe in field.floes if floe.parent}
    return passes, truth, parents


def _drawn(field: Field, grid: Grid) -> NDArray[np.uint32]:
    inverse = ~grid.transform
    shapes = []
    for floe, outline in zip(field.floes, field.outlines(), strict=True):
        col, row = inverse * tuple((outline + field.centre_m).T)
        shapes.append((Polygon(np.column_stack([col, row])), floe.identity))
    return rasterize(shapes, grid.shape, transform=Affine.identity(), dtype="int32").astype(np.uint32)


def _joined(passes: Sequence[Table], matches: Sequence[Pairs]) -> dict[tuple[str, int], int]:
    """Tracks of matches from each pass to the next."""
    names: dict[tuple[str, int], int] = {}
    for a, b, pairs in zip([passes[0], *passes[:-1]], passes, [set(), *matches], strict=True):
        told = {j: i for i, j in pairs}
        for j, floe in enumerate(b["floe_id"].astype(int)):
            before = None if j not in told else names[a.attrs[ABOUT]["pass_id"], int(a["floe_id"].iloc[told[j]])]
            names[b.attrs[ABOUT]["pass_id"], floe] = len(names) + 1 if before is None else before
    return names


def _figures(passes: Sequence[Table], names: Mapping[tuple[str, int], int], truth: Sequence[set[int]] | None = None) -> tuple[float, float]:
    """HOTA and IDF1 of sightings whose outlines are right."""
    pairs = []
    for number, table in enumerate(passes):
        found = table["floe_id"].to_numpy(np.int64)
        known = np.array(sorted(truth[number]), np.int64) if truth else np.sort(found)
        tracks = np.array([names[table.attrs[ABOUT]["pass_id"], int(floe)] for floe in found], np.int64)
        places = np.column_stack([np.searchsorted(known, found), np.arange(len(found))])
        pairs.append(PassPairs(known, tracks, places, np.ones(len(found))))
    return hota(pairs)["hota"], idf1(pairs)["idf1"]


def _print(
    seed: int, name: str, passes: Sequence[Table], truth: Sequence[set[int]], names: Mapping[tuple[str, int], int], splits: str
) -> None:
    seen, everything = _figures(passes, names), _figures(passes, names, truth)
    floes = round(np.mean([len(table) for table in passes]))
    bridged = _bridged(passes, names)
    figures = " | ".join(f"{one:.3f} ({other:.3f})" for one, other in zip(seen, everything, strict=True))
    print(f"| {seed} ({floes} floes a pass) | {name} | {figures} | {bridged} | {splits} |", flush=True)


def _bridged(passes: Sequence[Table], names: Mapping[tuple[str, int], int]) -> str:
    """The share of the gaps of 1, 2 and 3 passes in the identities' sightings that tracks go across."""
    seen: dict[int, list[int]] = {}
    for number, table in enumerate(passes):
        for floe in table["floe_id"].astype(int):
            seen.setdefault(floe, []).append(number)
    out = []
    for gap in (1, 2, 3):
        ends = [(floe, a, b) for floe, times in seen.items() for a, b in pairwise(times) if b - a == gap + 1]
        whole = [names[passes[a].attrs[ABOUT]["pass_id"], floe] == names[passes[b].attrs[ABOUT]["pass_id"], floe] for floe, a, b in ends]
        out.append(f"{np.mean(whole):.2f} of {len(whole)}" if whole else "none")
    return ", ".join(out)


def _splits(tracks: Table, passes: Sequence[Table], parents: Mapping[int, int]) -> str:
    """Splits told, splits of which the floe and two pieces or more were seen in passes that follow each other, and the right ones."""
    seen = [set(table["floe_id"].astype(int)) for table in passes]
    true = set()
    for before, after in pairwise(seen):
        for parent in {parents[floe] for floe in after - before if parents.get(floe) in before}:
            pieces = {floe for floe in after if parents.get(floe) == parent}
            if len(pieces) > 1 and parent not in after:
                true.add((parent, frozenset(pieces)))
    first = tracks.groupby("track_id").first()
    told = set()
    for row in tracks[tracks["ends"] == "split"].itertuples():
        told.add((int(row.floe_id), frozenset(int(first.loc[child, "floe_id"]) for child in row.children)))
    return f"{len(told)} / {len(true)}, {len(told & true)}"


if __name__ == "__main__":
    main()
