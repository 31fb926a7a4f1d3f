"""STAC items as passes: what the item says, with every asset found in the item's own folder."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from icegraph.errors import PassError

_ITEM_LIMIT = 4 << 20  # bytes
_MASK_ROLES = {"land-mask": "land", "land-water": "land", "water-mask": "water"}  # role → what is not black there
ID_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,199}"  # ids become folder names

BANDS_OF_KEY = {
    "truecolor": ("red", "green", "blue"),
    "falsecolor": ("swir22", "nir", "red"),
    "hh": ("sigma0_hh",),
    "hv": ("sigma0_hv",),
    "vv": ("sigma0_vv",),
    "vh": ("sigma0_vh",),
}


@dataclass(frozen=True)
class Asset:
    """A raster of an item: its file, its band names in the file's order, and of what it is a mask (`land`, `water`, or empty)."""

    key: str
    path: Path
    bands: tuple[str, ...]
    mask: str


@dataclass(frozen=True)
class Item:
    """What a STAC item tells of a pass."""

    path: Path
    id: str
    time: datetime
    platform: str
    licence: str
    assets: tuple[Asset, ...]
    gsd: float | None
    mode: str
    radar: bool
    notes: tuple[str, ...]

    @property
    def bands(self) -> list[str]:
        """All band names, once each, in the order of the assets."""
        return list(dict.fromkeys(name for asset in self.assets for name in asset.bands))


def read_item(path: Path) -> Item:
    """Read a STAC item whose assets are GeoTIFFs in its own folder.

    Raises:
        PassError: Not an item, no time, an asset that is missing or lies elsewhere, or none of use.
    """
    fields = read_json(path)
    if fields is None or fields.get("type") != "Feature" or not isinstance(fields.get("assets"), dict):
        raise PassError(path, "is not a STAC item (a GeoJSON Feature with assets)", "name a STAC item, or the raster itself")
    properties = fields["properties"] if isinstance(fields.get("properties"), dict) else {}
    if "icegraph:parents" in properties:
        raise PassError(path, "is a scene that was calibrated already", "name the raw pass")
    identity = str(fields.get("id", ""))
    if not re.fullmatch(ID_PATTERN, identity):
        raise PassError(path, f"has the id {identity!r}, which cannot name a folder", "give it an id of letters, digits and _ . + -")
    notes: list[str] = []
    assets = tuple(asset for key, entry in fields["assets"].items() if (asset := _asset(path, key, entry, notes)))
    if not any(asset.bands for asset in assets):
        raise PassError(path, "has no raster asset whose bands are named", "give its assets `eo:bands` or `bands` with names")
    accuracy = properties.get("icegraph:datetime_accuracy")
    if accuracy:
        notes.append(f"time: {accuracy}")
    instruments = [str(name).lower() for name in _listed(properties, "instruments")]
    names = [name for asset in assets for name in asset.bands]
    return Item(
        path=path,
        id=identity,
        time=_time(path, properties, notes),
        platform=str(properties.get("platform") or "unknown"),
        licence=str(properties.get("license") or fields.get("license") or "not stated in the item"),
        assets=assets,
        gsd=float(properties["gsd"]) if isinstance(properties.get("gsd"), int | float) and properties["gsd"] > 0 else None,
        mode=f"{properties.get('sar:instrument_mode') or ''} {properties.get('sar:product_type') or ''}".strip(),
        radar=any("sar" in name for name in instruments) or any(polarisation(name) for name in names),
        notes=tuple(notes),
    )


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object, or None where the file is another thing, unreadable or above 4 MiB."""
    try:
        if path.stat().st_size > _ITEM_LIMIT:
            return None
        fields = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def polarisation(name: str) -> str | None:
    """`hh`, `hv`, `vv` or `vh`, where a band's name says one (`sigma0_hv`, `HV`, `hv_db`, `Sigma0_VV_dB`)."""
    found = re.search(r"(?<![a-z])(hh|hv|vv|vh)(?![a-z])", name.lower())
    return found.group(1) if found else None


def parse_time(text: str) -> datetime:
    """An ISO 8601 time as aware UTC; without an offset it is taken as UTC.

    Raises:
        ValueError: It is no such time.
    """
    time = datetime.fromisoformat(text.strip())
    try:
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{text} lies before the year 1 or after 9999 in UTC") from error


def _asset(item: Path, key: str, entry: Any, notes: list[str]) -> Asset | None:
    """The asset, or None where it is of no use: a thumbnail, metadata, a raster whose bands nothing names."""
    entry = entry if isinstance(entry, dict) else {}
    mask = _mask(key, _listed(entry, "roles"), notes)
    listed = _listed(entry, "eo:bands") or _listed(entry, "bands")
    named = tuple(str(band.get("name") or band.get("eo:common_name")) for band in listed if isinstance(band, dict))
    bands = () if mask else named or BANDS_OF_KEY.get(key.lower(), ())
    if not bands and not mask:
        notes.append(f"asset {key} names no bands and is not used")
        return None
    href, media = str(entry.get("href", "")), str(entry.get("type") or "")
    suffix = Path(href).suffix.lower()
    if (media or suffix) and "tif" not in media and suffix not in (".tif", ".tiff"):
        notes.append(f"asset {key} is not a GeoTIFF and is not used")
        return None
    place = resolve(item, key, href)
    if not place.is_file():
        raise PassError(item, f"its asset {key!r} names {href}, which is not there", "put the file beside the item")
    if bands and not named:
        notes.append(f"asset {key} names no bands: {', '.join(bands)} guessed from its key")
    return Asset(key, place, bands, mask)


def _mask(key: str, roles: list[Any], notes: list[str]) -> str:
    """What a mask asset shows: its key is believed before its roles, for masks of land are given the role `water-mask` too."""
    named = re.fullmatch(r"(land|water)[-_ ]?mask", key.lower())
    by_role = next((_MASK_ROLES[role] for role in map(str, roles) if role in _MASK_ROLES), "")
    mask = named[1] if named else by_role
    if mask and not (named and mask == "land"):
        notes.append(f"asset {key} is taken for a mask of {mask}: what is not black there is {mask}")
    return mask


def resolve(item: Path, key: str, href: str) -> Path:
    """The file that an asset's href names.

    Raises:
        PassError: It is an address, or lies outside the item's folder.
    """
    folder = item.parent.resolve()
    try:
        remote, place = bool(urlparse(href).scheme), (folder / href).resolve()
    except (ValueError, RuntimeError) as error:  # no address, no path, or links that lead in a circle
        raise PassError(item, f"its asset {key!r} points to {href!r}, which is no path", "put the item right") from error
    if not href or remote:
        raise PassError(item, f"its asset {key!r} points to {href!r}, which is not a file beside the item", "download it and name it there")
    if not place.is_relative_to(folder):
        raise PassError(item, f"its asset {key!r} points to {href!r}, outside the item's folder", "put the file beside the item")
    return place


def _time(path: Path, properties: dict[str, Any], notes: list[str]) -> datetime:
    text = properties.get("datetime") or properties.get("start_datetime")
    try:
        time = parse_time(str(text))
    except ValueError as error:
        raise PassError(path, f"has no readable datetime ({text!r})", "give the item's properties an RFC 3339 datetime") from error
    if datetime.fromisoformat(str(text).strip()).tzinfo is None:
        notes.append("time: no offset is given; taken as UTC")
    return time


def _listed(fields: Any, name: str) -> list[Any]:
    """A list in a JSON object; empty where there is another thing."""
    found = fields.get(name) if isinstance(fields, dict) else None
    return found if isinstance(found, list) else []
