"""What a model is: a folder whose files, by name and SHA-256, are its identity. The same model is the same version on any machine."""

import hashlib
from pathlib import Path

from icegraph.errors import ModelError
from icegraph.store import sha256

NEEDED = ("config.json", "model.safetensors")
DIGITS = 12  # of the SHA-256, in the name of a version's folder
DESCRIPTION = "MLmodel"  # tells MLflow how to call the model; made from the other files, and no part of the identity


def require_model(folder: Path) -> None:
    """Refuse a folder that is not a model.

    Raises:
        ModelError: A file that every model has is missing.
    """
    missing = [file for file in NEEDED if not (folder / file).is_file()]
    if missing:
        raise ModelError(folder, f"not a model folder: {', '.join(missing)} missing", "name a folder that a training step wrote")


def model_sha256(folder: Path) -> str:
    """What `icegraph.store.sha256` gives for a model's folder, whether or not MLflow's description lies in it."""
    digest = hashlib.sha256()
    for file in sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / DESCRIPTION):
        digest.update(f"{file.relative_to(folder).as_posix()}\0{sha256(file)}\n".encode())
    return digest.hexdigest()


def check_model(folder: Path, digest: str) -> None:
    """Hold a model's files against the SHA-256 it was registered by.

    Raises:
        ModelError: They are others.
    """
    if model_sha256(folder) != digest:
        raise ModelError(folder, "its files are not those that were registered", "delete that folder, and run `icegraph models deploy`")
