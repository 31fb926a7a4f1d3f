"""Scenes by reference: what may be named, and that the answer is the batch's."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import requests
from s3_relay import Relay

from icegraph.errors import InputError
from icegraph.grid import Window
from icegraph.registry import SHIPPED
from icegraph.segment import Engine, load_segmenter, segment
from icegraph.serve.references import AllowList
from icegraph.serve.refusal import Refused, Why
from icegraph.store import open_store, sha256
from icegraph.tiles import predict_tiles

from .conftest import Address, ask_http, image, post, running, write_image_scene

INFER = "/v2/models/segmenter/infer"


def scene_request(address: str, *outputs: str, **parameters: Any) -> dict[str, Any]:
    tensor = {"name": "scene", "shape": [1], "datatype": "BYTES", "data": [address], "parameters": parameters}
    return {"inputs": [tensor], "outputs": [{"name": name} for name in outputs or ("labels",)]}


def map_of(answer: requests.Response, name: str) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    dtypes = {"UINT8": np.uint8, "UINT32": np.uint32, "FP32": np.float32}
    (one,) = [one for one in answer.json()["outputs"] if one["name"] == name]
    return np.array(one["data"], dtypes[one["datatype"]]).reshape(one["shape"])[0]


@pytest.mark.parametrize(
    "address",
    [
        "/etc/passwd",
        "file:///etc/passwd",
        "http://169.254.169.254/latest",
        "s3://other/scenes/a",
        "s3://ice/scenes-of-others/a",
        "s3://ice/scenes",
        "s3://ice/scenes/../secrets/a",
        "s3://ice/scenes/./a",
        "s3://ice/scenes//a",
        "s3://user:word@ice/scenes/a",
        "s3://ice/scenes/a?x=1",
        "s3://ice/scenes/a\n",
        "s3://ice/scenes/%2e%2e/a",
        "S3://ice/scenes/a",
        "/vsicurl/http://example.org/a",
        "s3://ice/scenes/../../item.json",
        "s3://ice/scenes%2f..%2fsecrets/a",
        "s3://ice/scenes\\..\\secrets/a",
        "s3://ice/scenes/\uff0e\uff0e/secrets/a",
        "s3://ice/scenes-evil/../scenes/a",
        "s3://ice.evil/scenes/a",
        "s3://ice/scenes/a\0",
        "s3:///ice/scenes/a",
        "gs://ice/scenes/a",
        "/vsis3/ice/scenes/a",
    ],
)
def test_what_does_not_lie_in_an_allowed_place_is_not_looked_at(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")  # asking it would be another error
    with pytest.raises(Refused) as refusal:
        AllowList(["s3://ice/scenes/"]).open(address)
    assert refusal.value.why in (Why.NOT_ALLOWED, Why.UNUSABLE)


@pytest.mark.parametrize("place", ["ice", "/data", "s3://", "s3://ice/../x", "https://ice/scenes"])
def test_only_buckets_can_be_allowed(place: str) -> None:
    with pytest.raises(InputError, match="not a bucket"):
        AllowList([place])


def test_a_server_without_allowed_places_says_so(server: Address) -> None:
    answer = post(server, INFER, scene_request("s3://ice/scenes/a"))
    assert answer.status_code == 403
    assert "--allow" in answer.json()["error"]


@pytest.fixture
def stored(bucket: str, tmp_path: Path) -> Iterator[str]:
    """A scene in S3."""
    address = f"s3://{bucket}/scenes/one"
    write_image_scene(tmp_path / "scene", image())
    store, key = open_store(address)
    store.commit(key, tmp_path / "scene")
    yield address


def test_a_scene_by_reference_gives_what_segment_writes(stored: str, bucket: str, tmp_path: Path) -> None:
    from icegraph.scene import Scene

    segment(Scene.open(tmp_path / "scene"), SHIPPED / "segmenter-optical", tmp_path / "out")
    model = SHIPPED / "segmenter-optical"
    opened = Scene.open(tmp_path / "scene"), Engine(load_segmenter(model)), f"segmenter-optical {sha256(model)[:12]}"
    with running(allow=(f"s3://{bucket}/scenes",)) as server:
        answer = post(server, INFER, scene_request(stored, "labels", "probability"))
        part = post(server, INFER, scene_request(f"{stored}/item.json", "probability", window="30,40,90,100"))
        floes = post(server, INFER, scene_request(stored, "floes", window="0,0,120,120"))
        tile = post(server, INFER, scene_request(stored, "tile", window="96,96,96,96"))
        beyond = post(server, INFER, scene_request(stored, window="100,100,100,100"))
        missing = post(server, INFER, scene_request(f"s3://{bucket}/scenes/two"))
        elsewhere = post(server, INFER, scene_request(f"s3://{bucket}/secrets/one"))
    for name, file in (("labels", "labels"), ("probability", "floe_probability")):
        with rasterio.open(tmp_path / "out" / f"{file}.tif") as dataset:
            assert map_of(answer, name).tobytes() == dataset.read(1).tobytes()
            if name == "probability":
                window = Window(30, 40, 90, 100)
                assert map_of(part, name).tobytes() == dataset.read(1)[window.slices].tobytes()
    found = json.loads(floes.json()["outputs"][0]["data"][0])
    assert found["icegraph"]["pass_id"] == "request"
    assert len(found["features"]) > 3
    assert (beyond.status_code, missing.status_code, elsewhere.status_code) == (422, 404, 403)
    assert tile.status_code == 200, tile.text
    predict_tiles(tmp_path / "scene", tmp_path / "tiles", opened=lambda _: opened, size=96)
    (known,) = [row for row in json.loads((tmp_path / "tiles" / "tiles.json").read_text()) if (row["row"], row["col"]) == (96, 96)]
    said = json.loads(tile.json()["outputs"][0]["data"][0])
    assert said["padded"] and (said["height"], said["width"]) == (54, 74)
    assert said["floes"] > 0 and said == {name: known[name] for name in said}
    assert set(known) - set(said) == {"run_id", "tile", "input_sha256"}
    assert "150 rows and 170 columns" in beyond.json()["error"]


def test_an_item_that_points_elsewhere_is_refused(bucket: str, tmp_path: Path) -> None:
    scene = write_image_scene(tmp_path / "scene", image((32, 32)))
    for number, href in enumerate(("/etc/passwd", "../../secrets/red.tif", "/vsicurl/http://127.0.0.1:1/a.tif", "s3://other/red.tif")):
        item = json.loads((scene.folder / "item.json").read_text())
        item["assets"]["red"]["href"] = href
        (scene.folder / "item.json").write_text(json.dumps(item))
        store, key = open_store(f"s3://{bucket}/scenes/{number}")
        store.commit(key, scene.folder)
        with pytest.raises(Refused, match="does not lie beside its item"):
            AllowList([f"s3://{bucket}"]).open(f"s3://{bucket}/scenes/{number}")


def test_a_scene_in_s3_that_is_a_virtual_raster_is_not_followed(bucket: str, tmp_path: Path) -> None:
    scene = write_image_scene(tmp_path / "scene", image((32, 32)))
    (tmp_path / "own.tif").write_bytes((scene.folder / "red.tif").read_bytes())
    (scene.folder / "red.tif").write_text(
        '<VRTDataset rasterXSize="32" rasterYSize="32"><VRTRasterBand dataType="Float32" band="1"><SimpleSource>'
        f"<SourceFilename>{tmp_path}/own.tif</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with rasterio.open(scene.folder / "red.tif") as dataset:
        assert np.isfinite(dataset.read(1)).any(), "GDAL by itself reads what it names"
    store, key = open_store(f"s3://{bucket}/scenes/one")
    store.commit(key, scene.folder)
    with running(allow=(f"s3://{bucket}/scenes",)) as server:
        answer = post(server, INFER, scene_request(f"s3://{bucket}/scenes/one"))
    assert answer.status_code == 503, answer.text
    assert "a window cannot be read" in answer.json()["error"]


def test_with_s3_gone_images_are_answered_and_references_told_to_come_back(stored: str, bucket: str, relay: Relay) -> None:
    pixels = image((32, 32))[None]
    with running(allow=(f"s3://{bucket}",)) as server:
        assert post(server, INFER, scene_request(stored)).status_code == 200
        relay.busy = 10**6
        answers: list[requests.Response] = []
        asking = [threading.Thread(target=lambda: answers.append(post(server, INFER, scene_request(stored)))) for _ in range(10)]
        for thread in asking:
            thread.start()
        for _ in range(3):
            assert ask_http(server, pixels, "labels")["labels"].shape == (1, 32, 32)
        for thread in asking:
            thread.join()
        assert {answer.status_code for answer in answers} == {503}
        assert all(int(answer.headers["Retry-After"]) > 0 for answer in answers)
        relay.busy = 0
        assert post(server, INFER, scene_request(stored)).status_code == 200
