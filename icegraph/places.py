"""Places that a user names: files and folders that this process can open."""

import re
from pathlib import Path

from icegraph.errors import InputError

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def on_disk(place: str | Path) -> Path:
    """The path that `place` is.

    Raises:
        InputError: It is an address, as of a bucket: as a path it would mean another place.
    """
    if _ADDRESS.match(str(place)):
        raise InputError(place, "is not on a disk that can be read here", "mount the bucket and name the folder")
    return Path(place)
