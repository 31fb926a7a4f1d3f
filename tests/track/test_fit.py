import json

import numpy as np
import pytest
from ice_fields import field, labelled_pass, seen

from icegraph.errors import InputError
from icegraph.graph import build_graph, read_graph
from icegraph.graph.nodes import floe_nodes
from icegraph.laptop import train_matcher
from icegraph.progress import silent
from icegraph.track.augment import Known, Stress, stressed_pair
from icegraph.track.fit import fit_matcher, match
from icegraph.track.follow import score
from icegraph.track.link import link_tracks
from icegraph.track.matcher import read_matcher

CASES = {
    "hudson_bay-100km-20060513": 277,
    "sea_of_okhostk-50km-20180412": 74,
    "east_siberian_sea-100km-20190612": 205,
    "baffin_bay-200km-20060704": 135,
}


def test_matcher_of_some_seconds_matches_real_floes_of_seas_it_has_not_seen(shared_data, tmp_path):
    for case in CASES:
        tables = [labelled_pass(shared_data / "modis_floes" / case, satellite, tmp_path) for satellite in ("aqua", "terra")]
        build_graph(tables, tmp_path / case)
    teacher = tmp_path / "sea_of_okhostk-50km-20180412"
    identities = {entry.id: {int(floe): int(floe) for floe in entry.floes} for entry in read_graph(teacher).passes}
    fit_matcher(teacher, identities, tmp_path / "model", steps=120)
    matcher = read_matcher(tmp_path / "model")
    for case, known in CASES.items():
        graph = read_graph(tmp_path / case)
        links = link_tracks(graph, [score(matcher, graph, 0)]).links
        right = sum(graph.passes[0].floes[link.floe] == graph.passes[1].floes[link.partner] for link in links)
        assert right / len(links) >= 0.99, case
        assert right / known >= 0.99, case


def test_a_matcher_learns_from_floes_as_they_were_drawn(shared_data, tmp_path):
    case = shared_data / "modis_floes" / "sea_of_okhostk-50km-20180412"
    assert train_matcher([case], [case], tmp_path / "model", silent, steps=2, seed=0) == []
    history = json.loads((tmp_path / "model" / "history.json").read_text())
    assert history["train"][-1]["step"] == 2
    assert "2 passes" in (tmp_path / "model" / "README.md").read_text()
    read_matcher(tmp_path / "model")
    with pytest.raises(InputError, match="no pass has known floes"):
        train_matcher([case], [shared_data / "modis_floes" / "baffin_bay-200km-20060704"], tmp_path / "other", silent, steps=2, seed=0)


def test_same_seed_gives_the_same_bytes(tmp_path):
    build_graph([seen(field(30, np.random.default_rng(1)), "a", 0)], tmp_path / "graph")
    for name in ("one", "two"):
        fit_matcher(tmp_path / "graph", {}, tmp_path / name, steps=3, seed=5)
    for file in ("config.json", "model.safetensors", "history.json", "README.md"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file
    history = json.loads((tmp_path / "one" / "history.json").read_text())
    assert history["train"][-1]["step"] == 3


def test_too_few_floes_to_learn_from_are_refused(tmp_path):
    build_graph([seen(field(5, np.random.default_rng(1)), "a", 0)], tmp_path / "graph")
    with pytest.raises(InputError, match="no pass to learn from"):
        fit_matcher(tmp_path / "graph", {}, tmp_path / "model", steps=1)


@pytest.mark.parametrize("seed", range(5))
def test_truth_of_a_made_pair_is_its_identities(seed):
    nodes = floe_nodes(seen(field(90, np.random.default_rng(seed)), "a", 0), 100.0)
    known = Known(nodes, np.arange(90))
    pair, first, second = stressed_pair(known, known, np.random.default_rng(seed), Stress())
    for target, side in ((first, 0), (second, 1)):
        index = pair.candidates[side].numpy() - side * pair.first
        found = target >= 0
        assert (index[target[found]] == np.nonzero(found)[0]).all()
    assert set(first[first >= 0]) == set(second[second >= 0])


def test_without_stress_the_truth_is_whole_and_a_match_is_easy(matcher):
    nodes = floe_nodes(seen(field(60, np.random.default_rng(8)), "a", 0), 100.0)
    known = Known(nodes, np.arange(60))
    calm = Stress(drop=0, shift=0.2, turn_deg=2, jitter=0, free=0, noise=0.1, outline_px=0.1)
    pair, first, _ = stressed_pair(known, known, np.random.default_rng(1), calm)
    assert (first >= 0).all()
    assert set(match(read_matcher(matcher), pair)) == set(first)
