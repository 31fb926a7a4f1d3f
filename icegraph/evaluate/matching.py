"""How well floes of two passes were paired: precision and recall of the pairs of ids, among floes found and known in both."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, Self


class Link(NamedTuple):
    """A floe in one pass and a floe in a later one, said to be the same."""

    pass_from: str
    floe_from: int
    pass_to: str
    floe_to: int


@dataclass(frozen=True)
class LinkCounts:
    """Pairs of floes.

    Args:
        true: Pairs that could be told.
        told: Pairs told and judged.
        right: The right ones among those told.
        met: The true ones among those told; a right pair that jumps over a sighting is none of them.
    """

    true: int = 0
    told: int = 0
    right: int = 0
    met: int = 0

    def __add__(self, other: Self) -> "LinkCounts":
        """Counts of both together."""
        return LinkCounts(self.true + other.true, self.told + other.told, self.right + other.right, self.met + other.met)

    def metrics(self) -> dict[str, float]:
        """Counts, `precision`, `recall` and `f1`; a figure that is not defined is left out."""
        out: dict[str, float] = {"true": self.true, "told": self.told, "right": self.right}
        if self.told:
            out["precision"] = self.right / self.told
        if self.true:
            out["recall"] = self.met / self.true
        if self.right and self.met:
            out["f1"] = 2 / (self.told / self.right + self.true / self.met)
        elif self.told + self.true:
            out["f1"] = 0.0
        return out


def true_links(identities: Mapping[str, Mapping[int, int]], order: Sequence[str]) -> set[Link]:
    """The links a perfect matcher would tell: each identity from one pass where it was found to the next one where it was.

    Args:
        identities: Pass id → floe id → identity, of the floes found and known.
        order: Pass ids in time order.
    """
    sightings: dict[int, list[tuple[str, int]]] = {}
    for pass_id in order:
        for floe, identity in identities.get(pass_id, {}).items():
            sightings.setdefault(identity, []).append((pass_id, floe))
    return {Link(*here, *after) for seen in sightings.values() for here, after in pairwise(seen)}


def right_links(links: Iterable[Link], identities: Mapping[str, Mapping[int, int]]) -> list[Link]:
    """The links between two floes of the same identity."""
    out = []
    for link in links:
        identity = identities.get(link.pass_from, {}).get(link.floe_from)
        if identity is not None and identity == identities.get(link.pass_to, {}).get(link.floe_to):
            out.append(link)
    return out


def count_links(
    links: Iterable[Link], identities: Mapping[str, Mapping[int, int]], order: Sequence[str]
) -> dict[tuple[str, str], LinkCounts]:
    """Count true, told and right pairs for each pair of passes that has a true link or one that was told.

    A link is judged where the truth can contradict it: both its floes have an identity, or one has an identity that was found in the
    other pass too. A link between floes that the truth does not know is not counted. A right link that jumps over a
    sighting counts for precision, and not for recall.

    Args:
        links: The links told.
        identities: Pass id → floe id → identity, of the floes found and known.
        order: Ids of the passes that are followed together, in time order.
    """
    true = true_links(identities, order)
    present = {pass_id: set(floes.values()) for pass_id, floes in identities.items()}
    counts: dict[tuple[str, str], LinkCounts] = {}
    for link in true:
        pair = (link.pass_from, link.pass_to)
        counts[pair] = counts.get(pair, LinkCounts()) + LinkCounts(true=1)
    for link in links:
        pair = (link.pass_from, link.pass_to)
        a, b = identities.get(link.pass_from, {}).get(link.floe_from), identities.get(link.pass_to, {}).get(link.floe_to)
        both = a is not None and b is not None
        judged = both or a in present.get(link.pass_to, ()) or b in present.get(link.pass_from, ())
        counts[pair] = counts.get(pair, LinkCounts()) + LinkCounts(told=judged, right=both and a == b, met=link in true)
    return counts


def links_within(links: Iterable[Link], passes: Collection[str]) -> list[Link]:
    """The links that the matches make between some of the passes: a floe that was followed through other passes is followed through them.

    For passes of one sensor among those of two, these are the links that a run of the one sensor would have to tell.
    """
    onward = {(link.pass_from, link.floe_from): (link.pass_to, link.floe_to) for link in links}
    out = []
    for start in onward:
        end = onward[start]
        while end[0] not in passes and end in onward:
            end = onward[end]
        if start[0] in passes and end[0] in passes:
            out.append(Link(*start, *end))
    return out
