import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest
from blake3 import blake3

from icegraph.ingest.catalogue.download import download, fetch_from_web, web_file
from icegraph.ingest.catalogue.login import CopernicusLogin
from icegraph.ingest.catalogue.product import CatalogueError, Product
from icegraph.ingest.catalogue.web import get, new_session
from icegraph.ingest.source import Source

from .conftest import Provider, Remote, md5


def bring(provider: Provider, target: Path, checksum: str | None = None, size: int | None = None) -> int:
    """Download /file to `target`; the bytes that were told to have come."""
    told: list[int] = []
    download(target, web_file(new_session(), f"{provider.url}/file", None), size=size, checksum=checksum, tell=told.append)
    return sum(told)


def starts(provider: Provider) -> list[str]:
    return [asked.headers.get("range", "") for asked in provider.to("/file")]


def left_over(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def test_a_file_comes_whole_and_leaves_nothing_beside(provider: Provider, payload: bytes, tmp_path: Path) -> None:
    provider.files["/file"] = Remote(payload)
    assert bring(provider, tmp_path / "x.zip", md5(payload)) == len(payload)
    assert (tmp_path / "x.zip").read_bytes() == payload
    assert [path.name for path in tmp_path.iterdir()] == ["x.zip"]


def test_a_cut_connection_goes_on_at_the_byte_where_it_was_cut(provider: Provider, payload: bytes, tmp_path: Path) -> None:
    provider.files["/file"] = Remote(payload, etag='"v1"', cut_at=[1_500_000, 2_500_000])
    assert bring(provider, tmp_path / "x.zip", md5(payload)) == len(payload)
    assert (tmp_path / "x.zip").read_bytes() == payload
    assert starts(provider) == ["", "bytes=1500000-", "bytes=2500000-"]
    assert [asked.headers.get("if-range") for asked in provider.to("/file")] == [None, '"v1"', '"v1"']


def test_a_later_call_goes_on_where_an_earlier_one_failed(provider: Provider, payload: bytes, tmp_path: Path) -> None:
    provider.files["/file"] = remote = Remote(payload, etag='"v1"', cut_at=[2_000_000], busy=[])

    class StopError(Exception):
        pass

    def stop_at_half(more: int) -> None:
        seen.append(more)
        if sum(seen) >= 1 << 20:
            raise StopError

    seen: list[int] = []
    with pytest.raises(StopError):
        download(tmp_path / "x", web_file(new_session(), f"{provider.url}/file", None), size=None, checksum=None, tell=stop_at_half)
    assert not (tmp_path / "x").exists()
    assert left_over(tmp_path) == [".x.part", ".x.part.json"]
    half = (tmp_path / ".x.part").stat().st_size
    remote.cut_at.clear()
    bring(provider, tmp_path / "x")
    assert half > 0
    assert starts(provider)[-1] == f"bytes={half}-"
    assert (tmp_path / "x").read_bytes() == payload
    assert left_over(tmp_path) == []


def test_a_file_that_changed_meanwhile_comes_anew(provider: Provider, payload: bytes, tmp_path: Path) -> None:
    (tmp_path / ".x.part").write_bytes(payload[:1_000_000])
    (tmp_path / ".x.part.json").write_text('{"version": "\\"v1\\"", "size": 3520000}')
    newer = payload[::-1]
    provider.files["/file"] = Remote(newer, etag='"v2"')
    assert bring(provider, tmp_path / "x") == len(newer)
    assert (tmp_path / "x").read_bytes() == newer


def test_a_server_that_ignores_if_range_but_tells_another_version_is_not_believed(
    provider: Provider, payload: bytes, tmp_path: Path
) -> None:
    (tmp_path / ".x.part").write_bytes(payload[:1_000_000])
    (tmp_path / ".x.part.json").write_text('{"version": "\\"v1\\"", "size": 3520000}')
    newer = payload[::-1]

    def always_partial(handler, asked) -> None:
        start = int(asked.headers.get("range", "bytes=0-")[6:-1])
        told = {"ETag": '"v2"'} | ({"Content-Range": f"bytes {start}-{len(newer) - 1}/{len(newer)}"} if start else {})
        handler.answer(206 if start else 200, newer[start:], **told)

    provider.routes["/file"] = always_partial
    bring(provider, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == newer


def test_a_server_that_ignores_ranges_is_asked_until_one_answer_is_whole(provider: Provider, payload: bytes, tmp_path: Path) -> None:
    provider.files["/file"] = Remote(payload, ranges=False, cut_at=[1_000_000, 2_000_000])
    assert bring(provider, tmp_path / "x", md5(payload)) == len(payload)
    assert (tmp_path / "x").read_bytes() == payload


def test_half_a_file_of_unknown_version_is_not_added_to(provider: Provider, payload: bytes, tmp_path: Path) -> None:
    (tmp_path / ".x.part").write_bytes(b"another file's half")
    provider.files["/file"] = Remote(payload)
    bring(provider, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == payload
    assert starts(provider) == [""]


def test_a_range_that_cannot_be_had_starts_anew(provider: Provider, payload: bytes, tmp_path: Path) -> None:
    (tmp_path / ".x.part").write_bytes(payload + b"more")
    provider.files["/file"] = Remote(payload)
    bring(provider, tmp_path / "x", md5(payload))
    assert (tmp_path / "x").read_bytes() == payload


def test_a_part_that_was_whole_already_is_not_asked_for(provider: Provider, payload: bytes, tmp_path: Path) -> None:
    (tmp_path / ".x.part").write_bytes(payload)
    (tmp_path / ".x.part.json").write_text(f'{{"version": "\\"v1\\"", "size": {len(payload)}}}')
    bring(provider, tmp_path / "x", md5(payload))
    assert provider.asked == []
    assert (tmp_path / "x").read_bytes() == payload


def test_a_line_that_is_cut_at_one_place_for_ever_ends_in_a_sentence(provider: Provider, payload: bytes, tmp_path: Path) -> None:
    provider.files["/file"] = Remote(payload, etag='"v1"', cut_at=[100_000, *[100_001] * 9])
    with pytest.raises(CatalogueError, match=r"x: the connection was cut 4 times at the same place .* run the same command again to go on"):
        bring(provider, tmp_path / "x")
    assert (tmp_path / ".x.part").read_bytes() == payload[:100_001]


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha512", "blake3"])
def test_every_kind_of_checksum_is_verified(algorithm: str, provider: Provider, payload: bytes, tmp_path: Path) -> None:
    provider.files["/file"] = Remote(payload)
    digest = blake3(payload).hexdigest() if algorithm == "blake3" else hashlib.new(algorithm, payload).hexdigest()
    bring(provider, tmp_path / "right", f"{algorithm}:{digest}")
    wrong = f"{algorithm}:{digest[::-1]}"
    with pytest.raises(CatalogueError, match=f"wrong: has the {algorithm.upper()} {digest} where the provider says {digest[::-1]}"):
        bring(provider, tmp_path / "wrong", wrong)
    assert [path.name for path in tmp_path.iterdir()] == ["right"]


def test_a_spoilt_half_is_thrown_away_and_fetched_again(provider: Provider, payload: bytes, tmp_path: Path) -> None:
    (tmp_path / ".x.part").write_bytes(b"\0" * 1_000_000)
    provider.files["/file"] = Remote(payload)
    assert bring(provider, tmp_path / "x", md5(payload)) == len(payload)
    assert (tmp_path / "x").read_bytes() == payload
    assert starts(provider) == ["bytes=1000000-", ""]


def test_without_a_checksum_the_announced_size_decides(provider: Provider, payload: bytes, tmp_path: Path) -> None:
    provider.routes["/file"] = lambda handler, asked: (handler.send_response(200), handler.end_headers(), handler.wfile.write(b"short"))[0]
    provider.http.RequestHandlerClass.protocol_version = "HTTP/1.0"
    with pytest.raises(CatalogueError, match="has 5 bytes where 9 were announced"):
        bring(provider, tmp_path / "x", size=9)
    bring(provider, tmp_path / "x", size=5)


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_when_it_says(status: int, provider: Provider, payload: bytes, tmp_path: Path) -> None:
    provider.files["/file"] = Remote(payload, busy=[(status, "1"), (status, "2")])
    bring(provider, tmp_path / "x")
    first, second, third = (asked.time for asked in provider.to("/file"))
    assert second - first >= 1
    assert third - second >= 2


def test_a_server_error_without_advice_is_tried_again_later(provider: Provider, payload: bytes, tmp_path: Path) -> None:
    provider.files["/file"] = Remote(payload, busy=[(502, None), (500, None)])
    bring(provider, tmp_path / "x")
    first, second, third = (asked.time for asked in provider.to("/file"))
    assert third - second > second - first


@pytest.mark.parametrize(("status", "mend"), [(403, "terms are accepted"), (404, "search again")])
def test_a_refusal_is_one_sentence_without_the_address(status: int, mend: str, provider: Provider, tmp_path: Path) -> None:
    provider.routes["/file"] = lambda handler, asked: handler.answer(status, b"")
    with pytest.raises(CatalogueError, match=mend) as told:
        web = web_file(new_session(), f"{provider.url}/file?X-Amz-Signature=s3cret", None)
        download(tmp_path / "x", web, size=None, checksum=None, tell=lambda more: None)
    assert str(told.value).startswith(f"127.0.0.1: answered {status}")
    assert "s3cret" not in str(told.value)


def test_a_login_page_is_not_taken_for_the_file(provider: Provider, tmp_path: Path) -> None:
    provider.routes["/file"] = lambda handler, asked: handler.answer(200, b"<html>log in</html>", Content_Type="text/html; charset=utf-8")
    with pytest.raises(CatalogueError, match=r"^127.0.0.1: gives a web page in place of the file; log in at the provider's site once"):
        bring(provider, tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"^127.0.0.1: does not answer \(ConnectionError\); check the network") as told:
        get(new_session(), "http://127.0.0.1:9/file?token=s3cret")
    assert "s3cret" not in str(told.value)
    assert told.value.__cause__ is None


def test_credentials_are_not_sent_to_another_host(
    provider: Provider, new_provider: Callable[[], Provider], payload: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CDSE_USERNAME", "ice-user")
    monkeypatch.setenv("CDSE_PASSWORD", "ice-password")
    elsewhere = new_provider()
    elsewhere.files["/file"] = Remote(payload)
    provider.redirects = {"/first": "/second", "/second": f"{elsewhere.url}/file"}
    login = CopernicusLogin(f"{provider.url}/token", (provider.url,))
    assert get(new_session(), f"{provider.url}/first", login).content == payload
    assert [provider.to(path)[0].headers["authorization"] for path in ("/first", "/second")] == ["Bearer token-1"] * 2
    assert "authorization" not in elsewhere.asked[0].headers


def test_a_login_is_for_its_own_hosts_alone() -> None:
    login = CopernicusLogin("https://identity.dataspace.copernicus.eu/token", ())
    for url in ("https://download.dataspace.copernicus.eu/x", "https://dataspace.copernicus.eu"):
        assert login.is_for(url)
    for url in (
        "http://download.dataspace.copernicus.eu/x",
        "https://evildataspace.copernicus.eu",
        "https://dataspace.copernicus.eu.evil.org/x",
        "https://evil.org/dataspace.copernicus.eu",
        "https://dataspace.copernicus.eu@evil.org/",
    ):
        assert not login.is_for(url)


def test_netrc_is_not_given_away_by_a_redirect(
    provider: Provider, new_provider: Callable[[], Provider], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login ice-user password ice-password\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    elsewhere = new_provider()
    elsewhere.files["/file"] = Remote(b"x")
    provider.redirects["/file"] = f"{elsewhere.url}/file"
    get(new_session(), f"{provider.url}/file")
    assert all("authorization" not in asked.headers for asked in (*provider.asked, *elsewhere.asked))


def test_a_circle_of_redirects_ends(provider: Provider) -> None:
    provider.redirects["/file"] = "/file"
    with pytest.raises(CatalogueError, match="leads on more than 10 times"):
        get(new_session(), f"{provider.url}/file")


def test_two_processes_do_not_write_one_file(provider: Provider, payload: bytes, tmp_path: Path) -> None:
    held: list[str] = []

    def slow(handler, asked) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(payload)))
        handler.end_headers()
        handler.wfile.write(payload[:1000])
        while not held:
            time.sleep(0.01)
        handler.wfile.write(payload[1000:])

    provider.routes["/file"] = slow
    first = Thread(target=bring, args=(provider, tmp_path / "x"))
    first.start()
    while not provider.asked:
        time.sleep(0.01)
    with pytest.raises(CatalogueError, match="is being downloaded by another process"):
        bring(provider, tmp_path / "x")
    held.append("go on")
    first.join()
    assert (tmp_path / "x").read_bytes() == payload


def test_a_killed_process_leaves_no_file_and_the_next_goes_on(provider: Provider, payload: bytes, tmp_path: Path) -> None:
    """SIGKILL in mid-file: no chance to tidy up."""
    sent = 2 << 20

    def stall(handler, asked) -> None:
        start = int(asked.headers.get("range", "bytes=0-")[6:-1])
        told = {"Content-Range": f"bytes {start}-{len(payload) - 1}/{len(payload)}"} if start else {}
        handler.send_response(206 if start else 200)
        for name, value in {"Content-Length": str(len(payload) - start), "ETag": '"v1"', **told}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(payload[start:] if start else payload[:sent])
        handler.wfile.flush()
        if not start:
            time.sleep(30)

    provider.routes["/file"] = stall
    code = (
        "import sys; from pathlib import Path; from icegraph.ingest.catalogue.download import *; "
        "from icegraph.ingest.catalogue.web import new_session; "
        "download(Path(sys.argv[2]), web_file(new_session(), sys.argv[1], None), size=None, checksum=None, tell=lambda more: None)"
    )
    words = [sys.executable, "-c", code, f"{provider.url}/file", str(tmp_path / "x")]
    process = subprocess.Popen(words)
    part = tmp_path / ".x.part"
    while not part.exists() or part.stat().st_size < sent:
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "x").exists()
    subprocess.run(words, check=True)
    assert starts(provider) == ["", f"bytes={sent}-"]
    assert (tmp_path / "x").read_bytes() == payload
    assert left_over(tmp_path) == []


def product(provider: Provider, payload: bytes) -> Product:
    return Product(
        catalogue="copernicus",
        id="S1B_EW",
        time="2020-01-23T12:06:18Z",
        platform="Sentinel-1B",
        checksum=md5(payload),
        size=len(payload),
        href=f"{provider.url.replace('//', '//ice-user:ice-password@')}/file?signature=s3cret",
        licence="free",
    )


def test_a_second_run_asks_for_nothing_and_the_source_is_told(provider: Provider, payload: bytes, tmp_path: Path) -> None:
    provider.files["/file"] = Remote(payload)
    place, one = tmp_path / "S1B_EW.SAFE.zip", product(provider, payload)
    for _ in range(2):
        told: list[int] = []
        assert fetch_from_web(lambda same: same, one, place, new_session(), None, told.append) == place
        assert sum(told) == len(payload)
    assert len(provider.asked) == 1
    source = Source.read(place)
    assert source is not None
    assert source.sha256 == {place.name: hashlib.sha256(payload).hexdigest()}
    assert (source.id, source.licence, source.href, source.checksum) == ("S1B_EW", "free", f"{provider.url}/file", md5(payload))


def test_a_file_that_was_cut_short_since_is_fetched_again(provider: Provider, payload: bytes, tmp_path: Path) -> None:
    provider.files["/file"] = Remote(payload)
    place, one = tmp_path / "S1B_EW.SAFE.zip", product(provider, payload)
    fetch_from_web(lambda same: same, one, place, new_session(), None, lambda more: None)
    place.write_bytes(payload[:1000])
    fetch_from_web(lambda same: same, one, place, new_session(), None, lambda more: None)
    assert place.read_bytes() == payload


def test_another_product_is_not_replaced(provider: Provider, payload: bytes, tmp_path: Path) -> None:
    provider.files["/file"] = Remote(payload)
    place, one = tmp_path / "S1B_EW.SAFE.zip", product(provider, payload)
    fetch_from_web(lambda same: same, one, place, new_session(), None, lambda more: None)
    other = one.model_copy(update={"id": "S1A_EW"})
    with pytest.raises(CatalogueError, match="is where S1B_EW lies, which S1A_EW would replace"):
        fetch_from_web(lambda same: same, other, place, new_session(), None, lambda more: None)
