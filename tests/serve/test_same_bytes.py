"""Batch and online answers are the same bytes, whatever the protocol, the batch, the order and the window."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from icegraph.graph import floe_table
from icegraph.grid import Window
from icegraph.registry import SHIPPED
from icegraph.scene import Scene
from icegraph.segment import Engine, load_segmenter, predict_window, segment
from icegraph.serve.geojson import to_geojson

from .conftest import PLACE, Address, ask_grpc, ask_http, copy_models, image, image_request, post, running, write_image_scene

MAPS = ("classes", "labels", "probability")


class Batch(NamedTuple):
    """What `icegraph segment` makes of an image."""

    pixels: NDArray[np.float32]
    scene: Scene
    folder: Path
    maps: dict[str, NDArray[Any]]


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Batch]:
    place = tmp_path_factory.mktemp("batch")
    pixels = image()
    scene = write_image_scene(place / "scene", pixels)
    segment(scene, SHIPPED / "segmenter-optical", place / "out")
    maps = read_maps(place / "out")
    assert maps["labels"].max() > 5
    return Batch(pixels, scene, place / "out", maps)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(load_segmenter(SHIPPED / "segmenter-optical"))


def read_maps(folder: Path) -> dict[str, NDArray[Any]]:
    maps = {}
    for name, file in zip(MAPS, ("classes", "labels", "floe_probability"), strict=True):
        with rasterio.open(folder / f"{file}.tif") as dataset:
            maps[name] = dataset.read(1)
    return maps


def assert_same(answer: dict[str, NDArray[Any]], number: int, batch: Batch) -> None:
    for name in MAPS:
        assert answer[name][number].tobytes() == batch.maps[name].tobytes(), name


def test_rest_binary_gives_what_segment_writes(server: Address, batch: Batch) -> None:
    assert_same(ask_http(server, batch.pixels[None], *MAPS), 0, batch)


def test_grpc_gives_what_segment_writes(server: Address, batch: Batch) -> None:
    assert_same(ask_grpc(server, batch.pixels[None], *MAPS), 0, batch)


def test_json_gives_what_segment_writes(server: Address, batch: Batch) -> None:
    answer = post(server, "/v2/models/segmenter/infer", image_request(batch.pixels[None], outputs=[{"name": name} for name in MAPS]))
    dtypes = {"UINT8": np.uint8, "UINT32": np.uint32, "FP32": np.float32}
    maps = {one["name"]: np.array(one["data"], dtypes[one["datatype"]]).reshape(one["shape"]) for one in answer.json()["outputs"]}
    assert_same(maps, 0, batch)


def test_v1_gives_what_segment_writes(server: Address, batch: Batch) -> None:
    values = [[[None if x != x else x for x in row] for row in band] for band in batch.pixels.tolist()]  # NaN
    instance = {"image": values, "bands": ["red", "green", "blue", "nir", "swir22"], "outputs": list(MAPS)}
    answer = post(server, "/v1/models/segmenter:predict", {"instances": [instance]}).json()["predictions"][0]
    for name in MAPS:
        assert np.array(answer[name], batch.maps[name].dtype).tobytes() == batch.maps[name].tobytes(), name


def test_neither_the_batch_nor_its_order_nor_what_is_asked_beside_it_matters(server: Address, batch: Batch) -> None:
    others = [image(seed=seed) for seed in (2, 3)]
    orders = [[batch.pixels, *others], [*others, batch.pixels], [others[0], batch.pixels]]
    with ThreadPoolExecutor(6) as pool:
        stray = [pool.submit(ask_grpc, server, image((40, 300), seed)[None], "classes") for seed in (7, 8)]
        answers = [pool.submit(ask, server, np.stack(order), *MAPS) for order in orders for ask in (ask_http, ask_grpc)]
        for order, answer in zip([order for order in orders for _ in (0, 1)], answers, strict=True):
            place = next(number for number, one in enumerate(order) if one is batch.pixels)
            assert_same(answer.result(), place, batch)
        for one in stray:
            one.result()


@pytest.mark.parametrize("tile_px", [48, 112])
def test_tiles_of_any_size_give_everywhere_what_segment_writes(tile_px: int, tmp_path: Path) -> None:
    models = copy_models(tmp_path / "models", "segmenter-optical")
    config = models / "segmenter-optical" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"tile_px": tile_px}))
    pixels, other = image((100, 130)), image((100, 130), 2)
    segment(write_image_scene(tmp_path / "scene", pixels), models / "segmenter-optical", tmp_path / "out")
    known = Batch(pixels, Scene.open(tmp_path / "scene"), tmp_path / "out", read_maps(tmp_path / "out"))
    with running(models) as own, ThreadPoolExecutor(4) as pool:
        asked = [(ask, order) for ask in (ask_http, ask_grpc) for order in ([pixels, other], [other, pixels])]
        answers = [(order, pool.submit(ask, own, np.stack(order), *MAPS)) for ask, order in asked]
        for order, answer in answers:
            assert_same(answer.result(), 0 if order[0] is pixels else 1, known)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 140), st.integers(0, 160), st.integers(1, 150), st.integers(1, 170))
def test_a_pixels_probability_does_not_hang_on_the_window(
    batch: Batch, engine: Engine, row: int, col: int, height: int, width: int
) -> None:
    window = Window(row, col, min(height, 150 - row), min(width, 170 - col))
    probabilities = predict_window(engine, batch.scene, window)[:3]
    assert probabilities[2].tobytes() == batch.maps["probability"][window.slices].tobytes()


def test_floes_are_those_of_the_floe_table(server: Address, batch: Batch) -> None:
    wanted = image_request(batch.pixels[None], parameters=PLACE, outputs=[{"name": "floes"}])
    floes = json.loads(post(server, "/v2/models/segmenter/infer", wanted).json()["outputs"][0]["data"][0])
    known = to_geojson(floe_table(batch.folder, batch.scene))
    assert floes["features"] == known["features"]
    assert len(floes["features"]) == batch.maps["labels"].max()
