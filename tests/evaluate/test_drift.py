"""Drift errors in closed form, and where floes are."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
import rasterio
from affine import Affine
from pyproj import Geod, Proj

from icegraph.evaluate.drift import DriftErrors, drift_errors, known_places, label_places
from icegraph.evaluate.matching import Link
from icegraph.grid import Grid
from icegraph.scene import read_grid

from .conftest import write_raster

START = datetime(2024, 1, 1, tzinfo=UTC)
CRS = "EPSG:3413"
_, Y = Proj(CRS)(-45, 70)  # where the projection's scale is 1


def test_errors_of_a_known_motion_have_their_closed_form():
    times = {"a": START, "b": START + timedelta(hours=10)}
    known = {"a": {1: (0.0, Y), 2: (100.0, Y)}, "b": {1: (3600.0, Y), 2: (3700.0, Y)}}
    found = {"a": {1: (5.0, Y + 5), 2: (105.0, Y + 5)}, "b": {1: (3605.0 + 30, Y + 45), 2: (3705.0 - 10, Y + 5)}}
    identities = {"a": {1: 1, 2: 2}, "b": {1: 1, 2: 2}}
    links = [Link("a", 1, "b", 1), Link("a", 2, "b", 2)]
    figures = drift_errors(links, found, known, identities, times, CRS).metrics()
    assert figures["rmse_m"] == pytest.approx(np.sqrt((50**2 + 10**2) / 2))
    assert figures["rmse_m_s"] == pytest.approx(np.sqrt((50**2 + 10**2) / 2) / 36000)
    assert (figures["bias_x_m"], figures["bias_y_m"]) == pytest.approx((10, 20))
    assert figures["bias_x_m_s"] == pytest.approx(10 / 36000)
    assert figures["known_speed_m_s"] == pytest.approx(0.1)
    assert figures["floes"] == 2


def test_errors_and_speeds_are_over_the_ground():
    x, y = Proj(CRS)(-30, 55)
    known = {"a": {1: (x, y)}, "b": {1: (x + 3600, y)}}
    found = {"a": {1: (x, y)}, "b": {1: (x + 3600, y + 100)}}
    identities = {"a": {1: 1}, "b": {1: 1}}
    times = {"a": START, "b": START + timedelta(hours=10)}
    figures = drift_errors([Link("a", 1, "b", 1)], found, known, identities, times, CRS).metrics()

    def ground(a, b):
        return Geod(ellps="WGS84").inv(*Proj(CRS)(*a, inverse=True), *Proj(CRS)(*b, inverse=True))[2]

    assert figures["known_speed_m_s"] == pytest.approx(ground(known["a"][1], known["b"][1]) / 36000, rel=1e-5)
    assert figures["rmse_m"] == pytest.approx(ground(known["b"][1], found["b"][1]), rel=1e-3)


def test_floes_cut_by_an_edge_are_left_out():
    times = {"a": START, "b": START + timedelta(hours=1)}
    whole = {"a": {1: (0.0, 0.0)}, "b": {1: (10.0, 0.0)}}
    cut = {"a": {1: (0.0, 0.0)}, "b": {}}
    link, identities = [Link("a", 1, "b", 1)], {"a": {1: 1}, "b": {1: 1}}
    assert drift_errors(link, whole, whole, identities, times, CRS).metrics()["floes"] == 1
    assert drift_errors(link, whole, cut, identities, times, CRS).metrics() == {}
    assert drift_errors(link, cut, whole, identities, times, CRS).metrics() == {}


def test_no_links_give_no_figures():
    assert DriftErrors(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0)).metrics() == {}


def test_centroids_over_several_windows_are_those_of_the_whole_raster(tmp_path):
    grid = Grid("EPSG:3413", Affine(40, 0, 1000, 0, -40, 5000), 1300, 1200)
    labels = np.zeros(grid.shape, np.uint16)
    labels[1000:1100, 900:1100] = 3  # lies in four windows
    labels[:20, 50:60] = 4
    labels[50:60, 50:60] = 65535
    places = label_places(write_raster(tmp_path / "l.tif", grid, labels), grid)
    assert places.ids.tolist() == [3, 4]
    assert places.x[0] == pytest.approx(1000 + 40 * 1000)
    assert places.y[0] == pytest.approx(5000 - 40 * 1050)
    assert places.at_edge.tolist() == [False, True]


def test_the_border_of_what_is_labelled_is_an_edge(tmp_path):
    grid = Grid("EPSG:3413", Affine(40, 0, 0, 0, -40, 0), 100, 100)
    labels = np.full(grid.shape, 65535, np.uint16)
    labels[20:80, 20:80] = 0
    labels[20:30, 40:50], labels[40:50, 40:50] = 1, 2
    places = label_places(write_raster(tmp_path / "l.tif", grid, labels), grid)
    assert places.at_edge.tolist() == [True, False]


def test_the_table_of_a_simulation_gives_the_places(tmp_path):
    grid = Grid("EPSG:3413", Affine(40, 0, 0, 0, -40, 0), 100, 100)
    labels = np.zeros(grid.shape, np.uint16)
    labels[10:20, 10:20], labels[30:40, 30:40], labels[0:5, 60:70] = 1, 2, 3
    truth = write_raster(tmp_path / "p.labels.tif", grid, labels)
    table = {"pass_id": ["p"] * 4 + ["q"], "identity": [2, 1, 3, 9, 1], "x": [7.0, 8.0, 9.0, 1.0, 0.0], "y": [1.0, 2.0, 3.0, 4.0, 0.0]}
    pd.DataFrame(table | {"hidden": [True, False, False, False, False]}).to_parquet(tmp_path / "floes.parquet")
    assert known_places(truth, "p", grid.crs).whole() == {1: (8.0, 2.0)}  # 2 is hidden, 3 cut, 9 not in the picture
    assert set(known_places(truth, "elsewhere", grid.crs).whole()) == {1, 2}  # not in the table: the labels tell


def test_places_are_given_in_the_projection_asked_for(tmp_path):
    grid = Grid("EPSG:3413", Affine(40, 0, 600_000, 0, -40, -1_000_000), 100, 100)
    labels = np.zeros(grid.shape, np.uint16)
    labels[10:20, 10:20] = 1
    truth = write_raster(tmp_path / "p.labels.tif", grid, labels)
    lon, lat = known_places(truth, "p", "EPSG:4326").whole()[1]
    expected = grid.lonlat(*grid.xy(np.array([14.5]), np.array([14.5])))
    assert (lon, lat) == pytest.approx((expected[0][0], expected[1][0]))


def test_hand_drawn_pairs_give_the_displacement_that_their_maker_measured(shared_data):
    case = shared_data / "modis_floes" / "sea_of_okhostk-50km-20180412"
    with rasterio.open(case / "aqua.labels.tif") as dataset:
        grid = read_grid(dataset)
    aqua, terra = (known_places(case / f"{name}.labels.tif", name, grid.crs).whole() for name in ("aqua", "terra"))
    both = sorted(set(aqua) & set(terra))
    shift = np.median([np.subtract(terra[i], aqua[i]) for i in both], axis=0) / grid.pixel_m
    assert shift == pytest.approx([-0.3, -5.5], abs=0.3)  # columns to the right, rows down
