"""Attention along the edges of a graph, and sums over groups, which it is made of."""

from collections.abc import Callable, Iterator
from math import sqrt
from typing import TypeVar

import torch
from torch import Tensor, nn

from icegraph.ahead import map_ahead

AT_ONCE = 1 << 16  # edges: of many floes all at once would fill the memory
Result = TypeVar("Result")


class EdgeAttention(nn.Module):
    """Attention of nodes to the nodes that edges lead from (Shi et al. 2021, doi 10.24963/ijcai.2021/214, equations 3 and 4).

    Each node sends a query, a key and a value; what is told of an edge is added to the key and the value of its source.

    Args:
        width: W, what is known of a node; a multiple of `heads`.
        heads: Heads.
        told: A, what is told of an edge.
    """

    def __init__(self, width: int, heads: int, told: int) -> None:
        super().__init__()
        self._heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.edge = nn.Linear(told, width, bias=False)
        self.own = nn.Linear(width, width)

    def forward(self, nodes: Tensor, edges: Tensor, told: Tensor) -> Tensor:
        """What the nodes make of each other.

        Args:
            nodes: [N, W].
            edges: From, to [2, E].
            told: Of each edge [E, A].

        Returns:
            [N, W].
        """
        query, key, value = (part(nodes).unflatten(1, (self._heads, -1)) for part in (self.query, self.key, self.value))

        def scores(part: slice) -> Tensor:
            source, target = edges[:, part]
            found: Tensor = (query[target] * (key[source] + self._told(told[part]))).sum(-1) / sqrt(key.shape[2])
            return found

        share = group_softmax(torch.cat(list(by_parts(edges.shape[1], scores))), edges[1], nodes.shape[0])[..., None]

        def values(part: slice) -> tuple[Tensor, Tensor]:
            source, target = edges[:, part]
            return target, (value[source] + self._told(told[part])) * share[part]

        out = torch.zeros_like(value)
        for target, part in by_parts(edges.shape[1], values):
            out = out.index_add(0, target, part)
        mixed: Tensor = out.flatten(1) + self.own(nodes)
        return mixed

    def _told(self, told: Tensor) -> Tensor:
        by_head: Tensor = self.edge(told).unflatten(1, (self._heads, -1))
        return by_head


def by_parts(number: int, work: Callable[[slice], Result]) -> Iterator[Result]:
    """What `work` gives of `AT_ONCE` of so many edges at a time, in order; several parts are worked on side by side."""
    parts = [slice(first, first + AT_ONCE) for first in range(0, max(number, 1), AT_ONCE)]
    inference, grad = torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    def alike(part: slice) -> Result:
        # Each thread has modes of its own.
        with torch.inference_mode(inference), torch.set_grad_enabled(grad):
            return work(part)

    return map_ahead(alike, parts) if len(parts) > 1 else iter([work(parts[0])])


def group_sum(values: Tensor, group: Tensor, number: int) -> Tensor:
    """Sums [number, …] of the values [E, …] of each group; `group` [E]."""
    return values.new_zeros((number, *values.shape[1:])).index_add(0, group, values)


def group_mean(values: Tensor, group: Tensor, number: int) -> Tensor:
    """Means [number, …] of the values [E, …] of each group, 0 of none."""
    count = torch.bincount(group, minlength=number).clamp(min=1).to(values.dtype)
    return group_sum(values, group, number) / count.view(-1, *[1] * (values.dim() - 1))


def group_max(values: Tensor, group: Tensor, number: int) -> Tensor:
    """The largest [number, …] of the values [E, …] of each group, 0 of none."""
    where = group.view(-1, *[1] * (values.dim() - 1)).expand_as(values)
    return values.new_zeros((number, *values.shape[1:])).scatter_reduce(0, where, values, "amax", include_self=False)


def group_softmax(values: Tensor, group: Tensor, number: int) -> Tensor:
    """Softmax [E, …] of the values [E, …] within each group."""
    odds = (values - group_max(values.detach(), group, number)[group]).exp()
    return odds / group_sum(odds, group, number)[group]
