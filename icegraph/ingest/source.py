"""Where a raw file came from: `NAME.source.json` beside it, written when it was downloaded, believed when it was ingested.

It is believed only of the bytes that were downloaded: it names their SHA-256.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError

from icegraph.store import atomic_path

_LIMIT = 4 << 20  # bytes


class Source(BaseModel):
    """Where a raw file or folder came from.

    Args:
        catalogue: Name of the catalogue.
        id: Name of the product there.
        href: Address it was had from, without user name, password or signature.
        licence: Terms of use.
        checksum: The provider's, which was verified; None where the provider told none.
        sha256: Path within the folder (or the file's name) → SHA-256.
        bytes: Size of all of them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    catalogue: str
    id: str
    href: str
    licence: str
    checksum: str | None
    sha256: dict[str, str]
    bytes: int

    def tells_of(self, digests: Iterable[str]) -> bool:
        """Whether files of these SHA-256 are what was downloaded."""
        return set(digests) <= set(self.sha256.values())

    def lies_at(self, place: Path) -> bool:
        """Whether the file or folder is there with the size that it had; its bytes are not read."""
        files = {name: place / name if place.is_dir() else place for name in self.sha256}
        return all(path.is_file() for path in files.values()) and sum(path.stat().st_size for path in files.values()) == self.bytes

    def write(self, place: Path) -> None:
        """Write it beside `place`."""
        with atomic_path(_beside(place)) as beside:
            beside.write_text(self.model_dump_json(indent=1) + "\n")

    @classmethod
    def read(cls, place: Path) -> Self | None:
        """What lies beside `place`, or None where nothing readable does."""
        path = _beside(place)
        try:
            if path.stat().st_size > _LIMIT:
                return None
            return cls.model_validate(json.loads(path.read_bytes()))
        except (OSError, ValueError, ValidationError, RecursionError):
            return None


def bare_address(href: str) -> str:
    """An address without what may be secret in it: user name, password, query, fragment."""
    parts = urlsplit(href)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host, query="", fragment="").geturl()


def _beside(place: Path) -> Path:
    return place.with_name(f"{place.name}.source.json")
