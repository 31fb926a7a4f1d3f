import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from icegraph.errors import InputError
from icegraph.submit import SubmitError, submit_pipeline

COMPILED = Path(__file__).parents[1] / "pipelines" / "compiled" / "sea_ice_tracking.yaml"
ARGUMENTS = {"passes": ["/ice/a.SAFE"], "segmenters": ["/models/segmenter-sar"], "matcher": "/models/matcher"}


class KfpApi(BaseHTTPRequestHandler):
    """Answers as the KFP v2beta1 API does, for the calls that a submission makes; asks for a token."""

    runs: dict[str, dict[str, Any]] = {}  # noqa: RUF012 - one server a test
    polls = 0

    def answer(self, status: int, body: dict[str, Any]) -> None:
        payload = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def allowed(self) -> bool:
        if "secret" in self.headers.get("Authorization", ""):
            return True
        self.answer(401, {"error": "Unauthenticated", "code": 16})
        return False

    def do_GET(self) -> None:
        if not self.allowed():
            return
        path = self.path.split("?")[0]
        run = re.fullmatch(r"/apis/v2beta1/runs/([\w-]+)", path)
        if path == "/apis/v2beta1/healthz":
            self.answer(200, {"multi_user": False})
        elif path == "/apis/v2beta1/experiments":
            self.answer(200, {"experiments": [], "total_size": 0})
        elif run:
            type(self).polls += 1
            self.answer(200, self.runs[run[1]] | {"state": "SUCCEEDED"})
        else:
            self.answer(404, {"error": f"no {path}", "code": 5})

    def do_POST(self) -> None:
        if not self.allowed():
            return
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.startswith("/apis/v2beta1/experiments"):
            self.answer(200, {"experiment_id": "e1", "display_name": body["display_name"]})
        else:
            self.runs["r1"] = body | {"run_id": "r1", "state": "PENDING"}
            self.answer(200, self.runs["r1"])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    monkeypatch.setenv("HOME", str(tmp_path))
    KfpApi.runs, KfpApi.polls = {}, 0
    http = ThreadingHTTPServer(("127.0.0.1", 0), KfpApi)
    Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()


def test_a_run_is_created_with_its_arguments_and_awaited(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KFP_TOKEN", "secret")
    link, state = submit_pipeline(COMPILED, server, ARGUMENTS, "night run", "ice", wait=True)
    assert (link, state) == (f"{server}/#/runs/details/r1", "SUCCEEDED")
    run = KfpApi.runs["r1"]
    assert run["display_name"] == "night run"
    assert run["experiment_id"] == "e1"
    assert run["runtime_config"]["parameters"] == ARGUMENTS
    pipeline, platforms = run["pipeline_spec"]["pipeline_spec"], run["pipeline_spec"]["platform_spec"]["platforms"]
    assert pipeline["pipelineInfo"]["name"] == "sea-ice-tracking"
    assert pipeline["root"]["dag"]["tasks"]["ingest"]["cachingOptions"] == {}
    assert set(platforms["kubernetes"]["deploymentSpec"]["executors"]) <= set(pipeline["deploymentSpec"]["executors"])
    assert KfpApi.polls == 1


def test_a_wrong_token_is_told(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KFP_TOKEN", "wrong")
    with pytest.raises(SubmitError, match="answered 401 Unauthorized; set KFP_TOKEN"):
        submit_pipeline(COMPILED, server, ARGUMENTS, None, "ice", wait=False)


def test_a_dead_endpoint_and_a_missing_package_are_told(tmp_path: Path) -> None:
    with pytest.raises(SubmitError, match="no KFP API answers there"):
        submit_pipeline(COMPILED, "http://127.0.0.1:9", ARGUMENTS, None, "ice", wait=False)
    with pytest.raises(InputError, match="no such compiled pipeline"):
        submit_pipeline(tmp_path / "x.yaml", "http://127.0.0.1:9", {}, None, "ice", wait=False)


def test_arguments_that_the_pipeline_does_not_take_are_told_before_anybody_is_asked() -> None:
    with pytest.raises(InputError, match=r"has no colour and is not given matcher; its parameters are .*passes"):
        arguments = {name: value for name, value in ARGUMENTS.items() if name != "matcher"} | {"colour": "blue"}
        submit_pipeline(COMPILED, "http://127.0.0.1:9", arguments, None, "ice", wait=False)
