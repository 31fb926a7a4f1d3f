"""Products in a folder or under an S3 prefix: found by their names and their headers, without fetching them.

    X.SAFE/…, X.zip         Sentinel-1: mode, polarisations, time and footprint from manifest.safe
    X.json                  a STAC item with its assets beside it
    GW1AM2_<time>_….h5      AMSR2 L1: the time from the name

Other files are left alone. A folder's products are not copied: they are used where they are.
"""

import json
import re
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from pyarrow import fs

from icegraph.errors import PassError
from icegraph.ingest.catalogue.copernicus import LICENCE
from icegraph.ingest.catalogue.download import CutError, Opener, Stream, download, lies_here, source_of
from icegraph.ingest.catalogue.filesystem import open_place
from icegraph.ingest.catalogue.product import CatalogueError, Product, Query, Tell, file_name
from icegraph.ingest.container import XML_LIMIT, child_text
from icegraph.ingest.sentinel1 import SAFE
from icegraph.ingest.stac import parse_time
from icegraph.store import sha256

_GML = "{http://www.opengis.net/gml}"
_SAR = "{http://www.esa.int/safe/sentinel-1.0/sentinel-1/sar/level-1}"
_AMSR2 = re.compile(r"GW1AM2_(\d{12})_.*\.(h5|hdf5)", re.IGNORECASE)
_ITEM_LIMIT = 4 << 20  # bytes
_CHUNK = 1 << 20


@dataclass(frozen=True)
class _Thing:
    """What may be a product: where it is, its files (path below it → bytes), and whether it is a folder."""

    path: str
    files: dict[str, int]
    folder: bool

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name


class Files:
    """A folder or an S3 prefix.

    Args:
        place: A folder, or `s3://bucket/prefix`; credentials, endpoint and region from the environment (AWS_…).
    """

    def __init__(self, place: str) -> None:
        self.name = place
        self._files, self._root, self._scheme = open_place(place)

    def search(self, query: Query) -> Iterator[Product]:
        """Products that the query admits; see `Catalogue`."""
        for thing in self._things():
            product = self._recognise(thing)
            if product and query.admits(product):
                yield product

    def fetch(self, product: Product, folder: Path, tell: Tell) -> Path:
        """A folder's product where it is, or a copy of a bucket's; see `Catalogue`."""
        path = product.href.removeprefix(self._scheme)
        if not self._scheme:
            return _in_place(product, tell)
        if PurePosixPath(self._root) not in PurePosixPath(path).parents or ".." in PurePosixPath(path).parts:
            raise CatalogueError(product.href, f"lies outside {self.name}", "search again")
        with self._reached(product.href):
            files = self._files_of(path)
        place = folder / file_name(PurePosixPath(path).name)
        if not files:
            raise _gone(product)
        if len(files) == 1 and not path.endswith(".json") and "" in files:
            return self._fetch_file(product, path, place, tell)
        return self._fetch_folder(product, path, files, folder, tell)

    def _fetch_file(self, product: Product, path: str, place: Path, tell: Tell) -> Path:
        if lies_here(product, place):
            tell(product.size or 0)
            return place

        def verified(digest: str, size: int) -> None:
            source_of(product, {place.name: digest}, size).write(place)

        download(place, self._opener(path), size=None, checksum=None, tell=tell, verified=verified)
        return place

    def _fetch_folder(self, product: Product, path: str, files: dict[str, int], folder: Path, tell: Tell) -> Path:
        """A SAFE folder, or an item and its assets: whole or hidden, file by file."""
        item = path.endswith(".json")
        base = str(PurePosixPath(path).parent) if item else path
        place = folder / file_name(PurePosixPath(path).stem if item else PurePosixPath(path).name)
        if lies_here(product, place):
            tell(product.size or 0)
        else:
            if place.exists():
                raise CatalogueError(place, "is there, but not as it was fetched", "move it away, or fetch into another folder")
            beside = place.with_name(f".{place.name}.part")
            digests: dict[str, str] = {}
            for name, size in sorted(files.items()):
                target = beside.joinpath(*(file_name(part) for part in PurePosixPath(name).parts))
                if target.is_file() and target.stat().st_size == size:
                    tell(size)
                    digests[name] = sha256(target)
                else:
                    digests[name] = download(target, self._opener(f"{base}/{name}"), size=size, checksum=None, tell=tell)
            source_of(product, digests, sum(files.values())).write(place)
            beside.replace(place)
        return place / PurePosixPath(path).name if item else place

    def _things(self) -> Iterator[_Thing]:
        with self._reached(self.name):
            infos = self._files.get_file_info(fs.FileSelector(self._root, recursive=True))
        folders: dict[str, dict[str, int]] = {}
        for info in sorted((one for one in infos if one.type == fs.FileType.File), key=lambda one: str(one.path)):
            parts = PurePosixPath(info.path).relative_to(self._root).parts
            if any(part.startswith(".") for part in parts):
                continue
            safe = next((number for number, part in enumerate(parts[:-1]) if part.upper().endswith(".SAFE")), None)
            if safe is None:
                yield _Thing(info.path, {"": info.size}, folder=False)
            else:
                path = "/".join((self._root, *parts[: safe + 1]))
                folders.setdefault(path, {})["/".join(parts[safe + 1 :])] = info.size
        yield from (_Thing(path, files, folder=True) for path, files in folders.items())

    def _recognise(self, thing: _Thing) -> Product | None:
        """The product that a thing is, or None where it is none, or is damaged: ingest refuses that by name once it is fetched."""
        lower = thing.name.lower()
        with suppress(PassError, OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile, NotImplementedError):
            if thing.folder or lower.endswith(".zip"):
                return self._sentinel1(thing)
            if lower.endswith(".json") and not lower.endswith(".source.json"):
                return self._item(thing)
            if told := _AMSR2.fullmatch(thing.name):
                time = datetime.strptime(told[1], "%Y%m%d%H%M").replace(tzinfo=UTC)
                return self._product(thing, thing.files, id=Path(thing.name).stem, time=time, platform="GCOM-W1", licence="JAXA G-Portal")
        return None

    def _sentinel1(self, thing: _Thing) -> Product:
        manifest = self._manifest(thing)
        time = parse_time(child_text(manifest, f".//{SAFE}startTime", thing.path))
        corners = [pair.split(",") for pair in child_text(manifest, f".//{_GML}coordinates", thing.path).split()]
        ring = [[float(lon), float(lat)] for lat, lon in corners]
        return self._product(
            thing,
            thing.files,
            id=re.sub(r"(?i)(\.safe)?(\.zip)?$", "", thing.name),
            time=time,
            platform=f"Sentinel-1{child_text(manifest, f'.//{SAFE}platform/{SAFE}number', thing.path)}",
            mode=manifest.findtext(f".//{_SAR}mode") or thing.name.split("_")[1],
            polarisations=tuple(
                element.text or "" for element in manifest.iter() if element.tag.endswith("}transmitterReceiverPolarisation")
            ),
            footprint={"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
            licence=LICENCE.format(year=time.year),
        )

    def _manifest(self, thing: _Thing) -> Element:
        path = f"{thing.path}/manifest.safe" if thing.folder else thing.path
        with self._files.open_input_file(path) as stream:
            if thing.folder:
                text = stream.read(XML_LIMIT)
            else:
                with zipfile.ZipFile(stream) as archive:
                    [name] = [one for one in archive.namelist() if PurePosixPath(one).name == "manifest.safe"]
                    with archive.open(name) as member:
                        text = member.read(XML_LIMIT)
        try:
            root: Element = fromstring(text, forbid_dtd=True)
        except (ParseError, DefusedXmlException) as error:
            raise ValueError("no manifest") from error
        return root

    def _item(self, thing: _Thing) -> Product | None:
        fields, assets = self._read_item(thing.path, thing.files[""])
        told = fields["properties"]
        sizes = {name: self._files.get_file_info(f"{PurePosixPath(thing.path).parent}/{name}").size for name in assets}
        if not assets or None in sizes.values() or "icegraph:parents" in told:
            return None
        return self._product(
            thing,
            sizes | {thing.name: thing.files[""]},
            id=str(fields["id"]),
            time=parse_time(str(told.get("datetime") or told.get("start_datetime"))),
            platform=str(told.get("platform", "")).title(),
            mode=str(told.get("sar:instrument_mode", "")),
            polarisations=tuple(str(one).upper() for one in told.get("sar:polarizations") or ()),
            footprint=fields.get("geometry"),
            licence=str(told.get("license") or "not stated in the item"),
        )

    def _read_item(self, path: str, size: int) -> tuple[dict[str, Any], list[str]]:
        """An item, and the files beside it that it names."""
        if size > _ITEM_LIMIT:
            raise ValueError("too large for an item")
        with self._files.open_input_file(path) as stream:
            fields = json.loads(stream.read())
        if fields.get("type") != "Feature" or not isinstance(fields.get("assets"), dict):
            raise ValueError("no item")
        hrefs = [PurePosixPath(str(asset["href"])) for asset in fields["assets"].values()]
        if any(href.is_absolute() or ".." in href.parts or ":" in href.parts[0] for href in hrefs):
            raise ValueError("assets that lie elsewhere")
        return fields, sorted({href.as_posix() for href in hrefs})

    def _files_of(self, path: str) -> dict[str, int]:
        """The files of a product, as paths below its folder (or `` for itself) → bytes."""
        info = self._files.get_file_info(path)
        if info.type == fs.FileType.File and path.endswith(".json"):
            with suppress(ValueError, KeyError, TypeError, AttributeError):
                _, assets = self._read_item(path, info.size)
                names = [*assets, PurePosixPath(path).name]
                infos = self._files.get_file_info([f"{PurePosixPath(path).parent}/{name}" for name in names])
                return {name: one.size for name, one in zip(names, infos, strict=True) if one.type == fs.FileType.File}
        if info.type == fs.FileType.File:
            return {"": info.size}
        if info.type == fs.FileType.NotFound:
            return {}
        below = self._files.get_file_info(fs.FileSelector(path, recursive=True))
        return {one.path.removeprefix(f"{path}/"): one.size for one in below if one.type == fs.FileType.File}

    def _product(self, thing: _Thing, files: dict[str, int], **fields: Any) -> Product:
        return Product(catalogue=self.name, href=f"{self._scheme}{thing.path}", size=sum(files.values()), **fields)

    def _opener(self, path: str) -> Opener:
        """An object of a bucket, its version told by its size and time."""

        @contextmanager
        def open_at(offset: int, version: str) -> Iterator[Stream]:
            with self._reached(f"{self._scheme}{path}"):
                info = self._files.get_file_info(path)
                stream = self._files.open_input_file(path)
            told = f"{info.size} {info.mtime_ns}"
            start = offset if version in ("", told) and offset <= info.size else 0
            with stream:
                stream.seek(start)
                yield Stream(start, info.size, told, _chunks(stream))

        return open_at

    @contextmanager
    def _reached(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = "there is no such place" if isinstance(error, FileNotFoundError) else _reason(error)
            raise CatalogueError(what, f"cannot be read ({reason})", "check the name, AWS_ENDPOINT_URL and the credentials") from None


def _in_place(product: Product, tell: Tell) -> Path:
    if not Path(product.href).exists():
        raise _gone(product)
    tell(product.size or 0)
    return Path(product.href)


def _gone(product: Product) -> CatalogueError:
    return CatalogueError(product.href, "is not there", "search again: it may have moved")


def _chunks(stream: Any) -> Iterator[bytes]:
    try:
        while chunk := stream.read(_CHUNK):
            yield chunk
    except OSError as error:
        raise CutError(type(error).__name__) from None


def _reason(error: OSError) -> str:
    """The S3 error's name; the rest of what Arrow says is the name of its C++ function."""
    told: Sequence[str] = re.findall(r"AWS Error ([A-Z_ ]+?)(?: during|:| \[)", str(error))
    return told[0].lower().replace("_", " ") if told else type(error).__name__
