"""Ingest: raw passes recognised, checked and listed in a manifest; what cannot be used is refused by name."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from icegraph.errors import InputError, PassError
from icegraph.ingest.manifest import File, Manifest, Pass
from icegraph.ingest.passes import Described, describe, find_candidates
from icegraph.store import Refusal, code_version

__all__ = ["File", "Manifest", "Pass", "ingest", "ingest_parts"]


def ingest(paths: Sequence[Path], out: Path) -> Manifest:
    """List the passes in `paths` and write `out/manifest.json`.

    Each pass is recognised from its headers, sampled, and held against expectations; one that fails is refused, with its name and the
    reason, and the rest go on. AMSR2 data is listed as partners for fuse (`Manifest.partners`).

    Args:
        paths: SAFE folders or zips, GeoTIFFs, STAC items, AMSR2 files (swaths, daily maps of concentration), or folders that are searched
            for them.
        out: Folder for the manifest.

    Raises:
        InputError: There is nothing there that could be a pass. (Where there is, but all of it is refused, the manifest tells.)
    """
    return ingest_parts([nullcontext(paths)], out)


def ingest_parts(parts: Iterable[AbstractContextManager[Sequence[Path]]], out: Path) -> Manifest:
    """The same for paths that are there in parts, one after the other.

    Args:
        parts: Each gives its paths for as long as its block lasts.
        out: Folder for the manifest.

    Raises:
        InputError: As for `ingest`.
    """
    from icegraph.ingest import expectations

    refused: dict[Path, str] = {}
    described: list[Described] = []
    looked_in: list[Path] = []
    for part in parts:
        with part as paths:
            looked_in += paths
            for candidate in _candidates(paths, refused):
                try:
                    described.append(describe(candidate))
                except PassError as error:
                    refused[candidate] = str(error)
    if not described and not refused:
        where = ", ".join(map(str, looked_in)) or "no path"
        raise InputError(where, "holds no pass", "name SAFE folders or zips, GeoTIFFs, STAC items, AMSR2 files, or a folder of them")
    notes: list[str] = []
    described = _without_duplicates(described, refused)
    described = _by_time(described, notes)
    results, failures = expectations.check([one.entry for one in described], [row for one in described for row in one.samples])
    for one in described:
        if one.entry.id in failures:
            refused[one.entry.href] = f"{one.entry.href}: {failures[one.entry.id]}"
    manifest = Manifest(
        passes=[one.entry for one in described if one.entry.id not in failures],
        refused=[Refusal(str(path), reason) for path, reason in refused.items()],
        expectations=results,
        notes=notes,
        created_by=code_version(),
    )
    manifest.write(out / "manifest.json")
    return manifest


def _candidates(paths: Sequence[Path], refused: dict[Path, str]) -> list[Path]:
    found: dict[Path, Path] = {}
    for path in paths:
        try:
            for candidate in find_candidates(path):
                found.setdefault(candidate.resolve(), candidate)
        except PassError as error:
            refused[path] = str(error)
        except OSError as error:
            refused[path] = str(PassError(path, f"cannot be searched ({error})", "check that it may be read"))
    return list(found.values())


def _without_duplicates(described: Sequence[Described], refused: dict[Path, str]) -> list[Described]:
    """The first of each id and of each content."""
    kept: list[Described] = []
    ids: dict[str, Pass] = {}
    contents: dict[frozenset[str], Pass] = {}
    for one in described:
        entry = one.entry
        content = frozenset(file.sha256 for file in entry.files)
        twin = contents.get(content) or ids.get(entry.id)
        if twin is not None:
            same = "the same content" if content in contents else f"the same id {entry.id!r}"
            error = PassError(entry.href, f"has {same} as {twin.href}", "keep one of them")
            refused[entry.href] = str(error)
            continue
        ids[entry.id] = contents[content] = entry
        kept.append(one)
    return kept


def _by_time(described: Sequence[Described], notes: list[str]) -> list[Described]:
    ordered = sorted(described, key=lambda one: (one.entry.time, one.entry.id))
    if ordered != list(described):
        notes.append("the passes were not given in the order of their times; they are listed in it")
    return ordered
