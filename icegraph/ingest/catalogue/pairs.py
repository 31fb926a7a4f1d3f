"""Pairs of products to follow ice between: they overlap, and are not far apart in time."""

from collections.abc import Sequence
from itertools import takewhile
from typing import NamedTuple

from icegraph.ingest.catalogue.area import overlap
from icegraph.ingest.catalogue.product import Product


class Pair(NamedTuple):
    """Two products, the earlier first, the share of the smaller that both see, and the hours between them."""

    first: Product
    second: Product
    overlap: float
    hours: float


def overlapping_pairs(products: Sequence[Product], *, least: float, within_h: float) -> list[Pair]:
    """Pairs that overlap by `least` or more (0…1 of the smaller footprint) and lie `within_h` hours or less apart, in order of time.

    A product without a footprint is in no pair.
    """
    ordered = sorted(products, key=lambda product: (product.time, product.id))
    found = []
    for number, first in enumerate(ordered):
        near = takewhile(lambda other: _hours(first, other) <= within_h, ordered[number + 1 :])  # noqa: B023 - used up at once
        for second in near:
            one, other = first.geometry, second.geometry
            if one is not None and other is not None and (share := overlap(one, other)) >= least:
                found.append(Pair(first, second, share, _hours(first, second)))
    return found


def _hours(first: Product, second: Product) -> float:
    return (second.time - first.time).total_seconds() / 3600
