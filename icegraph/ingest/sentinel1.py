"""Sentinel-1 GRD products, folder or zip: whether they are whole, and what they are.

After "Sentinel-1 Product Specification", S1-RS-MDA-52-7441, release 3/9 (SAFE layout, manifest.safe, file names). Read inside a zip,
nothing is unpacked.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element

from icegraph.bounds import Bounds, lonlat_bounds
from icegraph.errors import PassError
from icegraph.ingest.container import Container, child_text, open_folder, open_zip
from icegraph.ingest.stac import parse_time
from icegraph.ingest.tiff import check_tiff_stream

SAFE = "{http://www.esa.int/safe/sentinel-1.0}"
_GML = "{http://www.opengis.net/gml}"
_AGAIN = "download the product again, whole"
_NAME = re.compile(r"^(?P<stem>s1[a-z]-[a-z0-9]{2,3}-grd-(?P<pol>hh|hv|vv|vh)-.+)\.tiff?$")
_KINDS = ("annotation", "calibration", "noise", "measurement")


@dataclass(frozen=True)
class Polarisation:
    """The four files of one polarisation, as paths within the product."""

    name: str
    annotation: str
    calibration: str
    noise: str
    measurement: str


@dataclass(frozen=True)
class Product:
    """What manifest.safe tells, and the polarisations that are there."""

    container: Container
    id: str
    platform: str
    time: datetime
    bounds: Bounds
    ipf: tuple[int, int]
    simulated: bool
    polarisations: tuple[Polarisation, ...]
    notes: tuple[str, ...]


def open_container(place: Path) -> Container:
    """The files of a SAFE folder or zip."""
    return open_zip(place) if place.is_file() else open_folder(place)


def read_product(place: Path) -> Product:
    """Read a SAFE folder or zip as far as manifest.safe and the headers of its measurements.

    Raises:
        PassError: Something is missing, cut off, hostile, or no GRD product.
    """
    container = open_container(place)
    if "manifest.safe" not in container:
        raise PassError(place, "has no manifest.safe, so it is no whole SAFE product", _AGAIN)
    manifest = container.read_xml("manifest.safe")
    kind = next((element.text for element in manifest.iter() if element.tag.endswith("}productType")), None)
    if kind != "GRD":
        raise PassError(place, f"is a {kind or 'product of unknown type'}, where a GRD is expected", "download the GRD product")
    notes: list[str] = []
    polarisations = _polarisations(container, _listed(place, manifest), notes)
    shapes = {polarisation.name: _measured_shape(container, polarisation) for polarisation in polarisations}
    if len(set(shapes.values())) > 1:
        told = ", ".join(f"{name.upper()} {height} × {width}" for name, (height, width) in shapes.items())
        raise PassError(place, f"its polarisations have different sizes ({told} pixels)", _AGAIN)
    return Product(
        container=container,
        id=_identity(container),
        platform=_platform(manifest),
        time=_middle(place, manifest),
        bounds=_bounds(place, manifest),
        ipf=_ipf(place, manifest),
        simulated="simulat" in " ".join(str(element.attrib) for element in manifest.iter(f"{SAFE}facility")).lower(),
        polarisations=polarisations,
        notes=tuple(notes),
    )


def _identity(container: Container) -> str:
    name = PurePosixPath(container.prefix).name if container.zipped and container.prefix.strip("/") else container.place.name
    return re.sub(r"(?i)(\.safe)?(\.zip)?$", "", name)


def _listed(place: Path, manifest: Element) -> dict[str, int]:
    """Files that the manifest lists → their size in bytes, or 0 where it tells none."""
    files = {}
    for stream in manifest.iter("byteStream"):
        location = stream.find("fileLocation")
        path = PurePosixPath(location.get("href", "") if location is not None else "")
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise PassError(place, f"its manifest.safe names {str(path)!r}, which lies outside the product", "do not use this product")
        size = stream.get("size", "0")
        files[path.as_posix()] = int(size) if size.isdigit() else 0
    return files


def _polarisations(container: Container, listed: Mapping[str, int], notes: list[str]) -> tuple[Polarisation, ...]:
    """Those whose files are all there; one that is not there at all is noted, one that is there in part is an error."""
    found, names = [], sorted(set(listed) | set(container.sizes))
    measured = {match["pol"]: match["stem"] for name in names if (match := _NAME.match(PurePosixPath(name).name))}
    for pol, stem in sorted(measured.items(), key=lambda pair: pair[1][-3:]):
        files = {
            "annotation": f"annotation/{stem}.xml",
            "calibration": f"annotation/calibration/calibration-{stem}.xml",
            "noise": f"annotation/calibration/noise-{stem}.xml",
            "measurement": next((f"measurement/{stem}{end}" for end in (".tiff", ".tif") if f"measurement/{stem}{end}" in names), ""),
        }
        missing = [kind for kind in _KINDS if files[kind] not in container]
        if len(missing) == len(_KINDS):
            notes.append(f"{pol.upper()} is listed in manifest.safe, but none of its files is here: it is left out")
            continue
        if missing:
            lost = ", ".join(files[kind] or f"the {kind} of {pol.upper()}" for kind in missing)
            raise PassError(container.place, f"{lost} is missing", _AGAIN)
        found.append(Polarisation(pol, **files))
        notes += [
            f"{name} has {container.sizes[name]} bytes where manifest.safe says {listed[name]}"
            for name in files.values()
            if listed.get(name, 0) not in (0, container.sizes[name])
        ]
    if not found:
        raise PassError(container.place, "has no measurement of any polarisation", _AGAIN)
    return tuple(found)


def _measured_shape(container: Container, polarisation: Polarisation) -> tuple[int, int]:
    """Lines and pixels of a measurement, which its annotation must confirm."""
    subject = f"{container.place}/{polarisation.measurement}"
    with container.open(polarisation.measurement) as stream:
        header = check_tiff_stream(stream, container.sizes[polarisation.measurement], subject)
    if header.bands != 1 or header.bits != 16:
        raise PassError(subject, f"has {header.bands} bands of {header.bits} bits, where GRD has one of 16", "use a GRD product (not SLC)")
    annotation = container.read_xml(polarisation.annotation)
    told = tuple(child_text(annotation, f".//{name}", subject) for name in ("numberOfLines", "numberOfSamples"))
    if told != (str(header.height), str(header.width)):
        raise PassError(subject, f"has {header.height} × {header.width} pixels where its annotation says {told[0]} × {told[1]}", _AGAIN)
    return header.height, header.width


def _middle(place: Path, manifest: Element) -> datetime:
    """The middle of the acquisition: an EW product takes 60 s."""
    told = [child_text(manifest, f".//{SAFE}{name}", f"{place}/manifest.safe") for name in ("startTime", "stopTime")]
    try:
        start, stop = map(parse_time, told)
    except ValueError as error:
        raise PassError(place, f"its manifest.safe tells no time of acquisition ({error})", _AGAIN) from error
    return start + (stop - start) / 2


def _platform(manifest: Element) -> str:
    family = manifest.findtext(f".//{SAFE}platform/{SAFE}familyName") or "SENTINEL-1"
    return f"{family.strip().title()}{(manifest.findtext(f'.//{SAFE}platform/{SAFE}number') or '').strip()}"


def _ipf(place: Path, manifest: Element) -> tuple[int, int]:
    for software in manifest.iter(f"{SAFE}software"):
        match = re.match(r"0*(\d+)\.(\d+)", software.get("version", ""))
        if "IPF" in software.get("name", "") and match:
            return int(match[1]), int(match[2])
    raise PassError(place, "its manifest.safe does not tell the version of the processor (Sentinel-1 IPF)", _AGAIN)


def _bounds(place: Path, manifest: Element) -> Bounds:
    text = child_text(manifest, f".//{_GML}coordinates", f"{place}/manifest.safe")
    try:
        pairs = [tuple(map(float, pair.split(","))) for pair in text.split()]
        return lonlat_bounds([lon for _, lon in pairs], [lat for lat, _ in pairs])
    except ValueError as error:
        raise PassError(place, f"its footprint {text!r} is no list of lat,lon", _AGAIN) from error
