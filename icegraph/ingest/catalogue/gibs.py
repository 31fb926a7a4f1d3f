"""MODIS corrected reflectance from NASA's Global Imagery Browse Services: pictures of an area, a day and a satellite, as passes.

nasa-gibs.github.io/gibs-api-docs: Web Map Service 1.3.0, EPSG:3413, layers `MODIS_<satellite>_CorrectedReflectance_…`, no login. A pass
becomes a folder:

    <id>/terra.json              STAC item, with the nominal time of the crossing
         terra.truecolor.tif     bands 1-4-3, RGBA, 8 bits, 250 m
         terra.falsecolor.tif    bands 7-2-1
         landmask.tif            what is not black is land
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import numpy as np
import rasterio
import requests
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile
from rasterio.windows import Window

from icegraph.bounds import raster_bounds, split_outline
from icegraph.errors import InputError
from icegraph.ingest.catalogue.download import lies_here, source_of
from icegraph.ingest.catalogue.product import CatalogueError, Product, Query, Tell, file_name
from icegraph.ingest.catalogue.web import get, new_session
from icegraph.ingest.geotiff import nominal_crossing
from icegraph.store import atomic_dir, sha256

LICENCE = "imagery from NASA's Global Imagery Browse Services (GIBS), part of ESDIS; free with this acknowledgement"
_CRS = "EPSG:3413"
_GRID_M = 250
_EXTENT_M = 4_194_304  # the service's square in this projection, from the pole to each side
_BLOCK = 2048  # pixels asked for at once, to a side
_SATELLITES = ("Terra", "Aqua")
_COLOURS = {"truecolor": ("TrueColor", ("red", "green", "blue")), "falsecolor": ("Bands721", ("swir22", "nir", "red"))}
_LAND = "OSM_Land_Mask"
_Square = tuple[int, int, int, int]


class Gibs:
    """MODIS imagery by area, day and satellite; the query's mode may name one of `truecolor` and `falsecolor`.

    Args:
        wms: Web Map Service in EPSG:3413.
    """

    name = "gibs"

    def __init__(self, wms: str = "https://gibs.earthdata.nasa.gov/wms/epsg3413/best/wms.cgi") -> None:
        self._wms = wms
        self._session = new_session()

    def search(self, query: Query) -> Iterator[Product]:
        """A pass for each day of the layers and each satellite; that there is imagery is seen when it is fetched. See `Catalogue`."""
        square = _square(query)
        colours = [query.mode.lower()] if query.mode else list(_COLOURS)
        if set(colours) - set(_COLOURS):
            raise InputError(query.mode, "is no layer of MODIS here", f"name {' or '.join(_COLOURS)}, or none for both")
        footprint = _outline(square)
        bounds = raster_bounds(_CRS, *square)
        day = query.start.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        while day <= query.end:
            for satellite in _SATELLITES:
                asked = {"layers": ",".join(colours), "satellite": satellite, "time": f"{day:%Y-%m-%d}", "bbox": ",".join(map(str, square))}
                product = Product(
                    catalogue=self.name,
                    id=f"modis-{satellite.lower()}-{day:%Y%m%d}_{'_'.join(str(side // _GRID_M) for side in square)}",
                    time=nominal_crossing(day, satellite, bounds),
                    platform=satellite,
                    mode=query.mode.lower(),
                    footprint=footprint,
                    href=f"{self._wms}?{urlencode(asked)}",
                    licence=LICENCE,
                )
                if replace(query, start=product.time, end=product.time).admits(product):  # near 180 degrees it is of another day in UTC
                    yield product
            day += timedelta(days=1)

    def fetch(self, product: Product, folder: Path, tell: Tell) -> Path:
        """The item of a pass, with its pictures beside it; see `Catalogue`."""
        place = folder / file_name(product.id)
        satellite, day, square, colours = _asked(product)
        stem = satellite.lower()
        if lies_here(product, place):
            return place / f"{stem}.json"
        with atomic_dir(place) as fresh:
            layers = {f"{stem}.{colour}.tif": f"MODIS_{satellite}_CorrectedReflectance_{_COLOURS[colour][0]}" for colour in colours}
            for file, layer in layers.items():
                if not self._picture(fresh / file, layer, day, square, tell):
                    raise CatalogueError(product.id, f"{layer} shows nothing there on {day}", "choose another day or area")
            self._picture(fresh / "landmask.tif", _LAND, "", square, tell)
            (fresh / f"{stem}.json").write_text(json.dumps(_item(product, square, colours, stem), indent=1) + "\n")
            files = sorted(path for path in fresh.iterdir() if path.is_file())
            digests = {path.name: sha256(path) for path in files}
            source_of(product, digests, sum(path.stat().st_size for path in files)).write(place)
        return place / f"{stem}.json"

    def _picture(self, path: Path, layer: str, day: str, square: _Square, tell: Tell) -> bool:
        """Write a layer as RGBA; whether there was anything on it."""
        left, _, right, top = square
        width, height = (right - left) // _GRID_M, (top - square[1]) // _GRID_M
        seen = False
        with _written(path, width, height, Affine(_GRID_M, 0, left, 0, -_GRID_M, top)) as dataset:
            for row in range(0, height, _BLOCK):
                for col in range(0, width, _BLOCK):
                    window = Window(col, row, min(_BLOCK, width - col), min(_BLOCK, height - row))
                    pixels = self._block(layer, day, left + col * _GRID_M, top - row * _GRID_M, window, tell)
                    seen |= bool((pixels[:3] * (pixels[3] > 0)).any())
                    dataset.write(pixels, window=window)
        return seen

    def _block(self, layer: str, day: str, left: int, top: int, window: Window, tell: Tell) -> NDArray[np.uint8]:
        """A part of a layer, [4, height, width]."""
        asked = {
            "SERVICE": "WMS",
            "VERSION": "1.3.0",
            "REQUEST": "GetMap",
            "LAYERS": layer,
            "STYLES": "",
            "CRS": _CRS,
            "BBOX": f"{left},{top - window.height * _GRID_M},{left + window.width * _GRID_M},{top}",
            "WIDTH": window.width,
            "HEIGHT": window.height,
            "FORMAT": "image/png",  # no second loss on top of the tiles' own JPEG, and it tells what is not there
            "TRANSPARENT": "TRUE",
        } | ({"TIME": day} if day else {})
        response = get(self._session, self._wms, params=asked)
        if not response.headers.get("Content-Type", "").startswith("image/png"):
            raise CatalogueError(layer, f"is not given as a picture ({_complaint(response)})", "check the area and the day")
        tell(len(response.content))
        return _decode(response.content, layer, window.height, window.width)


def _square(query: Query) -> _Square:
    """Left, bottom, right, top of the area in metres of EPSG:3413, out to whole pixels.

    Raises:
        InputError: There is no area, or it is not within the service's square.
    """
    if query.area is None:
        raise InputError("gibs", "needs an area", "give --area=west,south,east,north or a GeoJSON file")
    transformer = Transformer.from_crs("EPSG:4326", _CRS, always_xy=True)
    points = shapely.get_coordinates(query.area)
    x, y = transformer.transform(points[:, 0], points[:, 1])
    sides = np.array([x.min(), y.min(), x.max(), y.max()])
    _, _, _, north = query.bounds
    if north == 90:  # the area goes round the pole, or touches it
        sides = np.array([*np.minimum(sides[:2], 0), *np.maximum(sides[2:], 0)])
    if not np.isfinite(sides).all() or np.abs(sides).max() > _EXTENT_M:
        raise InputError("the area", "reaches beyond what GIBS has around the North Pole", "stay north of about 52 degrees")
    low, high = np.floor(sides[:2] / _GRID_M) * _GRID_M, np.ceil(sides[2:] / _GRID_M) * _GRID_M
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _asked(product: Product) -> tuple[str, str, _Square, list[str]]:
    """Satellite, day, square and colours, as its address tells."""
    try:
        fields = {name: values[0] for name, values in parse_qs(urlsplit(product.href).query).items()}
        left, bottom, right, top = (int(side) for side in fields["bbox"].split(","))
        day = f"{datetime.strptime(fields['time'], '%Y-%m-%d').replace(tzinfo=UTC):%Y-%m-%d}"
        satellite, colours = fields["satellite"], fields["layers"].split(",")
        sound = satellite in _SATELLITES and set(colours) <= set(_COLOURS) and left < right and bottom < top
        within = max(map(abs, (left, bottom, right, top))) <= _EXTENT_M + _GRID_M and not (
            (right - left) % _GRID_M or (top - bottom) % _GRID_M
        )
    except (KeyError, ValueError, IndexError):
        sound = within = False
    if not (sound and within):
        raise CatalogueError(product.id, "has an address that asks for nothing GIBS has", "search again")
    return satellite, day, (left, bottom, right, top), colours


def _outline(square: _Square) -> dict[str, Any]:
    """The square's outline as GeoJSON in longitude and latitude."""
    ring = shapely.segmentize(shapely.box(*square), 50_000).exterior
    x, y = np.asarray(ring.coords).T
    lon, lat = Transformer.from_crs(_CRS, "EPSG:4326", always_xy=True).transform(x, y)
    return dict(json.loads(json.dumps(split_outline(np.round(lon, 5), np.round(lat, 5)))))


def _item(product: Product, square: _Square, colours: list[str], stem: str) -> dict[str, Any]:
    left, bottom, right, top = square
    west, south, east, north = raster_bounds(_CRS, *square)

    def asset(file: str, **more: Any) -> dict[str, Any]:
        return {"href": f"./{file}", "type": "image/tiff; application=geotiff", **more}

    pictures = {
        colour: asset(f"{stem}.{colour}.tif", roles=["data"], **{"eo:bands": [{"name": name} for name in _COLOURS[colour][1]]})
        for colour in colours
    }
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [
            "https://stac-extensions.github.io/projection/v1.1.0/schema.json",
            "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
        ],
        "id": product.id,
        "geometry": product.footprint,
        "bbox": [round(value, 5) for value in (west, south, east, north)],
        "properties": {
            "datetime": f"{product.time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "platform": stem,
            "instruments": ["modis"],
            "gsd": _GRID_M,
            "license": product.licence,
            "proj:epsg": 3413,
            "proj:shape": [(top - bottom) // _GRID_M, (right - left) // _GRID_M],
            "proj:transform": [float(_GRID_M), 0.0, float(left), 0.0, -float(_GRID_M), float(top)],
            "icegraph:datetime_accuracy": "nominal local solar time of the overpass, not from the file",
        },
        "links": [],
        "assets": pictures | {"landmask": asset("landmask.tif", roles=["land-mask"])},
    }


@contextmanager
def _written(path: Path, width: int, height: int, transform: Affine) -> Iterator[Any]:
    layout: Mapping[str, Any] = {
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "compress": "deflate",
        "photometric": "RGB",
        "alpha": "YES",
    }
    with rasterio.open(
        path, "w", driver="GTiff", width=width, height=height, count=4, dtype="uint8", crs=_CRS, transform=transform, **layout
    ) as dataset:
        yield dataset


def _decode(content: bytes, layer: str, height: int, width: int) -> NDArray[np.uint8]:
    """RGBA pixels of a PNG, whichever of its kinds it is."""
    try:
        with MemoryFile(content or b"nothing") as memory, memory.open(driver="PNG") as picture:
            if (picture.height, picture.width) != (height, width) or picture.dtypes[0] != "uint8":
                told = f"{picture.height} × {picture.width} pixels of {picture.dtypes[0]}"
                raise CatalogueError(layer, f"comes as {told} where {height} × {width} of 8 bits were asked for", "report it")
            pixels = picture.read()
            if len(pixels) == 1 and picture.colorinterp[0].name == "palette":
                table = np.zeros((256, 4), np.uint8)
                for index, colour in picture.colormap(1).items():
                    table[index] = colour
                return np.ascontiguousarray(table[pixels[0]].transpose(2, 0, 1))
    except RasterioError as error:
        raise CatalogueError(layer, f"comes as a picture that cannot be read ({type(error).__name__})", "try again later") from None
    grey = {1: [0, 0, 0], 2: [0, 0, 0, 1]}.get(len(pixels))
    pixels = pixels[grey] if grey else pixels
    opaque = np.full((1, height, width), 255, np.uint8)
    return np.asarray(pixels if len(pixels) == 4 else np.concatenate([pixels, opaque]))


def _complaint(response: requests.Response) -> str:
    """What a WMS says in its ServiceException, in short."""
    text = " ".join(shown for part in response.text[:2000].split("<") if (shown := part.partition(">")[2].strip()))
    return text[:200] or f"{response.status_code} {response.reason}"
