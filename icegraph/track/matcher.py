"""A graph network that tells which floe is which.

It begins with what outlines, brightness and places say by themselves (`likelihood`), and learns what to add to the log probabilities.
Attention within a pass tells each floe about its neighbours; attention across passes compares it with its candidates; and between
the rounds each candidate is checked against its surroundings: do the neighbours have partners that moved along (supports), and how far is
the candidate's displacement from the one that the neighbours' present matches imply (consensus). A floe may have no partner: a dustbin
takes part in each choice. After SuperGlue (Sarlin et al. 2020, doi 10.1109/CVPR42600.2020.00499) and LightGlue (Lindenberger et al. 2023,
doi 10.1109/ICCV51070.2023.01616), on sparse edges; the supports follow neighbourhood consensus (Rocco et al. 2018, arXiv 1810.10510).

    nodes ── within (spatial) ── across (candidates) ──┐
    candidates ── supports, consensus ── state ── score ┴─ softmax over a floe's candidates and its dustbin, from both sides
                  └────────────── match weights ◄──────┘   (each round)
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from icegraph.errors import ModelError
from icegraph.graph.nodes import NAMES
from icegraph.track.attention import EdgeAttention, by_parts, group_max, group_mean, group_softmax, group_sum
from icegraph.track.pair import CANDIDATE_GEOMETRY, SPATIAL_ATTRIBUTES, SUPPORT_ATTRIBUTES, Pair
from icegraph.weights import load_weights

_CONSENSUS = 3
_MOST = {"width": 4096, "rounds": 64, "heads": 64}


@dataclass(frozen=True)
class MatcherConfig:
    """Sizes of a matcher.

    Args:
        features: Names of the node features it was trained on.
        width: Width of node and candidate states.
        rounds: Rounds of attention and consensus.
        heads: Attention heads.
    """

    features: tuple[str, ...] = NAMES
    width: int = 32
    rounds: int = 3
    heads: int = 4


@dataclass(frozen=True)
class Scores:
    """What the matcher says of a pair.

    Args:
        first: Log probability of each candidate among those of its floe in the earlier pass and the dustbin [E].
        second: The same from the later pass's side [E].
        first_none: Log probability that a floe of the earlier pass has no partner [Na].
        second_none: The same for the later pass [Nb].
    """

    first: Tensor
    second: Tensor
    first_none: Tensor
    second_none: Tensor

    def gain(self, pair: Pair) -> Tensor:
        """Log odds of each candidate against leaving both its floes alone [E]; what `assign` maximises.

        What the likelihood by itself speaks for counts once more, what it speaks against does not: in scenes of a kind that it has seldom
        learnt from, the network would talk floes out of partners that fit.
        """
        source, target = pair.candidates
        learnt = self.first + self.second - self.first_none[source] - self.second_none[target - pair.first]
        return learnt + (2 * pair.belief.log() - pair.alone[source].log() - pair.alone[target].log()).clamp(min=0)

    @property
    def confidence(self) -> Tensor:
        """Probability of each candidate: the lower of the two sides' [E]."""
        return torch.minimum(self.first, self.second).exp()


class Matcher(nn.Module):
    """See the module's text."""

    def __init__(self, config: MatcherConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.enter = _mlp(len(config.features), width, width)
        self.compare = _mlp(2 * width + len(config.features) + CANDIDATE_GEOMETRY, 2 * width, width)
        self.rounds = nn.ModuleList(_Round(width, config.heads) for _ in range(config.rounds))

    def forward(self, pair: Pair) -> list[Scores]:
        """Score a pair: one result a round, the last is the best."""
        nodes = self.enter(pair.nodes)
        state = _of_candidates(self.compare, pair, nodes, pair.candidate_attributes)
        scores: list[Scores] = []
        weight = pair.belief
        for step in self.rounds:
            nodes, state, score = step(pair, nodes, state, weight)
            scores.append(score)
            # The rounds are trained each by its own loss: no gradient through the weights keeps training calm.
            weight = (score.first + score.second).mul(0.5).exp().detach()
        return scores


class _Round(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.within, self.across = EdgeAttention(width, heads, SPATIAL_ATTRIBUTES), EdgeAttention(width, heads, width)
        self.supports = _Supports(width)
        self.mix = _mlp(2 * width, width, width)
        self.update = _mlp(width + 2 * width + self.supports.out + _CONSENSUS, 2 * width, width)
        self.score = nn.Linear(width, 1)
        self.none = _mlp(2 * width + 2, width, 1)
        # Learning begins with what is known without it, and adds to that.
        for last in (*self.score.parameters(), *self.none[-1].parameters()):
            nn.init.zeros_(last)
        self.trust = nn.Parameter(torch.ones(()))
        self.node_norm, self.state_norm = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, pair: Pair, nodes: Tensor, state: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Scores]:
        seen = self.within(nodes, pair.spatial, pair.spatial_attributes)
        # One way at a time, as each way ends in the floes of one pass alone: less memory.
        back, forth = (self.across(nodes, way, state) for way in (pair.candidates.flip(0), pair.candidates))
        met = torch.cat([back[: pair.first], forth[pair.first :]])
        nodes = self.node_norm(nodes + self.mix(torch.cat([seen, met], dim=1)))
        consensus, support = _consensus(pair, weight), self.supports(state, weight, pair)
        state = self.state_norm(state + _of_candidates(self.update, pair, nodes, support, consensus, first=state))
        return nodes, state, self._choose(pair, nodes, state)

    def _choose(self, pair: Pair, nodes: Tensor, state: Tensor) -> Scores:
        score = self.score(state)[:, 0] + self.trust * pair.belief.log()
        sides = []
        number = pair.first + pair.second
        for index in pair.candidates:
            best = group_max(score.detach(), index, number)
            mean = group_mean(state, index, number)
            count = torch.bincount(index, minlength=number).to(score.dtype)
            none = self.none(torch.cat([nodes, mean, best[:, None], torch.log1p(count)[:, None]], dim=1))[:, 0]
            none = none + self.trust * pair.alone.log()
            everyone = torch.cat([score, none])
            place = torch.cat([index, torch.arange(number)])
            chance = group_softmax(everyone, place, number).clamp_min(1e-9).log()
            sides.append((chance[: score.shape[0]], chance[score.shape[0] :]))
        return Scores(sides[0][0], sides[1][0], sides[0][1][: pair.first], sides[1][1][pair.first :])


class _Supports(nn.Module):
    """What the neighbours' candidates say of a candidate: how many moved along, and whether they turned by one angle."""

    def __init__(self, width: int, gates: int = 8) -> None:
        super().__init__()
        self.gates = gates
        self.out = 4 * gates
        self.gate = _mlp(SUPPORT_ATTRIBUTES + 1 + 4, 16, gates)
        self.brief = nn.Linear(width, 4)

    def forward(self, state: Tensor, weight: Tensor, pair: Pair) -> Tensor:
        brief = torch.cat([self.brief(state), weight[:, None]], dim=1)

        def sums(part: slice) -> tuple[slice, Tensor]:
            """What is said of the candidates that a part of the supports supports."""
            source, target = pair.supports[:, part]
            seen, turn = brief[source], pair.support_turn[part][:, None]
            gate = torch.sigmoid(self.gate(torch.cat([pair.support_attributes[part], seen], dim=1)))
            sure = gate * seen[:, -1:]
            candidates = slice(int(target[0]), int(target[-1]) + 1) if len(target) else slice(0, 0)
            said = torch.cat([gate, sure * turn.cos(), sure * turn.sin(), sure], dim=1)
            return candidates, group_sum(said, target - candidates.start, candidates.stop - candidates.start)

        total = torch.zeros((state.shape[0], 4 * self.gates), dtype=state.dtype)
        for candidates, part in by_parts(pair.supports.shape[1], sums):
            total[candidates] += part
        plain, cos, sin, weighted = total.chunk(4, dim=1)
        return torch.cat([plain, weighted, torch.hypot(cos, sin + 1e-6), cos], dim=1) / 4


def _of_candidates(mlp: nn.Module, pair: Pair, nodes: Tensor, *told: Tensor, first: Tensor | None = None) -> Tensor:
    """What an MLP makes of candidates [E, …], of their nodes and what is told of them."""

    def of(part: slice) -> Tensor:
        one, other = nodes[pair.candidates[0, part]], nodes[pair.candidates[1, part]]
        own = [] if first is None else [first[part]]
        made: Tensor = mlp(torch.cat([*own, (one - other).abs(), one * other, *(values[part] for values in told)], dim=1))
        return made

    return torch.cat(list(by_parts(pair.candidates.shape[1], of)))


def _consensus(pair: Pair, weight: Tensor) -> Tensor:
    """How each candidate's displacement departs from that of the neighbours' present matches [E, 3], in spacings.

    The neighbours' expected displacements are fitted by d(p) = d0 + c (p − p0) with complex c (turn and stretch), weighted by their match
    weights; the floe itself takes no part in the fit.
    """
    number = pair.first + pair.second
    source = pair.candidates[0]
    way, place = _complex(pair.way), _complex(pair.place)
    total = group_sum(weight, source, number)
    mean = _sum(way * weight, source, number) / total.clamp_min(1e-6)
    neighbour, floe = pair.spatial
    w = total[neighbour].clamp(max=1.0) ** 2
    mass = group_sum(w, floe, number)
    p0, d0 = (_sum(x[neighbour] * w, floe, number) / mass.clamp_min(1e-6) for x in (place, mean))
    p, d = place[neighbour] - p0[floe], mean[neighbour] - d0[floe]
    # One unit of spread is added: few or weak neighbours give a shift without a turn.
    turn = _sum(w * p.conj() * d, floe, number) / (group_sum(w * p.abs() ** 2, floe, number) + 1.0)
    expected = d0 + turn * (place - p0)
    rest = (mean[neighbour] - expected[floe]).abs() * w
    rest_m = group_sum(rest, floe, number) / mass.clamp_min(1e-6)
    off = (way - expected[source]).abs()
    return torch.stack([torch.log1p(3 * off), off / (off + rest_m[source] + 0.1), torch.log1p(mass[source])], dim=1)


def _complex(values: Tensor) -> Tensor:
    return torch.complex(values[:, 0], values[:, 1])


def _sum(values: Tensor, index: Tensor, number: int) -> Tensor:
    parts = group_sum(torch.view_as_real(values), index, number)
    return _complex(parts)


def _mlp(enter: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(enter, hidden), nn.GELU(), nn.Linear(hidden, out))


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread: small graphs run no faster on many, and on one the sums have one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def write_matcher(matcher: Matcher, folder: Path) -> None:
    """Write `config.json` and `model.safetensors` into a folder."""
    from safetensors.torch import save

    (folder / "model.safetensors").write_bytes(save({name: value.contiguous() for name, value in matcher.state_dict().items()}))
    (folder / "config.json").write_text(json.dumps({"kind": "matcher", **asdict(matcher.config)}, indent=1, sort_keys=True) + "\n")


def read_matcher(folder: Path) -> Matcher:
    """Load a matcher.

    Raises:
        ModelError: The folder holds no whole matcher, or one for other features.
    """
    mend = "name the folder of a matcher, or train it anew"
    path = folder / "config.json"
    try:
        content = json.loads(path.read_text())
        if content.pop("kind") != "matcher":
            raise ModelError(path, "not a matcher", mend)
        config = MatcherConfig(**content | {"features": tuple(content["features"])})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(path, f"not the config of a matcher ({error})", mend) from error
    if config.features != NAMES:
        raise ModelError(path, f"made for the features {list(config.features)}", f"train one for {list(NAMES)}")
    for name, most in _MOST.items():
        value = getattr(config, name)
        if type(value) is not int or not 1 <= value <= most:
            raise ModelError(path, f"{name} is {value}, not a whole number from 1 to {most}", mend)
    if config.width % config.heads:
        raise ModelError(path, f"width is {config.width}, not a multiple of its {config.heads} heads", mend)
    return load_weights(lambda: Matcher(config), folder / "model.safetensors", mend)
