"""Attention along edges, against its formula written out for every pair of nodes."""

import numpy as np
import pytest
import torch

from icegraph.track import attention
from icegraph.track.attention import EdgeAttention, group_max, group_mean, group_softmax

WIDTH, HEADS, TOLD = 8, 2, 3


def graph(nodes: int = 7, edges: int = 40) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Node 0 has no edge that leads to it."""
    draw = torch.Generator().manual_seed(3)
    pairs = torch.stack([torch.randint(0, nodes, (edges,), generator=draw), torch.randint(1, nodes, (edges,), generator=draw)])
    return torch.randn(nodes, WIDTH, generator=draw), pairs, torch.randn(edges, TOLD, generator=draw)


def written_out(layer: EdgeAttention, nodes: torch.Tensor, edges: torch.Tensor, told: torch.Tensor) -> np.ndarray:
    """Equations 3 and 4, node by node and head by head."""
    query, key, value, own = (part(nodes).detach().numpy() for part in (layer.query, layer.key, layer.value, layer.own))
    edge = layer.edge(told).detach().numpy()
    out, size = own.copy(), WIDTH // HEADS
    for node in range(len(nodes)):
        mine = np.flatnonzero(edges[1].numpy() == node)
        for head in range(HEADS if len(mine) else 0):
            part = slice(head * size, (head + 1) * size)
            source = edges[0].numpy()[mine]
            score = (key[source, part] + edge[mine, part]) @ query[node, part] / np.sqrt(size)
            share = np.exp(score) / np.exp(score).sum()
            out[node, part] += share @ (value[source, part] + edge[mine, part])
    return out


@pytest.mark.parametrize("at_once", [7, 1 << 18])
def test_attention_is_its_formula_however_many_edges_are_taken_at_once(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "AT_ONCE", at_once)
    torch.manual_seed(0)
    layer, given = EdgeAttention(WIDTH, HEADS, TOLD), graph()
    np.testing.assert_allclose(layer(*given).detach().numpy(), written_out(layer, *given), rtol=1e-5, atol=1e-6)


def test_groups_are_taken_apart_and_those_of_nothing_are_nought() -> None:
    values, group = torch.tensor([[1.0, -4.0], [3.0, -2.0], [5.0, 0.0]]), torch.tensor([2, 2, 0])
    assert group_max(values, group, 4).tolist() == [[5, 0], [0, 0], [3, -2], [0, 0]]
    assert group_mean(values, group, 4).tolist() == [[5, 0], [0, 0], [2, -3], [0, 0]]
    share = group_softmax(values, group, 4)
    np.testing.assert_allclose(share, [[1 / (1 + np.e**2)] * 2, [1 / (1 + np.e**-2)] * 2, [1, 1]], rtol=1e-6)


def test_softmax_holds_for_values_far_beyond_what_an_exponential_can_be() -> None:
    share = group_softmax(torch.tensor([1e4, 1e4, -1e4]), torch.tensor([0, 0, 1]), 2)
    assert share.tolist() == [0.5, 0.5, 1.0]
