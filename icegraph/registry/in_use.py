"""The models in use: a folder that whatever runs or serves models reads, without asking the registry.

    <folder>/
      <name>/
        <first 12 digits of the model's SHA-256>/   a version that was brought here, never changed
        champion.json                               the version in use

What lies here was verified when it came, and is again when it is taken: with the registry out of reach the last champions go on.
"""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from icegraph.errors import InputError, ModelError
from icegraph.registry.content import DESCRIPTION, DIGITS, check_model, model_sha256, require_model
from icegraph.store import atomic_dir, atomic_path

CHAMPION = "champion.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def bring(model: Path, folder: Path, name: str) -> Path:
    """Copy a model into the folder as a version of a name; a version that is there already is left as it is.

    Raises:
        ModelError: It is no model, or the version that is there is damaged.
        InputError: The name cannot be a folder's.
    """
    require_model(model)
    digest = model_sha256(model)
    version = folder / checked_name(name) / digest[:DIGITS]
    if version.exists():
        check_model(version, digest)
        return version
    with atomic_dir(version) as fresh:
        shutil.copytree(model, fresh, dirs_exist_ok=True, ignore=shutil.ignore_patterns(DESCRIPTION))
        check_model(fresh, digest)
    return version


def use(versions: Sequence[Path]) -> list[Path]:
    """Make versions of one folder the ones in use, all or none; gives their `champion.json`, each of which names the one it replaced.

    Raises:
        ModelError: A version is not a whole model.
    """
    digests = [_whole(version) for version in versions]
    now = datetime.now(UTC).isoformat(timespec="seconds")
    with ExitStack() as written:
        for version, digest in zip(versions, digests, strict=True):
            pointer = version.parent / CHAMPION
            before = read_json(pointer, "promote a version again")["version"] if pointer.exists() else None
            if before != version.name:
                content = {"version": version.name, "sha256": digest, "previous": before, "promoted": now}
                write_json(written.enter_context(atomic_path(pointer)), content)
    return [version.parent / CHAMPION for version in versions]


def resolve(folder_or_model: Path, name: str) -> Path:
    """The model folder to use: a model folder itself, or the champion of that name in a folder of models in use.

    Raises:
        ModelError: There is neither, or the champion's files are not those that were registered.
    """
    if (folder_or_model / "config.json").is_file():
        return folder_or_model
    pointer = folder_or_model / checked_name(name) / CHAMPION
    mend = f"name a model folder, or a registry in which {name} was promoted"
    if not pointer.is_file():
        raise ModelError(folder_or_model, f"neither a model folder nor a registry with a champion for {name}", mend)
    champion = read_json(pointer, mend)
    version = pointer.parent / checked_name(str(champion.get("version", "")))
    if not version.is_dir():
        raise ModelError(pointer, f"points to the version {version.name}, which is not there", "run `icegraph models deploy`")
    check_model(version, str(champion.get("sha256", "")))
    return version


def _whole(version: Path) -> str:
    """The SHA-256 of a version whose files are those that its name tells."""
    require_model(version)
    digest = model_sha256(version)
    if not digest.startswith(version.name):
        raise ModelError(version, "its files are not those that were registered", "delete that folder, and run `icegraph models deploy`")
    return digest


def checked_name(name: str) -> str:
    """A name that can be a folder's.

    Raises:
        InputError: It cannot.
    """
    if not _NAME.fullmatch(name):
        raise InputError(name, "not a name for a model", "use letters, digits, dots, dashes and underscores")
    return name


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object as people read it."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path, mend: str) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ModelError: It cannot be read, or is none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(path, f"cannot be read ({error})", mend) from error
    if not isinstance(content, dict):
        raise ModelError(path, "not a JSON object", mend)
    return content
