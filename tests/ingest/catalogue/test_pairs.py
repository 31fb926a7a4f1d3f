from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from icegraph.ingest.catalogue import Product, overlapping_pairs
from icegraph.ingest.catalogue.area import as_geojson, box_area

START = datetime(2020, 1, 23, tzinfo=UTC)


def product(name: str, hours: float, west: float, **changes: Any) -> Product:
    """A scene ten degrees wide."""
    fields = {
        "catalogue": "asf",
        "id": name,
        "time": START + timedelta(hours=hours),
        "platform": "Sentinel-1B",
        "footprint": as_geojson(box_area((west, 70, west + 10, 75))),
        "href": "https://x",
        "licence": "free",
    }
    return Product(**fields | changes)


def pairs(products: list[Product], least: float, within_h: float) -> list[tuple[str, str]]:
    return [(pair.first.id, pair.second.id) for pair in overlapping_pairs(products, least=least, within_h=within_h)]


def test_pairs_overlap_enough_and_are_near_in_time() -> None:
    products = [product("d", 49, 0), product("c", 24, 8), product("b", 24, 5), product("a", 0, 0)]
    assert pairs(products, 0.4, 24) == [("a", "b"), ("b", "c")]
    assert pairs(products, 0.4, 25) == [("a", "b"), ("b", "c"), ("b", "d")]
    assert pairs(products, 0.1, 24) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert pairs(products, 1.0, 49) == [("a", "d")]
    assert pairs(products, 0.4, 0) == [("b", "c")]


def test_share_and_hours_are_told() -> None:
    [pair] = overlapping_pairs([product("a", 0, 0), product("b", 36.5, 5)], least=0.1, within_h=48)
    assert pair.overlap == pytest.approx(0.5, abs=1e-3)
    assert pair.hours == 36.5


def test_what_has_no_footprint_is_in_no_pair() -> None:
    assert pairs([product("a", 0, 0), product("b", 1, 0, footprint=None)], 0, 10) == []
