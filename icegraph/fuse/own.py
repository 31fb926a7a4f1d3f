"""HDF files can name other files that their values lie in, and would have us read whatever lies there: such files are refused."""

import struct
from pathlib import Path
from typing import Final

import h5py

from icegraph.errors import PassError

_SPECIAL: Final = 0x4000  # a bit of a tag: the element is not plain; its first two bytes say how (HDF4 Specification, chapter 9)
_EXTERNAL: Final = 2


def require_own_hdf5(path: Path, name: str, dataset: h5py.Dataset, mend: str) -> None:
    """Check that a dataset's values lie in the file that it was opened from.

    Raises:
        PassError: They lie in another.
    """
    if dataset.is_virtual or dataset.external or Path(dataset.file.filename) != path:
        raise PassError(path, f"dataset “{name}” lies in another file", mend)


def require_own_hdf4(path: Path, mend: str) -> None:
    """Check that all elements of an HDF4 file lie in it, by its list of them: blocks of (tag, reference, offset, length).

    Raises:
        PassError: One lies in another file, or the list is damaged.
    """
    with path.open("rb") as stream:
        try:
            block, seen = 4, set[int]()
            while block and block not in seen:
                seen.add(block)
                stream.seek(block)
                count, block = struct.unpack(">HI", stream.read(6))
                for tag, _, offset, _ in list(struct.iter_unpack(">HHII", stream.read(12 * count))):
                    if not tag & 0x8000 and tag & _SPECIAL:
                        stream.seek(offset)
                        if struct.unpack(">H", stream.read(2))[0] == _EXTERNAL:
                            raise PassError(path, "has values that lie in another file", mend)
        except struct.error as error:
            raise PassError(path, "is cut off within its list of elements", mend) from error
