"""Clients that others wrote: Triton's over HTTP and gRPC, KServe's, curl, and schemathesis against the OpenAPI page."""

import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import requests
import tritonclient.http as triton
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

from .conftest import BANDS, Address, ask_http, grpc_request, image

_TRITON_GRPC = """
import sys, numpy as np, tritonclient.grpc as triton
address, place = sys.argv[1:]
pixels = np.load(place + "/pixels.npy")
with triton.InferenceServerClient(address) as client:
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("segmenter")
    said = client.get_model_metadata("segmenter", as_json=True)
    assert [one["name"] for one in said["inputs"]] == ["image", "scene"], said
    tensor = triton.InferInput("image", pixels.shape, "FP32")
    tensor.set_data_from_numpy(pixels)
    wanted = [triton.InferRequestedOutput(name) for name in ("labels", "probability")]
    result = client.infer("segmenter", [tensor], outputs=wanted, request_id="42", parameters={"bands": sys.stdin.read()})
    assert result.get_response().id == "42"
    np.savez(place + "/answer.npz", labels=result.as_numpy("labels"), probability=result.as_numpy("probability"))
    try:
        client.infer("segmenter", [tensor], parameters={"bands": "red"})
    except triton.InferenceServerException as error:
        assert "bands must name the image's 5 bands" in error.message(), error
    else:
        raise AssertionError("a wrong request was answered")
"""


def test_triton_over_http(server: Address) -> None:
    with triton.InferenceServerClient(server.rest) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("tracker")
        assert not client.is_model_ready("tracker", "0")
        assert client.get_server_metadata()["name"] == "icegraph"
        metadata = client.get_model_metadata("segmenter")
        assert client.is_model_ready("segmenter", metadata["versions"][0])
        with pytest.raises(triton.InferenceServerException, match="bands must name"):
            tensor = triton.InferInput("image", [1, 1, 2, 2], "FP32")
            tensor.set_data_from_numpy(np.ones((1, 1, 2, 2), np.float32))
            client.infer("segmenter", [tensor])
    assert ask_http(server, image()[None], "labels")["labels"].shape == (1, 150, 170)


def test_triton_over_grpc(server: Address, tmp_path: Path) -> None:
    """In a process of its own: its messages and KServe's have the same names."""
    pixels = image()[None]
    np.save(tmp_path / "pixels.npy", pixels)
    asked = [sys.executable, "-c", _TRITON_GRPC, server.grpc, str(tmp_path)]
    done = subprocess.run(asked, input=",".join(BANDS), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer, known = np.load(tmp_path / "answer.npz"), ask_http(server, pixels, "labels", "probability")
    for name, values in known.items():
        assert answer[name].tobytes() == values.tobytes()


def test_kserves_own_client(server: Address) -> None:
    async def ask(binary: bool) -> np.ndarray:
        client = InferenceRESTClient(RESTConfig(protocol="v2", timeout=120))
        assert await client.is_server_ready(server.url)
        assert await client.is_model_ready(server.url, "segmenter")
        tensor = InferInput("image", [1, 5, 150, 170], "FP32")
        tensor.set_data_from_numpy(np.nan_to_num(image()[None]), binary_data=binary)
        request = InferRequest("segmenter", [tensor], parameters={"bands": ",".join(BANDS), "binary_data_output": binary})
        response = await client.infer(server.url, request, model_name="segmenter")
        await client.close()
        return next(output.as_numpy() for output in response.outputs if output.name == "labels")

    np.testing.assert_array_equal(asyncio.run(ask(True)), asyncio.run(ask(False)))


def test_curl(server: Address, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    instance = {"image": np.nan_to_num(image((64, 64))).round(3).tolist(), "bands": list(BANDS)}
    (tmp_path / "request.json").write_text(json.dumps({"instances": [instance]}))
    asked = ["curl", "-sS", "-d", f"@{tmp_path}/request.json", "-H", "Content-Type: application/json"]
    done = subprocess.run([*asked, f"{server.url}/v1/models/segmenter:predict"], capture_output=True, check=True)
    assert np.shape(json.loads(done.stdout)["predictions"][0]["classes"]) == (64, 64)


def test_the_example_of_the_docs_shows_the_drift_that_was_measured_by_hand(server: Address, tmp_path: Path) -> None:
    """Hudson Bay: drawn by hand, 30 floes of this part moved by −1.0 columns and −0.8 rows from Terra to Aqua, three hours later."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    text = (Path(__file__).parents[2] / "docs" / "serve.md").read_text()
    commands = [line for line in text.splitlines() if line.startswith("curl")]
    assert len(commands) == 2
    assert "\n".join(commands) in (Path(__file__).parents[2] / "README.md").read_text()
    (tmp_path / "docs").symlink_to(Path(__file__).parents[2] / "docs")
    for command in commands:
        line = command.replace("localhost:8080", server.rest)
        done = subprocess.run(["/bin/sh", "-c", line], cwd=tmp_path, capture_output=True, check=True)
    tracks = [one["properties"] for one in json.loads(done.stdout)["predictions"][0]["tracks"]["features"]]
    moving = [one for one in tracks if one["confidence"] > 0.5]
    assert len(moving) >= 10
    metres = np.median([(one["u"], one["v"]) for one in moving], axis=0) * 3 * 3600
    np.testing.assert_allclose(metres, (-1.0 * 250, 0.8 * 250), atol=125)  # half a pixel


def test_large_bodies_of_curl_which_asks_before_it_sends(server: Address, tmp_path: Path) -> None:
    """Curl sends `Expect: 100-continue` for bodies of a mebibyte and more."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    (tmp_path / "request").write_bytes(b" " * (3 << 20))
    asked = ["curl", "-sS", "--data-binary", f"@{tmp_path}/request", "-H", "Content-Type: application/json", "-w", "%{http_code}"]
    done = subprocess.run([*asked, f"{server.url}/v2/models/segmenter/infer"], capture_output=True, text=True, check=True)
    assert "not JSON" in done.stdout
    assert done.stdout.endswith("400")


def test_schemathesis_finds_no_fault(server: Address) -> None:
    """No answer of 500 or above but 503, none that the page does not tell, no wrong request that is answered."""
    page = f"{server.url}/openapi.json"
    assert requests.get(page, timeout=10).status_code == 200
    asked = [sys.executable, "-m", "schemathesis.cli", "run", page, "--checks", "all", "--max-examples", "20", "--seed", "1"]
    done = subprocess.run([*asked, "--generation-deterministic", "--no-color"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_grpc_refuses_as_rest_does(server: Address) -> None:
    import grpc
    from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
    from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

    pixels = image((16, 16))[None]
    wrong = {
        grpc.StatusCode.NOT_FOUND: pb.ModelInferRequest(model_name="nobody"),
        grpc.StatusCode.INVALID_ARGUMENT: grpc_request(pixels, bands="red"),
        grpc.StatusCode.RESOURCE_EXHAUSTED: pb.ModelInferRequest(
            model_name="segmenter", inputs=[{"name": "image", "datatype": "FP32", "shape": [1, 1, 10**5, 10**5]}], raw_input_contents=[b""]
        ),
    }
    with grpc.insecure_channel(server.grpc) as channel:
        stub = GRPCInferenceServiceStub(channel)
        for status, request in wrong.items():
            with pytest.raises(grpc.RpcError) as refusal:
                stub.ModelInfer(request)
            assert refusal.value.code() is status, refusal.value.details()
        cut = grpc_request(pixels)
        cut.raw_input_contents[0] = cut.raw_input_contents[0][:-3]  # no whole number of values
        with pytest.raises(grpc.RpcError, match="5117 bytes were sent, and its shape") as refusal:
            stub.ModelInfer(cut)
        assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(grpc.RpcError) as refusal:
            stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="segmenter"))
        assert refusal.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert stub.ModelReady(pb.ModelReadyRequest(name="segmenter")).ready
        for change, told in (({"id": "two\nlines"}, "id must be"), ({"inputs": [{"name": "image", "datatype": "FP99"}]}, "FP99")):
            with pytest.raises(grpc.RpcError, match=told) as refusal:
                stub.ModelInfer(pb.ModelInferRequest(model_name="segmenter", **change))
            assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_grpc_tells_of_the_server_what_rest_does(server: Address) -> None:
    import grpc
    from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
    from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

    with grpc.insecure_channel(server.grpc) as channel:
        told = GRPCInferenceServiceStub(channel).ServerMetadata(pb.ServerMetadataRequest())
    known = requests.get(f"{server.url}/v2", timeout=30).json()
    assert (told.name, told.version) == (known["name"], known["version"])
    assert not told.extensions  # models are not loaded by request; binary tensors are REST's
