"""Places that a user names: files and folders here, and addresses in S3, from which inputs are brought and where outputs are committed."""

import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from icegraph.errors import IceGraphError, InputError
from icegraph.store import atomic_path, folder_beside, open_store

if TYPE_CHECKING:
    from icegraph.ingest import Pass

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_ADDRESS_AS_PATH = re.compile("^s3:/")  # a path has single slashes


def is_address(place: str | Path) -> bool:
    """Whether a place is an address, as of a bucket, and not a path."""
    return bool(_ADDRESS.match(str(place)))


def on_disk(place: str | Path) -> Path:
    """The path that `place` is.

    Raises:
        InputError: It is an address, as of a bucket: as a path it would mean another place.
    """
    if is_address(place):
        parts = urlsplit(str(place))  # a user, a password or a signature in it is not shown
        shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        raise InputError(shown, "is not on a disk that can be read here", "mount the bucket and name the folder")
    return Path(place)


def inside(place: str | Path, name: str) -> str:
    """The name of something in a place, which may be an address."""
    return f"{str(place).rstrip('/')}/{name}" if is_address(place) else str(Path(place) / name)


@contextmanager
def brought(places: Iterable[str | Path]) -> Iterator[list[Path]]:
    """Give the paths of places; what is in S3 is brought to a folder that is gone when the block ends.

    With a STAC item (`.json`) comes the folder that it lies in, for its rasters.

    Raises:
        StoreError: There is nothing at an address, or the store fails.
        InputError: An address is not one in S3.
    """
    places = list(places)
    with naming_addresses(), _workplace(places) as work:
        paths = []
        for place in places:
            paths.append(_stand_in(work, place))
            if is_address(place):
                store, key = open_store(place)  # refuses what would lead the stand-in elsewhere
                if paths[-1].exists():
                    continue
                with_neighbours = key.endswith(".json") and "/" in key
                store.fetch(*((key.rpartition("/")[0], paths[-1].parent) if with_neighbours else (key, paths[-1])))
                if not paths[-1].exists():
                    raise InputError(place, "there is no such object", "check the address")
        yield paths


def brought_in_parts(places: Iterable[str | Path]) -> Iterator[AbstractContextManager[list[Path]]]:
    """The same part by part, so that no more than one is on the disk at a time: of a place in S3 each item that was committed there."""
    for place in places:
        parts: list[str | Path] = [place]
        if is_address(place):
            store, key = open_store(place)
            bucket = str(place).partition("://")[2].partition("/")[0]
            parts = [f"s3://{bucket}/{item}" for item in store.list(key)] or parts
        yield from (brought([part]) for part in parts)


@contextmanager
def at_hand(entries: Iterable["Pass"]) -> Iterator[list["Pass"]]:
    """Give the passes of a manifest with their files on a disk; what is in S3 is brought, and gone when the block ends.

    Raises:
        StoreError: A file is not there any more, or the store fails.
    """
    entries = list(entries)
    named = [place for entry in entries for place in (entry.href, *(file.path for file in entry.files))]
    with brought(_ADDRESS_AS_PATH.sub("s3://", str(place)) for place in named) as paths:
        here = iter(paths)
        moved = []
        for entry in entries:
            href, *files = (next(here) for _ in range(1 + len(entry.files)))
            known = [file.model_copy(update={"path": path}) for file, path in zip(entry.files, files, strict=True)]
            moved.append(entry.model_copy(update={"href": href, "files": known}))
        yield moved


@contextmanager
def delivered(out: str | Path, *signs: str, each: bool = False, brings: str | None = None) -> Iterator[Path]:
    """Give a folder to write to; where `out` is in S3, it is committed there as one item when the block ends without an error.

    Args:
        out: A folder's path or address.
        signs: Patterns of names; an item without such a file is another's, and not replaced.
        each: Commit every folder in it as an item of its own.
        brings: What is brought from there into the folder first, if there is something: its name in `out`, empty for all.

    Raises:
        StoreError: The store fails, or another writer committed meanwhile.
        InputError: An item that would be replaced is another's, or the address is not one in S3.
    """
    if not is_address(out):
        yield Path(out)
        return
    store, key = open_store(out)
    if not key:
        raise InputError(out, "is a whole bucket", "name a place in it: s3://BUCKET/NAME")
    there = {place: store.item(place) for place in store.list(key)}
    with naming_addresses(), _workplace([out]) as work, _keeping_logs(_stand_in(work, out)) as folder:
        folder.mkdir(parents=True)
        former = f"{key}/{brings}".rstrip("/")
        if brings is not None and former in there:
            store.fetch(former, folder / brings)
        yield folder
        for part in sorted(path for path in folder.iterdir() if path.is_dir()) if each else [folder]:
            place = f"{key}/{part.name}" if each else key
            item = there.get(place)
            if item and not any(fnmatchcase(name, sign) for name in item.files for sign in signs):
                raise InputError(part, "is there already and holds other files, which would be lost", "name another place with --out")
            store.commit(place, part, over=item.number if item else 0)


def name_addresses(*files: Path) -> None:
    """Do in text files what `as_named` does."""
    for file in files:
        text = file.read_text(encoding="utf-8")
        if as_named(text) != text:
            with atomic_path(file) as fresh:
                fresh.write_text(as_named(text), encoding="utf-8")


def as_named(text: str) -> str:
    """A text in which the folders that stand in for addresses are named by them again."""
    return re.sub(rf"{re.escape(str(_temporary()))}/\.icegraph\.[^/]*/s3/", "s3://", text)


def _temporary() -> Path:
    return Path(tempfile.gettempdir()).resolve()


@contextmanager
def _workplace(places: Sequence[str | Path]) -> Iterator[Path]:
    """A hidden folder for what stands in for addresses; none where there are none."""
    if not any(map(is_address, places)):
        yield Path()
        return
    with folder_beside(_temporary() / "icegraph") as work:
        yield work


def _stand_in(work: Path, place: str | Path) -> Path:
    return work / "s3" / str(place).partition("://")[2].strip("/") if is_address(place) else Path(place)


@contextmanager
def _keeping_logs(folder: Path) -> Iterator[Path]:
    """Keep the logs that lie in a folder from going with it where the block fails."""
    try:
        yield folder
    except IceGraphError as error:
        mend = error.mend
        for log in folder.glob("*.log"):
            kept = Path(tempfile.mkdtemp(prefix="icegraph-log-")) / log.name
            log.replace(kept)
            mend = mend.replace(str(log), str(kept))
        raise type(error)(error.subject, error.problem, mend) from error


@contextmanager
def naming_addresses() -> Iterator[None]:
    """Name addresses, and not what stands in for them, in errors."""
    try:
        yield
    except IceGraphError as error:
        raise type(error)(as_named(error.subject), as_named(error.problem), as_named(error.mend)) from error
