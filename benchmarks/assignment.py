"""How the cost of matching grows with the number of floes, each size in a process of its own.

    python benchmarks/assignment.py [--model models/matcher] [--sizes 1000 3000 10000 30000]

Two passes of a made field at one density, drifting as one with some disorder, 10 % of the floes lost on either side. `graph` is candidates
and edges, `matcher` the network, `assign` the one-to-one choice among its scores: seconds of the clock, on all cores. `processor` is its
seconds for all three; the exponent is the slope of their logarithm over that of the floes. The last column is the largest memory of the
process, of which Python and torch take 0.4 GiB.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

STAGES = ("graph", "matcher", "assign")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path(__file__).parents[1] / "models" / "matcher")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 3000, 10_000, 30_000])
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(_measured(given.one, given.model)))
        return
    print("| floes | candidates | graph, s | matcher, s | assign, s | processor, s | matched right | memory, GiB |\n|-|-|-|-|-|-|-|-|")
    rows = []
    for size in given.sizes:
        command = [sys.executable, __file__, "--one", str(size), "--model", str(given.model)]
        row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # noqa: S603 - this script itself
        rows.append(row)
        seconds = " | ".join(f"{row[name]:.2f}" for name in STAGES)
        print(
            f"| {size} | {row['candidates']} | {seconds} | {row['processor']:.2f} | {row['right']:.3f} | {row['memory_gib']:.2f} |",
            flush=True,
        )
    if len(rows) > 1:
        total = [np.log(row["processor"]) for row in rows]
        print(f"\nThe whole grows as the number of floes to the power of {np.polyfit(np.log(given.sizes), total, 1)[0]:.2f}.")


def _measured(size: int, model: Path) -> dict[str, float]:
    import torch

    from icegraph.graph.candidates import candidate_edges
    from icegraph.graph.nodes import neighbours
    from icegraph.track.assign import assign
    from icegraph.track.matcher import one_thread, read_matcher
    from icegraph.track.pair import make_pair

    matcher = read_matcher(model)
    for number in (100, size):  # the first round compiles
        a, b, same = _passes(number)
        reach = 12_000.0
        worked = time.process_time()
        start = time.perf_counter()
        edges, drift = candidate_edges(a, b, reach)
        pair = make_pair(a, b, (neighbours(a.xy), neighbours(b.xy)), edges, drift, reach)
        graph = time.perf_counter()
        with torch.inference_mode(), one_thread():
            gain = matcher(pair)[-1].gain(pair).double().numpy()
        scored = time.perf_counter()
        chosen = assign(edges, gain, (len(a), len(b)))
        done = time.perf_counter()
        worked = time.process_time() - worked
    right = same[edges[0, chosen]] == edges[1, chosen]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        "candidates": edges.shape[1],
        "graph": graph - start,
        "matcher": scored - graph,
        "assign": done - scored,
        "processor": worked,
        "right": float(right.sum() / (same >= 0).sum()),
        "memory_gib": memory,
    }


def _passes(number: int):  # type: ignore[no-untyped-def]
    """Nodes of two passes, and the partner of each floe of the first, or −1."""
    from icegraph.graph.nodes import NAMES, Nodes
    from icegraph.graph.profile import RAYS

    rng = np.random.default_rng(number)
    side = 3000.0 * np.sqrt(number)
    cells = int(np.ceil(np.sqrt(number)))
    xy = (np.indices((cells, cells)).reshape(2, -1).T[:number] + rng.uniform(0.2, 0.8, (number, 2))) * 3000.0
    angle, order = np.linspace(0, 2 * np.pi, RAYS, endpoint=False), np.arange(2, 9)
    bumps = 0.3 * rng.normal(0, 1, (number, 7)) / order
    shape = np.exp((bumps[:, :, None] * np.cos(order[:, None] * angle + rng.uniform(0, 2 * np.pi, (number, 7))[..., None])).sum(axis=1))
    area = np.exp(rng.normal(14.3, 0.8, number))
    profile = shape * np.sqrt(area / np.pi / np.square(shape).mean(axis=1))[:, None]
    features = np.zeros((number, len(NAMES)), np.float32)
    features[:, NAMES.index("log_area_m2")] = np.log(area) - 16
    features[:, NAMES.index("log_pixels")] = np.log(area / 100.0**2) - 5
    features[:, NAMES.index("elongation")] = 4 * np.abs(bumps[:, 0])
    features[:, NAMES.index("brightness")] = rng.normal(0, 1, number)
    first = Nodes(
        xy,
        features,
        np.zeros(number, np.float32),
        np.full(number, 0.5, np.float32),
        np.sqrt(area).astype(np.float32),
        profile.astype(np.float32),
    )
    seen = features + (rng.normal(0, 0.1, features.shape) * (features != 0)).astype(np.float32)
    moved = xy + 4000.0 * np.array([np.sin(xy[:, 1] / side), np.cos(xy[:, 0] / side)]).T + rng.normal(0, 500, xy.shape)
    redrawn = np.maximum(profile + rng.normal(0, 50, profile.shape), 100).astype(np.float32)
    second = Nodes(moved, seen, first.axis, first.eccentricity, first.size_m, redrawn)
    keep, kept = np.flatnonzero(rng.random(number) > 0.1), np.flatnonzero(rng.random(number) > 0.1)
    place = np.full(number, -1)
    place[kept] = np.arange(len(kept))
    return first.take(keep), second.take(kept), place[keep]


if __name__ == "__main__":
    main()
