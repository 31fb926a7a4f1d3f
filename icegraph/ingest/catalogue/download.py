"""Downloads that go on where they stopped, and that are whole, verified and in their place, or hidden.

    NAME                the whole, verified file
    .NAME.part          what came so far; locked by the process that writes it
    .NAME.part.json     of which version of the remote file (its ETag), and of how many bytes

Ranges after RFC 9110, section 14, and If-Range, section 13.1.5: a file that changed meanwhile comes anew from its start.
"""

import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError

from icegraph.ingest.catalogue.login import Login
from icegraph.ingest.catalogue.product import CatalogueError, Product, Tell
from icegraph.ingest.catalogue.web import get
from icegraph.ingest.source import Source, bare_address

_CHUNK = 1 << 20
_TRIES = 4  # in a row without a byte more than before


class CutError(Exception):
    """The stream ended before the file did."""


class Stream(NamedTuple):
    """Bytes of a remote file from `start` on; its whole size and version, as far as they are told."""

    start: int
    size: int | None
    version: str
    chunks: Iterator[bytes]


Opener = Callable[[int, str], AbstractContextManager[Stream]]
"""Opens a remote file at an offset, if it still is of this version, else at its start; its chunks raise CutError."""


def download(
    target: Path,
    remote: Opener,
    *,
    size: int | None,
    checksum: str | None,
    tell: Tell,
    verified: Callable[[str, int], None] | None = None,
) -> str:
    """Bring a remote file to `target`, whole and verified, going on with what an earlier call left.

    Where a checksum is told, it decides; else the size that the server announces with the file, and else `size`.

    Args:
        target: The file that it becomes.
        remote: Opens it.
        size: Bytes that the catalogue tells.
        checksum: `algorithm:digits` that the catalogue tells.
        tell: Takes progress.
        verified: Called with the SHA-256 and the bytes just before the file takes its place.

    Returns:
        Its SHA-256.

    Raises:
        CatalogueError: It does not come, or not as it should be.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with _part_of(target) as part:
        tell(part.size)
        while True:
            resumed = part.size > 0
            _fill(part, remote, checksum is not None, tell)
            digest, problem = _verify(part, size, checksum)
            if not problem:
                break
            tell(-part.size)
            part.clear()
            if not resumed:  # a half that lay here may be to blame; a fresh download is not better a second time
                raise CatalogueError(target.name, problem, "fetch it again later, or report it to the provider")
        if verified:
            verified(digest, part.size)
        part.path.replace(target)
        part.note.unlink(missing_ok=True)
    return digest


def fetch_from_web(
    complete: Callable[[Product], Product], product: Product, place: Path, session: requests.Session, login: Login | None, tell: Tell
) -> Path:
    """Bring a product that is one file to `place`, unless it is there, and write where it came from.

    Args:
        complete: Adds what is needed to fetch it (address, checksum); called only where it is fetched.
        product: The product.
        place: The file that it becomes.
        session: Of the catalogue.
        login: Of the provider.
        tell: Takes progress.

    Raises:
        CatalogueError: As `download`.
    """
    if lies_here(product, place):
        tell(product.size or 0)
        return place
    whole = complete(product)

    def verified(digest: str, size: int) -> None:
        source_of(whole, {place.name: digest}, size).write(place)

    remote = web_file(session, whole.href, login)
    download(place, remote, size=whole.size, checksum=whole.checksum, tell=tell, verified=verified)
    return place


def lies_here(product: Product, place: Path) -> bool:
    """Whether a product was brought to `place` before, and still lies there.

    Raises:
        CatalogueError: Another product does.
    """
    known = Source.read(place)
    if known and known.id != product.id and place.exists():
        raise CatalogueError(place, f"is where {known.id} lies, which {product.id} would replace", "fetch it into another folder")
    return known is not None and known.lies_at(place)


def source_of(product: Product, sha256: Mapping[str, str], size: int) -> Source:
    """Where a product came from, for its `.source.json`."""
    return Source(
        catalogue=product.catalogue,
        id=product.id,
        href=bare_address(product.href),
        licence=product.licence,
        checksum=product.checksum,
        sha256=dict(sha256),
        bytes=size,
    )


def web_file(session: requests.Session, url: str, login: Login | None) -> Opener:
    """A file on a web server."""

    @contextmanager
    def open_at(offset: int, version: str) -> Iterator[Stream]:
        ranged = {"Range": f"bytes={offset}-"} | ({"If-Range": version} if version else {}) if offset else {}
        with get(session, url, login, stream=True, headers={"Accept-Encoding": "identity"} | ranged) as response:
            if response.headers.get("Content-Type", "").startswith("text/html"):  # a login's, or that of a hotel's network
                mend = "log in at the provider's site once and accept its terms, or check the network"
                raise CatalogueError(str(urlsplit(response.url).hostname), "gives a web page in place of the file", mend)
            told = _version(response)
            start, size = _extent(response)
            same = not (version and told and told != version)
            if start == 0 or (start == offset and same):
                yield Stream(start, size, told, _chunks(response))
                return
        if not ranged:
            raise CatalogueError(str(urlsplit(url).hostname), "sends a part of a file without saying which", "try again later")
        with open_at(0, "") as stream:  # the range cannot be had, or is of another version
            yield stream

    return open_at


def _extent(response: requests.Response) -> tuple[int, int | None]:
    """Where an answer starts, and how long the whole file is; a start of -1 where nothing can be made of it."""
    length = response.headers.get("Content-Length", "")
    if response.status_code != requests.codes.partial_content:
        return (0 if response.ok else -1), (int(length) if length.isdigit() else None)
    told = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip())
    return (int(told[1]), int(told[2]) if told[2] != "*" else None) if told else (-1, None)


def _version(response: requests.Response) -> str:
    """What If-Range may say of it: a strong ETag, or else the time of its last change."""
    tag = str(response.headers.get("ETag", ""))
    return tag if tag.startswith('"') else str(response.headers.get("Last-Modified", ""))


def _chunks(response: requests.Response) -> Iterator[bytes]:
    """What comes, as it comes: `iter_content` would lose what it had of a piece when the line is cut."""
    try:
        while chunk := response.raw.read1(_CHUNK, decode_content=False):
            yield chunk
    except HTTPError as error:
        raise CutError(type(error).__name__) from None


class _Part:
    """The hidden file that a download grows in, and the note on what it is a part of."""

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self.path = path
        self.note = path.with_name(f"{path.name}.json")
        self.stream = stream
        self.size = stream.seek(0, os.SEEK_END)
        noted: Any = {}
        with suppress(OSError, ValueError):
            noted = json.loads(self.note.read_text())
        noted = noted if isinstance(noted, dict) else {}
        self.version = str(noted.get("version", ""))
        self.whole = noted["size"] if isinstance(noted.get("size"), int) else None

    def begin(self, stream: Stream) -> None:
        """Cut back to where the stream starts."""
        self.stream.truncate(stream.start)
        self.stream.seek(stream.start)
        self.size = stream.start
        self.version, self.whole = stream.version, stream.size
        self.note.write_text(json.dumps({"version": self.version, "size": self.whole}))

    def append(self, chunk: bytes) -> None:
        self.stream.write(chunk)
        self.stream.flush()  # or a killed process would lose what Python holds back
        self.size += len(chunk)

    def clear(self) -> None:
        self.stream.truncate(0)
        self.stream.seek(0)
        self.size, self.version, self.whole = 0, "", None
        self.note.unlink(missing_ok=True)

    @property
    def complete(self) -> bool:
        return self.whole is not None and self.size == self.whole


@contextmanager
def _part_of(target: Path) -> Iterator[_Part]:
    path = target.with_name(f".{target.name}.part")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    with os.fdopen(descriptor, "r+b") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = path.stat().st_ino == os.fstat(descriptor).st_ino
        except (BlockingIOError, FileNotFoundError):
            mine = False
        if not mine:  # or it has just come to its place
            raise CatalogueError(target, "is being downloaded by another process", "wait for it to end")
        part = _Part(path, stream)
        try:
            yield part
        finally:
            if not part.size:
                path.unlink(missing_ok=True)


def _fill(part: _Part, remote: Opener, verifiable: bool, tell: Tell) -> None:
    """Let the part grow until it is whole."""
    if not part.version and not verifiable and not part.complete:  # nothing would tell if two versions were mixed
        tell(-part.size)
        part.clear()
    failures, furthest = 0, part.size
    while not part.complete:
        try:
            with remote(part.size, part.version) as stream:
                tell(stream.start - part.size)
                part.begin(stream)
                for chunk in stream.chunks:
                    part.append(chunk)
                    tell(len(chunk))
            if part.whole is None or part.complete:
                return
            raise CutError(f"{part.size} of {part.whole} bytes")
        except CutError as cut:
            failures = 0 if part.size > furthest else failures + 1
            furthest = max(furthest, part.size)
            if failures >= _TRIES:
                problem = f"the connection was cut {_TRIES} times at the same place ({cut})"
                raise CatalogueError(part.path.name[1:-5], problem, "run the same command again to go on") from None
            _pause(failures, tell)


def _pause(failures: int, tell: Tell) -> None:
    """Wait longer after each failure, and listen whether to stop."""
    until = time.monotonic() + failures
    while time.monotonic() < until:
        tell(0)
        time.sleep(0.1)


def _verify(part: _Part, size: int | None, checksum: str | None) -> tuple[str, str]:
    """The SHA-256 of what came, and what is wrong with it."""
    algorithm, _, expected = (checksum or "").partition(":")
    digests = {"sha256": hashlib.sha256()} | ({algorithm: _hasher(algorithm)} if algorithm else {})
    part.stream.seek(0)
    while block := part.stream.read(_CHUNK):
        for digest in digests.values():
            digest.update(block)
    found = digests["sha256"].hexdigest()
    if algorithm and digests[algorithm].hexdigest() != expected:
        return found, f"has the {algorithm.upper()} {digests[algorithm].hexdigest()} where the provider says {expected}"
    announced = part.whole if part.whole is not None else size
    if not algorithm and announced is not None and part.size != announced:
        return found, f"has {part.size} bytes where {announced} were announced"
    return found, ""


def _hasher(algorithm: str) -> Any:
    if algorithm != "blake3":
        return hashlib.new(algorithm, usedforsecurity=False)
    try:
        from blake3 import blake3
    except ModuleNotFoundError:
        raise CatalogueError("its checksum", "is a BLAKE3, which needs a library", "install icegraph[blake3]") from None
    return blake3()
