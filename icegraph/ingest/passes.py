"""Passes, recognised in files and folders and told from their headers."""

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rasterio
from pyproj.exceptions import ProjError
from rasterio.errors import CRSError, RasterioError

from icegraph.bounds import Bounds
from icegraph.errors import IceGraphError, PassError
from icegraph.ingest.geotiff import FALSE_BANDS, OPTICAL, companions, folder_name, guess, raster_lonlat, true_colour_of
from icegraph.ingest.manifest import File, Pass
from icegraph.ingest.pixels import Sample, open_raster, sample
from icegraph.ingest.sentinel1 import read_product
from icegraph.ingest.source import Source
from icegraph.ingest.stac import Item, polarisation, read_item, read_json, resolve
from icegraph.ingest.tiff import check_tiff
from icegraph.store import sha256

_TIFF = (".tif", ".tiff")
_HDF = (".h5", ".hdf5")
_NO_PASS = (".labels.tif", ".classes.tif", ".negatives.tif", "landmask.tif", "watermask.tif")  # truth and masks that lie beside passes
_COPERNICUS = "Copernicus Sentinel data, free, full and open: contains modified Copernicus Sentinel data {year}"
# What each unit allows; a share of 1 % may lie outside.
_RANGE_WHOLE = (-math.inf, math.inf)  # whole numbers hold what their type can
_RANGE_REFLECTANCE = (-0.2, 2.0)
_RANGE_SIGMA0 = (-100.0, 1000.0)  # dB or linear: corner reflectors reach 30 dB


@dataclass(frozen=True)
class Described:
    """A pass and the sample of its pixels."""

    entry: Pass
    samples: list[Sample]


def find_candidates(path: Path) -> list[Path]:
    """The things in `path` that may be passes: SAFE folders and zips, STAC items, GeoTIFFs of no item, HDF5 files; sorted.

    A folder is searched through. What is plainly no pass (labels, masks, other JSON) is left out there, but is taken, and then refused,
    where it is named itself. A GeoTIFF that a STAC item beside it names gives the item.

    Raises:
        PassError: There is no such file or folder, or it is of no kind known here.
    """
    if not path.exists():
        raise PassError(path, "does not exist", "check its name")
    if path.is_dir() and not _is_safe(path):
        return _search(path)
    if path.is_dir() or path.suffix.lower() in (".zip", ".json", *_HDF):
        return [path]
    if path.suffix.lower() in _TIFF:
        return [_owners(_items(path.parent)).get(path.resolve()) or true_colour_of(path) or path]
    raise PassError(
        path, "is of no kind known here", "name a SAFE folder or zip, a GeoTIFF, a STAC item, an AMSR2 .h5, or a folder of them"
    )


def describe(path: Path) -> Described:
    """Tell what a candidate is, from its headers, and sample its pixels.

    Raises:
        PassError: It cannot be used; the message says why.
    """
    suffix = path.suffix.lower()
    kind = "safe" if path.is_dir() or suffix == ".zip" else "hdf" if suffix in _HDF else suffix
    reader = {"safe": _describe_safe, "hdf": _describe_swath, ".json": _describe_item}.get(kind, _describe_geotiff)
    try:
        return _with_source(reader(path))
    except IceGraphError:
        raise
    except (OSError, RasterioError, CRSError, ProjError) as error:
        raise PassError(path, f"cannot be read ({error})", "check that the file is whole and may be read") from error
    except Exception as error:  # whatever a stranger's file does, the others go on
        raise PassError(
            path, f"is damaged or of an unknown form ({type(error).__name__}: {error})", "download or write it again"
        ) from error


def _with_source(described: Described) -> Described:
    """The same with where it was downloaded from and on what terms, if that is told beside it, and of these very bytes."""
    entry = described.entry
    place = entry.href if Source.read(entry.href) else entry.href.parent  # a folder of an item and its rasters
    source = Source.read(place)
    if source is None:
        return described
    if not source.tells_of(file.sha256 for file in entry.files):
        entry.notes.append(f"{place.name}.source.json tells of other bytes than these and is not believed")
        return described
    return Described(entry.model_copy(update={"source": source.href, "licence": source.licence}), described.samples)


def _search(folder: Path) -> list[Path]:
    found: set[Path] = set()
    for place, folders, files in os.walk(folder, followlinks=False):
        here = Path(place)
        safes = [name for name in folders if _is_safe(here / name)]
        found |= {here / name for name in safes}
        folders[:] = sorted(name for name in folders if name not in safes and not name.startswith("."))
        items = _items(here)
        owners = _owners(items)
        found |= set(items)
        for name in files:
            path, lower = here / name, name.lower()
            if name.startswith(".") or lower.endswith(_NO_PASS) or not lower.endswith((*_TIFF, *_HDF, ".zip")):
                continue
            if path.exists() and path.resolve() not in owners and not true_colour_of(path):
                found.add(path)
    return sorted(found)


def _items(folder: Path) -> dict[Path, Mapping[str, Any]]:
    """The STAC items in `folder` and what they hold."""
    names = (path for path in sorted(folder.glob("*")) if path.suffix.lower() == ".json" and not path.name.startswith("."))
    read = {path: read_json(path) for path in names}
    return {
        path: fields
        for path, fields in read.items()
        if fields and fields.get("type") == "Feature" and isinstance(fields.get("assets"), dict)
    }


def _owners(items: Mapping[Path, Mapping[str, Any]]) -> dict[Path, Path]:
    """Raster → the STAC item that names it, or that has its stem."""
    owners: dict[Path, Path] = {}
    for item, fields in items.items():
        for key, asset in fields["assets"].items():
            with suppress(PassError):  # told when the item itself is described
                owners.setdefault(resolve(item.resolve(), str(key), str(asset.get("href", "")) if isinstance(asset, dict) else ""), item)
        owners |= {item.with_suffix(suffix).resolve(): item for suffix in _TIFF if item.with_suffix(suffix).exists()}
    return owners


def _is_safe(path: Path) -> bool:
    return path.suffix.upper() == ".SAFE" or (path / "manifest.safe").is_file()


def _files(paths: Iterable[Path]) -> list[File]:
    return [File(path=path.resolve(), sha256=sha256(path), bytes=path.stat().st_size) for path in dict.fromkeys(paths)]


def _describe_safe(path: Path) -> Described:
    product = read_product(path)
    container = product.container
    raws = [path] if container.zipped else [path / name for name in container.sizes]
    entry = Pass(
        id=folder_name(product.id),
        kind="sentinel1",
        href=path.resolve(),
        files=_files(raws),
        time=product.time,
        platform=product.platform,
        bounds=product.bounds,
        licence="simulated" if product.simulated else _COPERNICUS.format(year=product.time.year),
        bands=[*(f"{polarisation.name}_db" for polarisation in product.polarisations), "incidence_deg"],
        notes=list(product.notes),
    )
    samples = [
        sample(container.raster(pol.measurement), 1, folder_name(product.id), pol.name, allowed=_RANGE_WHOLE, zero_is_nothing=True)
        for pol in product.polarisations
    ]
    return Described(entry, samples)


def _describe_swath(path: Path) -> Described:
    from icegraph.fuse.amsr2 import describe_swath

    granule = describe_swath(path)
    entry = Pass(
        id=folder_name(path.stem),
        kind="amsr2",
        href=path.resolve(),
        files=_files([path]),
        time=granule.time,
        platform=granule.platform,
        bounds=granule.bounds,
        licence="simulated" if granule.simulated else "JAXA G-Portal terms of use",
        bands=[],
    )
    return Described(entry, [])


def _describe_item(path: Path) -> Described:
    path = path.resolve()  # a link's assets lie beside what it leads to
    item = read_item(path)
    bounds: Bounds | None = None
    samples: list[Sample] = []
    for asset in item.assets:
        check_tiff(asset.path)
        with open_raster(asset.path) as dataset:
            _check_asset(item, dataset, asset.path, len(asset.bands))
            bounds = raster_lonlat(dataset, asset.path) if asset.bands else bounds
            kind = dataset.dtypes[0]
        samples += _samples(asset.path, item.id, asset.bands, kind, radar=item.radar)
    assert bounds is not None  # noqa: S101 - some asset has bands, and each of those gives bounds
    notes = list(item.notes)
    bands = _radar_bands(path, item.bands, notes) if item.radar else item.bands
    entry = Pass(
        id=item.id,
        kind="sar-geotiff" if item.radar else "optical",
        href=path.resolve(),
        files=_files([path, *(asset.path for asset in item.assets)]),
        time=item.time,
        platform=item.platform,
        bounds=bounds,
        licence=item.licence,
        bands=bands,
        notes=notes,
    )
    return Described(entry, samples)


def _check_projected(dataset: rasterio.io.DatasetReader, path: Path, *, radar: bool) -> None:
    gridded = dataset.crs is not None and not dataset.transform.is_identity
    if gridded and not dataset.crs.is_projected:
        raise PassError(path, "is on a grid of degrees", "warp it to metres, for instance with gdalwarp -t_srs EPSG:3413")
    if not gridded and not radar:
        raise PassError(path, "has control points but no grid", "warp it to a grid of metres, for instance with gdalwarp -t_srs EPSG:3413")


def _check_asset(item: Item, dataset: rasterio.io.DatasetReader, path: Path, bands: int) -> None:
    _check_projected(dataset, path, radar=item.radar)
    if dataset.count < bands:
        raise PassError(path, f"has {dataset.count} bands where {item.path.name} names {bands}", "put the item right")
    allowed = ("float32", "float64") if item.radar else ("uint8", "float32", "float64")
    if bands and dataset.dtypes[0] not in allowed:
        raise PassError(path, f"has {dataset.dtypes[0]} pixels where {' or '.join(allowed)} is expected", "convert it to physical units")


def _describe_geotiff(path: Path) -> Described:
    told = guess(path)
    with open_raster(path) as dataset:
        kind = dataset.dtypes[0]
        _check_projected(dataset, path, radar=told.radar)
    false, land = companions(path) if told.bands == ["red", "green", "blue"] else (None, None)
    bands, samples = list(told.bands), _samples(path, told.id, told.bands, kind, radar=told.radar)
    for beside in filter(None, (false, land)):
        check_tiff(beside)
        told.notes.append(f"{beside.name} lies beside it and is taken for {'bands 7-2-1' if beside == false else 'its land mask'}")
    if false:
        bands += [name for name in FALSE_BANDS if name not in bands]
        samples += _samples(false, told.id, FALSE_BANDS, "uint8", radar=False)
    entry = Pass(
        id=told.id,
        kind="sar-geotiff" if told.radar else "optical",
        href=path.resolve(),
        files=_files(filter(None, [path, false, land])),
        time=told.time,
        platform=told.platform,
        bounds=told.bounds,
        licence="not stated in the file",
        bands=_radar_bands(path, bands, told.notes) if told.radar else bands,
        notes=told.notes,
    )
    return Described(entry, samples)


def _radar_bands(path: Path, names: Sequence[str], notes: list[str]) -> list[str]:
    """`hh_db`, … of the names that say a polarisation, the others as they are: calibrate leaves those out."""
    others = [name for name in names if not polarisation(name)]
    if len(others) == len(names):
        raise PassError(path, f"has no band of HH, HV, VV or VH (found: {', '.join(names)})", "name its bands, such as sigma0_hv")
    notes += [f"band {name} is of no polarisation and is not used" for name in others]
    return [f"{found}_db" if (found := polarisation(name)) else name for name in names]


def _samples(path: Path, pass_id: str, bands: Sequence[str], kind: str, *, radar: bool) -> list[Sample]:
    allowed = _RANGE_SIGMA0 if radar else _RANGE_WHOLE if kind == "uint8" else _RANGE_REFLECTANCE
    numbered: Iterator[tuple[int, str]] = enumerate(bands, 1)
    return [
        sample(str(path), number, pass_id, name, allowed=allowed, zero_is_nothing=radar)
        for number, name in numbered
        if (polarisation(name) if radar else name in OPTICAL)
    ]
