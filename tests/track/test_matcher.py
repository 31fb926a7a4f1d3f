import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from ice_fields import field, seen

from icegraph.errors import ModelError
from icegraph.graph.candidates import candidate_edges
from icegraph.graph.nodes import floe_nodes, neighbours
from icegraph.track.fit import match
from icegraph.track.matcher import Matcher, MatcherConfig, read_matcher, write_matcher
from icegraph.track.pair import make_pair


def two(number=40, seed=0, move=lambda xy: xy + 3000.0):
    """A field and where it went: nodes, later nodes."""
    table = field(number, np.random.default_rng(seed))
    return floe_nodes(seen(table, "a", 0), 100.0), floe_nodes(seen(table, "b", 6, move=move), 100.0)


def scored(matcher, a, b, reach=30_000.0):
    """Matrix of confidences [Na, Nb], NaN where no candidate."""
    edges, drift = candidate_edges(a, b, reach)
    pair = make_pair(a, b, (neighbours(a.xy), neighbours(b.xy)), edges, drift, reach)
    with torch.inference_mode():
        confidence = matcher(pair)[-1].confidence.numpy()
    table = np.full((len(a), len(b)), np.nan)
    table[tuple(edges)] = confidence
    return table, edges[:, match(matcher, pair)]


@pytest.fixture(scope="module")
def fresh():
    torch.manual_seed(3)
    matcher = Matcher(MatcherConfig()).eval()
    for step in matcher.rounds:  # a matcher that has learnt nothing adds nothing: let it add something
        torch.nn.init.normal_(step.score.weight)
        torch.nn.init.normal_(step.none[-1].weight)
    return matcher


def test_order_of_floes_does_not_matter(fresh):
    a, b = two()
    rng = np.random.default_rng(5)
    first, second = rng.permutation(len(a)), rng.permutation(len(b))
    plain, _ = scored(fresh, a, b)
    mixed, _ = scored(fresh, a.take(first), b.take(second))
    np.testing.assert_allclose(mixed, plain[np.ix_(first, second)], atol=2e-5)


def turned(nodes, degrees):
    angle = np.radians(degrees)
    spin = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return replace(nodes.turned(np.full(len(nodes), angle)), xy=nodes.xy @ spin.T)


@pytest.mark.parametrize("degrees", [90, 180, 33.75])
def test_a_turn_of_both_passes_changes_nothing(fresh, degrees):
    a, b = two()
    # Turns are told in quarters of a ray: where two are as good, rounding decides.
    np.testing.assert_allclose(scored(fresh, turned(a, degrees), turned(b, degrees))[0], scored(fresh, a, b)[0], atol=2e-3)


def test_a_shift_of_the_whole_plane_changes_nothing(fresh):
    a, b = two()
    away = [replace(nodes, xy=nodes.xy + np.array([1_000_000, -2_000_000])) for nodes in (a, b)]
    np.testing.assert_allclose(scored(fresh, *away)[0], scored(fresh, a, b)[0], atol=1e-4)


def test_choices_of_each_floe_sum_to_one_with_its_dustbin(fresh):
    a, b = two()
    edges, drift = candidate_edges(a, b, 30_000.0)
    score = fresh(make_pair(a, b, (neighbours(a.xy), neighbours(b.xy)), edges, drift, 30_000.0))[-1]
    for chance, none, index in ((score.first, score.first_none, edges[0]), (score.second, score.second_none, edges[1])):
        total = np.bincount(index, chance.exp().detach().numpy(), len(none)) + none.exp().detach().numpy()
        np.testing.assert_allclose(total, 1, atol=1e-4)


def test_a_small_displacement_is_matched_without_error(matcher):
    a, b = two(80, seed=9, move=lambda xy: xy + np.array([400.0, -300.0]))
    _, chosen = scored(read_matcher(matcher), a, b, reach=20_000.0)
    assert chosen.T.tolist() == [[k, k] for k in range(80)]


def test_displacement_turn_and_losses_beat_the_nearest_and_the_hungarian(matcher):
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial import distance_matrix

    from icegraph.graph.nodes import NOISE

    angle = np.radians(20)
    spin = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    a, b = two(120, seed=4, move=lambda xy: xy @ spin.T + np.array([9000.0, 5000.0]))
    rng = np.random.default_rng(2)
    b = replace(b, features=b.features + rng.normal(0, 0.2, b.features.shape).astype(np.float32))
    first, second = np.nonzero(rng.random(120) > 0.3)[0], np.nonzero(rng.random(120) > 0.3)[0]
    a, b = a.take(first), b.take(second)
    real = len(np.intersect1d(first, second))

    def f1(pairs):
        right = sum(first[i] == second[j] for i, j in pairs)
        return 2 * right / (len(pairs) + real)

    _, chosen = scored(read_matcher(matcher), a, b, reach=40_000.0)
    away = distance_matrix(a.xy + b.xy.mean(axis=0) - a.xy.mean(axis=0), b.xy)
    nearest = [(i, int(j)) for i, j in enumerate(away.argmin(axis=1)) if away[:, j].argmin() == i]
    look = np.minimum((a.features[:, None] - b.features[None]) ** 2 / (2 * NOISE**2), 9).mean(axis=2)
    cost = np.minimum(away / 5500 + look, 4)
    hungarian = [(i, j) for i, j in zip(*linear_sum_assignment(cost), strict=True) if cost[i, j] < 4]
    assert f1(chosen.T.tolist()) > 0.9
    assert f1(nearest) < 0.5
    assert f1(hungarian) < 0.8


def test_a_matcher_is_read_as_it_was_written(fresh, tmp_path):
    write_matcher(fresh, tmp_path)
    again = read_matcher(tmp_path)
    assert all(torch.equal(again.state_dict()[name], value) for name, value in fresh.state_dict().items())


def test_broken_matchers_are_refused(fresh, tmp_path):
    with pytest.raises(ModelError, match=r"config\.json: not the config of a matcher"):
        read_matcher(tmp_path)
    write_matcher(fresh, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for wrong, reason in (
        ({"kind": "segmenter"}, "not a matcher"),
        ({"features": ["area"]}, "made for the features"),
        ({"more": 1}, "not the config of a matcher"),
        ({"width": 64}, "not those that config.json describes"),
        ({"heads": 64}, "width is 32, not a multiple of its 64 heads"),
        ({"width": 4000}, "not those that config.json describes"),  # gigabytes, if it were built
        ({"width": 20_000}, "width is 20000, not a whole number from 1 to"),
        ({"rounds": 10**9}, "rounds is 1000000000, not a whole number from 1 to"),
        ({"heads": 0}, "heads is 0, not a whole number from 1 to"),
        ({"width": True}, "width is True, not a whole number from 1 to"),
        ({"width": 32.5}, r"width is 32\.5, not a whole number from 1 to"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config | wrong))
        with pytest.raises(ModelError, match=reason):
            read_matcher(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    weights = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ModelError, match="the weights cannot be read"):
        read_matcher(tmp_path)


def test_a_matcher_with_endless_weights_is_refused(tmp_path):
    matcher = Matcher(MatcherConfig())
    with torch.no_grad():
        next(matcher.parameters())[0] = float("nan")
    write_matcher(matcher, tmp_path)
    with pytest.raises(ModelError, match="values that are not finite"):
        read_matcher(tmp_path)
