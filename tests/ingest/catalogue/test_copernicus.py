import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import rasterio
import shapely
from blake3 import blake3

from icegraph.errors import InputError
from icegraph.ingest import ingest
from icegraph.ingest.catalogue import CatalogueError, Product, Query, fetch, open_catalogue
from icegraph.ingest.catalogue.area import box_area
from icegraph.ingest.sentinel1 import read_product
from icegraph.progress import silent

from .conftest import SECRETS, Asked, Handler, Provider, Remote, md5, nothing_of

ALL = Query(datetime(2021, 5, 1, tzinfo=UTC), datetime(2021, 5, 2, tzinfo=UTC))
CORNERS = [[-40.0, 78.0], [-20.0, 78.0], [-15.0, 82.0], [-45.0, 82.0], [-40.0, 78.0]]


def item(provider: Provider, name: str, content: bytes, **changes: Any) -> dict[str, Any]:
    """An item as stac.dataspace.copernicus.eu gives it, and its product in the download service."""
    number = f"00000000-0000-0000-0000-{len(provider.files):012d}"
    provider.files[f"/odata/v1/Products({number})/$value"] = Remote(content, etag=f'"{number}"', private=True)
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": ["https://stac-extensions.github.io/file/v2.1.0/schema.json"],
        "id": name,
        "collection": "sentinel-1-grd",
        "bbox": [-45.0, 78.0, -15.0, 82.0],
        "geometry": {"type": "Polygon", "coordinates": [CORNERS]},
        "properties": {
            "datetime": "2021-05-01T10:30:00Z",
            "start_datetime": "2021-05-01T10:29:30Z",
            "end_datetime": "2021-05-01T10:30:30Z",
            "platform": "sentinel-1b",
            "product:type": "EW_GRDM_1S",
            "sar:instrument_mode": "EW",
            "sar:polarizations": ["HH", "HV"],
        }
        | changes.pop("properties", {}),
        "links": [],
        "assets": {
            "hh": {"href": f"s3://eodata/Sentinel-1/SAR/EW_GRDM_1S-COG/{name}.SAFE/measurement/hh-cog.tiff", "type": "image/tiff"},
            "Product": {
                "href": f"{provider.url}/odata/v1/Products({number})/$value",
                "type": "application/zip",
                "file:size": len(content),
                "file:checksum": "d50110" + hashlib.md5(content).hexdigest(),
            },
        }
        | changes.pop("assets", {}),
    } | changes


@pytest.fixture
def cdse(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Provider:
    """The provider as the Copernicus Data Space: `provider.items` are found, two to a page."""
    provider.items = []  # type: ignore[attr-defined]

    def landing(handler: Handler, asked: Asked) -> None:
        conforms = ["core", "item-search", "item-search#filter"]
        links = [
            {"rel": "self", "href": f"{provider.url}/stac/"},
            {"rel": "root", "href": f"{provider.url}/stac/"},
            {"rel": "search", "href": f"{provider.url}/stac/search", "type": "application/geo+json", "method": "POST"},
        ]
        handler.answer_json(
            200,
            {
                "type": "Catalog",
                "id": "cdse",
                "stac_version": "1.1.0",
                "description": "",
                "links": links,
                "conformsTo": [f"https://api.stacspec.org/v1.0.0/{one}" for one in conforms],
            },
        )

    def search(handler: Handler, asked: Asked) -> None:
        body = json.loads(asked.body)
        first = int(body.get("token", "0"))
        items = provider.items[first : first + 2]  # type: ignore[attr-defined]
        more = first + 2 < len(provider.items)  # type: ignore[attr-defined]
        following = {"rel": "next", "href": f"{provider.url}/stac/search", "method": "POST", "body": body | {"token": str(first + 2)}}
        handler.answer_json(200, {"type": "FeatureCollection", "features": items, "links": [following] if more else []})

    provider.routes = {"/stac/search": search, "/stac": landing} | provider.routes
    for name, path in {"STAC": "/stac", "ODATA": "/odata/v1", "DOWNLOAD": "/odata/v1", "IDENTITY": "/token"}.items():
        monkeypatch.setenv(f"ICEGRAPH_COPERNICUS_{name}", provider.url + path)
    monkeypatch.setenv("CDSE_USERNAME", "ice-user")
    monkeypatch.setenv("CDSE_PASSWORD", "ice-password")
    return provider


def found(query: Query = ALL) -> list[Product]:
    return list(open_catalogue("copernicus").search(query))


def test_all_pages_are_read_and_every_field_is_told(cdse: Provider) -> None:
    cdse.items = [item(cdse, f"S1B_EW_{number}_COG", b"zip") for number in range(5)]
    products = found()
    assert [product.id for product in products] == [f"S1B_EW_{number}_COG" for number in range(5)]
    assert len(cdse.to("/stac/search")) == 3
    one = products[3]
    assert (one.platform, one.mode, one.polarisations, one.size) == ("Sentinel-1B", "EW", ("HH", "HV"), 3)
    assert one.time == datetime(2021, 5, 1, 10, 29, 30, tzinfo=UTC)
    assert one.checksum == md5(b"zip")
    assert one.href == f"{cdse.url}/odata/v1/Products(00000000-0000-0000-0000-000000000003)/$value"
    assert one.licence.endswith("contains modified Copernicus Sentinel data 2021")
    assert shapely.equals(one.geometry, shapely.Polygon(CORNERS))


def test_busy_services_are_asked_again(cdse: Provider, payload: bytes, tmp_path: Path) -> None:
    """Search, token and download each say 429 once; the token's as when too many sessions are open."""
    cdse.items = [item(cdse, "S1B_EW", payload)]
    [remote] = cdse.files.values()
    remote.busy = [(429, "1")]
    for path in ("/stac/search", "/token"):

        def once_busy(handler: Handler, asked: Asked, route: Any = cdse.routes[path], told: list[int] = []) -> None:  # noqa: B006
            if told:
                route(handler, asked)
            else:
                told.append(429)
                handler.answer(429, b"Max session number 4 exceeded.", Retry_After="1")

        cdse.routes[path] = once_busy
    [path], failed = fetch(found(), tmp_path, silent)
    assert (path.read_bytes(), failed) == (payload, [])
    assert [len(cdse.to(path)) for path in ("/stac/search", "/token", next(iter(cdse.files)))] == [2, 2, 2]


def test_the_server_is_asked_for_what_the_query_says(cdse: Provider) -> None:
    found(Query(ALL.start, ALL.end, box_area((170, 70, -170, 80)), mode="ew"))
    body = json.loads(cdse.to("/stac/search")[0].body)
    assert body["collections"] == ["sentinel-1-grd"]
    assert body["datetime"] == "2021-05-01T00:00:00.000Z/2021-05-02T00:00:00.000Z"
    assert body["bbox"] == [170, 70, -170, 80]
    assert body["filter"] == {"op": "=", "args": [{"property": "sar:instrument_mode"}, "EW"]}


@pytest.mark.parametrize(
    ("asked", "number"),
    [
        ({"mode": "IW"}, 0),
        ({"mode": "EW", "polarisation": "hv"}, 1),
        ({"polarisation": "VV"}, 0),
        ({"platform": "Sentinel-1A"}, 0),
        ({"area": box_area((-30, 79, -29, 80))}, 1),
        ({"area": box_area((-60, 79, -50, 80))}, 0),
        ({"area": box_area((-41, 78.5, -40.6, 79))}, 1),  # east of the straight side from 40 W, 78 N to 45 W, 82 N
        ({"area": box_area((-45, 78.1, -43.5, 79))}, 0),  # within the footprint's box, outside the footprint
    ],
)
def test_what_the_server_gives_too_much_is_left_out(asked: dict[str, Any], number: int, cdse: Provider) -> None:
    cdse.items = [item(cdse, "S1B_EW", b"zip")]
    assert len(found(Query(ALL.start, ALL.end, **asked))) == number


def test_what_is_fetched_is_ingested_with_its_source(cdse: Provider, zipped: Path, tmp_path: Path) -> None:
    content = zipped.read_bytes()
    name = zipped.name.removesuffix(".SAFE.zip")
    cdse.items = [item(cdse, name, content)]
    [path], failed = fetch(found(), tmp_path / "out", silent)
    assert (path, failed) == (tmp_path / "out" / f"{name}.SAFE.zip", [])
    assert path.read_bytes() == content
    manifest = ingest([tmp_path / "out"], tmp_path / "manifest")
    [entry] = manifest.passes
    assert (entry.id, entry.href) == (name, path)
    assert entry.source == f"{cdse.url}/odata/v1/Products(00000000-0000-0000-0000-000000000000)/$value"
    assert entry.licence.endswith("contains modified Copernicus Sentinel data 2021")
    nothing_of(SECRETS, tmp_path / "out")
    nothing_of(SECRETS, tmp_path / "manifest")


def test_a_product_with_cog_pixels_is_ingested(safe: Path, tmp_path: Path) -> None:
    """As every product of the STAC catalogue is: names end in -cog, pixels are tiled, compressed and have overviews."""
    for path in sorted(safe.rglob("*-00[12].*")):
        renamed = path.with_name(f"{path.stem}-cog{path.suffix}")
        if path.suffix == ".tiff":
            with rasterio.open(path) as dataset:
                settings = dataset.profile | {"driver": "GTiff", "tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate"}
                gcps, pixels = dataset.gcps, dataset.read()
            with rasterio.open(renamed, "w", **settings | {"gcps": gcps[0], "crs": gcps[1]}) as dataset:
                dataset.write(pixels)
            with rasterio.open(renamed, "r+") as dataset:
                dataset.build_overviews([2])
            path.unlink()
        else:
            path.rename(renamed)
    manifest = safe / "manifest.safe"
    text = manifest.read_text()
    manifest.write_text(text.replace("-001.", "-001-cog.").replace("-002.", "-002-cog."))
    cog = safe.rename(safe.with_name(f"{safe.stem}_COG.SAFE"))
    [entry] = ingest([cog], tmp_path / "manifest").passes
    assert entry.id == cog.stem
    assert [polarisation.name for polarisation in read_product(cog).polarisations] == ["hh", "hv"]


def test_a_token_that_ends_in_mid_run_is_renewed_without_the_password(cdse: Provider, payload: bytes, tmp_path: Path) -> None:
    cdse.uses = 2
    contents = [payload[number:] for number in range(5)]
    cdse.items = [item(cdse, f"S1B_EW_{number}", content) for number, content in enumerate(contents)]
    paths, failed = fetch(found(), tmp_path, silent, parallel=1)
    assert failed == []
    assert [path.read_bytes() for path in paths] == contents
    assert cdse.grants == ["password", "refresh_token", "refresh_token"]


def test_a_token_that_ends_while_a_file_is_cut_is_renewed_and_the_file_goes_on(cdse: Provider, payload: bytes, tmp_path: Path) -> None:
    cdse.uses = 1
    cdse.items = [item(cdse, "S1B_EW", payload)]
    [[path, remote]] = cdse.files.items()
    remote.cut_at = [1_000_000]
    [place], _ = fetch(found(), tmp_path, silent)
    assert place.read_bytes() == payload
    assert [(asked.headers.get("range"), asked.headers["authorization"]) for asked in cdse.to(path)] == [
        (None, "Bearer token-1"),
        ("bytes=1000000-", "Bearer token-1"),
        ("bytes=1000000-", "Bearer token-2"),
    ]


def test_when_the_refresh_token_has_ended_too_the_password_is_asked(cdse: Provider, payload: bytes, tmp_path: Path) -> None:
    cdse.uses = 1
    cdse.items = [item(cdse, f"S1B_EW_{number}", payload) for number in range(2)]
    catalogue = open_catalogue("copernicus")
    first, second = catalogue.search(ALL)
    catalogue.fetch(first, tmp_path, lambda more: None)
    cdse.refresh.clear()
    catalogue.fetch(second, tmp_path, lambda more: None)
    assert cdse.grants == ["password", "password"]


def test_parallel_downloads_share_one_session(cdse: Provider, payload: bytes, tmp_path: Path) -> None:
    contents = [payload[number:] for number in range(8)]
    cdse.items = [item(cdse, f"S1B_EW_{number}", content) for number, content in enumerate(contents)]
    paths, _ = fetch(found(), tmp_path, silent, parallel=4)
    assert [path.read_bytes() for path in paths] == contents
    assert cdse.grants == ["password"]


def test_no_more_run_at_once_than_allowed(cdse: Provider, tmp_path: Path) -> None:
    cdse.items = [item(cdse, f"S1B_EW_{number}", bytes([number]) * 1000) for number in range(9)]
    for remote in cdse.files.values():
        remote.lasts_s = 0.05
    paths, failed = fetch(found(), tmp_path, silent, parallel=3)
    assert (len(paths), failed) == (9, [])
    assert 2 <= cdse.most_at_once <= 3


def test_netrc_serves_as_well(cdse: Provider, payload: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CDSE_PASSWORD")
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login ice-user password ice-password\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    cdse.items = [item(cdse, "S1B_EW", payload)]
    assert fetch(found(), tmp_path / "out", silent)[1] == []


def test_a_missing_and_a_wrong_login_are_told_without_it(
    cdse: Provider, payload: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cdse.items = [item(cdse, "S1B_EW", payload)]
    monkeypatch.setenv("CDSE_PASSWORD", "ice-password-of-yesterday")
    _, [wrong] = fetch(found(), tmp_path, silent)
    monkeypatch.delenv("CDSE_PASSWORD")
    _, [missing] = fetch(found(), tmp_path, silent)
    assert wrong.reason == "127.0.0.1: refuses the login; check CDSE_USERNAME and CDSE_PASSWORD, or the line in ~/.netrc."
    assert missing.reason.startswith("127.0.0.1: asks for a login; set CDSE_USERNAME and CDSE_PASSWORD, or name 127.0.0.1 in ~/.netrc")


def test_a_wrong_checksum_is_refused_by_name_and_the_rest_comes(cdse: Provider, payload: bytes, tmp_path: Path) -> None:
    cdse.items = [item(cdse, name, payload) for name in ("S1B_EW_1", "S1B_EW_2")]
    cdse.items[0]["assets"]["Product"]["file:checksum"] = "d50110" + "0" * 32
    paths, [failure] = fetch(found(), tmp_path, silent)
    assert [path.name for path in paths] == ["S1B_EW_2.SAFE.zip"]
    assert failure.path == "S1B_EW_1"
    assert failure.reason.startswith("S1B_EW_1.SAFE.zip: has the MD5 ")
    assert not (tmp_path / "S1B_EW_1.SAFE.zip").exists()


@pytest.mark.parametrize("told", [[{"Algorithm": "MD5"}, {"Algorithm": "BLAKE3", "Value": "0" * 64}], [{"Algorithm": "BLAKE3"}]])
def test_what_the_item_does_not_tell_is_asked_of_odata(told: list[dict[str, str]], cdse: Provider, payload: bytes, tmp_path: Path) -> None:

    sums = {"MD5": hashlib.md5(payload).hexdigest(), "BLAKE3": blake3(payload).hexdigest()}
    cdse.items = [item(cdse, "S1B_EW_COG", payload, assets={"Product": {"href": ""}})]
    entry = {
        "Id": "00000000-0000-0000-0000-000000000000",
        "Name": "S1B_EW_COG.SAFE",
        "ContentLength": len(payload),
        "Checksum": [{"Value": sums[one["Algorithm"]]} | one for one in told],
    }
    cdse.routes["/odata/v1/Products"] = lambda handler, asked: handler.answer_json(200, {"value": [entry]})
    [path], _ = fetch(found(), tmp_path, silent)
    assert path.read_bytes() == payload
    assert cdse.to("/odata/v1/Products")[0].query["$filter"] == ["Name eq 'S1B_EW_COG.SAFE'"]
    name = str(told[0]["Algorithm"]).lower()
    assert json.loads(Path(f"{path}.source.json").read_text())["checksum"] == f"{name}:{sums[name.upper()]}"


@pytest.mark.parametrize("name", ["../escape", "/etc/passwd", "a/b", "..", ".hidden", "a\\b", "x\0y", "", "a" * 300])
def test_a_hostile_name_is_refused_and_the_rest_comes(name: str, cdse: Provider, payload: bytes, tmp_path: Path) -> None:
    cdse.items = [item(cdse, name, payload), item(cdse, "S1B_EW", payload)]
    out = tmp_path / "deep" / "out"
    paths, [failure] = fetch(found(), out, silent)
    assert "cannot name a file here" in failure.reason
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*")) if path.is_file()] == [
        "deep/out/S1B_EW.SAFE.zip",
        "deep/out/S1B_EW.SAFE.zip.source.json",
    ]
    assert paths == [out / "S1B_EW.SAFE.zip"]


def test_a_hostile_address_does_not_see_the_token(
    cdse: Provider, new_provider: Callable[[], Provider], payload: bytes, tmp_path: Path
) -> None:
    evil = new_provider()
    evil.files["/steal"] = Remote(payload)
    cdse.items = [item(cdse, "S1B_EW", payload)]
    cdse.items[0]["assets"]["Product"]["href"] = f"{evil.url}/steal"
    fetch(found(), tmp_path, silent)
    assert len(evil.asked) == 1
    assert "authorization" not in evil.asked[0].headers
    assert cdse.grants == []


def test_a_file_of_this_machine_is_no_address(cdse: Provider, tmp_path: Path) -> None:
    cdse.items = [item(cdse, "S1B_EW", b"x")]
    cdse.items[0]["assets"]["Product"]["href"] = "file:///etc/passwd"
    _, [failure] = fetch(found(), tmp_path, silent)
    assert "does not answer (InvalidSchema)" in failure.reason
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_no_stac_api_is_one_sentence(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICEGRAPH_COPERNICUS_STAC", f"{provider.url}/nothing")
    with pytest.raises(CatalogueError, match="does not answer as a STAC API"):
        found()
    provider.routes["/nothing"] = lambda handler, asked: handler.answer(200, b"<html>maintenance</html>")
    with pytest.raises(CatalogueError, match="does not answer as a STAC API"):
        found()


def test_an_unknown_catalogue_is_one_sentence() -> None:
    with pytest.raises(InputError, match="name copernicus, asf, earthdata, gibs, a folder or s3://"):
        open_catalogue("copernikus")
