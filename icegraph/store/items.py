"""Items: folders of files in S3, or in a local folder of the same layout, that are there as a whole or not at all.

    <key>/content-<SHA-256 of the item>/<file>   the files, put first; readers do not look here without a commit
    <key>/committed-00000001.json                a commit, put last: the files that belong to the item, with SHA-256 and size

The last commit counts. A commit is made only where its number is free, which the server decides between two writers; where it lets both
in, as Swift's S3 may, the later one counts. The files of two never mix. What a killed writer left, and what was replaced, stays for a day,
for those who still read it, and is removed by a later writer of the same item.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from icegraph.errors import InputError, StoreError
from icegraph.store.atomic import atomic_dir, atomic_path, folder_beside, is_beside, remove_left
from icegraph.store.lineage import code_version, folder_sha256, sha256

KEPT = timedelta(days=1)
_RELIED_ON = KEPT / 2  # files of a killed writer that are younger are not put again, and no sweep takes them before the commit
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_COMMIT = re.compile(r"committed-(\d{8})\.json")
_CONTENT = re.compile(r"content-([0-9a-f]{64})")
_LONGEST_KEY = 1024  # bytes, S3's limit


@dataclass(frozen=True)
class Object:
    """One object of a listing.

    Args:
        key: Its key.
        bytes: Its size.
        modified: When it was put, UTC.
    """

    key: str
    bytes: int
    modified: datetime


class Objects(Protocol):
    """What a store needs of the place where its bytes lie. Keys have `/` between their parts and none at the ends."""

    def address(self, key: str) -> str:
        """How a person names a key."""

    def put(self, key: str, source: Path) -> None:
        """Put a file; it is there as a whole or not at all, in place of what was there."""

    def create(self, key: str, content: bytes) -> bool:
        """Put a small object where there is none; False where there is one."""

    def read(self, key: str) -> bytes:
        """A small object."""

    def get(self, key: str, target: Path) -> None:
        """Write an object to a file, which may be left half-written."""

    def list(self, prefix: str) -> Iterator[Object]:
        """The objects whose keys begin with `prefix`, sorted by key; unfinished ones are not among them."""

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects; those that are not there do not matter."""

    def drop_unfinished(self, prefix: str, before: datetime) -> None:
        """Remove what uploads that began before a time have left unfinished."""

    def raster(self, key: str) -> tuple[Path, Callable[[], AbstractContextManager[Any]]]:
        """The name by which GDAL reads windows of an object, and the surroundings it needs while it does."""


@dataclass(frozen=True)
class File:
    """One file of an item.

    Args:
        sha256: 64 hexadecimal digits.
        bytes: Its size.
    """

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Item:
    """A committed item.

    Args:
        key: Its key.
        number: Counts the commits under this key, from 1.
        files: Name, with `/` between folders, → file.
    """

    key: str
    number: int
    files: Mapping[str, File]

    @cached_property
    def sha256(self) -> str:
        """What `icegraph.store.sha256` gives for a folder of these files."""
        return folder_sha256({name: file.sha256 for name, file in self.files.items()})

    def file_key(self, name: str) -> str:
        """The key of one of its files."""
        return f"{self.key}/content-{self.sha256}/{name}"


class Store:
    """Items under keys such as `scenes/S1B_EW_GRDM_…`.

    Args:
        objects: Where the bytes lie: `icegraph.store.s3.S3` or `Folder`.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def commit(self, key: str, folder: Path, over: int | None = None) -> Item:
        """Put all files of a folder; they are visible at once, as one item, when the last is there.

        Files that a killed writer of the same content has put already are not put again.

        Args:
            key: The item's key; an item that is there is replaced.
            folder: Its files, at any depth; empty folders are not kept.
            over: Number of the commit to replace, 0 for none; default: the one that is there now.

        Raises:
            StoreError: Another writer has committed meanwhile, or the store fails. Nothing of this folder is visible then.
            InputError: The folder is empty, or the key or the name of a file cannot be used.
        """
        check_key(key)
        last = self._last(key)
        number = (last.number if last else 0) if over is None else over
        item = Item(key, number + 1, {name: File(sha256(folder / name), (folder / name).stat().st_size) for name in _names(folder)})
        if not item.files:
            raise InputError(folder, "holds no file to commit", "name a folder with the item's files")
        self._tidy(key)
        same = last is not None and last.sha256 == item.sha256  # no sweep takes the files of the last commit
        self._put_all(item, folder, datetime.min.replace(tzinfo=UTC) if same else datetime.now(UTC) - _RELIED_ON)
        if last and same and last.number == number:
            return last
        # The same commit may be there: one that the server took, and whose answer was lost.
        if not self._objects.create(_commit_key(item), _to_json(item)) and self.item(key) != item:
            raise StoreError(self._objects.address(key), "another writer committed meanwhile", "look at what is there, then run again")
        return item

    def item(self, key: str) -> Item:
        """The committed item of a key.

        Raises:
            StoreError: There is none, or its commit is damaged.
        """
        check_key(key)
        last = self._last(key)
        if last is None:
            raise StoreError(self._objects.address(key), "no item was committed there", "check the address, or wait for its writer")
        return last

    def find(self, key: str) -> tuple[Item, str] | None:
        """The item of a key, or the one that a key lies in, and the rest of the key; None where there is none."""
        _check_prefix(key)
        parts = key.split("/") if key else []
        for end in range(len(parts), 0, -1):
            item = self._last("/".join(parts[:end]))
            if item:
                return item, "/".join(parts[end:])
        return None

    def list(self, prefix: str = "") -> list[str]:
        """The keys of the committed items at or below a key, sorted."""
        return sorted(self.times(prefix))

    def times(self, prefix: str = "") -> dict[str, datetime]:
        """When each committed item at or below a key was last committed."""
        _check_prefix(prefix)
        return {key: one.modified for key, one in _commits(self._objects.list(prefix)) if _below(key, prefix) is not None}

    def read(self, item: Item, name: str) -> bytes:
        """A small file of an item.

        Raises:
            StoreError: It is not what was committed, or not there.
        """
        content = self._objects.read(item.file_key(name))
        self._verify(item, name, hashlib.sha256(content).hexdigest())
        return content

    def fetch(self, key: str, target: Path) -> None:
        """Bring a committed item, a file or folder of one, or all that lies below a key to `target`, which appears whole.

        Committed files are held against their SHA-256. Objects that belong to no item, such as raw passes, are brought as they are.

        Raises:
            StoreError: There is nothing, a file is not what was committed, or the store fails.
            InputError: The name of a file would lead out of `target`.
        """
        found = self.find(key)
        sources = (self._of_item(*found) if found else {}) or self._below(key)
        if not sources:
            raise StoreError(self._objects.address(key), "there is no such item, object or folder", "check the address")
        if "" in sources:
            with atomic_path(target) as fresh:
                sources[""](fresh)
            return
        with atomic_dir(target) as folder:
            for name, get in sources.items():
                get(folder / name)

    def fetch_files(self, item: Item, names: Iterable[str], target: Path) -> None:
        """Bring some files of an item to a folder, which appears whole, each held against its SHA-256.

        Raises:
            StoreError: A file is not what was committed, or the store fails.
        """
        with atomic_dir(target) as folder:
            for name in names:
                self._getter(item, name)(folder / name)

    def remove(self, key: str) -> None:
        """Remove an item with all its commits; half removed, it is not there."""
        check_key(key)
        commits = [one.key for item, one in _commits(self._objects.list(f"{key}/committed-")) if item == key]
        files = [one.key for one in self._objects.list(f"{key}/content-") if (place := _content_of(one.key)) and place[0] == key]
        self._objects.remove(commits)
        self._objects.remove(files)

    def raster(self, item: Item, name: str) -> tuple[Path, Callable[[], AbstractContextManager[Any]]]:
        """The name by which GDAL reads windows of a file of an item, and the surroundings it needs while it does."""
        return self._objects.raster(item.file_key(name))

    def sweep(self, prefix: str = "", before: datetime | None = None) -> None:
        """Remove at and below a key what never was committed, or was replaced, before a time (default: a day ago)."""
        _check_prefix(prefix)
        objects = [one for one in self._objects.list(prefix) if _below(one.key, prefix) is not None]
        self._sweep(objects, prefix, before or datetime.now(UTC) - KEPT)

    def _tidy(self, key: str) -> None:
        """Sweep one key, as far as one may remove there: who may not may still commit."""
        with suppress(StoreError):
            inside = [*self._objects.list(f"{key}/committed-"), *self._objects.list(f"{key}/content-")]
            self._sweep(inside, f"{key}/content-", datetime.now(UTC) - KEPT)

    def _sweep(self, objects: Sequence[Object], prefix: str, before: datetime) -> None:
        self._objects.drop_unfinished(prefix, before)
        history: dict[str, list[Object]] = {}
        for key, commit in _commits(objects):
            history.setdefault(key, []).append(commit)
        gone = []
        kept = {place for one in objects if one.modified >= before and (place := _content_of(one.key))}
        for key, commits in history.items():
            for commit, successor in zip(commits, [*commits[1:], None], strict=True):
                if successor is None or successor.modified >= before:
                    kept.add((key, self._parsed(key, commit.key).sha256))
                else:
                    gone.append(commit.key)
        gone += [one.key for one in objects if (place := _content_of(one.key)) and place not in kept]
        self._objects.remove(gone)

    def _put_all(self, item: Item, folder: Path, young: datetime) -> None:
        """Put the files that are not there since `young`, and see that all are."""
        there = {one.key: one for one in self._objects.list(item.file_key("")) if one.modified >= young}
        for name, file in item.files.items():
            one = there.get(item.file_key(name))
            if one is None or one.bytes != file.bytes:
                self._objects.put(item.file_key(name), folder / name)
        sizes = {one.key: one.bytes for one in self._objects.list(item.file_key(""))}
        for name, file in item.files.items():
            if sizes.get(item.file_key(name)) != file.bytes:
                problem = f"after its upload, {sizes.get(item.file_key(name), 0)} of {file.bytes} bytes are there"
                raise StoreError(self._objects.address(item.file_key(name)), problem, "let nothing else write there, and run again")

    def _last(self, key: str) -> Item | None:
        commits = [one.key for item, one in _commits(self._objects.list(f"{key}/committed-")) if item == key]
        return self._parsed(key, commits[-1]) if commits else None

    def _parsed(self, key: str, commit: str) -> Item:
        match = _COMMIT.fullmatch(commit.rpartition("/")[2])
        assert match is not None  # noqa: S101 - it was listed by that name
        try:
            said = json.loads(self._objects.read(commit))
            whole = said.pop("sha256") == _json_sha256(said)
            files = {name: File(str(file["sha256"]), int(file["bytes"])) for name, file in said["files"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._damaged(commit) from error
        if not whole:
            raise self._damaged(commit)
        for name in files:
            _check_name(name)
        return Item(key, int(match[1]), files)

    def _of_item(self, item: Item, inner: str) -> dict[str, Callable[[Path], None]]:
        names = {name: _below(name, inner) for name in item.files}
        return {below: self._getter(item, name) for name, below in names.items() if below is not None}

    def _getter(self, item: Item, name: str) -> Callable[[Path], None]:
        def get(target: Path) -> None:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._objects.get(item.file_key(name), target)
            self._verify(item, name, sha256(target))

        return get

    def _below(self, prefix: str) -> dict[str, Callable[[Path], None]]:
        """The files of all items below a key, and the objects there that belong to none."""
        sources: dict[str, Callable[[Path], None]] = {}
        for key in self.list(prefix):
            inner = _below(key, prefix) or ""
            sources |= {f"{inner}/{name}": get for name, get in self._of_item(self.item(key), "").items()}
        for one in self._objects.list(prefix):
            name = _below(one.key, prefix)
            if name is not None and not one.key.endswith("/") and not _is_inside(one.key):
                if name:
                    _check_name(name)
                sources[name] = self._raw_getter(one.key)
        return sources

    def _raw_getter(self, key: str) -> Callable[[Path], None]:
        def get(target: Path) -> None:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._objects.get(key, target)

        return get

    def _verify(self, item: Item, name: str, digest: str) -> None:
        if digest != item.files[name].sha256:
            problem = f"its content (SHA-256 {digest[:12]}…) is not what was committed ({item.files[name].sha256[:12]}…)"
            raise StoreError(self._objects.address(item.file_key(name)), problem, "remove the item and write it again")

    def _damaged(self, commit: str) -> StoreError:
        return StoreError(self._objects.address(commit), "is not a whole commit", "remove the item and write it again")


def open_store(address: str | Path) -> tuple[Store, str]:
    """The store and the key that `s3://BUCKET/KEY`, or a local path, names; the key of a whole bucket is empty.

    Raises:
        InputError: It names neither, or the settings for S3 cannot be used.
    """
    scheme, mark, rest = str(address).partition("://")
    if not mark:
        place = Path(address).absolute()
        return Store(Folder(place.parent)), place.name
    bucket, _, key = rest.partition("/")
    key = key.rstrip("/")
    if scheme != "s3" or not _BUCKET.fullmatch(bucket):  # not shown whole: there may be a password in it
        raise InputError(f"{scheme}://…", "is not an address that can be read here", "write s3://BUCKET/KEY, and no user or password in it")
    _check_prefix(key)
    from icegraph.store.s3 import S3

    return Store(S3(bucket)), key


class Folder:
    """The objects of a store as files below a local folder; `Objects` tells what each method does.

    Args:
        root: The folder, made by the first `put`.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def address(self, key: str) -> str:  # noqa: D102
        return str(self._root / key)

    def put(self, key: str, source: Path) -> None:  # noqa: D102
        with atomic_path(self._root / key) as fresh:
            shutil.copyfile(source, fresh)

    def create(self, key: str, content: bytes) -> bool:  # noqa: D102
        with folder_beside(self._root / key) as beside:
            (beside / "new").write_bytes(content)
            try:
                (self._root / key).hardlink_to(beside / "new")  # unlike a rename, it fails where there is a file
            except FileExistsError:
                return False
        return True

    def read(self, key: str) -> bytes:  # noqa: D102
        return (self._root / key).read_bytes()

    def get(self, key: str, target: Path) -> None:  # noqa: D102
        shutil.copyfile(self._root / key, target)

    def list(self, prefix: str) -> Iterator[Object]:  # noqa: D102
        found = []
        for parent, folders, files in os.walk(self._root / prefix.rpartition("/")[0]):
            folders[:] = [name for name in folders if not is_beside(name)]
            for path in (Path(parent, name) for name in files):
                key = path.relative_to(self._root).as_posix()
                if key.startswith(prefix):
                    with suppress(FileNotFoundError):
                        status = path.stat()
                        found.append(Object(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC)))
        return iter(sorted(found, key=lambda one: one.key))

    def remove(self, keys: Iterable[str]) -> None:  # noqa: D102
        for key in keys:
            (self._root / key).unlink(missing_ok=True)
            with suppress(OSError):  # until a folder is not empty
                for folder in PurePosixPath(key).parents:
                    (self._root / folder).rmdir()

    def drop_unfinished(self, prefix: str, before: datetime) -> None:  # noqa: ARG002, D102
        remove_left(self._root / prefix)  # a lock tells what is unfinished, whatever its age

    def raster(self, key: str) -> tuple[Path, Callable[[], AbstractContextManager[Any]]]:  # noqa: D102
        return self._root / key, nullcontext


def check_key(key: str) -> None:
    """Refuse a key that cannot be an item's: empty or endless, with parts that lead elsewhere or that mean something here.

    Raises:
        InputError: It is one.
    """
    _check_name(key)
    for part in key.split("/"):
        if _CONTENT.fullmatch(part) or _COMMIT.fullmatch(part):
            raise InputError(key, f"has the part {part}, which names the insides of an item", "name the item's own address")


def _check_prefix(prefix: str) -> None:
    if prefix:
        _check_name(prefix)


def _check_name(name: str) -> None:
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise InputError(repr(name), "is not a path below a folder", "use names without . and .., and one / between two of them")
    if not name.isprintable():
        raise InputError(repr(name), "has characters that cannot be printed", "rename it")
    if len(name.encode()) > _LONGEST_KEY:
        raise InputError(f"{name[:40]}…", f"is longer than the {_LONGEST_KEY} bytes of an S3 key", "use shorter names")


def _names(folder: Path) -> list[str]:
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    for name in names:
        _check_name(name)
    return sorted(names)


def _below(key: str, prefix: str) -> str | None:
    """What follows a prefix, by whole parts, in a key that is it or lies below it."""
    if not prefix or key == prefix:
        return key if not prefix else ""
    return key.removeprefix(f"{prefix}/") if key.startswith(f"{prefix}/") else None


def _commits(objects: Iterable[Object]) -> Iterator[tuple[str, Object]]:
    """The item and the object of each commit."""
    for one in objects:
        item, _, name = one.key.rpartition("/")
        if item and _COMMIT.fullmatch(name) and not _content_of(item):
            yield item, one


def _content_of(key: str) -> tuple[str, str] | None:
    """The item and its SHA-256, in the key of a file of an item."""
    parts = key.split("/")
    for at, part in enumerate(parts):
        if at and (match := _CONTENT.fullmatch(part)):
            return "/".join(parts[:at]), match[1]
    return None


def _is_inside(key: str) -> bool:
    """Whether a key names an item's file or commit."""
    return bool(_content_of(key) or _COMMIT.fullmatch(key.rpartition("/")[2]))


def _commit_key(item: Item) -> str:
    return f"{item.key}/committed-{item.number:08d}.json"


def _to_json(item: Item) -> bytes:
    said = {"files": {name: asdict(file) for name, file in item.files.items()}, "created_by": code_version()}
    return (json.dumps({"sha256": _json_sha256(said), **said}, indent=1, ensure_ascii=False) + "\n").encode()


def _json_sha256(said: Mapping[str, Any]) -> str:
    """SHA-256 of what a commit says, in a form that does not hang on its layout."""
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
