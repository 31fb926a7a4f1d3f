"""How far a pixel of the map is placed from where it should be in the radar image.

    python benchmarks/geocoding.py [PRODUCT.SAFE]

Images of 10 003 lines and 10 500 pixels of 40 m, whose lines follow a geodesic and whose pixels lead away from it at right angles, are
known in closed form: their 10 × 21 tie points are all that geocoding is given, as in a product. Told is the largest distance, in pixels of
the image, of 10 000 places. Of a product, that to GDAL's thin plate splines through its ground control points, without approximation.
"""

import argparse
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from pyproj import Geod, Transformer
from rasterio.transform import GCPTransformer

from icegraph.calibrate.geocode import Backward, fit_forward, output_grid
from icegraph.calibrate.safe import read_annotation
from icegraph.grid import Window, polar_crs
from icegraph.ingest.pixels import open_raster
from icegraph.ingest.sentinel1 import read_product

FloatArray = NDArray[np.float64]

SHAPE = (10_003, 10_500)
PLACES = 10_000
ORBITS = {  # longitude, latitude and heading of the first line
    "Fram Strait": (10.0, 80.0, -150.0),
    "past the pole": (100.0, 86.0, -60.0),
    "across 180 degrees": (178.0, 72.0, -20.0),
    "Weddell Sea": (-40.0, -68.0, 200.0),
}


def lonlat(orbit: tuple[float, float, float], line: FloatArray, pixel: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Longitude and latitude of lines and pixels, right of the flight."""
    geod = Geod(ellps="WGS84")
    lon, lat, heading = (np.full(line.shape, value) for value in orbit)
    lon, lat, back = geod.fwd(lon, lat, heading, line * 40.0)
    lon, lat, _ = geod.fwd(lon, lat, back + 270, 250e3 + pixel * 40.0)
    return np.asarray(lon), np.asarray(lat)


def away(backward: Backward, x: FloatArray, y: FloatArray, line: FloatArray, pixel: FloatArray) -> float:
    """The largest distance between lines and pixels that are right and those where geocoding takes a place's value from, as it does."""
    row, col = backward.grid.rowcol(x, y)
    got = np.empty((2, len(row)))
    for i, (r, c) in enumerate(zip(np.rint(row).astype(int), np.rint(col).astype(int), strict=True)):
        lattice = backward.lattice(Window(int(r), int(c), 1, 1))
        got[:, i] = lattice.spread(lattice.line)[0, 0], lattice.spread(lattice.pixel)[0, 0]
    # A pixel's middle lies up to half a pixel from the place: what lies between is smooth, and taken from the exact inverse.
    at_middle, at_place = (np.stack(backward.exact(*where)) for where in ((np.rint(row), np.rint(col)), (row, col)))
    return float(np.hypot(*(got + at_place - at_middle - np.stack([line, pixel]))).max())


def closed_form(name: str, rng: np.random.Generator) -> None:
    """Print the error of an image that is known in closed form."""
    height, width = SHAPE
    ties = [np.unique([*range(0, side, side // steps + 1), side - 1]).astype(float) for side, steps in ((height, 9), (width, 20))]
    line, pixel = (values.ravel() for values in np.meshgrid(*ties, indexing="ij"))
    lon, lat = lonlat(ORBITS[name], line, pixel)
    crs = polar_crs(lat)
    to_map = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    forward, _ = fit_forward(SHAPE, line, pixel, *to_map.transform(lon, lat), subject=name)
    backward = Backward(forward, output_grid(forward, crs, 40.0, subject=name))
    line, pixel = rng.uniform(0, height - 1, PLACES), rng.uniform(0, width - 1, PLACES)
    x, y = to_map.transform(*lonlat(ORBITS[name], line, pixel))
    print(f"{name + ', ' + crs:36}{away(backward, x, y, line, pixel):.4f} pixels from the closed form at most")


def against_gdal(product: Path, rng: np.random.Generator) -> None:
    """Print the error of a product against GDAL."""
    read = read_product(product)
    container, polarisation = read.container, read.polarisations[0]
    annotation = read_annotation(container, polarisation.annotation)
    ties = annotation.ties
    crs = polar_crs(ties.lat)
    to_map = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    line, pixel = (values.ravel() for values in np.meshgrid(ties.line, ties.pixel, indexing="ij"))
    forward, _ = fit_forward(annotation.shape, line, pixel, *to_map.transform(ties.lon.ravel(), ties.lat.ravel()), subject=str(product))
    backward = Backward(forward, output_grid(forward, crs, annotation.spacing_m, subject=str(product)))
    with open_raster(container.raster(polarisation.measurement)) as dataset:
        points, told = dataset.gcps
    x, y = Transformer.from_crs(told, crs, always_xy=True).transform([point.x for point in points], [point.y for point in points])
    for point, east, north in zip(points, x, y, strict=True):
        point.x, point.y = east, north
    inside = rng.uniform(0.5, np.array(annotation.shape) - 1.5, (PLACES, 2)).T
    x, y = forward.xy(*inside)
    with GCPTransformer(points, tps=True) as transformer:
        row, col = (np.array(values) for values in transformer.rowcol(x, y, op=float))
    # The points of a product count lines and pixels as its annotation does, from the middle of the first.
    print(f"{product.name[:32]:36}{away(backward, x, y, row, col):.4f} pixels from GDAL {rasterio.__gdal_version__} at most")


def main() -> None:
    """Print a line an image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("product", type=Path, nargs="?")
    told = parser.parse_args()
    rng = np.random.default_rng(0)
    for name in ORBITS:
        closed_form(name, rng)
    if told.product:
        against_gdal(told.product, rng)


if __name__ == "__main__":
    main()
