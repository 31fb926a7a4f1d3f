"""How fast the server answers, beside KServe's own server with the same model, in one run.

Every combination of protocol and server is asked by one client and by sixteen at once, in turns, for the outlines of one image. The three
servers stand side by side, and only the one that is asked works: ours; ours with --no-batching, which works on one request after another;
and KServe's, whose model calls the same `segment_window` and, as KServe's examples do, in the event loop.

Printed: the median and the 99th percentile of the latency, requests a second, the processor time that the server spends on a request, and
how much of a request is not the model's own work. On a machine that is busy with other work the processor time alone can be trusted.

    python benchmarks/serve.py [--side 256] [--requests 64]
"""

import argparse
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path
from typing import NamedTuple

import grpc
import numpy as np
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

BANDS = ("red", "green", "blue", "nir", "swir22")
_MAX = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--stock", nargs=2, type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.stock:
        _stock(*given.stock)
        return
    image = _image(given.side)
    with ExitStack() as stack:
        servers = {
            "ours": stack.enter_context(_server(_ours())),
            "ours, one by one": stack.enter_context(_server(_ours("--no-batching"))),
            "kserve's own": stack.enter_context(_server(lambda rest, rpc: [sys.executable, __file__, "--stock", str(rest), str(rpc)])),
        }
        print(f"1 × {len(BANDS)} × {given.side} × {given.side} FP32 in, classes and labels out; {os.cpu_count()} cores")
        print(f"{'protocol':14}{'server':18}{'clients':>8}{'p50 ms':>9}{'p99 ms':>9}{'a second':>10}{'processor ms':>14}")
        for protocol, (name, server) in product(("REST JSON", "REST binary", "gRPC"), servers.items()):
            ask = _asker(protocol, server, image)
            ask()
            for clients in (1, 16):
                number = max(given.requests // 4, 8) if clients == 1 else given.requests
                before = _processor_s(server.process)
                times, seconds = _measured(ask, clients, number)
                used_ms = 1000 * (_processor_s(server.process) - before) / number
                p50, p99 = np.percentile(times, [50, 99]) * 1000
                print(f"{protocol:14}{name:18}{clients:8d}{p50:9.1f}{p99:9.1f}{number / seconds:10.2f}{used_ms:14.1f}", flush=True)
        _print_parts(servers["ours"].rest)


class Server(NamedTuple):
    """A server under way: the ports of REST and gRPC, and its process."""

    rest: int
    rpc: int
    process: int


def _measured(ask: Callable[[], None], clients: int, number: int) -> tuple[list[float], float]:
    """Latencies of `number` requests of so many clients, each with the next as soon as it has its answer, and the time they took."""

    def timed(_: int) -> float:
        start = time.perf_counter()
        ask()
        return time.perf_counter() - start

    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        times = list(pool.map(timed, range(number)))
    return times, time.perf_counter() - start


def _asker(protocol: str, server: Server, image: np.ndarray) -> Callable[[], None]:
    parameters = {"bands": ",".join(BANDS)}
    if protocol == "gRPC":
        channel = grpc.insecure_channel(f"127.0.0.1:{server.rpc}", options=_MAX)
        stub = GRPCInferenceServiceStub(channel)
        request = pb.ModelInferRequest(
            model_name="segmenter",
            inputs=[{"name": "image", "datatype": "FP32", "shape": image.shape}],
            raw_input_contents=[image.tobytes()],
            parameters={name: pb.InferParameter(string_param=value) for name, value in parameters.items()},
        )
        return lambda: stub.ModelInfer(request) and None
    binary = protocol == "REST binary"
    tensor = {"name": "image", "shape": image.shape, "datatype": "FP32"}
    tensor |= {"parameters": {"binary_data_size": image.nbytes}} if binary else {"data": image.ravel().tolist()}
    text = json.dumps({"parameters": parameters | {"binary_data_output": binary}, "inputs": [tensor]}).encode()
    headers = {"Content-Type": "application/octet-stream" if binary else "application/json"}
    if binary:
        headers["Inference-Header-Content-Length"] = str(len(text))
    body = text + (image.tobytes() if binary else b"")

    def ask() -> None:
        line = http.client.HTTPConnection("127.0.0.1", server.rest)
        line.request("POST", "/v2/models/segmenter/infer", body, headers)
        answer = line.getresponse()
        said = answer.read()
        line.close()
        if answer.status != 200:
            raise RuntimeError(said[:500])

    return ask


def _print_parts(port: int) -> None:
    """Mean of each part of a request to our server, over all of them."""
    line = http.client.HTTPConnection("127.0.0.1", port)
    line.request("GET", "/metrics")
    values = dict(row.rsplit(" ", 1) for row in line.getresponse().read().decode().splitlines() if not row.startswith("#"))
    line.close()
    print("mean of a part of a request to ours, all protocols together:")
    for part in ("decode", "queue", "predict", "encode"):
        total, count = (
            float(values[f'icegraph_request_part_seconds_{kind}{{model="segmenter",part="{part}"}}']) for kind in ("sum", "count")
        )
        print(f"  {part:8}{1000 * total / count:8.2f} ms")


def _ours(*options: str) -> Callable[[int, int], list[str]]:
    def command(rest: int, rpc: int) -> list[str]:
        program = str(Path(sys.executable).with_name("icegraph"))
        return [program, "serve", "--port", str(rest), "--grpc-port", str(rpc), *options]

    return command


@contextmanager
def _server(command: Callable[[int, int], list[str]]) -> Iterator[Server]:
    """A server in a process of its own, ready; prints how long it took to be ready."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        rest, rpc = one.getsockname()[1], other.getsockname()[1]
    start = time.perf_counter()
    process = subprocess.Popen(command(rest, rpc), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
    try:
        while not _ready(rest):
            if process.poll() is not None:
                raise RuntimeError("a server ended before it was ready")
            time.sleep(0.05)
        what = " ".join(command(0, 0)[1:3])
        print(f"ready after {time.perf_counter() - start:.1f} s, {_processor_s(process.pid):.1f} s of processor: {what}")
        yield Server(rest, rpc, process.pid)
    finally:
        process.terminate()
        process.wait()


def _processor_s(process: int) -> float:
    """What a process has used so far."""
    ticks = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    return sum(map(float, ticks)) / os.sysconf("SC_CLK_TCK")


def _ready(port: int) -> bool:
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        line.request("GET", "/v2/models/segmenter/ready")
        return line.getresponse().status == 200
    except OSError:
        return False
    finally:
        line.close()


def _image(side: int) -> np.ndarray:
    """Bright discs on dark water [1, 5, side, side]."""
    rng = np.random.default_rng(1)
    rows, cols = np.ogrid[:side, :side]
    floe = np.zeros((side, side), bool)
    for _ in range(side * side // 600):
        row, col, radius = rng.uniform(0, side), rng.uniform(0, side), rng.uniform(5, 14)
        floe |= (rows - row) ** 2 + (cols - col) ** 2 < radius**2
    bright, dark = (np.array(values)[:, None, None] for values in ((0.62, 0.6, 0.58, 0.5, 0.1), (0.06, 0.06, 0.08, 0.03, 0.01)))
    return (np.where(floe, bright, dark) + rng.normal(0, 0.01, (len(BANDS), side, side))).astype(np.float32)[None]


def _stock(rest: int, rpc: int) -> None:
    """KServe's own server."""
    sys.argv = sys.argv[:1]  # KServe parses it when it is imported
    from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer

    from icegraph.registry import SHIPPED
    from icegraph.segment import Engine, load_segmenter, segment_window
    from icegraph.serve.array_scene import ArrayScene, Place

    engine = Engine(load_segmenter(SHIPPED / "segmenter-optical"))

    class Segmenter(Model):  # type: ignore[misc]
        def predict(self, request: InferRequest, headers: object = None) -> InferResponse:  # noqa: ARG002
            scene = ArrayScene.of_image(request.inputs[0].as_numpy()[0].astype(np.float32), BANDS, None, None, Place())
            found = segment_window(engine, scene, scene.held)
            outputs = []
            for name, datatype, values in (("classes", "UINT8", found.classes), ("labels", "UINT32", found.labels)):
                output = InferOutput(name, [1, *values.shape], datatype)
                output.set_data_from_numpy(values[None], binary_data=True)
                outputs.append(output)
            return InferResponse(request.id or "", "segmenter", outputs, use_binary_outputs=request.use_binary_outputs)

    model = Segmenter("segmenter")
    model.load()
    server = ModelServer(http_port=rest, grpc_port=rpc, enable_latency_logging=False)
    server.start([model])


if __name__ == "__main__":
    main()
