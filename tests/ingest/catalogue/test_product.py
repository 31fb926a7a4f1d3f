from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from icegraph.errors import InputError
from icegraph.ingest.catalogue import Product, parse_period, read_found, write_found
from icegraph.ingest.catalogue.product import CatalogueError, file_name


def test_a_period_is_two_times_or_days_and_a_day_counts_whole() -> None:
    day = datetime(2020, 1, 23, tzinfo=UTC), datetime(2020, 1, 23, 23, 59, 59, 999_999, tzinfo=UTC)
    assert parse_period("2020-01-23") == day
    assert parse_period("2020-01-22/2020-01-23")[1] == day[1]
    assert parse_period("2020-01-23T12:00:00Z/2020-01-23T15:00+01:00") == (
        datetime(2020, 1, 23, 12, tzinfo=UTC),
        datetime(2020, 1, 23, 14, tzinfo=UTC),
    )


@pytest.mark.parametrize("text", ["", "yesterday", "2020-01-23/2020-01-22", "2020-13-01", "/", "9999-12-31/x"])
def test_what_is_no_period_is_one_sentence(text: str) -> None:
    with pytest.raises(InputError):
        parse_period(text)


@pytest.mark.parametrize("name", ["../x", "a/b", "a\\b", "..", ".", "", ".x", "-x", "a..b", "x\n", "C:x", "a" * 300, "é"])
def test_names_that_could_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(CatalogueError, match="cannot name a file here"):
        file_name(name)


def test_what_was_found_is_read_as_it_was_written(tmp_path: Path) -> None:
    products = [
        Product(
            catalogue="asf",
            id="S1B",
            time=datetime(2020, 1, 23, 12, 6, 18, 5, tzinfo=UTC),
            platform="Sentinel-1B",
            mode="EW",
            polarisations=("HH", "HV"),
            footprint={"type": "Polygon", "coordinates": [[[0, 70], [1, 70], [1, 71], [0, 70]]]},
            size=7,
            checksum="md5:" + "0" * 32,
            href="https://x/y",
            licence="free",
        ),
        Product(catalogue="/ice", id="a", time=datetime(2020, 1, 24, tzinfo=UTC), platform="", href="/ice/a", licence=""),
    ]
    write_found(tmp_path / "found.json", products)
    assert read_found(tmp_path / "found.json") == products


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"features": [{}]}', '{"features": [{"properties": {"id": 3}, "geometry": null}]}'])
def test_another_file_is_one_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match="name what `icegraph find` saved"):
        read_found(tmp_path / "x.json")


@pytest.mark.parametrize("checksum", ["crc32:00", "md5:xyz", "sha256", "md5:"])
def test_a_checksum_of_no_known_kind_is_none(checksum: str) -> None:
    told: dict[str, Any] = {"catalogue": "asf", "id": "x", "time": "2020-01-23T00:00:00Z", "platform": "", "href": "", "licence": ""}
    assert Product(**told, checksum=checksum).checksum is None
