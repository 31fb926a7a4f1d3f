"""What a catalogue is asked, what it answers, and the file that carries the answer from finding to fetching."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError, field_validator
from shapely.geometry.base import BaseGeometry

from icegraph.bounds import Bounds, lonlat_bounds
from icegraph.errors import IceGraphError, InputError
from icegraph.ingest.catalogue.area import ground, is_south, read_geometry
from icegraph.ingest.stac import ID_PATTERN, parse_time
from icegraph.store import atomic_path

Tell = Callable[[int], None]
"""Takes the bytes that came in (fewer than none where some had to be thrown away); raises where the work shall stop."""

_WHOLE_EARTH = (-180.0, -90.0, 180.0, 90.0)
_CHECKSUM = re.compile(r"(md5|sha1|sha256|sha512|blake3):[0-9a-f]{32,128}")


class CatalogueError(IceGraphError):
    """A catalogue, a login or a download that failed."""


class Product(BaseModel):
    """One thing that a catalogue offers.

    Args:
        catalogue: The catalogue that knows how to fetch it, as `open_catalogue` takes it.
        id: Its name there.
        time: Start of the acquisition, UTC.
        platform: For instance `Sentinel-1B`, `GCOM-W1`, `Terra`.
        mode: For radar the beam mode (`EW`, `IW`); for gridded products the collection; empty where there is none.
        polarisations: For instance `HH`, `HV`.
        footprint: GeoJSON polygon in longitude and latitude, or None where the catalogue does not tell it.
        size: Bytes, as far as they are told.
        checksum: `md5:…`, `sha1:…`, `sha256:…`, `sha512:…` or `blake3:…` in hexadecimal digits, as far as it is told.
        href: Where it is had from.
        licence: Terms of use, in words.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    catalogue: str
    id: str
    time: AwareDatetime
    platform: str
    mode: str = ""
    polarisations: tuple[str, ...] = ()
    footprint: dict[str, Any] | None = None
    size: int | None = None
    checksum: str | None = None
    href: str
    licence: str

    @field_validator("checksum")
    @classmethod
    def _known_checksum(cls, checksum: str | None) -> str | None:
        return checksum if checksum is None or _CHECKSUM.fullmatch(checksum) else None

    @property
    def geometry(self) -> BaseGeometry | None:
        """The footprint, where it can be used."""
        return read_geometry(self.footprint)


@dataclass(frozen=True)
class Query:
    """What is looked for.

    Args:
        start: Earliest time, UTC.
        end: Latest time, UTC.
        area: Polygons in longitude and latitude; None for the whole Earth.
        mode: Beam mode of a radar (`EW`, `IW`), colours of an image, or collection; any where empty.
        polarisation: One that a product must have; any where empty.
        platform: A satellite (`Sentinel-1B`, `Terra`); any where empty.
    """

    start: datetime
    end: datetime
    area: BaseGeometry | None = None
    mode: str = ""
    polarisation: str = ""
    platform: str = ""

    @property
    def bounds(self) -> Bounds:
        """West, south, east, north of the area in degrees; west > east where it crosses 180."""
        if self.area is None:
            return _WHOLE_EARTH
        points = [point for part in getattr(self.area, "geoms", [self.area]) for point in part.exterior.coords]
        return lonlat_bounds([point[0] for point in points], [point[1] for point in points])

    def admits(self, product: Product) -> bool:
        """Whether a product answers it; one whose footprint nobody told is not ruled out by the area."""
        fits = (
            self.start <= product.time <= self.end
            and (not self.mode or product.mode.lower() == self.mode.lower())
            and (not self.polarisation or self.polarisation.upper() in product.polarisations)
            and (not self.platform or product.platform.lower() == self.platform.lower())
        )
        geometry = product.geometry
        if not fits or self.area is None or geometry is None:
            return fits
        south = is_south(self.area)
        return bool(ground(self.area, south=south).intersects(ground(geometry, south=south)))


class Catalogue(Protocol):
    """A place where products are found and fetched from."""

    def search(self, query: Query) -> Iterator[Product]:
        """Give what answers the query, page by page, in any order.

        Raises:
            CatalogueError: The place does not answer, or not in its form.
            InputError: It cannot be asked this.
        """
        ...

    def fetch(self, product: Product, folder: Path, tell: Tell) -> Path:
        """Bring a product, verified, into `folder`, with its `.source.json` beside; what is there already is not fetched again.

        Returns:
            What `icegraph run` takes.

        Raises:
            CatalogueError: It could not be had; what came so far is kept hidden and the next call goes on from there.
        """
        ...


def parse_period(text: str) -> tuple[datetime, datetime]:
    """Both ends of `A/B`, or of the day `A`: days or times (ISO 8601, UTC); a day counts whole.

    Raises:
        InputError: It is no such period.
    """
    first, _, last = text.partition("/")
    try:
        start, end = parse_time(first), parse_time(last or first)
        if re.fullmatch(r"\d{4}-?\d{2}-?\d{2}", (last or first).strip()):
            end += timedelta(days=1, microseconds=-1)
    except (ValueError, OverflowError) as error:
        raise InputError(text, "is no period of time", "write A/B, for instance 2020-01-23/2020-01-25") from error
    if end < start:
        raise InputError(text, "ends before it starts", "write the earlier time first")
    return start, end


def file_name(name: str) -> str:
    """A name of a catalogue's answer, as the name of a file here.

    Raises:
        CatalogueError: It could lead elsewhere, hide the file, or is none.
    """
    if not re.fullmatch(ID_PATTERN, name) or ".." in name:
        raise CatalogueError(repr(name[:80]), "cannot name a file here", "do not use this product")
    return name


def write_found(path: Path, products: Sequence[Product]) -> None:
    """Write products as GeoJSON, which maps show and `read_found` reads."""
    features = []
    for product in products:
        fields = product.model_dump(mode="json")
        features.append({"type": "Feature", "id": product.id, "geometry": fields.pop("footprint"), "properties": fields})
    with atomic_path(path) as beside:
        beside.write_text(json.dumps({"type": "FeatureCollection", "features": features}, indent=1) + "\n")


def read_found(path: Path) -> list[Product]:
    """Read what `write_found` wrote.

    Raises:
        InputError: It is not there, or is another thing.
    """
    try:
        features = json.loads(path.read_bytes())["features"]
        return [Product.model_validate(feature["properties"] | {"footprint": feature["geometry"]}) for feature in features]
    except (OSError, ValueError, TypeError, KeyError, ValidationError, RecursionError) as error:
        raise InputError(path, f"is not a list of found products ({type(error).__name__})", "name what `icegraph find` saved") from error


def utc(time: datetime) -> str:
    """A time as the services take it."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
