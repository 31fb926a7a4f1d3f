"""Versions of models, and which of them is in use.

    <registry>/
      <name>/
        <first 12 digits of the model's SHA-256>/   one version, never changed: the model's files and registration.json
        champion.json                               the version in use

A version is named by its content: the same model registers as the same version, on any machine.
"""

import fcntl
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from icegraph.errors import InputError, ModelError
from icegraph.store import atomic_dir, atomic_path, code_version, sha256

CHAMPION = "champion.json"
REGISTRATION = "registration.json"
NEEDED = ("config.json", "model.safetensors")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_DIGITS = 12


def register(
    model: Path, registry: Path, *, metrics: Mapping[str, float], name: str | None = None, gate: Mapping[str, Any] | None = None
) -> Path:
    """Copy a model into the registry as a version; a version that is there already is left as it is.

    Args:
        model: Model folder: config.json, model.safetensors, and what else describes it.
        registry: The registry's folder, made where there is none.
        metrics: Figures it was judged by, name → number.
        name: Name in the registry; the folder's name where not given.
        gate: What `gate.json` held, where the model was held against the gate.

    Returns:
        The version's folder.

    Raises:
        ModelError: The folder is not a model, or a version of that name holds other files than it should.
        InputError: The name cannot be a folder's name, or a figure is not finite.
    """
    missing = [file for file in NEEDED if not (model / file).is_file()]
    if missing:
        raise ModelError(model, f"not a model folder: {', '.join(missing)} missing", "name a folder that a training step wrote")
    name = _checked_name(model.resolve().name if name is None else name)
    endless = sorted(key for key, value in metrics.items() if not math.isfinite(value))
    if endless:
        raise InputError(name, f"the metrics {', '.join(endless)} are not finite numbers", "leave out what could not be computed")
    digest = _model_sha256(model)
    version = registry / name / digest[:_DIGITS]
    if version.exists():
        _check(version, digest)
        return version
    registration = {
        "name": name,
        "sha256": digest,
        "registered": datetime.now(UTC).isoformat(timespec="seconds"),
        "code_version": code_version(),
        "metrics": dict(sorted(metrics.items())),
        "gate": dict(gate) if gate is not None else None,
    }
    with atomic_dir(version) as folder:
        shutil.copytree(model, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(REGISTRATION))
        _write_json(folder / REGISTRATION, registration)
        _check(folder, digest)
    return version


def promote(versions: Sequence[Path]) -> list[Path]:
    """Make versions of one registry the ones in use, all or none; gives their `champion.json`, each of which names the one it replaced.

    Raises:
        ModelError: A version is not whole.
    """
    digests = [str(_read_json(version / REGISTRATION, "name a version that register made")["sha256"]) for version in versions]
    for version, digest in zip(versions, digests, strict=True):
        _check(version, digest)
    promoted = datetime.now(UTC).isoformat(timespec="seconds")
    with _locked(versions[0].parent.parent), ExitStack() as written:
        for version, digest in zip(versions, digests, strict=True):
            pointer = version.parent / CHAMPION
            before = _read_json(pointer, "promote a version again")["version"] if pointer.exists() else None
            if before != version.name:
                content = {"version": version.name, "sha256": digest, "previous": before, "promoted": promoted}
                _write_json(written.enter_context(atomic_path(pointer)), content)
    return [version.parent / CHAMPION for version in versions]


def resolve(registry_or_path: Path, name: str) -> Path:
    """The model folder to use: a model folder itself, or the champion of that name in a registry.

    Raises:
        ModelError: There is neither, or the champion's files are not those that were registered.
    """
    if (registry_or_path / "config.json").is_file():
        return registry_or_path
    pointer = registry_or_path / _checked_name(name) / CHAMPION
    mend = f"name a model folder, or a registry in which {name} was promoted"
    if not pointer.is_file():
        raise ModelError(registry_or_path, f"neither a model folder nor a registry with a champion for {name}", mend)
    champion = _read_json(pointer, mend)
    version = pointer.parent / _checked_name(str(champion.get("version", "")))
    if not version.is_dir():
        raise ModelError(pointer, f"points to the version {version.name}, which is not there", "promote another version")
    _check(version, str(champion.get("sha256", "")))
    return version


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Wait for a folder's lock and hold it."""
    lock = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _check(version: Path, digest: str) -> None:
    """Hold the files of a version against the SHA-256 it was registered by."""
    if _model_sha256(version) != digest:
        raise ModelError(version, "its files are not those that were registered", "delete the version and register the model again")


def _model_sha256(folder: Path) -> str:
    """What `icegraph.store.sha256` gives for a model's folder, whether or not a registration lies in it."""
    digest = hashlib.sha256()
    for file in sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / REGISTRATION):
        digest.update(f"{file.relative_to(folder).as_posix()}\0{sha256(file)}\n".encode())
    return digest.hexdigest()


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InputError(name, "not a name for a model", "use letters, digits, dots, dashes and underscores")
    return name


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _read_json(path: Path, mend: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(path, f"cannot be read ({error})", mend) from error
    if not isinstance(content, dict):
        raise ModelError(path, "not a JSON object", mend)
    return content
