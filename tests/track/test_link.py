import numpy as np
from ice_fields import field, seen

from icegraph.graph import build_graph, read_graph
from icegraph.track.link import Scored, link_tracks


def made(tmp_path, keeps, scored):
    """Tracks of passes that show the floes of `keeps` (ids from 1 of one field of 6), with candidates and gains that `scored` gives."""
    table = field(6, np.random.default_rng(0))
    tables = [seen(table, f"p{k}", 6 * k, keep=np.isin(np.arange(1, 7), keep)) for k, keep in enumerate(keeps)]
    build_graph(tables, tmp_path / "graph")
    graph = read_graph(tmp_path / "graph")
    pairs = []
    for pair in graph.pairs:
        floes = graph.passes[pair.first].floes, graph.passes[pair.second].floes
        gain = np.array([scored(pair, floes[0][i], floes[1][j]) for i, j in pair.candidates.T], float)
        pairs.append(Scored(pair.first, pair.second, pair.candidates, gain, np.exp(np.minimum(gain, 5) - 5)))
    return graph, link_tracks(graph, pairs)


def true(_, one, other):
    return 5.0 if one == other else -5.0


def ids(graph, tracks):
    return [dict(zip(entry.floes.tolist(), names.tolist(), strict=True)) for entry, names in zip(graph.passes, tracks.track, strict=True)]


def test_a_floe_missing_from_two_passes_keeps_its_track(tmp_path):
    graph, tracks = made(tmp_path, [[1, 2, 3], [2, 3], [3], [1, 2, 3]], true)
    first, *_, last = ids(graph, tracks)
    assert first == last
    assert sorted((link.first, link.second) for link in tracks.links) == [(0, 1), (0, 1), (0, 3), (1, 2), (1, 3), (2, 3)]


def test_a_gap_of_three_passes_is_bridged(tmp_path):
    graph, tracks = made(tmp_path, [[1, 2], [2], [2], [2], [1, 2]], true)
    first, *_, last = ids(graph, tracks)
    assert first == last


def test_a_gap_longer_than_three_passes_begins_a_new_track(tmp_path):
    graph, tracks = made(tmp_path, [[1, 2], [2], [2], [2], [2], [1, 2]], true)
    first, *_, last = ids(graph, tracks)
    assert first[2] == last[2]
    assert first[1] != last[1]


def test_track_numbers_are_dense_and_follow_time_then_place(tmp_path):
    graph, tracks = made(tmp_path, [[1, 2, 3], [4, 5, 6], [1, 4]], lambda *_: -1.0)
    assert np.concatenate(tracks.track).tolist() != list(range(1, 9))
    assert sorted(np.concatenate(tracks.track).tolist()) == list(range(1, 9))
    for entry, names in zip(graph.passes, tracks.track, strict=True):
        assert (np.diff(entry.nodes.xy[np.argsort(names), 1]) < 0).all()


def test_a_bridge_never_takes_a_floe_that_a_nearer_pass_has(tmp_path):
    # The pair that skips a pass claims another identity with high gain: the neighbouring passes win.
    graph, tracks = made(
        tmp_path,
        [[1, 2], [1, 2], [1, 2]],
        lambda pair, one, other: 1.0 if pair.second - pair.first == 1 and one == other else 9.0 * (pair.second - pair.first == 2),
    )
    assert {(link.first, link.second) for link in tracks.links} == {(0, 1), (1, 2)}
    assert ids(graph, tracks)[0] == ids(graph, tracks)[2]


def test_a_bridge_is_weighed_by_the_floes_that_are_followed_through_the_passes_between(tmp_path):
    def doubtful(_, one, other):  # floe 1 is said, with a probability of 0.7, to have become 6, which lies elsewhere
        return 5.0 + np.log(0.7) if (one, other) == (1, 6) else true(_, one, other)

    _, alone = made(tmp_path / "alone", [[1], [2, 3, 4, 5], [6]], doubtful)
    _, among = made(tmp_path / "among", [[1, 2, 3, 4, 5], [2, 3, 4, 5], [2, 3, 4, 5, 6]], doubtful)
    assert [(link.first, link.second) for link in alone.links] == [(0, 2)]
    assert {(link.first, link.second) for link in among.links} == {(0, 1), (1, 2)}


def test_no_floe_has_two_successors_or_predecessors(tmp_path):
    rng = np.random.default_rng(1)
    _, tracks = made(tmp_path, [range(1, 7)] * 4, lambda *_: rng.normal(1, 2))
    for ends in ([(link.first, link.floe) for link in tracks.links], [(link.second, link.partner) for link in tracks.links]):
        assert len(set(ends)) == len(ends)
