"""Geocoding against GDAL and against geometries known in closed form."""

import numpy as np
import pytest
import rasterio.warp
from pyproj import Geod, Transformer
from rasterio.control import GroundControlPoint

from icegraph.calibrate.geocode import (
    Backward,
    Lattice,
    PolynomialForward,
    SplineForward,
    TieValues,
    fit_forward,
    output_grid,
)
from icegraph.errors import PassError
from icegraph.grid import Grid, Window

GEOD = Geod(ellps="WGS84")


class Orbit:
    """A radar image in closed form: lines along a geodesic, pixels away from it at right angles. EW GRDM in size: 40 m pixels."""

    def __init__(self, shape: tuple[int, int], lon: float, lat: float, heading: float, crs: str) -> None:
        self.shape = shape
        self.start = lon, lat, heading
        self.to_xy = Transformer.from_crs("EPSG:4326", crs, always_xy=True)

    def xy(self, line: np.ndarray, pixel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        lon, lat, heading = (np.full(line.shape, value) for value in self.start)
        lon, lat, back = GEOD.fwd(lon, lat, heading, line * 40.0)
        lon, lat, _ = GEOD.fwd(lon, lat, back + 180 + 90, 250e3 + pixel * 40.0)
        return self.to_xy.transform(lon, lat)

    def ties(self) -> tuple[np.ndarray, ...]:
        """As in a product: 10 lines of 21 points, the last step short."""
        height, width = self.shape
        line = np.unique([*range(0, height, height // 9 + 1), height - 1]).astype(float)
        pixel = np.unique([*range(0, width, width // 20 + 1), width - 1]).astype(float)
        flat = [values.ravel() for values in np.meshgrid(line, pixel, indexing="ij")]
        return *flat, *self.xy(*flat)


ORBITS = {
    "Fram Strait": Orbit((10_003, 10_500), 10.0, 80.0, -150.0, "EPSG:3413"),
    "past the pole": Orbit((10_003, 10_500), 100.0, 86.0, -60.0, "EPSG:3413"),
    "across 180 degrees": Orbit((10_003, 10_500), 178.0, 72.0, -20.0, "EPSG:3413"),
    "Weddell Sea": Orbit((10_003, 10_500), -40.0, -68.0, 200.0, "EPSG:3976"),
}


def places(backward: Backward, window: Window) -> tuple[np.ndarray, np.ndarray]:
    """Line and pixel of a window's pixels."""
    lattice = backward.lattice(window)
    return lattice.spread(lattice.line), lattice.spread(lattice.pixel)


@pytest.mark.parametrize("name", ORBITS)
def test_a_full_size_image_is_placed_to_a_tenth_of_a_pixel(name: str) -> None:
    orbit = ORBITS[name]
    forward, residual = fit_forward(orbit.shape, *orbit.ties(), subject=name)
    assert residual == 0
    crs = "EPSG:3976" if "Weddell" in name else "EPSG:3413"
    backward = Backward(forward, output_grid(forward, crs, 40.0, subject="x.tif"))
    rng = np.random.default_rng(0)
    line, pixel = rng.uniform(0, orbit.shape[0] - 1, 4000), rng.uniform(0, orbit.shape[1] - 1, 4000)
    row, col = backward.grid.rowcol(*orbit.xy(line, pixel))
    assert row.min() >= -0.5 and row.max() < backward.grid.height and col.min() >= -0.5 and col.max() < backward.grid.width
    got = backward.exact(row, col)
    assert max(np.abs(got[0] - line).max(), np.abs(got[1] - pixel).max()) < 0.05
    # The lattice's interpolation, against the exact inverse at each pixel.
    window = Window(int(row[0]) // 2 + 1111, int(col[0]) // 2 + 1111, 130, 170)
    exact = backward.exact(*np.mgrid[window.slices].astype(float))
    quick = places(backward, window)
    assert max(np.abs(exact[0] - quick[0]).max(), np.abs(exact[1] - quick[1]).max()) < 0.01


def test_windows_agree_where_they_overlap() -> None:
    orbit = ORBITS["Fram Strait"]
    forward, _ = fit_forward(orbit.shape, *orbit.ties(), subject="x")
    backward = Backward(forward, output_grid(forward, "EPSG:3413", 40.0, subject="x.tif"))
    whole, part = Window(4000, 5000, 300, 400), Window(4077, 5123, 50, 60)
    for wide, narrow in zip(places(backward, whole), places(backward, part), strict=True):
        np.testing.assert_array_equal(wide[part.within(whole).slices], narrow)


def picture(shape: tuple[int, int]) -> np.ndarray:
    row, col = np.mgrid[: shape[0], : shape[1]]
    return (100 + 40 * np.sin(row / 9) * np.cos(col / 7) + row * 0.2).astype(np.float32)


def test_resampling_is_that_of_gdal_by_thin_plate_splines() -> None:
    orbit = Orbit((300, 360), 10.0, 80.0, -150.0, "EPSG:3413")
    line, pixel, x, y = orbit.ties()
    forward, _ = fit_forward(orbit.shape, line, pixel, x, y, subject="x")
    grid = output_grid(forward, "EPSG:3413", 40.0, subject="x.tif")
    image = picture(orbit.shape)
    window = Window(0, 0, *grid.shape)
    lattice = Backward(forward, grid).lattice(window)
    part = lattice.source(orbit.shape)
    assert part is not None
    (ours,) = lattice.sample(image[None][:, *part.slices], part)
    # GDAL counts from the corner of the first pixel.
    points = [GroundControlPoint(row=r + 0.5, col=c + 0.5, x=a, y=b) for r, c, a, b in zip(line, pixel, x, y, strict=True)]
    theirs = np.full(grid.shape, np.nan, np.float32)
    rasterio.warp.reproject(
        image,
        theirs,
        gcps=points,
        src_crs="EPSG:3413",
        dst_crs="EPSG:3413",
        dst_transform=grid.transform,
        dst_nodata=np.nan,
        resampling=rasterio.warp.Resampling.bilinear,
        SRC_METHOD="GCP_TPS",
        tolerance=0.0,
        XSCALE=1.0,  # GDAL widens its kernel where the map's scale shrinks pixels by 2 %
        YSCALE=1.0,
    )
    both = np.isfinite(ours) & np.isfinite(theirs)
    assert both.sum() > 0.98 * np.isfinite(theirs).sum()
    assert np.abs(ours - theirs)[both].max() < 0.05  # of a picture whose slope reaches 6 a pixel


def test_control_points_in_no_order_get_a_smooth_fit() -> None:
    orbit = Orbit((1000, 1000), 10.0, 80.0, -150.0, "EPSG:3413")
    rng = np.random.default_rng(0)
    line, pixel = rng.uniform(0, 1000, 104), rng.uniform(0, 1000, 104)
    forward, residual = fit_forward(orbit.shape, line, pixel, *orbit.xy(line, pixel), subject="x")
    assert isinstance(forward, PolynomialForward)
    assert residual < 0.01
    x, y = orbit.xy(*np.meshgrid(np.arange(0.0, 1000, 50), np.arange(0.0, 1000, 50)))
    fit_x, fit_y = forward.xy(*np.meshgrid(np.arange(0.0, 1000, 50), np.arange(0.0, 1000, 50)))
    assert np.hypot(fit_x - x, fit_y - y).max() < 0.1 * 40


def test_jacobians_are_the_derivatives() -> None:
    orbit = ORBITS["Fram Strait"]
    spline, _ = fit_forward(orbit.shape, *orbit.ties(), subject="x")
    polynomial = PolynomialForward.fit(orbit.shape, *orbit.ties())
    line, pixel = np.array([-300.0, 50.0, 7000.0, 11_000.0]), np.array([300.0, -50.0, 9000.0, 10_700.0])
    for forward in (spline, polynomial):
        by_line = [(b - a) / 2 for a, b in zip(forward.xy(line - 1, pixel), forward.xy(line + 1, pixel), strict=True)]
        by_pixel = [(b - a) / 2 for a, b in zip(forward.xy(line, pixel - 1), forward.xy(line, pixel + 1), strict=True)]
        tolerance = 1e-3 if forward is polynomial else 0.05  # beyond the grid a spline goes on straight
        expected = [by_line[0], by_pixel[0], by_line[1], by_pixel[1]]
        for got, want in zip(forward.jacobian(line, pixel), expected, strict=True):
            np.testing.assert_allclose(got, want, atol=tolerance)


@pytest.mark.parametrize("count", [0, 3])
def test_too_few_control_points_are_refused(count: int) -> None:
    with pytest.raises(PassError, match=f"has {count} usable control points"):
        fit_forward((10, 10), *np.zeros((4, count)), subject="x.tif")


def test_control_points_that_contradict_each_other_are_refused() -> None:
    rng = np.random.default_rng(0)
    line, pixel = rng.uniform(0, 1000, (2, 60))
    x, y = pixel * 40, -line * 40
    x[:30] += rng.normal(0, 2000, 30)
    with pytest.raises(PassError, match=r"x\.tif: its control points differ from a smooth fit by \d+"):
        fit_forward((1000, 1000), line, pixel, x, y, subject="x.tif")


def test_one_wild_tie_point_is_refused_before_it_asks_for_an_endless_map() -> None:
    line, pixel, x, y = ORBITS["Fram Strait"].ties()
    x[77] += 3e6
    with pytest.raises(PassError, match=r"x\.SAFE: its control points fold or tear the image"):
        fit_forward((10_003, 10_500), line, pixel, x, y, subject="x.SAFE")


def test_pixels_too_small_for_any_scene_are_refused() -> None:
    orbit = ORBITS["Fram Strait"]
    forward, _ = fit_forward(orbit.shape, *orbit.ties(), subject="x")
    with pytest.raises(PassError, match=r"x\.tif: makes a scene of \d+ × \d+ pixels of 0\.5 m"):
        output_grid(forward, "EPSG:3413", 0.5, subject="x.tif")


def test_nothing_is_made_up_beyond_the_image() -> None:
    pixels = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    part = Window(0, 0, 3, 4)
    for line, value in ((-0.6, np.nan), (-0.4, 1.5), (1.0, 5.5), (2.4, 9.5), (2.6, np.nan)):
        lattice = Lattice(Window(0, 0, 1, 1), 0, 0, np.full((2, 2), line), np.full((2, 2), 1.5))
        np.testing.assert_allclose(lattice.sample(pixels, part), [[[value]]])
    assert Lattice(Window(0, 0, 1, 1), 0, 0, np.full((2, 2), 51.0), np.full((2, 2), 1.5)).source((3, 4)) is None


def test_what_one_image_lacks_none_has() -> None:
    images = np.ones((2, 3, 4), np.float32)
    images[1, 0, 0] = np.nan
    nodes = np.array([[0.0, 0.0], [32.0, 32.0]]), np.array([[0.0, 32.0], [0.0, 32.0]])
    got = Lattice(Window(0, 0, 3, 4), 0, 0, *nodes).sample(images, Window(0, 0, 3, 4))
    assert np.isnan(got).sum() == 2 and np.isnan(got[:, 0, 0]).all()


def test_tie_values_are_bilinear_and_held_at_the_edge() -> None:
    ties = TieValues(np.array([0.0, 10]), np.array([0.0, 20]), np.array([[20.0, 40], [22, 42]]))
    np.testing.assert_allclose(ties.at(np.float32([[5, -3]]), np.float32([[10, 25]])), [[31, 40]])


def test_a_spline_goes_through_its_points() -> None:
    orbit = ORBITS["past the pole"]
    line, pixel, x, y = orbit.ties()
    forward, _ = fit_forward(orbit.shape, line, pixel, x, y, subject="x")
    assert isinstance(forward, SplineForward)
    np.testing.assert_allclose(forward.xy(line, pixel), [x, y], atol=1e-3)
    assert isinstance(output_grid(forward, "EPSG:3413", 100.0, subject="x.tif"), Grid)
