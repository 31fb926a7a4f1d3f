"""Scene: one pass on one grid, a STAC item beside one Cloud Optimized GeoTIFF a band.

    <folder>/
      item.json       STAC item: id, time, platform, projection, lineage, statistics of each band
      hh_db.tif       float32 bands: NaN where there is nothing; smooth ones as uint16 with a scale and an offset (`read_pixels`)
      valid.tif       uint8 masks: 0 or 1

Bands name their unit: `hh_db`, `hv_db` (sigma nought), `incidence_deg`, `tb_36h_k`, `sic_percent`; reflectances `red`, `green`,
`blue`, `nir`, `swir22` run from 0 to 1. The masks are `valid` (sea surface seen), and where known `land` and `cloud`.
"""

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import pystac
import rasterio
import rasterio.shutil
from affine import Affine
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError
from shapely.geometry import Polygon, mapping

from icegraph.bounds import lonlat_bounds, split_outline
from icegraph.errors import PassError
from icegraph.grid import Grid, Window, tiles
from icegraph.places import is_address
from icegraph.store import atomic_path, open_store, sha256

MASKS = ("valid", "land", "cloud")
BLOCK = 512
_FULL_BELOW = 4 << 20  # bytes: a block and its neighbours
_EXTENSIONS = [
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
]
_SAR = "https://stac-extensions.github.io/sar/v1.0.0/schema.json"


class BandWriter:
    """Takes a raster window by window. Made by `write_band` and `write_tiles`."""

    def __init__(self, dataset: rasterio.io.DatasetWriter, path: Path) -> None:
        self._dataset = dataset
        self._path = path

    def write(self, window: Window, pixels: NDArray[Any]) -> None:
        """Write the pixels [H, W] of one window."""
        with writing(self._path):
            self._dataset.write(pixels, 1, window=window.rasterio())


@contextmanager
def write_band(path: Path, grid: Grid, dtype: str, *, unit: str = "") -> Iterator[BandWriter]:
    """Write one raster as a Cloud Optimized GeoTIFF, window by window; the file appears, whole, when the block ends.

    Float rasters have NaN as nodata, integer ones none.
    """
    nodata = float("nan") if dtype.startswith("float") else None
    profile = {"height": grid.height, "width": grid.width, "count": 1, "dtype": dtype, "nodata": nodata}
    with atomic_path(path) as final:
        # COG needs the overviews before the pixels: write plain tiles first, then copy.
        plain = final.with_suffix(".tiles.tif")
        with write_tiles(plain, BLOCK, unit=unit, crs=grid.crs, transform=grid.transform, **profile) as writer:
            yield writer
        predictor = "FLOATING_POINT" if dtype.startswith("float") else "STANDARD"
        resampling = "AVERAGE" if dtype.startswith("float") else "NEAREST"
        layout = {"COMPRESS": "ZSTD", "PREDICTOR": predictor, "BLOCKSIZE": BLOCK, "RESAMPLING": resampling, "BIGTIFF": "IF_SAFER"}
        with writing(path):
            rasterio.shutil.copy(plain, final, driver="COG", **layout)


@contextmanager
def write_tiles(path: Path, block: int, *, unit: str = "", **profile: Any) -> Iterator[BandWriter]:
    """Write a plain GeoTIFF in tiles of `block` × `block` pixels, window by window; `profile` is rasterio's. It may be left half-written.

    Raises:
        OSError: It cannot be written.
    """
    layout = {"driver": "GTiff", "tiled": True, "blockxsize": block, "blockysize": block, "BIGTIFF": "IF_SAFER"}
    with writing(path):
        dataset = rasterio.open(path, "w", **layout, **profile)
    try:
        if unit:
            dataset.set_band_unit(1, unit)
        yield BandWriter(dataset, path)
    finally:
        with writing(path):  # what is in GDAL's cache is written only here
            dataset.close()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Make an OSError of what GDAL raises where it cannot write; it does not tell why: a full disk is told by what is left on it."""
    try:
        yield
    except (RasterioError, CPLE_BaseError) as error:
        full = shutil.disk_usage(path.parent).free < _FULL_BELOW
        code = errno.ENOSPC if full else errno.EIO
        raise OSError(code, os.strerror(code), str(path)) from error


def read_grid(dataset: rasterio.io.DatasetReader) -> Grid:
    """The grid of an open raster."""
    return Grid(dataset.crs.to_string(), dataset.transform, dataset.height, dataset.width)


def read_pixels(dataset: rasterio.io.DatasetReader, **how: Any) -> NDArray[np.float32]:
    """Read a band's file in the band's unit, NaN where there is nothing.

    Args:
        dataset: The open file.
        **how: What rasterio's `read` takes: `window`, `out_shape`.
    """
    pixels = dataset.read(1, **how)
    if not _packed(dataset):
        return np.asarray(pixels, np.float32)
    values = pixels * np.float32(dataset.scales[0]) + np.float32(dataset.offsets[0])
    if dataset.nodata is not None:
        values[pixels == dataset.nodata] = np.nan
    return np.asarray(values)


def _packed(dataset: rasterio.io.DatasetReader) -> bool:
    """Whether a band is kept as whole numbers with a scale, as smooth ones are."""
    return bool(dataset.scales[0] != 1)


@dataclass(frozen=True)
class Scene:
    """One pass on one grid.

    Args:
        folder: Where `item.json` and its rasters lie, as GDAL names it.
        item: The STAC item.
        surroundings: What GDAL needs while it reads the rasters.
    """

    folder: Path
    item: pystac.Item
    surroundings: Callable[[], AbstractContextManager[Any]] = nullcontext

    @classmethod
    def open(cls, place: Path | str) -> Self:
        """Open a scene's folder, or one in a committed item: `s3://BUCKET/KEY`.

        From S3 only `item.json` is brought, and held against its SHA-256; of the rasters only the blocks that a window touches are
        read, which no checksum covers: fetch the item (`icegraph.store.Store.fetch`) to have all its bytes checked.

        Raises:
            PassError: There is no readable `item.json` there.
            StoreError: The store does not answer, or holds something else than was committed.
        """
        if is_address(place):
            return cls._open_committed(str(place))
        path = Path(place) / "item.json"
        with _parsing(path):
            return cls(Path(place), pystac.Item.from_dict(json.loads(path.read_text())))

    @classmethod
    def _open_committed(cls, address: str) -> Self:
        store, key = open_store(address)
        item, inner = store.find(key) or (None, "")
        name = f"{inner}/item.json" if inner else "item.json"
        if item is None or name not in item.files:
            raise PassError(address, "no item with an item.json was committed there", "name a scene that was committed")
        text = store.read(item, name)
        file, surroundings = store.raster(item, name)
        with _parsing(f"{address}/item.json"):
            return cls(file.parent, pystac.Item.from_dict(json.loads(text)), surroundings)

    @property
    def id(self) -> str:
        """The pass id."""
        return str(self.item.id)

    @property
    def time(self) -> datetime:
        """Time of the pass, UTC."""
        assert self.item.datetime is not None  # noqa: S101 - write_item always gives one
        return self.item.datetime.astimezone(UTC)

    @property
    def sensor(self) -> str:
        """`sar` or `optical`: which kind of model reads it."""
        return str(self.item.properties["icegraph:sensor"])

    @cached_property
    def grid(self) -> Grid:
        """The grid that all bands share."""
        properties = self.item.properties
        height, width = properties["proj:shape"]
        return Grid(str(properties["proj:code"]), Affine(*properties["proj:transform"][:6]), height, width)

    @property
    def bands(self) -> list[str]:
        """Names of the float bands, in the order they were written."""
        return [name for name in self.item.assets if name not in MASKS]

    @property
    def masks(self) -> list[str]:
        """Names of the masks the scene has; `valid` is always one."""
        return [name for name in self.item.assets if name in MASKS]

    def statistics(self, band: str) -> dict[str, float]:
        """Statistics of a band over its valid pixels: `mean`, `std`, `p02`, `p25`, `p50`, `p75`, `p98`, in the band's unit."""
        return dict(self.item.assets[band].extra_fields["icegraph:statistics"])

    def path(self, name: str) -> Path:
        """The file of a band or mask."""
        return self.folder / self.item.assets[name].href

    def read(self, bands: Sequence[str], window: Window | None = None) -> NDArray[np.float32]:
        """Read bands [C, H, W] of a window (default: the whole scene); NaN where there is nothing."""
        part = (window or Window(0, 0, *self.grid.shape)).rasterio()
        out = []
        for band in bands:
            with self._opened(band) as dataset:
                out.append(read_pixels(dataset, window=part))
        return np.stack(out)

    def mask(self, name: str = "valid", window: Window | None = None) -> NDArray[np.bool_]:
        """Read a mask [H, W]; one that the scene does not have is all false."""
        part = window or Window(0, 0, *self.grid.shape)
        if name not in self.item.assets:
            return np.zeros(part.shape, bool)
        with self._opened(name) as dataset:
            return np.asarray(dataset.read(1, window=part.rasterio()) > 0)

    @contextmanager
    def _opened(self, name: str) -> Iterator[rasterio.io.DatasetReader]:
        with self.surroundings(), rasterio.open(self.path(name), driver="GTiff") as dataset:
            yield dataset


@contextmanager
def _parsing(path: Path | str) -> Iterator[None]:
    """Make a PassError of what is raised where an `item.json` is none."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pystac.STACError, pystac.STACTypeError) as error:
        raise PassError(path, f"not a readable STAC item ({error})", "name a folder that calibrate or fuse wrote") from error


def scene_folders(places: Iterable[Path], sensor: str | None = None) -> dict[str, Path]:
    """Pass id → folder of the scenes (or other item folders) among `places`, in time order; refusals are passed over.

    A place is such a folder or holds some. With `sensor` only the scenes of that kind are given.
    """
    folders = [item.parent for place in places for item in sorted([*place.glob("item.json"), *place.glob("*/item.json")])]
    scenes = sorted((Scene.open(folder) for folder in folders), key=lambda scene: (scene.time, scene.id))
    return {scene.id: scene.folder for scene in scenes if sensor in (None, scene.sensor)}


def footprint(grid: Grid) -> dict[str, Any]:
    """The outline of a grid as one polygon in longitude and latitude, uncut where it crosses 180 degrees, with points along the edges."""
    steps = np.linspace(0, 1, 9)[:-1]
    height, width = grid.height - 1.0, grid.width - 1.0
    row = np.concatenate([0 * steps, height * steps, height + 0 * steps, height * (1 - steps)])
    col = np.concatenate([width * steps, width + 0 * steps, width * (1 - steps), 0 * steps])
    lon, lat = grid.lonlat(*grid.xy(row, col))
    return dict(mapping(Polygon(np.round(np.column_stack([lon, lat]), 6))))


def write_item(
    folder: Path,
    *,
    pass_id: str,
    time: datetime,
    sensor: str,
    grid: Grid,
    rasters: Mapping[str, str],
    properties: Mapping[str, Any],
    samples: Mapping[str, NDArray[Any]] | None = None,
    kept: Mapping[str, pystac.Asset] | None = None,
) -> Scene:
    """Write `item.json` for rasters that already lie in `folder`, and give the scene.

    Args:
        folder: The scene's folder.
        pass_id: Becomes the item's id.
        time: Time of the pass, UTC.
        sensor: `sar` or `optical`.
        grid: The grid of all rasters.
        rasters: Name of each band or mask → its file name in the folder.
        properties: What else the item says: platform, lineage (`icegraph.store.lineage`), licence.
        samples: Every `thinning`th row and column of each raster, where the writer has them at hand; by default they are read.
        kept: Assets of the rasters that `extend` took over: their checksums and statistics are known.
    """
    lon, lat = np.array(footprint(grid)["coordinates"][0]).T
    item = pystac.Item(
        pass_id, split_outline(lon, lat), list(lonlat_bounds(lon, lat)), time, dict(properties), stac_extensions=[*_EXTENSIONS]
    )
    if any(name.startswith("sar:") for name in properties):
        item.stac_extensions.append(_SAR)
    item.properties |= {
        "icegraph:sensor": sensor,
        "proj:code": grid.crs,
        "proj:shape": list(grid.shape),
        "proj:transform": list(grid.transform)[:6],
    }
    scene = Scene(folder, item)
    kept = kept or {}
    for name, file in rasters.items():
        path = folder / file
        if name in kept:
            item.add_asset(name, pystac.Asset(file, media_type=pystac.MediaType.COG, roles=["data"], extra_fields=kept[name].extra_fields))
            continue
        extra = {"file:checksum": f"1220{sha256(path)}", "file:size": path.stat().st_size}  # multihash: SHA-256, 32 bytes
        item.add_asset(name, pystac.Asset(file, media_type=pystac.MediaType.COG, roles=["data"], extra_fields=extra))
    if "valid" in rasters:
        sample = partial(_sample, scene) if samples is None else samples.__getitem__
        valid = sample("valid") > 0
        for name in scene.bands:
            if name not in kept:
                item.assets[name].extra_fields["icegraph:statistics"] = band_statistics(sample(name)[valid])
    save_item(scene)
    return scene


def save_item(scene: Scene) -> None:
    """Write a scene's `item.json` anew."""
    with atomic_path(scene.folder / "item.json") as path:
        path.write_text(json.dumps(scene.item.to_dict(include_self_link=False), indent=1) + "\n")


def extend(scene: Scene, folder: Path) -> dict[str, str]:
    """Link or copy a scene's rasters into another folder (made by a later stage); gives name → file for `write_item`."""
    rasters = {}
    for name in scene.item.assets:
        source = scene.path(name)
        link_or_copy(source, folder / source.name)
        rasters[name] = source.name
    return rasters


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """Give a file that is not written to any more a second name, or a copy where the file system allows no links."""
    try:
        Path(target).hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def valid_windows(grid: Grid, size: int = 2 * BLOCK) -> Iterable[Window]:
    """The windows by which stages walk a scene: whole blocks of its files."""
    return tiles(grid.shape, size)


def thinning(grid: Grid, most: int = 1024) -> int:
    """The step that thins a raster to at most about `most` × `most` pixels: enough for percentiles, whatever the scene's size."""
    return max(1, -(-max(grid.shape) // most))


def _sample(scene: Scene, name: str) -> NDArray[Any]:
    """A raster thinned."""
    step = thinning(scene.grid)
    with rasterio.open(scene.path(name), driver="GTiff") as dataset:
        if _packed(dataset):  # smooth: its overviews tell as much, and are a hundredth of the bytes
            return read_pixels(dataset, out_shape=tuple(len(range(0, size, step)) for size in scene.grid.shape))
        lines = (Window(row, 0, 1, scene.grid.width).rasterio() for row in range(0, scene.grid.height, step))
        return np.stack([dataset.read(1, window=line)[0, ::step] for line in lines])


def band_statistics(pixels: NDArray[np.float32]) -> dict[str, float]:
    """What `Scene.statistics` gives for a band of these valid pixels; nothing where none is finite."""
    pixels = pixels[np.isfinite(pixels)]
    if pixels.size == 0:
        return {}
    quantiles = np.percentile(pixels, [2, 25, 50, 75, 98])
    names = ("p02", "p25", "p50", "p75", "p98")
    values = {"mean": float(pixels.mean()), "std": float(pixels.std())} | dict(zip(names, map(float, quantiles), strict=True))
    return {name: round(value, 6) for name, value in values.items()}
