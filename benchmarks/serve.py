"""How fast the server answers, beside KServe's own server with the same model, in one run.

Every combination of protocol and server is asked by one client and by sixteen at once, in turns, for the outlines of one image. The servers
stand side by side, and only the one that is asked works: ours; ours with --no-batching, which works on one request after another; ours
with --waiting, which lets in so few that an answer comes soon, and whose clients ask again when they were told to; and KServe's, whose
model calls the same `segment_window` and, as KServe's examples do, in the event loop.

Printed: time to ready; the median and the 99th percentile of the latency of what was answered, requests a second, refusals, the processor
time that the server spends on a request; the ratios that follow; and what it costs to read 1 × 4 × 512 × 512 numbers, as a share of the
model's own time. On a machine that is busy with other work the processor times alone can be trusted.

    python benchmarks/serve.py [--side 256] [--requests 64] [--rounds 2] [--waiting 3]
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
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import numpy as np
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

BANDS = ("red", "green", "blue", "nir", "swir22")
PROTOCOLS = JSON, BINARY, GRPC = ("REST JSON", "REST binary", "gRPC")
OURS, ALONE, FEW, STOCK = ("ours", "ours, one by one", "ours, few let in", "kserve's own")
CLIENTS = 16
_MAX = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=256, help="of the image, pixels")
    parser.add_argument("--requests", type=int, default=64, help="of sixteen clients in a round; a lone client asks a quarter of them")
    parser.add_argument("--rounds", type=int, default=2, help="the servers take turns")
    parser.add_argument("--waiting", type=int, default=3, help="requests let in by the server that lets in few")
    parser.add_argument("--stock", nargs=2, type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.stock:
        _stock(*given.stock)
        return
    image = _image(given.side, BANDS)
    with ExitStack() as stack:
        commands = {
            OURS: _ours(),
            ALONE: _ours("--no-batching"),
            FEW: _ours("--waiting", str(given.waiting)),
            STOCK: lambda rest, rpc: [sys.executable, __file__, "--stock", str(rest), str(rpc)],
        }
        servers = {name: stack.enter_context(_server(name, command)) for name, command in commands.items()}
        print(f"\n1 × {len(BANDS)} × {given.side} × {given.side} FP32 in, classes and labels out; {os.cpu_count()} cores")
        runs = {key: Run() for key in product(PROTOCOLS, servers, (1, CLIENTS))}
        for _, (protocol, name) in product(range(given.rounds), product(PROTOCOLS, servers)):
            ask = _asker(protocol, servers[name], image)
            ask()
            for clients in (1, CLIENTS):
                number = max(given.requests // 4, 4) if clients == 1 else given.requests
                runs[protocol, name, clients].add(ask, clients, number, servers[name].process)
        _print_runs(runs)
        _print_ratios(runs)
        _print_parts(servers[OURS].rest)
    _print_decoding()


@dataclass
class Run:
    """What so many clients saw of a server: latencies of what was answered, seconds, refusals, and the server's processor seconds."""

    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0
    refused: int = 0
    processor_s: float = 0.0

    def add(self, ask: Callable[[], float], clients: int, number: int, process: int) -> None:
        """Ask a number of times, each client again as soon as it has its answer, or when it was told to."""

        def until_answered(_: int) -> float:
            while True:
                start = time.perf_counter()
                wait = ask()
                if not wait:
                    return time.perf_counter() - start
                self.refused += 1
                time.sleep(wait)

        before, start = _processor_s(process), time.perf_counter()
        with ThreadPoolExecutor(clients) as pool:
            self.latencies += pool.map(until_answered, range(number))
        self.seconds += time.perf_counter() - start
        self.processor_s += _processor_s(process) - before

    @property
    def p50(self) -> float:
        """Median latency, seconds."""
        return float(np.percentile(self.latencies, 50))

    @property
    def p99(self) -> float:
        """99th percentile of the latency, seconds."""
        return float(np.percentile(self.latencies, 99))

    @property
    def rate(self) -> float:
        """Requests answered a second."""
        return len(self.latencies) / self.seconds


Runs = dict[tuple[str, str, int], Run]


def _print_runs(runs: Runs) -> None:
    print(f"{'protocol':14}{'server':18}{'clients':>8}{'p50 ms':>9}{'p99 ms':>9}{'a second':>10}{'refused':>9}{'processor ms':>14}")
    for (protocol, name, clients), run in runs.items():
        used = 1000 * run.processor_s / len(run.latencies)
        times = f"{1000 * run.p50:9.1f}{1000 * run.p99:9.1f}{run.rate:10.2f}"
        print(f"{protocol:14}{name:18}{clients:8d}{times}{run.refused:9d}{used:14.1f}")


def _print_ratios(runs: Runs) -> None:
    print(f"\n{'':46}" + "".join(f"{protocol:>14}" for protocol in PROTOCOLS))

    def line(what: str, value: Callable[[str], float]) -> None:
        print(f"{what:46}" + "".join(f"{value(protocol):14.2f}" for protocol in PROTOCOLS))

    line("throughput of 16 clients ÷ one by one", lambda one: runs[one, OURS, CLIENTS].rate / runs[one, ALONE, CLIENTS].rate)
    line("throughput of 16 clients ÷ kserve's own", lambda one: runs[one, OURS, CLIENTS].rate / runs[one, STOCK, CLIENTS].rate)
    line("p99 of 16 clients ÷ lone p50", lambda one: runs[one, OURS, CLIENTS].p99 / runs[one, OURS, 1].p50)
    line("the same, few let in", lambda one: runs[one, FEW, CLIENTS].p99 / runs[one, FEW, 1].p50)
    line("throughput, few let in ÷ all", lambda one: runs[one, FEW, CLIENTS].rate / runs[one, OURS, CLIENTS].rate)
    line("lone p50 ÷ gRPC's", lambda one: runs[one, OURS, 1].p50 / runs[GRPC, OURS, 1].p50)


def _print_decoding() -> None:
    """Processor time of reading a request of 1 × 4 × 512 × 512 numbers, beside that of the model's answer to it."""
    from kserve import InferRequest

    from icegraph.registry import SHIPPED
    from icegraph.segment import Engine, load_segmenter, segment_window
    from icegraph.segment.frames import predict_tile, read_tile
    from icegraph.serve.array_scene import ArrayScene, Place
    from icegraph.serve.protocol import array_of, decode

    image = _image(512, BANDS[:4])
    (text, _), (body, length) = (_body(image, binary) for binary in (False, True))
    message = _message(image)
    engine = Engine(load_segmenter(SHIPPED / "segmenter-optical"))
    scene = ArrayScene.of_image(image[0], BANDS[:4], None, None, Place())
    tile = read_tile(engine.config, scene, scene.held)
    ways: dict[str, Callable[[], Any]] = {
        "ours, REST JSON": lambda: array_of(decode(text, None, "segmenter").inputs[0]),
        "ours, REST binary": lambda: array_of(decode(body, str(length), "segmenter").inputs[0]),
        "ours, gRPC": lambda: array_of(InferRequest.from_grpc(message).inputs[0]),
        "kserve's own, REST binary": lambda: InferRequest.from_bytes(body, length, "segmenter").inputs[0].as_numpy(),
    }
    network = _fastest(lambda: predict_tile(engine, tile))
    whole = _fastest(lambda: segment_window(engine, scene, scene.held))
    print("\n1 × 4 × 512 × 512 FP32, processor time of")
    print(f"  {'the network':28}{1000 * network:9.1f} ms, with floes {1000 * whole:.1f} ms")
    for what, way in ways.items():
        taken = _fastest(way)
        print(f"  {what:28}{1000 * taken:9.1f} ms, {taken / network:.1%} of the network's")


def _fastest(work: Callable[[], Any], times: int = 3) -> float:
    """Processor seconds, of all threads, of the fastest of some times."""
    taken = []
    for _ in range(times):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken)


class Server(NamedTuple):
    """A server under way: the ports of REST and gRPC, and its process."""

    rest: int
    rpc: int
    process: int


def _asker(protocol: str, server: Server, image: np.ndarray) -> Callable[[], float]:
    """A request; gives the seconds after which to ask again, 0 where it was answered."""
    if protocol == GRPC:
        stub = GRPCInferenceServiceStub(grpc.insecure_channel(f"127.0.0.1:{server.rpc}", options=_MAX))
        message = _message(image)

        def call() -> float:
            try:
                stub.ModelInfer(message)
            except grpc.RpcError as error:
                again = dict(error.trailing_metadata() or ()).get("retry-after")
                if again is None:
                    raise
                return float(again)
            return 0.0

        return call
    body, length = _body(image, protocol == BINARY)
    headers = {"Content-Type": "application/octet-stream" if length else "application/json"}
    if length:
        headers["Inference-Header-Content-Length"] = str(length)

    def ask() -> float:
        line = http.client.HTTPConnection("127.0.0.1", server.rest)
        line.request("POST", "/v2/models/segmenter/infer", body, headers)
        answer = line.getresponse()
        said = answer.read()
        line.close()
        if answer.status not in (200, 503):
            raise RuntimeError(said[:500])
        return 0.0 if answer.status == 200 else float(answer.headers["Retry-After"])

    return ask


def _body(image: np.ndarray, binary: bool) -> tuple[bytes, int | None]:
    """A request of REST, and the bytes of JSON in it where the tensor follows."""
    tensor = {"name": "image", "shape": image.shape, "datatype": "FP32"}
    tensor |= {"parameters": {"binary_data_size": image.nbytes}} if binary else {"data": image.ravel().tolist()}
    text = json.dumps({"parameters": _parameters(image) | {"binary_data_output": binary}, "inputs": [tensor]}).encode()
    return (text + image.tobytes(), len(text)) if binary else (text, None)


def _message(image: np.ndarray) -> pb.ModelInferRequest:
    return pb.ModelInferRequest(
        model_name="segmenter",
        inputs=[{"name": "image", "datatype": "FP32", "shape": image.shape}],
        raw_input_contents=[image.tobytes()],
        parameters={name: pb.InferParameter(string_param=value) for name, value in _parameters(image).items()},
    )


def _parameters(image: np.ndarray) -> dict[str, Any]:
    return {"bands": ",".join(BANDS[: image.shape[1]])}


def _print_parts(port: int) -> None:
    """Mean of each part of a request to our server, over all of them."""
    line = http.client.HTTPConnection("127.0.0.1", port)
    line.request("GET", "/metrics")
    values = dict(row.rsplit(" ", 1) for row in line.getresponse().read().decode().splitlines() if not row.startswith("#"))
    line.close()
    print("\nmean of a part of a request to ours, all protocols together:")
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
def _server(name: str, command: Callable[[int, int], list[str]]) -> Iterator[Server]:
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
        print(f"{name:18} ready after {time.perf_counter() - start:.1f} s, {_processor_s(process.pid):.1f} s of processor", flush=True)
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


def _image(side: int, bands: tuple[str, ...]) -> np.ndarray:
    """Bright discs on dark water [1, C, side, side]."""
    rng = np.random.default_rng(1)
    rows, cols = np.ogrid[:side, :side]
    floe = np.zeros((side, side), bool)
    for _ in range(side * side // 600):
        row, col, radius = rng.uniform(0, side), rng.uniform(0, side), rng.uniform(5, 14)
        floe |= (rows - row) ** 2 + (cols - col) ** 2 < radius**2
    colours = ((0.62, 0.6, 0.58, 0.5, 0.1), (0.06, 0.06, 0.08, 0.03, 0.01))
    bright, dark = (np.array(values)[: len(bands), None, None] for values in colours)
    return (np.where(floe, bright, dark) + rng.normal(0, 0.01, (len(bands), side, side))).astype(np.float32)[None]


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
