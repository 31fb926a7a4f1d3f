"""Floe tables in, tracks out: the same as the stage gives, over v2, v1 and as an InferenceGraph hands them on."""

import json
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import tritonclient.http as triton
import xarray as xr

from icegraph.graph import build_graph, floe_table
from icegraph.registry import SHIPPED
from icegraph.segment import segment
from icegraph.serve.geojson import floe_table_of, to_geojson, to_records
from icegraph.track.follow import track

from .conftest import BANDS, PLACE, Address, image, image_request, post, write_image_scene

LATER = PLACE | {"time": "2021-05-01T12:30:00Z", "id": "later"}


def moved(pixels: np.ndarray) -> np.ndarray:
    """The same ice, 3 pixels further down and 2 to the right."""
    return np.roll(pixels, (3, 2), (1, 2))


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> list[gpd.GeoDataFrame]:
    place = tmp_path_factory.mktemp("tables")
    found = []
    for number, pixels in enumerate((image(), moved(image()))):
        scene = write_image_scene(place / f"scene-{number}", pixels)
        if number:
            scene.item.id, scene.item.datetime = "later", pd.Timestamp(LATER["time"]).to_pydatetime()
        segment(scene, SHIPPED / "segmenter-optical", place / f"out-{number}")
        found.append(floe_table(place / f"out-{number}", scene))
    return found


def test_a_table_comes_back_from_geojson_as_it_was(tables: list[gpd.GeoDataFrame]) -> None:
    table = tables[0]
    back = floe_table_of(json.loads(json.dumps(to_geojson(table))), 0)
    assert back.crs == table.crs
    assert back.attrs["icegraph"]["pass_id"] == table.attrs["icegraph"]["pass_id"]
    for name in table.columns.drop("geometry"):
        if table[name].dtype.kind == "f":
            np.testing.assert_array_equal(back[name], table[name], err_msg=name)
        else:
            assert list(back[name]) == list(table[name]), name
    assert back.geometry.distance(table.geometry).max() < 1e-3  # metres


def test_the_tracker_gives_what_the_stage_writes(server: Address, tables: list[gpd.GeoDataFrame], tmp_path: Path) -> None:
    build_graph(tables, tmp_path / "graph")
    track(tmp_path / "graph", SHIPPED / "matcher", tmp_path / "tracks")
    tensor = triton.InferInput("floes", [2], "BYTES")
    tensor.set_data_from_numpy(np.array([json.dumps(to_geojson(table)).encode() for table in tables], object))
    wanted = [triton.InferRequestedOutput(name) for name in ("matches", "tracks", "forecast", "drift")]
    with triton.InferenceServerClient(server.rest, network_timeout=120, connection_timeout=120) as client:
        result = client.infer("tracker", [tensor], outputs=wanted)
    said = {name: result.as_numpy(name)[0] for name in ("matches", "tracks", "forecast", "drift")}
    matches = pd.read_parquet(tmp_path / "tracks" / "matches.parquet")
    assert len(matches) > 5
    # The request's outlines are rounded to a tenth of a millimetre, and the matcher's likelihood hangs on them.
    pd.testing.assert_frame_equal(pd.DataFrame(json.loads(said["matches"])), pd.DataFrame(to_records(matches)), rtol=1e-3)
    for name in ("tracks", "forecast"):
        known = to_geojson(gpd.read_parquet(tmp_path / "tracks" / f"{name}.parquet"))
        ours, theirs = (gpd.GeoDataFrame.from_features(part["features"]) for part in (json.loads(said[name]), known))
        assert ours.geometry.geom_equals_exact(theirs.geometry, 1e-7).all()
        pd.testing.assert_frame_equal(pd.DataFrame(ours.drop(columns="geometry")), pd.DataFrame(theirs.drop(columns="geometry")), rtol=1e-3)
    (tmp_path / "drift.nc").write_bytes(said["drift"])
    with xr.open_dataset(tmp_path / "drift.nc") as drift, xr.open_dataset(tmp_path / "tracks" / "drift.nc") as known:
        xr.testing.assert_allclose(drift, known, rtol=1e-4)


def test_the_segmenters_answer_is_the_trackers_request(server: Address) -> None:
    """As an InferenceGraph hands it on: passes in, tracks out, and the drift is the one that the ice made."""
    instances: list[dict[str, Any]] = []
    for pixels, place in ((image(), PLACE | {"id": "first"}), (moved(image()), LATER)):
        values = np.nan_to_num(pixels).tolist()
        transform = [float(part) for part in place["transform"].split(",")]
        instances.append({"image": values, "bands": list(BANDS), "outputs": ["floes"]} | place | {"transform": transform})
    found = post(server, "/v1/models/segmenter:predict", {"instances": instances})
    assert found.status_code == 200, found.text
    tracked = post(server, "/v1/models/tracker:predict", found.content)
    assert tracked.status_code == 200, tracked.text
    tracks = [one["properties"] for one in tracked.json()["predictions"][0]["tracks"]["features"]]
    moving = [one for one in tracks if one["confidence"] > 0.5]
    assert len(moving) > 5
    # 2 pixels of 250 m to the right, 3 down, in 2 hours; metres of the grid are within a few percent of metres over the ground.
    speed = np.hypot([one["u"] for one in moving], [one["v"] for one in moving])
    np.testing.assert_allclose(np.median(speed), np.hypot(500, 750) / 7200, rtol=0.1)


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ({"instances": [{}]}, 400, "GeoJSON"),
        ({"instances": [{"floes": {}}]}, 422, "two passes or more"),
        ({"instances": [{"floes": {}}, {"floes": {}}]}, 422, "floe table 1"),
        (
            {"instances": [{"floes": {"type": "FeatureCollection", "features": [], "icegraph": {"crs": "file:/etc/passwd"}}}] * 2},
            422,
            "floe table 1",
        ),
        ({"instances": [{"floes": {}}] * 100}, 413, "at once"),
        ({"instances": [{"floes": {}}] * 2, "parameters": {"max_speed_m_s": 1e9}}, 422, "max_speed_m_s"),
    ],
)
def test_what_is_no_floe_table_is_told(server: Address, body: dict[str, Any], status: int, told: str) -> None:
    answer = post(server, "/v1/models/tracker:predict", body)
    assert (answer.status_code, told in answer.text) == (status, True), answer.text


def test_passes_of_different_places_are_told(server: Address, tables: list[gpd.GeoDataFrame]) -> None:
    one, other = (to_geojson(table) for table in tables)
    other["icegraph"]["bounds"] = [b + 1e6 for b in other["icegraph"]["bounds"]]
    answer = post(server, "/v1/models/tracker:predict", {"instances": [{"floes": one}, {"floes": other}]})
    assert answer.status_code == 422
    assert "overlap" in answer.json()["error"]


def test_floes_without_a_place_are_refused(server: Address) -> None:
    answer = post(server, "/v2/models/segmenter/infer", image_request(image((32, 32))[None], outputs=[{"name": "floes"}]))
    assert answer.status_code == 422
    assert "crs, transform" in answer.json()["error"]
