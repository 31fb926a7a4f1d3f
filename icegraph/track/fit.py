"""Train a matcher on passes with known identities, moved and disturbed at random."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from icegraph.errors import InputError
from icegraph.graph import Graph, read_graph
from icegraph.progress import Progress, silent
from icegraph.store import atomic_dir, code_version, sha256
from icegraph.track.assign import assign
from icegraph.track.augment import UNKNOWN, Known, Stress, stressed_pair
from icegraph.track.matcher import Matcher, MatcherConfig, Scores, one_thread, write_matcher
from icegraph.track.pair import Pair

STEPS = 500
_HELD_OUT = 12
_LEAST_FLOES = 8


def fit_matcher(
    graph: Path,
    identities: Mapping[str, Mapping[int, int]],
    out: Path,
    *,
    steps: int = STEPS,
    seed: int = 0,
    stress: Stress | None = None,
    progress: Progress = silent,
) -> None:
    """Train a matcher and write its folder: config.json, model.safetensors, history.json, README.md.

    Half of the training pairs are pairs of passes that share known floes, half are one pass taken twice; both are moved, turned, thinned
    out and measured anew at random (`Stress`). The same graph, identities, steps and seed give the same weights on one machine.

    Args:
        graph: Graph folder.
        identities: Pass id → floe id → identity. Only these passes are learnt from; where there are none, all are, each taken twice.
        out: Model folder to write.
        steps: Training steps, each one pair; about 0.1 s a step on one core.
        seed: Of all that is random.
        stress: How hard the pairs are.
        progress: Is told the step and the share done.

    Raises:
        InputError: No pass has enough floes to learn from.
    """
    stress = stress or Stress()
    loaded = read_graph(graph)
    pairs, singles = _teachers(loaded, identities)
    if not singles:
        raise InputError(graph, f"no pass to learn from has {_LEAST_FLOES} floes or more", "give passes that show more floes")
    with one_thread():
        torch.manual_seed(seed)
        matcher = Matcher(MatcherConfig())
        curve = _train(matcher, pairs, singles, steps, seed, stress, progress)
        held = _score(matcher, pairs, singles, seed, stress)
    with atomic_dir(out) as folder:
        write_matcher(matcher, folder)
        history = {"train": curve, "held_out": held, "steps": steps, "seed": seed}
        (folder / "history.json").write_text(json.dumps(history, indent=1, sort_keys=True) + "\n")
        (folder / "README.md").write_text(_card(loaded, len(pairs), len(singles), history, sha256(graph / "graph.json")))


def _teachers(graph: Graph, identities: Mapping[str, Mapping[int, int]]) -> tuple[list[tuple[Known, Known]], list[Known]]:
    """Pairs of passes that share known floes (both ways in time), and single passes in which each floe is its own identity."""
    singles, known = [], {}
    for number, entry in enumerate(graph.passes):
        if len(entry.nodes) >= _LEAST_FLOES and (entry.id in identities or not identities):
            singles.append(Known(entry.nodes, np.arange(len(entry.nodes))))
        if entry.id in identities:
            names = identities[entry.id]
            known[number] = Known(entry.nodes, np.array([names.get(int(floe), UNKNOWN) for floe in entry.floes], np.int64).reshape(-1))
    pairs = []
    for pair in graph.pairs:
        if pair.first in known and pair.second in known:
            one, other = known[pair.first], known[pair.second]
            if np.isin(one.identity[one.identity != UNKNOWN], other.identity).sum() >= _LEAST_FLOES:
                pairs += [(one, other), (other, one)]
    return pairs, singles


def _draw(pairs: list[tuple[Known, Known]], singles: list[Known], rng: np.random.Generator) -> tuple[Known, Known]:
    if pairs and rng.random() < 0.5:
        return pairs[rng.integers(len(pairs))]
    one = singles[rng.integers(len(singles))]
    return (one, one) if rng.random() < 0.6 else (shuffled := _shuffled(one, rng), shuffled)


def _shuffled(known: Known, rng: np.random.Generator) -> Known:
    """The places of one pass with its floes' looks dealt anew: a new ice field."""
    order = rng.permutation(len(known.identity))
    looks = known.nodes.take(order)
    return Known(replace(looks, xy=known.nodes.xy), known.identity)


def _train(
    matcher: Matcher,
    pairs: list[tuple[Known, Known]],
    singles: list[Known],
    steps: int,
    seed: int,
    stress: Stress,
    progress: Progress,
) -> list[dict[str, float]]:
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(matcher.parameters(), lr=3e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=max(steps, 2), pct_start=0.15)
    curve, recent = [], []
    matcher.train()
    for step in range(1, steps + 1):
        pair, first, second = stressed_pair(*_draw(pairs, singles, rng), rng, stress)
        loss = _loss(matcher(pair), first, second)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(matcher.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        recent.append(float(loss.detach()))
        if step % 25 == 0 or step == steps:
            curve.append({"step": step, "loss": round(float(np.mean(recent)), 5)})
            recent = []
            progress(f"learn to match: loss {curve[-1]['loss']:.3f}", step / steps)
    matcher.eval()
    return curve


def _loss(scores: list[Scores], first: NDArray[np.int64], second: NDArray[np.int64]) -> Tensor:
    """Mean negative log probability of the truth, over floes, sides and rounds; the last round counts most."""
    total = torch.zeros(())
    weights = [*([0.3] * (len(scores) - 1)), 1.0]
    for score, weight in zip(scores, weights, strict=True):
        for chance, none, target in ((score.first, score.first_none, first), (score.second, score.second_none, second)):
            goal = torch.from_numpy(target)
            parts = torch.cat([chance[goal[goal >= 0]], none[goal == -1]])
            if parts.numel():
                total = total - weight * parts.mean()
    return total / (2 * sum(weights)) + 0.0 * scores[-1].first.sum()


def _score(matcher: Matcher, pairs: list[tuple[Known, Known]], singles: list[Known], seed: int, stress: Stress) -> dict[str, Any]:
    """Precision, recall and F1 on pairs drawn anew, of the same hardness as in training."""
    rng = np.random.default_rng([seed, 1])
    right = found = real = 0
    for _ in range(_HELD_OUT):
        pair, first, _ = stressed_pair(*_draw(pairs, singles, rng), rng, stress)
        chosen = match(matcher, pair)
        judged = first[pair.candidates[0, chosen].numpy()] != -2
        right += int(np.isin(chosen, first[first >= 0]).sum())
        found, real = found + int(judged.sum()), real + int((first >= 0).sum())
    precision, recall = right / max(found, 1), right / max(real, 1)
    f1 = 2 * right / max(found + real, 1)
    return {"precision": round(precision, 4), "recall": round(recall, 4), "f1": round(f1, 4), "pairs": _HELD_OUT, "floes": real}


def match(matcher: Matcher, pair: Pair) -> NDArray[np.int64]:
    """Numbers of the candidates that the matcher chooses, one to one [M]."""
    if pair.candidates.shape[1] == 0:
        return np.zeros(0, np.int64)
    with torch.inference_mode(), one_thread():
        gain = matcher(pair)[-1].gain(pair).double().numpy()
    index = (pair.candidates - torch.tensor([[0], [pair.first]])).numpy()
    return assign(index, gain, (pair.first, pair.second))


def _card(graph: Graph, pairs: int, singles: int, history: dict[str, Any], digest: str) -> str:
    held = history["held_out"]
    first, last = graph.passes[0].time, graph.passes[-1].time
    return f"""# Floe matcher

Finds which floe of one pass is which of a later pass. Input: floes as nodes with fixed features (shape, size, brightness relative to the
pass), whatever the sensor; output: a probability for each candidate pair and for having no partner.

- Trained on {singles} passes, {first:%Y-%m-%d} to {last:%Y-%m-%d}, {pairs // 2} pairs of which share known floes; {history["steps"]} steps,
  seed {history["seed"]}. The pairs are disturbed at random: shifts, turns, strain, lost floes, new measurements.
- On {held["pairs"]} freshly disturbed pairs ({held["floes"]} floes with a partner): precision {held["precision"]:.3f},
  recall {held["recall"]:.3f}, F1 {held["f1"]:.3f}. The ice fields are those of the training; judge on others before trust.
- Graph: SHA-256 of graph.json {digest}. Code: icegraph {code_version()}.

Limits: floes that break, merge or lose more than half of their neighbours get no partner rather than a doubtful one; displacements of
more than about {math.ceil(Stress().shift)} spacings between floes, or turns above {Stress().turn_deg:.0f} degrees, were not trained.
"""
