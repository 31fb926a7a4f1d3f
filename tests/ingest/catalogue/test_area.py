import json
import math
from pathlib import Path

import pytest
import shapely
from pyproj import Geod
from shapely.geometry import mapping

from icegraph.errors import InputError
from icegraph.ingest.catalogue.area import box_area, ground, is_south, overlap, parse_area, read_geometry

WGS84 = Geod(ellps="WGS84")


@pytest.mark.parametrize(
    ("bounds", "whole"),
    [
        ((-180, 70, 180, 90), True),
        ((-40, 60, -20, 75), False),
        ((170, 70, -170, 80), False),
        ((-180, -90, 180, -60), True),
    ],
)
def test_areas_on_the_ground_are_those_of_the_ellipsoid(bounds: tuple[float, float, float, float], whole: bool) -> None:
    west, south, east, north = bounds
    width = 360 if whole else (east - west) % 360
    steps = [(lon, south, lon + width / 360, north) for lon in [west + width * part / 360 for part in range(360)]]
    exact = sum(
        abs(WGS84.polygon_area_perimeter([left, right, right, left], [low, low, high, high])[0]) for left, low, right, high in steps
    )
    area = box_area(bounds)
    assert ground(area, south=is_south(area)).area == pytest.approx(exact, rel=1e-3)


def test_a_box_across_180_degrees_touches_both_sides_and_nothing_else() -> None:
    area = ground(box_area((170, 70, -170, 80)), south=False)
    seen = {lon: area.intersects(ground(shapely.Point(lon, 75), south=False)) for lon in (169, 171, 180, -180, -171, -169, 0)}
    assert seen == {169: False, 171: True, 180: True, -180: True, -171: True, -169: False, 0: False}


def test_the_pole_is_within_a_cap_and_within_a_scene_around_it() -> None:
    pole = ground(shapely.Point(0, 90), south=False)
    scene = shapely.Polygon([(0, 88), (90, 88), (180, 88), (-90, 88)])
    assert ground(box_area((-180, 80, 180, 90)), south=False).intersects(pole)
    assert ground(scene, south=False).contains(pole)


def test_the_share_of_an_overlap_is_that_of_the_smaller() -> None:
    wide, half = box_area((0, 70, 20, 80)), box_area((10, 70, 30, 80))
    inner = box_area((5, 72, 6, 73))
    assert overlap(wide, half) == pytest.approx(0.5, abs=1e-3)
    assert overlap(wide, inner) == overlap(inner, wide) == pytest.approx(1, abs=1e-6)
    assert overlap(wide, box_area((40, 70, 50, 80))) == 0


def test_footprints_overlap_across_180_degrees_whichever_way_they_are_written() -> None:
    uncut = shapely.Polygon([(178, 75), (-178, 75), (-178, 77), (178, 77)])  # as CMR gives it
    cut = shapely.MultiPolygon([shapely.box(178, 75, 180, 77), shapely.box(-180, 75, -178, 77)])  # as GeoJSON asks
    assert overlap(uncut, cut) == pytest.approx(1, abs=0.01)


def test_an_area_is_four_numbers_or_geojson(tmp_path: Path) -> None:
    square = shapely.box(-40, 70, -20, 80)
    assert parse_area("-40,70,-20,80").equals(square)
    for number, fields in enumerate(
        (
            mapping(square),
            {"type": "Feature", "geometry": mapping(square)},
            {
                "type": "FeatureCollection",
                "features": [{"type": "Feature", "geometry": mapping(shapely.box(-40, 70, -20, y))} for y in (75, 80)],
            },
        )
    ):
        path = tmp_path / f"{number}.geojson"
        path.write_text(json.dumps(fields))
        assert parse_area(str(path)).equals(square)


@pytest.mark.parametrize(
    "text", ["-40,70,-20", "a,b,c,d", "-40,80,-20,70", "0,70,200,80", "0,70,0,80", "nan,70,1,80", "no-such.geojson", ""]
)
def test_what_is_no_area_is_one_sentence(text: str) -> None:
    with pytest.raises(InputError):
        parse_area(text)


@pytest.mark.parametrize(
    "text", ["{", "[]", "7", '{"type": "Point", "coordinates": [0, 0]}', '{"features": [{"geometry": null}]}', "[" * 100_000]
)
def test_a_file_without_polygons_is_one_sentence(text: str, tmp_path: Path) -> None:
    path = tmp_path / "area.geojson"
    path.write_text(text)
    with pytest.raises(InputError, match="give polygons in longitude and latitude"):
        parse_area(str(path))


@pytest.mark.parametrize(
    "fields", [None, {}, [], "x", {"type": "Polygon"}, {"type": "Polygon", "coordinates": [[[0, 0], [math.nan, 1], [1, 1], [0, 0]]]}]
)
def test_a_footprint_that_is_none_is_none(fields: object) -> None:
    assert read_geometry(fields) is None
