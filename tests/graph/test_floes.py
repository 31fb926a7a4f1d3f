import geopandas as gpd
import numpy as np
import pytest
from affine import Affine
from ice_fields import START, scale, write_scene
from pyproj import Geod, Proj
from rasterio.features import shapes
from shapely.geometry import shape
from skimage.draw import disk, polygon
from skimage.measure import label, regionprops

from icegraph.errors import InputError, PassError
from icegraph.graph import floe_table, read_floes, write_floes
from icegraph.grid import Grid

PIXEL = 100.0
TRUE_SCALE_Y = float(Proj("EPSG:3413")(-45, 70)[1])


@pytest.fixture(scope="module")
def random_labels():
    rng = np.random.default_rng(4)
    row, col = np.mgrid[:300, :260]
    labels = np.zeros((300, 260), np.uint32)
    for number in range(1, 26):
        r, c, size = rng.uniform(10, 290), rng.uniform(10, 250), rng.uniform(4, 20)
        tilt, angle = rng.uniform(0.4, 1), rng.uniform(0, np.pi)
        u, v = (row - r) * np.cos(angle) + (col - c) * np.sin(angle), (col - c) * np.cos(angle) - (row - r) * np.sin(angle)
        labels[(np.hypot(u, v / tilt) < size) & (labels == 0)] = number
    pieces = label(labels, background=0, connectivity=2)
    return pieces.astype(np.uint32)


def test_columns_agree_with_scikit_image(tmp_path, random_labels):
    rng = np.random.default_rng(1)
    red, valid = rng.random(random_labels.shape), rng.random(random_labels.shape) > 0.1
    red[5:40, 5:40] = np.nan
    table = floe_table(*write_scene(tmp_path, random_labels, {"red": red}, valid=valid))
    regions = regionprops(random_labels)
    assert table["floe_id"].tolist() == [region.label for region in regions]
    pixel = PIXEL / scale(table[["x", "y"]])  # over the ground
    np.testing.assert_allclose(table["area_m2"], [region.num_pixels for region in regions] * pixel**2, rtol=1e-6)
    np.testing.assert_allclose(table["x"], [300_000 + PIXEL * (region.centroid[1] + 0.5) for region in regions])
    np.testing.assert_allclose(table["y"], [-1_200_000 - PIXEL * (region.centroid[0] + 0.5) for region in regions])
    # scikit-image takes pixels for points, here they are squares: each second moment is 1/12 larger.
    axes = np.array([(region.axis_major_length, region.axis_minor_length) for region in regions])
    major, minor = axes.T**2 + 16 / 12
    np.testing.assert_allclose(table["major_axis_m"], np.sqrt(major) * pixel, rtol=1e-6)
    np.testing.assert_allclose(table["minor_axis_m"], np.sqrt(minor) * pixel, rtol=1e-6)
    np.testing.assert_allclose(table["eccentricity"], np.sqrt(1 - minor / major), rtol=1e-5, atol=1e-5)
    # scikit-image counts from the row axis, anticlockwise as seen with rows down: from x it is 90 degrees more.
    turn = table["orientation_deg"].to_numpy() - (np.degrees([region.orientation for region in regions]) + 90)
    np.testing.assert_allclose(np.abs((turn + 90) % 180 - 90)[minor < 0.99 * major], 0, atol=1e-6)
    large = np.array([region.num_pixels >= 60 for region in regions])
    np.testing.assert_allclose(table["perimeter_m"][large], (np.array([r.perimeter_crofton for r in regions]) * pixel)[large], rtol=0.1)
    good = valid & np.isfinite(red)
    means = [red[(random_labels == region.label) & good].mean() for region in regions]
    spreads = [red[(random_labels == region.label) & good].std() for region in regions]
    np.testing.assert_allclose(table["red_mean"], means, rtol=1e-5)
    np.testing.assert_allclose(table["red_std"], spreads, rtol=1e-4)


def test_outlines_are_those_of_gdal(tmp_path):
    """Of floes with holes, of several pieces, and of pixels that touch at a corner alone."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, (60, 50)) * (rng.random((60, 50)) < 0.8)
    labels[10:30, 10:30] = 7
    labels[15:20, 15:20], labels[20, 20], labels[12, 12] = 0, 2, 0
    table = floe_table(*write_scene(tmp_path, labels))
    transform = Affine(100.0, 0.0, 300_000.0, 0.0, -100.0, -1_200_000.0)
    pieces = [(value, shape(outline)) for outline, value in shapes(labels.astype(np.int32), connectivity=8, transform=transform) if value]
    for floe, outline in zip(table["floe_id"], table.geometry, strict=True):
        largest = max((piece for value, piece in pieces if value == floe), key=lambda piece: piece.area)
        assert outline.area == largest.area
        if floe == 7:
            assert outline.equals(largest)


def test_windows_do_not_show(tmp_path, monkeypatch, random_labels):
    valid = np.ones(random_labels.shape, bool)
    valid[100:130, 60:90] = False
    whole = floe_table(*write_scene(tmp_path / "a", random_labels, {"red": random_labels * 0.01}, valid=valid))
    from icegraph.graph import floes
    from icegraph.grid import tiles

    monkeypatch.setattr(floes, "valid_windows", lambda grid: tiles(grid.shape, 37))
    parts = floe_table(*write_scene(tmp_path / "b", random_labels, {"red": random_labels * 0.01}, valid=valid))
    for name in whole.columns.drop(["geometry", "pass_id", "time"]):
        np.testing.assert_allclose(parts[name].astype(float), whole[name].astype(float), rtol=1e-7, atol=1e-7, err_msg=name)


def test_disk_and_rectangle_have_their_closed_forms(tmp_path):
    labels = np.zeros((200, 200), np.uint32)
    labels[disk((60, 60), 30.5)] = 7
    corners = np.array([[150, 60], [150 - 30 * np.sin(0.5), 60 + 30 * np.cos(0.5)]])
    side = np.array([-15 * np.cos(0.5), -15 * np.sin(0.5)])
    ring = np.array([corners[0] - side, corners[0] + side, corners[1] + side, corners[1] - side])
    ring = ring + (corners - corners.mean(axis=0))[[0, 0, 1, 1]] * 2
    labels[polygon(ring[:, 0], ring[:, 1])] = 9
    true_scale = Grid("EPSG:3413", Affine(PIXEL, 0, -10_000, 0, -PIXEL, TRUE_SCALE_Y + 10_000), *labels.shape)
    table = floe_table(*write_scene(tmp_path, labels, grid=true_scale)).set_index("floe_id")
    assert table.loc[7, "area_m2"] == pytest.approx(np.pi * 3050**2, rel=0.01)
    assert table.loc[7, "perimeter_m"] == pytest.approx(2 * np.pi * 3050, rel=0.02)
    assert table.loc[7, "circularity"] > 0.97
    assert table.loc[7, "solidity"] > 0.95
    assert table.loc[7, "eccentricity"] < 0.1
    # A rectangle of 90 × 30 pixels, its long side 0.5 radians anticlockwise from x.
    assert table.loc[9, "area_m2"] == pytest.approx(90 * 30 * PIXEL**2, rel=0.05)
    assert table.loc[9, "orientation_deg"] == pytest.approx(np.degrees(0.5), abs=1)
    assert table.loc[9, "major_axis_m"] == pytest.approx(4 * 9000 / np.sqrt(12), rel=0.03)
    assert table.loc[9, "minor_axis_m"] == pytest.approx(4 * 3000 / np.sqrt(12), rel=0.05)
    assert table.loc[9, "perimeter_m"] == pytest.approx(2 * (9000 + 3000), rel=0.05)
    assert table.loc[7, "geometry"].area == pytest.approx(table.loc[7, "area_m2"], rel=1e-3)


def test_floes_at_the_scene_edge_and_beside_hidden_ground_are_marked(tmp_path):
    labels = np.zeros((60, 60), np.uint32)
    labels[0:5, 10:15] = 1  # at the top
    labels[20:25, 20:25] = 2  # free
    labels[40:45, 55:60] = 3  # at the right
    labels[40:45, 20:25] = 4  # a corner meets a cloud
    labels[50:59, 2:9] = 5  # one pixel from the bottom
    valid = np.ones((60, 60), bool)
    valid[45, 25] = False
    table = floe_table(*write_scene(tmp_path, labels, valid=valid)).set_index("floe_id")
    assert table["touches_edge"].to_dict() == {1: True, 2: False, 3: True, 4: True, 5: False}


def test_confidence_is_the_mean_probability(tmp_path):
    labels = np.zeros((40, 40), np.uint32)
    labels[10:20, 10:20] = 1
    probability = np.linspace(0, 1, 1600).reshape(40, 40)
    table = floe_table(*write_scene(tmp_path / "a", labels, probability=probability))
    assert table["confidence"].iloc[0] == pytest.approx(probability[10:20, 10:20].mean(), rel=1e-5)
    assert np.isnan(floe_table(*write_scene(tmp_path / "b", labels))["confidence"].iloc[0])


def test_table_is_geoparquet_that_geopandas_reads_with_its_projection_and_time(tmp_path, random_labels):
    segment, scene = write_scene(tmp_path, random_labels, {"red": random_labels * 0.01})
    path = write_floes(segment, scene)
    table = gpd.read_parquet(path)
    assert table.crs.to_epsg() == 3413
    assert table["time"].iloc[0].to_pydatetime() == START
    assert set(table.geom_type) == {"Polygon"}
    first = path.read_bytes()
    assert write_floes(segment, scene).read_bytes() == first
    assert read_floes(segment).attrs["icegraph"]["pixel_m"] == PIXEL


def test_lon_lat_are_those_of_the_grid(tmp_path):
    labels = np.zeros((41, 41), np.uint32)
    labels[18:23, 18:23] = 1
    grid = Grid("EPSG:3413", Affine(100.0, 0.0, -2050.0, 0.0, -100.0, 2050.0), 41, 41)
    table = floe_table(*write_scene(tmp_path, labels, grid=grid))
    assert table["lat"].iloc[0] == pytest.approx(90.0)


def test_pass_without_floes_has_an_empty_table_of_the_same_columns(tmp_path, random_labels):
    full = floe_table(*write_scene(tmp_path / "a", random_labels, {"red": random_labels * 0.01}))
    none = read_floes(write_floes(*write_scene(tmp_path / "b", random_labels * 0, {"red": random_labels * 0.01})))
    assert len(none) == 0
    assert list(none.columns) == list(full.columns)
    assert none.attrs["icegraph"]["pass_id"] == "pass"


def test_labels_of_another_size_are_refused(tmp_path):
    segment, _ = write_scene(tmp_path / "a", np.ones((40, 40)))
    _, scene = write_scene(tmp_path / "b", np.ones((50, 40)))
    with pytest.raises(PassError, match=r"labels\.tif: has \(40, 40\) pixels, the scene \(50, 40\)"):
        floe_table(segment, scene)
    with pytest.raises(InputError, match="not a readable floe table"):
        read_floes(tmp_path / "nothing.parquet")


@pytest.mark.parametrize("lat", [55.0, 80.0])
def test_areas_and_lengths_are_those_on_the_ellipsoid(tmp_path, lat):
    x, y = Proj("EPSG:3413")(-30, lat)
    labels = np.zeros((120, 120), np.uint32)
    labels[disk((60, 60), 40.5)] = 1
    grid = Grid("EPSG:3413", Affine(PIXEL, 0, x - 6000, 0, -PIXEL, y + 6000), 120, 120)
    floe = floe_table(*write_scene(tmp_path, labels, grid=grid)).iloc[0]
    x, y = floe.geometry.exterior.xy
    lon, lat = Proj("EPSG:3413")(np.asarray(x), np.asarray(y), inverse=True)
    area = abs(Geod(ellps="WGS84").polygon_area_perimeter(lon, lat)[0])
    assert floe["area_m2"] == pytest.approx(area, rel=1e-4)
    assert floe["perimeter_m"] == pytest.approx(2 * np.sqrt(np.pi * area), rel=0.01)
    assert floe["major_axis_m"] == pytest.approx(2 * np.sqrt(area / np.pi), rel=0.01)
    assert floe["minor_axis_m"] == pytest.approx(2 * np.sqrt(area / np.pi), rel=0.01)
