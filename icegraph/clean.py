"""Removing what nobody needs any more: artifacts that are old, and that nothing which stays was made from.

What stays, and keeps all that it was made from, back to the beginning: what is young, every registered version of a model, what lies in a
lake (`icegraph.archive`), what is named to be kept, and the request logs. Who was made from what is told by the artifacts themselves, as
`icegraph.trace` reads it, so that whatever stays can still be traced. Raw passes, and whatever else icegraph did not make, are not touched.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from icegraph.archive import MADE
from icegraph.errors import InputError
from icegraph.places import is_address
from icegraph.progress import Progress, silent
from icegraph.registry import Registry
from icegraph.registry.registry import DATABASE
from icegraph.store import Store, folder_beside, open_store
from icegraph.trace import History, Node, read_history

_DOCUMENTS = {
    "item.json", "scene.json", MADE, "manifest.json", "history.json", "config.json", "model.safetensors", "champion.json", "tracks.parquet",
}  # fmt: skip
_LOGS = (".jsonl", ".log")
_SIGNS = {"item.json", "tracks.parquet", "model.safetensors"}
_STATE = {"state.json", "state.safetensors"}  # of a training that was never ended


@dataclass(frozen=True)
class Artifact:
    """What is removed as a whole.

    Args:
        place: How a person names it.
        view: Its folder, or one with those of its files that tell of its origin.
        changed: When it was last written, UTC.
        bytes: Its size.
        files: Names of its files.
        remove: Removes it.
    """

    place: str
    view: Path
    changed: datetime
    bytes: int
    files: frozenset[str]
    remove: Callable[[], None] = field(compare=False)


def clean(
    places: Sequence[str],
    registry: Registry,
    age: timedelta,
    *,
    keep: Sequence[str] = (),
    dry_run: bool = False,
    progress: Progress = silent,
) -> list[Artifact]:
    """Remove what is old and what nothing that stays was made from.

    Args:
        places: Folders, or `s3://BUCKET/NAME`; what lies elsewhere is neither removed nor asked.
        registry: Its versions stay, with what they learned from.
        age: What is younger stays.
        keep: Places below those above that stay.
        dry_run: Remove nothing.
        progress: Is told where it stands.

    Returns:
        What was removed, or would be.

    Raises:
        InputError: A place is not there, or holds nothing to keep, or somebody wrote there meanwhile; nothing was removed.
        RegistryError: The registry fails; nothing was removed.
        StoreError: The store fails; what was not removed yet can still be traced.
    """
    with folder_beside(Path(tempfile.gettempdir()).resolve() / "icegraph") as work:
        for name in registry.names():
            for version in registry.versions(name):
                progress(f"read: {name} {version.number}", 0.0)
                registry.fetch(version, work / "registry")
        artifacts = list(_survey(places, work / "s3", progress))
        for kept in keep:
            if not any(_within(one.place, [kept]) for one in artifacts):
                raise InputError(kept, "nothing that is cleaned lies there, to be kept", "check the name")
        views = [Path(place) for place in places if not is_address(place)] + [
            path for path in (work / "s3", work / "registry") if path.exists()
        ]
        # Twice: tracks are joined to the floes that are known when they are read.
        history = read_history([*views, *views])
        before = datetime.now(UTC) - age
        old = [one for one in artifacts if one.changed < before and not _within(one.place, keep)]
        going = _unneeded(history, [one for one in old if _may_go(one)])
        if not dry_run and {one.place: one.changed for one in _survey(places, None)} != {one.place: one.changed for one in artifacts}:
            raise InputError(", ".join(places), "somebody wrote there meanwhile", "run it again when no run is at work there")
        # The newest first: what a thing was made from is older, so that whatever is left, should this be cut off, can be traced.
        going.sort(key=lambda one: one.changed, reverse=True)
        for number, one in enumerate(going):
            if not dry_run:
                progress(f"remove: {one.place}", number / len(going))
                one.remove()
    return going


def _unneeded(history: History, old: Sequence[Artifact]) -> list[Artifact]:
    """Those artifacts that nothing outside of them was made from."""
    own = {one.place: {node.key for node in _nodes(one)} for one in old}
    holders: dict[str, list[str]] = {}
    for place, keys in own.items():
        for key in keys:
            holders.setdefault(key, []).append(place)
    views = {one.view for one in old}
    waiting = [node.key for node in history.nodes.values() if node.path and views.isdisjoint([Path(node.path), *Path(node.path).parents])]
    needed: set[str] = set()
    staying: set[str] = set()
    while waiting:
        key = waiting.pop()
        if key in needed:
            continue
        needed.add(key)
        waiting += [parent.key for parent in history.parents(key)]
        for place in holders.get(key, ()):
            if place not in staying:  # all that lies in one artifact stays with it
                staying.add(place)
                waiting += own[place]
    return [one for one in old if one.place not in staying]


def _nodes(artifact: Artifact) -> list[Node]:
    """What an artifact holds, and no other's name for it."""
    return [node for node in read_history([artifact.view]).nodes.values() if node.path]


def _may_go(artifact: Artifact) -> bool:
    """Whether it is one that icegraph made and that is no lake's and no registry's."""
    if artifact.files & {MADE, DATABASE}:
        return False
    made = [node for node in _nodes(artifact) if node.kind == "model" or (node.kind in ("scene", "floes", "tracks") and node.code_version)]
    return bool(made) or artifact.files == _STATE


def _survey(places: Sequence[str], work: Path | None, progress: Progress = silent) -> Iterator[Artifact]:
    """The artifacts in some places; where there is no `work`, of items no more than when they were written."""
    for place in places:
        if not is_address(place) and not Path(place).is_dir():
            raise InputError(place, "there is no such folder", "check the path")
        store, key = open_store(place)
        times = store.times(key)
        for number, (item, changed) in enumerate(times.items()):
            progress(f"read: {item}", number / len(times))
            yield _committed(place, store, item, changed, work)
        if not is_address(place):
            inside = [Path(place).absolute().parent / item for item in times]
            yield from (_folder(path) for path in _folders(Path(place).absolute(), inside))


def _committed(place: str, store: Store, key: str, changed: datetime, work: Path | None) -> Artifact:
    item = store.item(key) if work else None
    files = item.files if item else {}
    if is_address(place):
        bucket = place.removeprefix("s3://").partition("/")[0]
        view, named = (work or Path()) / bucket / key, f"s3://{bucket}/{key}"
        if item:
            names = [name for name in files if Path(name).name in _DOCUMENTS or name.endswith(_LOGS)]
            store.fetch_files(item, names, view)
    else:
        view = Path(place).absolute().parent / key
        named = str(view)
    size = sum(file.bytes for file in files.values())
    return Artifact(named, view, changed, size, frozenset(files), partial(store.remove, key))


def _folders(root: Path, without: Sequence[Path]) -> Iterator[Path]:
    """The topmost folders that hold an artifact; a registry's are its own."""
    if root in without or (root / DATABASE).exists():
        return
    if any((root / sign).is_file() for sign in _SIGNS):
        yield root
        return
    for path in sorted(path for path in root.iterdir() if path.is_dir() and not path.is_symlink() and not path.name.startswith(".")):
        yield from _folders(path, without)


def _folder(path: Path) -> Artifact:
    files = {file.relative_to(path).as_posix(): file.stat() for file in path.rglob("*") if file.is_file()}
    changed = max(datetime.fromtimestamp(status.st_mtime, UTC) for status in files.values())
    return Artifact(str(path), path, changed, sum(status.st_size for status in files.values()), frozenset(files), partial(_remove, path))


def _remove(path: Path) -> None:
    with folder_beside(path) as beside:
        shutil.move(path, beside / "gone")  # half removed, it is not there


def _within(place: str, keep: Sequence[str]) -> bool:
    kept = [one.rstrip("/") if is_address(one) else str(Path(one).absolute()) for one in keep]
    return any(place == one or place.startswith(f"{one}/") for one in kept)
