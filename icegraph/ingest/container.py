"""A product's files, in a folder or inside a zip, read without unpacking and without trusting names or sizes.

Nothing is ever extracted: small files are read into memory under a limit, rasters are opened in place (GDAL's /vsizip/).
"""

import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from icegraph.errors import PassError

XML_LIMIT = 16 << 20  # bytes; parsed, they take up to 30 times as many. The largest annotation seen is 1.8 MB (IW), EW stays below 10 MB
ZIP_TOTAL_LIMIT = 64 << 30  # bytes unpacked; a dual IW GRDH product has 1.8 GB
ZIP_MEMBERS_LIMIT = 10_000
ZIP_RATIO_LIMIT = 100  # unpacked : packed, of members above ZIP_RATIO_FROM; SAR pixels reach 2, XML 30
ZIP_RATIO_FROM = 1 << 20


@dataclass(frozen=True)
class Container:
    """The files of one product.

    Args:
        place: The folder, or the zip.
        prefix: Inside a zip, the product's folder (`x.SAFE/`, or empty); empty for a folder.
        sizes: Path within the product, with forward slashes → bytes.
    """

    place: Path
    prefix: str
    sizes: dict[str, int]

    @property
    def zipped(self) -> bool:
        """Whether it is a zip."""
        return self.place.is_file()

    def __contains__(self, name: str) -> bool:
        return name in self.sizes

    def raster(self, name: str) -> str:
        """What to give to rasterio to open a raster in place."""
        return f"/vsizip/{{{self.place}}}/{self.prefix}{name}" if self.zipped else str(self.place / name)

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """Open a file to read bytes from; seekable."""
        if not self.zipped:
            with (self.place / name).open("rb") as stream:
                yield stream
            return
        try:
            with zipfile.ZipFile(self.place) as archive, archive.open(self.prefix + name) as stream:
                yield stream
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise PassError(f"{self.place}/{name}", f"cannot be read from the zip ({error})", "download the product again") from error

    def read_xml(self, name: str) -> Element:
        """Parse an XML file; DTDs, entities and files above 16 MiB are refused.

        Raises:
            PassError: It is missing, too large, not XML, or holds a DTD or entities.
        """
        subject = f"{self.place}/{name}"
        if name not in self:
            raise PassError(subject, "is missing", "download the product again, whole")
        if self.sizes[name] > XML_LIMIT:
            raise PassError(
                subject, f"has {self.sizes[name]} bytes, more than the {XML_LIMIT} that any annotation needs", "do not use this file"
            )
        with self.open(name) as stream:
            text = stream.read(XML_LIMIT + 1)
        try:
            root: Element = fromstring(text, forbid_dtd=True)
        except DefusedXmlException as error:
            raise PassError(
                subject, "holds a DTD or entities, which no Sentinel-1 product does", "do not use this file; download the product anew"
            ) from error
        except (ParseError, UnicodeError, LookupError, ValueError) as error:
            raise PassError(subject, f"is not well-formed XML ({error})", "download the product again") from error
        return root


def open_folder(place: Path) -> Container:
    """The files of a product's folder.

    Raises:
        PassError: A link in it leads outside.
    """
    root = place.resolve()
    sizes = {}
    for path in sorted(place.rglob("*")):
        if not path.resolve().is_relative_to(root):
            raise PassError(path, "is a link that leads out of the product", "replace it by the file itself")
        if path.is_file():
            sizes[path.relative_to(place).as_posix()] = path.stat().st_size
    return Container(place, "", sizes)


def open_zip(place: Path) -> Container:
    """The files of a zipped product, with their names and sizes checked before anything is unpacked.

    Raises:
        PassError: Not a readable zip, or one with hostile names, links, sizes or ratios.
    """
    try:
        with zipfile.ZipFile(place) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
        raise PassError(place, f"is not a whole zip ({error})", "download it again") from error
    _check_members(place, members)
    files = [member for member in members if not member.is_dir()]
    manifests = [member.filename for member in files if PurePosixPath(member.filename).name == "manifest.safe"]
    prefix = manifests[0].removesuffix("manifest.safe") if manifests else ""
    sizes = {member.filename.removeprefix(prefix): member.file_size for member in files if member.filename.startswith(prefix)}
    return Container(place, prefix, sizes)


def _check_members(place: Path, members: list[zipfile.ZipInfo]) -> None:
    if len(members) > ZIP_MEMBERS_LIMIT:
        raise PassError(place, f"holds {len(members)} files, more than {ZIP_MEMBERS_LIMIT}", "do not use this zip")
    if len({member.filename for member in members}) < len(members):
        raise PassError(place, "holds the same name twice", "do not use this zip")
    total = sum(member.file_size for member in members)
    if total > ZIP_TOTAL_LIMIT:
        raise PassError(place, f"would unpack to {total} bytes, more than {ZIP_TOTAL_LIMIT}", "do not use this zip")
    for member in members:
        problem = _hostile(member)
        if problem:
            raise PassError(place, f"member {member.filename!r} {problem}", "do not use this zip; download the product anew")


def _hostile(member: zipfile.ZipInfo) -> str | None:
    path = PurePosixPath(member.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or (path.parts and ":" in path.parts[0]):
        return "has a path that leads out of the product"
    if stat.S_ISLNK(member.external_attr >> 16):
        return "is a symbolic link"
    if member.flag_bits & 1:
        return "is encrypted"
    if member.file_size > ZIP_RATIO_FROM and member.file_size > ZIP_RATIO_LIMIT * max(member.compress_size, 1):
        return f"would unpack to {member.file_size} bytes from {member.compress_size}, as zip bombs do"
    return None


def child_text(element: Element, path: str, subject: Any) -> str:
    """The text of a descendant.

    Raises:
        PassError: It is not there, or empty.
    """
    text = (element.findtext(path) or "").strip()
    if not text:
        raise PassError(str(subject), f"has no <{path}>", "download the product again, or report its version")
    return text
