"""A server in a thread, with clients that others wrote, and images to send it."""

import asyncio
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import numpy as np
import pytest
import requests
import tritonclient.http as triton_http
from affine import Affine
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from icegraph.grid import Grid, Window
from icegraph.registry import SHIPPED
from icegraph.scene import Scene, write_band, write_item
from icegraph.serve.server import Settings, run

BANDS = ("red", "green", "blue", "nir", "swir22")
TIME = datetime(2021, 5, 1, 10, 30, tzinfo=UTC)
PLACE = {"crs": "EPSG:3413", "transform": "250,0,1000000,0,-250,-1000000", "time": "2021-05-01T10:30:00Z"}


class Address(NamedTuple):
    """Where a server listens."""

    rest: str
    grpc: str

    @property
    def url(self) -> str:
        return f"http://{self.rest}"


@contextmanager
def running(models: Path = SHIPPED, **settings: Any) -> Iterator[Address]:
    """A server, ready; at the end it has finished what it accepted."""
    ports: list[int] = []
    failed: list[BaseException] = []
    up = threading.Event()
    loop = asyncio.new_event_loop()
    ending = asyncio.Event()

    def tell(rest: int, grpc: int) -> None:
        ports.extend((rest, grpc))
        up.set()

    def work() -> None:
        try:
            loop.run_until_complete(run(Settings(models, port=0, grpc_port=0, **settings), tell, ending))
        except Exception as error:  # noqa: BLE001 - raised in the test
            failed.append(error)
        finally:
            up.set()

    thread = threading.Thread(target=work)
    thread.start()
    up.wait()
    try:
        if failed:
            raise failed[0]
        yield Address(f"127.0.0.1:{ports[0]}", f"127.0.0.1:{ports[1]}")
    finally:
        if not failed:
            loop.call_soon_threadsafe(ending.set)
        thread.join()
        loop.close()
    if failed:
        raise failed[0]


@pytest.fixture(scope="session")
def server() -> Iterator[Address]:
    """A server of the shipped models."""
    with running() as address:
        yield address


def image(shape: tuple[int, int] = (150, 170), seed: int = 1) -> NDArray[np.float32]:
    """Bright discs on dark water [5, H, W], with a corner where nothing was seen."""
    rng = np.random.default_rng(seed)
    rows, cols = np.ogrid[: shape[0], : shape[1]]
    floe = np.zeros(shape, bool)
    for _ in range(40):
        row, col, radius = rng.uniform(0, shape[0]), rng.uniform(0, shape[1]), rng.uniform(5, 14)
        floe |= (rows - row) ** 2 + (cols - col) ** 2 < radius**2
    bright = np.array([0.62, 0.6, 0.58, 0.5, 0.1], np.float32)[:, None, None]
    dark = np.array([0.06, 0.06, 0.08, 0.03, 0.01], np.float32)[:, None, None]
    pixels = np.where(floe, bright, dark) + rng.normal(0, 0.01, (5, *shape))
    pixels[:, : shape[0] // 8, : shape[1] // 6] = np.nan
    return pixels.astype(np.float32)


def write_image_scene(folder: Path, pixels: NDArray[np.float32]) -> Scene:
    """The same image as a scene."""
    folder.mkdir(parents=True)
    grid = Grid(PLACE["crs"], Affine(*map(float, PLACE["transform"].split(","))), *pixels.shape[1:])
    whole = Window(0, 0, *grid.shape)
    for name, band in zip(BANDS, pixels, strict=True):
        with write_band(folder / f"{name}.tif", grid, "float32") as writer:
            writer.write(whole, band)
    with write_band(folder / "valid.tif", grid, "uint8") as writer:
        writer.write(whole, np.isfinite(pixels).any(0).astype(np.uint8))
    rasters = {name: f"{name}.tif" for name in (*BANDS, "valid")}
    return write_item(folder, pass_id="request", time=TIME, sensor="optical", grid=grid, rasters=rasters, properties={})


def ask_http(
    server: Address, pixels: NDArray[np.float32], *outputs: str, binary: bool = True, **parameters: Any
) -> dict[str, NDArray[Any]]:
    """What Triton's HTTP client gets for images [B, 5, H, W]."""
    tensor = triton_http.InferInput("image", pixels.shape, "FP32")
    tensor.set_data_from_numpy(pixels, binary_data=binary)
    wanted = [triton_http.InferRequestedOutput(name, binary_data=binary) for name in outputs]
    with triton_http.InferenceServerClient(server.rest, network_timeout=120, connection_timeout=120) as client:
        result = client.infer("segmenter", [tensor], outputs=wanted, parameters={"bands": ",".join(BANDS)} | parameters)
        return {name: result.as_numpy(name) for name in outputs}


def grpc_request(pixels: NDArray[np.float32], *outputs: str, **parameters: Any) -> pb.ModelInferRequest:
    """A request of gRPC for images [B, 5, H, W]."""
    given = {"bands": ",".join(BANDS)} | parameters
    return pb.ModelInferRequest(
        model_name="segmenter",
        inputs=[{"name": "image", "datatype": "FP32", "shape": pixels.shape}],
        raw_input_contents=[pixels.tobytes()],
        outputs=[{"name": name} for name in outputs],
        parameters={name: pb.InferParameter(string_param=value) for name, value in given.items()},
    )


def ask_grpc(server: Address, pixels: NDArray[np.float32], *outputs: str, **parameters: Any) -> dict[str, NDArray[Any]]:
    """The maps that gRPC gives for images [B, 5, H, W]."""
    with grpc.insecure_channel(server.grpc, options=[("grpc.max_receive_message_length", -1)]) as channel:
        response = GRPCInferenceServiceStub(channel).ModelInfer(grpc_request(pixels, *outputs, **parameters), timeout=120)
    dtypes = {"UINT8": "u1", "UINT32": "<u4", "FP32": "<f4"}
    return {
        output.name: np.frombuffer(raw, dtypes[output.datatype]).reshape(output.shape)
        for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    }


def post(server: Address, path: str, body: Any, **headers: str) -> requests.Response:
    """POST JSON, or bytes as they are."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return requests.post(f"{server.url}{path}", data, headers={"content-type": "application/json"} | headers, timeout=120)


def image_request(pixels: NDArray[np.float32], **more: Any) -> dict[str, Any]:
    """A v2 request of JSON for images [B, 5, H, W]."""
    data = [None if value != value else value for value in pixels.ravel().tolist()]  # NaN
    tensor = {"name": "image", "shape": list(pixels.shape), "datatype": "FP32", "data": data, "parameters": {"bands": ",".join(BANDS)}}
    return {"inputs": [tensor]} | more


def copy_models(place: Path, *names: str) -> Path:
    """A set of some of the shipped models that a test may change."""
    for name in names:
        shutil.copytree(SHIPPED / name, place / name)
    return place


def change_weights(model: Path, factor: float) -> None:
    """Make another version of a model, by a rename, as a writer that can be killed would."""
    path = model / "model.safetensors"
    weights = {
        name: np.array(values * np.float32(factor)) if name == "outputs.weight" else values for name, values in load_file(path).items()
    }
    fresh = model.parent / "fresh"
    save_file(weights, fresh)
    fresh.replace(path)
