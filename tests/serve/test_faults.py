"""What goes wrong, and what the server does."""

import contextlib
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from icegraph.errors import InputError, ModelError
from icegraph.registry import SHIPPED, bring, use
from icegraph.serve.protocol import Limits

from .conftest import BANDS, Address, ask_grpc, ask_http, change_weights, copy_models, image, image_request, post, running

INFER = "/v2/models/segmenter/infer"
LARGE = image((700, 700))[None]  # tens of tiles: seconds of work


def wait_until(true: Callable[[], bool], seconds: float = 120) -> None:
    """Wait for what must come."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)


def version(server: Address) -> str:
    return str(requests.get(f"{server.url}/v2/models/segmenter", timeout=30).json()["versions"][0])


def metric(server: Address, name: str) -> float:
    """The sum of a metric over its labels."""
    lines = requests.get(f"{server.url}/metrics", timeout=30).text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def test_poisoned_requests_beside_good_ones_are_refused_alone(server: Address) -> None:
    good = image((64, 64))[None]
    known = ask_http(server, good, "labels")["labels"].tobytes()
    nothing, endless = np.full_like(good, np.nan), np.full_like(good, np.inf)
    huge = image_request(good)
    huge["inputs"][0]["shape"] = [1, 5, 10**9, 1]
    few = image_request(good)
    few["inputs"][0]["data"] = few["inputs"][0]["data"][:-1]
    poison: list[tuple[Any, int]] = [
        (image_request(nothing), 422),
        (huge, 413),
        (few, 400),
        (image_request(good, outputs=[{"name": "secrets"}]), 400),
        (b"\x00" * 100, 400),
    ]
    with ThreadPoolExecutor(12) as pool:
        bad = [(pool.submit(post, server, INFER, body), status) for body, status in poison for _ in range(2)]
        infinite = pool.submit(ask_grpc, server, endless * np.float32(1), "labels")
        kept = [pool.submit(ask, server, good, "labels") for ask in (ask_http, ask_grpc) for _ in range(4)]
        for answer, status in bad:
            assert answer.result().status_code == status, answer.result().text
            assert set(answer.result().json()) == {"error"}
        with pytest.raises(Exception, match="no pixel with a value"):
            infinite.result()
        assert {answer.result()["labels"].tobytes() for answer in kept} == {known}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"bands": "red,green,blue,nir,red"}, "bands must name"),
        ({"bands": "red,green,blue,nir,../etc"}, "bands must name"),
        ({"bands": "red,green,blue,nir,sand"}, "does not read sand"),
        ({"statistics": "{}"}, "p02 and p98"),
        ({"statistics": json.dumps({band: {"p02": 1, "p98": 0} for band in BANDS})}, "at most its p98"),
        ({"statistics": json.dumps({band: {"p02": "low", "p98": 0} for band in BANDS})}, "p02 of red: 'low' is not a number"),
        ({"crs": "EPSG:3413", "transform": "1,0,0,0,-1,north", "time": "2021-01-01"}, "transform: 'north' is not a number"),
        ({"crs": "EPSG:3413"}, "go together"),
        ({"crs": "/etc/passwd", "transform": "1,0,0,0,-1,0", "time": "2021-01-01"}, "EPSG number"),
        ({"crs": "EPSG:3413", "transform": "0,0,0,0,0,0", "time": "2021-01-01"}, "cannot be inverted"),
        ({"crs": "EPSG:3413", "transform": "1,0,0,0,-1,0", "time": "noon"}, "time must be"),
        ({"crs": "EPSG:3413", "transform": "1,0,0,0,-1,0", "time": "9999-12-31T23:59:59-23:59"}, "of the years"),
        ({"crs": "EPSG:3413", "transform": "1,0,0,0,-1,0", "time": "0001-01-01T00:00:00+23:59"}, "of the years"),
        ({"crs": "EPSG:2225", "transform": "1,0,0,0,-1,0", "time": "2021-01-01"}, "metres"),  # feet
        ({"crs": "EPSG:3413", "transform": "1e300,0,0,0,-1e300,0", "time": "2021-01-01"}, "with pixels of"),
        ({"crs": "EPSG:3413", "transform": "1e-12,0,0,0,-1e-12,0", "time": "2021-01-01"}, "with pixels of"),
        ({"crs": "EPSG:3413", "transform": "1,0,1e12,0,-1,0", "time": "2021-01-01"}, "origin"),
    ],
)
def test_what_the_model_cannot_use_is_told_by_the_field(server: Address, change: dict[str, str], told: str) -> None:
    request = image_request(image((16, 16))[None])
    request["inputs"][0]["parameters"] |= change
    answer = post(server, INFER, request)
    assert answer.status_code == 422
    assert told in answer.json()["error"]


def test_a_parameter_that_is_no_json_or_does_not_go_with_the_input_is_told(server: Address) -> None:
    for change, told in (({"statistics": "{"}, "statistics is not JSON"), ({"window": "0,0,8,8"}, "window does not go with image")):
        request = image_request(image((16, 16))[None])
        request["inputs"][0]["parameters"] |= change
        answer = post(server, INFER, request)
        assert answer.status_code == 400
        assert told in answer.json()["error"]


@pytest.mark.parametrize(
    ("instances", "status"),
    [
        ([{"scene": ""}], 400),
        ([{"scene": "s3://a/b"}, {"image": [[[1.0]]], "bands": ["red"]}], 400),
        ([{"image": [[[1.0]]], "bands": ["red"]}, {"scene": "s3://a/b"}], 400),
        ([{"image": [[1.0]], "bands": ["red"]}], 422),
        ([{"image": [[[1.0], [1.0, 2.0]]], "bands": ["red"]}], 400),
        ([{"image": [[[]]], "bands": ["red"]}], 422),
        ([{"image": [[[1.0]]], "bands": "red"}], 422),
        ([{"image": [[[1.0]]], "bands": ["red"], "valid": [[1, 1]]}], 400),
        ([{"image": [[[1.0]]], "bands": ["red"], "colour": 1}], 400),
        ([{"image": [[["1"]]], "bands": ["red"]}], 400),
        ([{"image": [[[1.0]]], "bands": ["red"], "window": [0, 0, 1, 1]}], 400),
        ([{"scene": "s3://a/b", "bands": ["red"]}], 400),
        ([{"scene": "s3://a/b", "window": [0, 0, True, 8]}], 400),
        ([1], 400),
        ({}, 400),
    ],
)
def test_v1_requests_that_make_no_sense_are_refused(server: Address, instances: Any, status: int) -> None:
    answer = post(server, "/v1/models/segmenter:predict", {"instances": instances})
    assert answer.status_code == status, answer.text
    assert len(instances) != 1 or answer.json()["error"].startswith("instances[0]: ")


def test_other_kinds_of_bodies_are_refused(server: Address) -> None:
    assert post(server, INFER, b"{}", **{"content-type": "text/html"}).status_code == 415
    assert post(server, INFER, b"{}", **{"content-encoding": "gzip"}).status_code == 415
    assert requests.get(f"{server.url}{INFER}", timeout=10).status_code == 405
    assert post(server, "/v2/repository/models/segmenter/unload", b"").status_code == 404


def test_bodies_over_the_limit_are_refused_before_they_are_read() -> None:
    with running(limits=Limits(body_bytes=1 << 20, pixels=100 * 100)) as server:
        with socket.create_connection(server.rest.split(":")) as line:
            head = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {10**12}\r\n\r\n"
            line.sendall(head.encode())
            assert line.recv(100).startswith(b"HTTP/1.1 413")

        def chunks() -> Any:
            for _ in range(64):
                yield b" " * (1 << 16)

        try:
            answer = requests.post(f"{server.url}{INFER}", data=chunks(), headers={"content-type": "application/json"}, timeout=60)
            assert answer.status_code == 413
        except requests.ConnectionError:
            pass  # the server has hung up while more was sent
        assert post(server, INFER, image_request(image((101, 100))[None])).status_code == 413


def test_heads_without_end_are_not_read(server: Address) -> None:
    with socket.create_connection(server.rest.split(":")) as line:
        line.sendall(f"POST {INFER} HTTP/1.1\r\nHost: x\r\n".encode())
        with pytest.raises(OSError), contextlib.suppress(TimeoutError):  # it hangs up
            line.settimeout(30)
            for _ in range(100):
                line.sendall(b"X: " + b"a" * (1 << 20) + b"\r\n")


def test_a_client_that_leaves_while_it_sends_is_one_line_in_the_log(server: Address, caplog: pytest.LogCaptureFixture) -> None:
    gone = _gone(server)
    with caplog.at_level(logging.INFO):
        with socket.create_connection(server.rest.split(":")) as line:
            line.sendall(f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{".encode())
            time.sleep(0.2)
        wait_until(lambda: _gone(server) > gone)
    assert [record.getMessage() for record in caplog.records if record.name == "icegraph.serve" or record.exc_info] == ["request"]


def test_over_the_limit_one_is_told_to_come_back(tmp_path: Path) -> None:
    with running(waiting=2) as server, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: post(server, INFER, image_request(image((300, 300))[None])), range(8)))
        busy = [answer for answer in answers if answer.status_code == 503]
        assert busy
        assert len(busy) < 8
        assert all(int(answer.headers["Retry-After"]) >= 1 and "ask again" in answer.json()["error"] for answer in busy)
        assert {answer.status_code for answer in answers} == {200, 503}
        assert post(server, INFER, image_request(image((16, 16))[None])).status_code == 200
        assert metric(server, "icegraph_waiting_requests{") == 0


def test_a_client_that_leaves_stops_costing(server: Address) -> None:
    begun, gone = metric(server, 'icegraph_batch_requests_count{model="predict"}'), _gone(server)
    body = json.dumps(image_request(LARGE)).encode()
    with socket.create_connection(server.rest.split(":")) as line:
        head = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        line.sendall(head.encode() + body)
        wait_until(lambda: metric(server, 'icegraph_batch_requests_count{model="predict"}') > begun)
    wait_until(lambda: _gone(server) > gone)
    # The work itself ended too: its time is far below what the whole image takes.
    whole = ask_http(server, LARGE, "classes")["classes"]
    assert whole.shape == (1, 700, 700)


def _gone(server: Address) -> float:
    lines = requests.get(f"{server.url}/metrics", timeout=30).text.splitlines()
    return sum(
        float(line.rpartition(" ")[2]) for line in lines if line.startswith("icegraph_request_seconds_count") and 'status="499"' in line
    )


def test_a_truncated_or_changed_model_is_not_taken(tmp_path: Path) -> None:
    models = copy_models(tmp_path / "models", "segmenter-optical")
    weights = models / "segmenter-optical" / "model.safetensors"
    good = weights.read_bytes()
    pixels = image((64, 64))[None]
    with running(models) as server:
        first, known = version(server), ask_http(server, pixels, "probability")["probability"].tobytes()
        for bad in (good[: len(good) // 2], b"", good[:-4] + b"\x00\x00\xc0\x7f"):  # truncated, empty, a NaN
            weights.write_bytes(bad)
            time.sleep(2.5)
            assert version(server) == first
            assert ask_http(server, pixels, "probability")["probability"].tobytes() == known
        assert requests.get(f"{server.url}/v2/health/ready", timeout=10).status_code == 200
        weights.write_bytes(good)
        change_weights(models / "segmenter-optical", 1.5)
        wait_until(lambda: version(server) != first)
        assert ask_http(server, pixels, "probability")["probability"].tobytes() != known
    weights.write_bytes(good[:1000])
    with pytest.raises(ModelError, match=r"model\.safetensors"), running(models):
        pass


def test_a_damaged_model_does_not_hold_up_another(tmp_path: Path) -> None:
    place = tmp_path / "models"
    optical, sar = (bring(SHIPPED / name, place, name) for name in ("segmenter-optical", "segmenter-sar"))
    use([optical, sar])
    better = copy_models(tmp_path / "better", "segmenter-sar") / "segmenter-sar"
    change_weights(better, 1.5)
    with running(place) as server:
        (optical / "model.safetensors").write_bytes(b"")
        promoted = bring(better, place, "segmenter-sar")
        use([promoted])
        wait_until(lambda: metric(server, f'icegraph_model_in_service{{name="segmenter-sar",version="{promoted.name}"') == 1)
        assert metric(server, f'icegraph_model_in_service{{name="segmenter-optical",version="{optical.name}"') == 1


def test_a_version_of_another_content_than_its_name_is_not_taken(tmp_path: Path) -> None:
    name = tmp_path / "models" / "segmenter-optical"
    place = name / "0123456789ab"
    shutil.copytree(SHIPPED / "segmenter-optical", place)
    (name / "champion.json").write_text(json.dumps({"version": "0123456789ab", "sha256": "0" * 64, "previous": None, "promoted": ""}))
    with pytest.raises(ModelError, match="not those that were registered"), running(tmp_path / "models"):
        pass


def test_a_new_model_comes_into_service_without_a_dropped_request(tmp_path: Path) -> None:
    models = copy_models(tmp_path / "models", "segmenter-optical")
    pixels = image((64, 64))[None]
    request = image_request(pixels)
    seen: list[tuple[int, str]] = []
    done = threading.Event()

    def ask(server: Address) -> None:
        while not done.is_set():
            answer = post(server, INFER, request)
            seen.append((answer.status_code, answer.json().get("model_version", "")))

    with running(models) as server, ThreadPoolExecutor(3) as pool:
        first = version(server)
        for _ in range(3):
            pool.submit(ask, server)
        try:
            for factor in (1.5, 0.5):
                before = version(server)
                change_weights(models / "segmenter-optical", factor)
                wait_until(lambda before=before: version(server) != before)
        finally:
            done.set()
    assert {status for status, _ in seen} == {200}
    assert first in {version for _, version in seen}
    assert len({version for _, version in seen}) >= 2


def test_what_was_accepted_is_finished_at_the_end() -> None:
    with ThreadPoolExecutor(2) as pool:
        with running() as server:
            begun = metric(server, 'icegraph_batch_requests_count{model="predict"}')
            answers = [pool.submit(post, server, INFER, image_request(image((300, 300))[None])) for _ in range(2)]
            wait_until(lambda: metric(server, 'icegraph_batch_requests_count{model="predict"}') > begun + 1)
        assert [answer.result().status_code for answer in answers] == [200, 200]
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{server.url}/v2/health/live", timeout=5)


def test_a_port_that_is_taken_is_told(server: Address) -> None:
    import asyncio

    from icegraph.serve.server import Settings, run

    for ports in ({"port": int(server.rest.split(":")[1]), "grpc_port": 0}, {"port": 0, "grpc_port": int(server.grpc.split(":")[1])}):
        with pytest.raises(InputError, match="cannot be listened on"):
            asyncio.run(run(Settings(SHIPPED, **ports), lambda *_: None, asyncio.Event()))


def test_killed_in_mid_request_it_leaves_nothing_that_stops_the_next(tmp_path: Path) -> None:
    """The command, as a user starts it: killed at work, started again on the same ports, ended by SIGTERM."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        ports = [str(place.getsockname()[1]) for place in (one, other)]
    address = Address(f"127.0.0.1:{ports[0]}", f"127.0.0.1:{ports[1]}")
    command = [Path(sys.executable).with_name("icegraph"), "serve", "--port", ports[0], "--grpc-port", ports[1]]
    for ending in (signal.SIGKILL, signal.SIGTERM):
        with (tmp_path / "log").open("w") as log:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=os.environ | {"TMPDIR": str(tmp_path)})
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Ready: http://127.0.0.1"), (tmp_path / "log").read_text()
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(post, address, INFER, image_request(image((300, 300))[None]))
            wait_until(lambda: metric(address, "icegraph_batch_requests_count") > 0)
            process.send_signal(ending)
            if ending is signal.SIGKILL:
                with pytest.raises(requests.ConnectionError):
                    answer.result()
            else:
                assert answer.result().status_code == 200
        assert process.wait(60) == (0 if ending is signal.SIGTERM else -signal.SIGKILL)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["status"] for line in lines if line["event"] == "request"] == ["200"]
