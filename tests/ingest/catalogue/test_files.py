import json
import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest

from icegraph.errors import InputError
from icegraph.ingest import ingest
from icegraph.ingest.catalogue import CatalogueError, Query, fetch, open_catalogue
from icegraph.ingest.catalogue.area import box_area
from icegraph.ingest.sentinel1 import read_product
from icegraph.progress import silent

from .conftest import Asked, Handler, Provider, Remote

ALL = Query(datetime(2000, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC))


@pytest.fixture
def bucket(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Path], None]:
    """An S3 server; the function puts a file or a folder into bucket `ice` under a key."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", provider.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ice-user")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "ice-password")
    monkeypatch.setenv("AWS_REGION", "us-east-1")

    def listing(handler: Handler, asked: Asked) -> None:
        if "list-type" not in asked.query:
            handler.answer(404, b"")
            return
        prefix = asked.query.get("prefix", [""])[0]
        keys = sorted(path.removeprefix("/ice/") for path in provider.files if path.startswith(f"/ice/{prefix}"))
        entries = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>2021-05-01T00:00:00.000Z</LastModified>"
            f"<ETag>&quot;e&quot;</ETag><Size>{len(provider.files[f'/ice/{key}'].content)}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            for key in keys
        )
        body = (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>ice</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(keys)}</KeyCount><MaxKeys>1000</MaxKeys>"
            f"<IsTruncated>false</IsTruncated>{entries}</ListBucketResult>"
        )
        handler.answer(200, body.encode(), Content_Type="application/xml")

    provider.routes["/ice"] = listing

    def put(key: str, source: Path) -> None:
        for path in [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file()):
            name = key if source.is_file() else f"{key}/{path.relative_to(source).as_posix()}"
            provider.files[f"/ice/{name}"] = Remote(
                path.read_bytes(), etag='"e"', headers={"Last-Modified": "Sat, 01 May 2021 00:00:00 GMT"}
            )

    return put


@pytest.fixture
def folder(safe: Path, zipped: Path, simulated_safe: Path, write_rgb: Callable[..., Path], write_item: Callable[..., Path]) -> Path:
    """SAFE folder, SAFE zip of another name, AMSR2, item with its picture, and things that are no products."""
    place = safe.parent
    zipped.rename(place / f"{safe.stem[:-4]}FFFF.SAFE.zip")
    swath = next(simulated_safe.parent.glob("*.h5"))
    shutil.copy(swath, place / swath.name)
    write_rgb("aqua.truecolor.tif")
    write_item("aqua", "./aqua.truecolor.tif")
    (place / "notes.txt").write_text("no product")
    (place / "broken.zip").write_bytes(b"PK no zip")
    (place / "other.json").write_text('{"type": "Feature"}')
    (place / ".hidden.zip").write_bytes(b"")
    return place


def test_what_lies_in_a_folder_is_recognised(folder: Path, safe: Path) -> None:
    products = {product.id: product for product in open_catalogue(str(folder)).search(ALL)}
    swath = next(folder.glob("*.h5"))
    assert set(products) == {safe.stem, f"{safe.stem[:-4]}FFFF", swath.stem, "aqua"}
    told = read_product(safe)
    for name in (safe.stem, f"{safe.stem[:-4]}FFFF"):
        one = products[name]
        assert (one.platform, one.mode, sorted(one.polarisations)) == (told.platform, "EW", ["HH", "HV"])
        assert one.geometry is not None
        assert one.geometry.bounds[1::2] == (told.bounds[1], told.bounds[3])
        assert abs((told.time - one.time).total_seconds()) < 60
    assert products[swath.stem].time == datetime.strptime(swath.name.split("_")[1], "%Y%m%d%H%M").replace(tzinfo=UTC)
    assert (products["aqua"].platform, products["aqua"].mode) == ("Aqua", "")


def test_a_folder_is_searched_by_the_same_query(folder: Path) -> None:
    def number(**asked: Any) -> int:
        return len(list(open_catalogue(str(folder)).search(Query(ALL.start, ALL.end, **asked))))

    assert number(mode="EW", polarisation="HV") == 2
    assert number(mode="IW") == 0
    assert number(platform="Aqua") == 1
    assert len(list(open_catalogue(str(folder)).search(Query(datetime(2021, 1, 1, tzinfo=UTC), ALL.end)))) == 3
    assert number(mode="EW", area=box_area((0, -80, 10, -70))) == 0


def test_what_lies_in_a_folder_is_used_where_it_is(folder: Path, tmp_path: Path) -> None:
    products = list(open_catalogue(str(folder)).search(Query(ALL.start, ALL.end, mode="EW")))
    paths, failed = fetch(products, tmp_path / "out", silent)
    assert sorted(paths) == sorted(folder.glob("*.SAFE*"))
    assert failed == []
    assert not (tmp_path / "out").exists()


def test_a_product_that_went_from_a_folder_is_told(folder: Path, tmp_path: Path) -> None:
    products = list(open_catalogue(str(folder)).search(Query(ALL.start, ALL.end, platform="Aqua")))
    (folder / "aqua.json").unlink()
    [failure] = fetch(products, tmp_path / "out", silent)[1]
    assert failure.reason == f"{folder}/aqua.json: is not there; search again: it may have moved."


@pytest.mark.parametrize("prefix", ["", "/2021/05"])
def test_a_bucket_is_searched_without_fetching_its_products(
    prefix: str, folder: Path, bucket: Callable[[str, Path], None], provider: Provider
) -> None:
    bucket("2021/05", folder)
    products = list(open_catalogue(f"s3://ice{prefix}").search(ALL))
    local = list(open_catalogue(str(folder)).search(ALL))
    assert sorted((one.id, one.time, one.platform, one.mode, one.size) for one in products) == sorted(
        (one.id, one.time, one.platform, one.mode, one.size) for one in local
    )
    assert all(one.href.startswith("s3://ice/2021/05/") for one in products)
    assert not any("measurement" in asked.path for asked in provider.asked)
    assert not any(asked.method == "GET" and asked.path.endswith((".tif", ".h5", ".txt")) for asked in provider.asked)


def test_what_is_fetched_from_a_bucket_is_ingested_with_its_source(
    folder: Path, bucket: Callable[[str, Path], None], tmp_path: Path
) -> None:
    bucket("raw", folder)
    out = tmp_path / "out"
    assert fetch(list(open_catalogue("s3://ice/raw").search(ALL)), out, silent)[1] == []
    for path in folder.rglob("*"):
        copy = next(out.rglob(path.name), None) if path.is_file() else None
        if copy:
            assert copy.read_bytes() == path.read_bytes()
    next(out.glob("*FFFF.SAFE.zip")).unlink()  # the same content as the folder
    manifest = ingest([out], tmp_path / "manifest")
    sources = {entry.kind: entry.source for entry in manifest.passes}
    assert set(sources) == {"sentinel1", "amsr2", "optical"}
    assert all(re.match(r"s3://ice/raw/\S+", str(source)) for source in sources.values())
    assert manifest.refused == []


def test_a_second_run_reads_no_object(folder: Path, bucket: Callable[[str, Path], None], provider: Provider, tmp_path: Path) -> None:
    bucket("raw", folder)
    products = list(open_catalogue("s3://ice/raw").search(ALL))
    first, _ = fetch(products, tmp_path, silent)
    provider.asked.clear()
    assert fetch(products, tmp_path, silent) == (first, [])
    reads = {asked.path for asked in provider.asked if asked.method == "GET" and "list-type" not in asked.query}
    assert all(path.endswith(".json") for path in reads)  # an item is read for the names of its assets


def test_an_object_goes_on_where_it_was_left(bucket: Callable[[str, Path], None], provider: Provider, zipped: Path, tmp_path: Path) -> None:
    bucket("a.SAFE.zip", zipped)
    content = zipped.read_bytes()
    [product] = open_catalogue("s3://ice").search(ALL)

    class StopError(Exception):
        pass

    def stop(more: int) -> None:
        if more:
            raise StopError

    with pytest.raises(StopError):
        open_catalogue("s3://ice").fetch(product, tmp_path, stop)
    half = (tmp_path / ".a.SAFE.zip.part").stat().st_size
    provider.asked.clear()
    [path], _ = fetch([product], tmp_path, silent)
    assert path.read_bytes() == content
    ranges = [asked.headers["range"] for asked in provider.asked if asked.method == "GET" and "range" in asked.headers]
    assert half > 0
    assert not ranges or min(int(re.findall(r"\d+", one)[0]) for one in ranges) >= half


def test_a_missing_bucket_and_refused_credentials_are_one_sentence(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", provider.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ice-user")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "ice-password")
    with pytest.raises(CatalogueError, match="s3://ice: cannot be read") as told:
        list(open_catalogue("s3://ice").search(ALL))
    assert "ice-password" not in str(told.value)
    denied = b'<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>no</Message></Error>'
    provider.routes["/ice"] = lambda handler, asked: handler.answer(403, denied, Content_Type="application/xml")
    with pytest.raises(CatalogueError, match=r"cannot be read \(access denied\); check the name, AWS_ENDPOINT_URL and the credentials"):
        list(open_catalogue("s3://ice").search(ALL))
    with pytest.raises(InputError, match="write s3://bucket/prefix"):
        open_catalogue("s3://")


def test_a_found_product_that_points_out_of_its_prefix_is_refused(
    folder: Path, bucket: Callable[[str, Path], None], tmp_path: Path
) -> None:
    bucket("raw", folder)
    [product, *_] = open_catalogue("s3://ice/raw").search(ALL)
    for href in ("s3://ice/other/x.zip", "s3://ice/raw/../other/x.zip", "/etc/passwd", "s3://else/raw/x.zip"):
        _, [failure] = fetch([product.model_copy(update={"href": href})], tmp_path / "out", silent)
        assert "lies outside s3://ice/raw" in failure.reason
    assert not (tmp_path / "out").exists()


def test_keys_that_climb_out_do_not(bucket: Callable[[str, Path], None], provider: Provider, safe: Path, tmp_path: Path) -> None:
    bucket("raw/x.SAFE", safe)
    products = list(open_catalogue("s3://ice/raw").search(ALL))
    provider.files["/ice/raw/x.SAFE/measurement/.evil"] = Remote(b"evil")
    _, [failure] = fetch(products, tmp_path / "out", silent)
    assert "cannot name a file here" in failure.reason
    assert not (tmp_path / "out" / "x.SAFE").exists()


def test_an_item_whose_assets_lie_elsewhere_is_no_product(folder: Path) -> None:
    for href in ("../x.tif", "/etc/passwd", "https://x/y.tif", "missing.tif"):
        fields = json.loads((folder / "aqua.json").read_text())
        fields["assets"]["truecolor"]["href"] = href
        (folder / "aqua.json").write_text(json.dumps(fields))
        assert "aqua" not in {product.id for product in open_catalogue(str(folder)).search(ALL)}
