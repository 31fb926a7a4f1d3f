import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import shapely

from icegraph.ingest.catalogue import CatalogueError, Product, Query, fetch, open_catalogue
from icegraph.ingest.catalogue.area import box_area
from icegraph.progress import silent

from .conftest import SECRETS, Asked, Handler, Provider, Remote, md5, nothing_of

ALL = Query(datetime(2020, 1, 20, tzinfo=UTC), datetime(2020, 1, 30, tzinfo=UTC))
NAME = "S1B_EW_GRDM_1SDH_20200123T120618_20200123T120718_019944_025B8C_5A1F"


def granule(provider: Provider, name: str, content: bytes, **changes: Any) -> dict[str, Any]:
    """A UMM-G record as ASF's, and its file at the data host."""
    provider.files[f"/data/{name}.zip"] = Remote(content, etag='"1"', private=True)
    more = {
        "BEAM_MODE": "EW",
        "POLARIZATION": "HH+HV",
        "ASF_PLATFORM": "Sentinel-1B",
        "MD5SUM": hashlib.md5(content).hexdigest(),
        "BYTES": f"{len(content)}.0",
    }
    points = [(10, 80), (-10, 80), (-10, 82), (10, 82), (10, 80)]
    return {
        "meta": {"concept-id": "G1-ASF"},
        "umm": {
            "GranuleUR": f"{name}-GRD_MD",
            "TemporalExtent": {"RangeDateTime": {"BeginningDateTime": "2020-01-23T12:06:18Z", "EndingDateTime": "2020-01-23T12:07:18Z"}},
            "RelatedUrls": [
                {"URL": f"s3://asf-ngap2w-p-s1-grd-7d1b4348/{name}.zip", "Type": "GET DATA VIA DIRECT ACCESS"},
                {"URL": f"{provider.url}/data/{name}.zip", "Type": "GET DATA"},
                {"URL": f"{provider.url}/browse/{name}.jpg", "Type": "GET RELATED VISUALIZATION"},
            ],
            "AdditionalAttributes": [{"Name": key, "Values": [value]} for key, value in more.items()],
            "SpatialExtent": {
                "HorizontalSpatialDomain": {
                    "Geometry": {"GPolygons": [{"Boundary": {"Points": [{"Longitude": x, "Latitude": y} for x, y in points]}}]}
                }
            },
            "Platforms": [{"ShortName": "SENTINEL-1B"}],
        }
        | changes,
    }


@pytest.fixture
def nasa(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Provider:
    """The provider as CMR, Earthdata Login and the data host; `provider.granules` are found, two to a page."""
    provider.granules = []  # type: ignore[attr-defined]
    provider.tokens["token-given"] = 1000

    def search(handler: Handler, asked: Asked) -> None:
        first = int(asked.headers.get("cmr-search-after", "0"))
        items = provider.granules[first : first + 2]  # type: ignore[attr-defined]
        told = {"CMR-Search-After": str(first + 2)} if items else {}
        handler.answer_json(200, {"hits": len(provider.granules), "took": 5, "items": items}, **told)  # type: ignore[attr-defined]

    def find_or_create_token(handler: Handler, asked: Asked) -> None:
        if asked.headers.get("authorization") != "Basic aWNlLXVzZXI6aWNlLXBhc3N3b3Jk":  # ice-user:ice-password
            handler.answer_json(401, {"error": "invalid_credentials"})
            return
        provider.tokens["token-new"] = 1000
        handler.answer_json(200, {"access_token": "token-new", "token_type": "Bearer", "expiration_date": "12/31/2099"})

    provider.routes |= {"/search/granules.umm_json": search, "/api/users/find_or_create_token": find_or_create_token}
    for name in ("CMR", "EARTHDATA_LOGIN", "EARTHDATA_DATA"):
        monkeypatch.setenv(f"ICEGRAPH_{name}", provider.url)
    monkeypatch.setenv("EARTHDATA_TOKEN", "token-given")
    return provider


def found(query: Query = ALL, name: str = "asf") -> list[Product]:
    return list(open_catalogue(name).search(query))


def test_all_pages_are_read_and_every_field_is_told(nasa: Provider) -> None:
    nasa.granules = [granule(nasa, f"{NAME[:-1]}{number}", b"zip") for number in range(5)]
    products = found()
    assert [product.id for product in products] == [f"{NAME[:-1]}{number}" for number in range(5)]
    assert [asked.headers.get("cmr-search-after") for asked in nasa.to("/search/granules.umm_json")] == [None, "2", "4", "6"]
    one = products[0]
    assert (one.platform, one.mode, one.polarisations, one.size, one.checksum) == ("Sentinel-1B", "EW", ("HH", "HV"), 3, md5(b"zip"))
    assert one.time == datetime(2020, 1, 23, 12, 6, 18, tzinfo=UTC)
    assert one.href == f"{nasa.url}/data/{NAME[:-1]}0.zip"
    assert one.geometry is not None
    assert one.geometry.equals(shapely.box(-10, 80, 10, 82))


def test_a_busy_page_is_asked_for_again_when_cmr_says(nasa: Provider) -> None:
    nasa.granules = [granule(nasa, f"{NAME[:-1]}{number}", b"zip") for number in range(3)]
    route, busy = nasa.routes["/search/granules.umm_json"], [False, True, False, True]

    def sometimes_busy(handler: Handler, asked: Asked) -> None:
        if busy and busy.pop(0):
            handler.answer(429, b"slow down", Retry_After="1")
        else:
            route(handler, asked)

    nasa.routes["/search/granules.umm_json"] = sometimes_busy
    assert len(found()) == 3
    pages = nasa.to("/search/granules.umm_json")
    assert [asked.headers.get("cmr-search-after") for asked in pages] == [None, "2", "2", "4", "4"]
    assert pages[2].time - pages[1].time >= 1


def test_cmr_is_asked_for_what_the_query_says(nasa: Provider) -> None:
    found(Query(ALL.start, ALL.end, box_area((170, 70, -170, 80)), mode="ew"))
    query = nasa.to("/search/granules.umm_json")[0].query
    assert query["temporal"] == ["2020-01-20T00:00:00.000Z,2020-01-30T00:00:00.000Z"]
    assert query["bounding_box"] == ["170.000000,70.000000,-170.000000,80.000000"]
    assert query["attribute[]"] == ["string,BEAM_MODE,EW"]
    assert {"SENTINEL-1A_DP_GRD_MEDIUM", "SENTINEL-1B_SP_GRD_HIGH", "SENTINEL-1C_DP_GRD_MEDIUM"} < set(query["short_name[]"])


def test_a_product_comes_through_the_redirects_of_earthdata(
    nasa: Provider, new_provider: Callable[[], Provider], payload: bytes, tmp_path: Path
) -> None:
    """As ASF serves: with the token to a host of its own, from there to a signed address at another's."""
    cloud = new_provider()
    cloud.files["/signed"] = Remote(payload, etag='"1"', cut_at=[1_000_000])
    nasa.granules = [granule(nasa, NAME, payload)]
    nasa.redirects[f"/data/{NAME}.zip"] = f"{cloud.url}/signed?X-Amz-Signature=s3cret"
    [path], failed = fetch(found(), tmp_path, silent)
    assert failed == []
    assert path == tmp_path / f"{NAME}.zip"
    assert path.read_bytes() == payload
    assert {asked.headers["authorization"] for asked in nasa.to(f"/data/{NAME}.zip")} == {"Bearer token-given"}
    assert [asked.headers.get("range") for asked in cloud.asked] == [None, "bytes=1000000-"]
    assert all("authorization" not in asked.headers for asked in cloud.asked)
    nothing_of((*SECRETS, "s3cret"), tmp_path)


def test_a_token_that_ran_out_is_replaced_by_the_password(
    nasa: Provider, payload: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nasa.granules = [granule(nasa, NAME, payload)]
    nasa.tokens["token-given"] = 0
    [failure] = fetch(found(), tmp_path, silent)[1]
    assert failure.reason.startswith("127.0.0.1: refuses the login; check EARTHDATA_TOKEN: it may have run out")
    monkeypatch.setenv("EARTHDATA_USERNAME", "ice-user")
    monkeypatch.setenv("EARTHDATA_PASSWORD", "ice-password")
    [path], _ = fetch(found(), tmp_path, silent)
    assert path.read_bytes() == payload


def test_a_wrong_password_is_told_without_it(nasa: Provider, payload: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nasa.granules = [granule(nasa, NAME, payload)]
    monkeypatch.delenv("EARTHDATA_TOKEN")
    monkeypatch.setenv("EARTHDATA_USERNAME", "ice-user")
    monkeypatch.setenv("EARTHDATA_PASSWORD", "ice-password-of-yesterday")
    [failure] = fetch(found(), tmp_path, silent)[1]
    assert failure.reason == "127.0.0.1: refuses the login; check EARTHDATA_USERNAME and EARTHDATA_PASSWORD, or the line in ~/.netrc."


def test_an_amsr2_grid_is_found_and_fetched(nasa: Provider, payload: bytes, tmp_path: Path) -> None:
    name = "AMSR_U2_L3_SeaIce12km_B04_20200123.he5"
    nasa.files[f"/data/{name}"] = Remote(payload, private=True)
    sides = {
        f"{side}BoundingCoordinate": value for side, value in zip(("West", "South", "East", "North"), (-180, 30, 180, 90), strict=True)
    }
    nasa.granules = [
        {
            "umm": {
                "GranuleUR": f"SC:AU_SI12.001:{name}",
                "TemporalExtent": {"RangeDateTime": {"BeginningDateTime": "2020-01-23T00:00:00.000Z"}},
                "RelatedUrls": [{"URL": f"{nasa.url}/data/{name}", "Type": "GET DATA"}],
                "SpatialExtent": {"HorizontalSpatialDomain": {"Geometry": {"BoundingRectangles": [sides]}}},
                "DataGranule": {
                    "ArchiveAndDistributionInformation": [
                        {"Size": 3.52, "SizeUnit": "MB", "Checksum": {"Value": hashlib.sha256(payload).hexdigest(), "Algorithm": "SHA-256"}}
                    ]
                },
                "Platforms": [{"ShortName": "GCOM-W1"}],
            }
        }
    ]
    [product] = found(Query(ALL.start, ALL.end, box_area((170, 75, -170, 80))), "earthdata")
    assert nasa.asked[0].query["short_name"] == ["AU_SI12"]
    assert (product.platform, product.mode, product.size) == ("GCOM-W1", "AU_SI12", 3_520_000)
    assert product.checksum == f"sha256:{hashlib.sha256(payload).hexdigest()}"
    [path], _ = fetch([product], tmp_path, silent)
    assert (path.name, path.read_bytes()) == (name, payload)
    assert found(Query(ALL.start, ALL.end, box_area((0, -80, 10, -70))), "earthdata") == []


@pytest.mark.parametrize("name", ["..%2f..%2fescape", "..", ".hidden.zip", "a%00b.zip"])
def test_a_hostile_file_name_is_refused(name: str, nasa: Provider, tmp_path: Path) -> None:
    nasa.granules = [granule(nasa, NAME, b"x", RelatedUrls=[{"URL": f"{nasa.url}/data/{name}", "Type": "GET DATA"}])]
    paths, [failure] = fetch(found(), tmp_path / "out", silent)
    assert paths == []
    assert "cannot name a file here" in failure.reason
    assert list(tmp_path.rglob("*")) == []


def test_records_that_name_no_file_or_no_time_are_left_out(nasa: Provider) -> None:
    nasa.granules = [granule(nasa, NAME, b"x", RelatedUrls=[]), granule(nasa, NAME, b"x", TemporalExtent={}), granule(nasa, NAME, b"x")]
    assert len(found()) == 1


def test_a_server_that_is_not_cmr_is_one_sentence(nasa: Provider) -> None:
    for content in (b"<html>", b"[]", b'{"items": [{}]}', b'{"items": 3}'):
        nasa.routes["/search/granules.umm_json"] = lambda handler, asked, content=content: handler.answer(200, content)
        with pytest.raises(CatalogueError, match=r"answered with what is no JSON|does not answer as CMR does"):
            found()
