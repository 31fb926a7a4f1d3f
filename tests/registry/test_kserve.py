"""Leading InferenceServices to the champions, through Kubernetes' own client and a server that answers as an API server does."""

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from icegraph.cli import app
from icegraph.errors import InputError, RegistryError, told
from icegraph.registry import Registry, model_set
from icegraph.registry.kserve import InferenceService, publish, roll_out
from icegraph.registry.lifecycle import Verdict, promote
from icegraph.store import open_store

PATH = "/apis/serving.kserve.io/v1beta1/namespaces/ice/inferenceservices/"
TOKEN = "a-token"


def merged(target: Any, patch: Any) -> Any:
    """JSON merge patch, as RFC 7386 gives it."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


class Cluster:
    """An API server that holds InferenceServices, and a controller that makes them ready unless they read what is `broken`."""

    def __init__(self) -> None:
        self.services: dict[str, dict[str, Any]] = {}
        self.history: list[tuple[str, str, int | None]] = []
        self.broken = ""
        self.before_patch = lambda: None
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None: ...

            def answer(self, status: int, content: dict[str, Any]) -> None:
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def failed(self, status: int, message: str = "") -> None:
                self.answer(status, {"kind": "Status", "status": "Failure", "code": status, "message": message})

            def service(self) -> str | None:
                if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                    self.failed(401)
                    return None
                name = self.path.removeprefix(PATH)
                if name not in cluster.services:
                    self.failed(404)
                    return None
                return name

            def do_GET(self) -> None:
                if name := self.service():
                    self.answer(200, cluster.services[name])

            def do_PATCH(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if not (name := self.service()):
                    return
                cluster.before_patch()
                if self.headers["Content-Type"] != "application/merge-patch+json":
                    self.failed(415)
                    return
                if any(one["trafficPercent"] > 100 for one in body["spec"].get("canary") or []):
                    self.failed(422, "spec.canary.trafficPercent: should be less than or equal to 100")
                    return
                now = cluster.services[name]
                if body["metadata"].get("resourceVersion", now["metadata"]["resourceVersion"]) != now["metadata"]["resourceVersion"]:
                    self.failed(409)
                    return
                cluster.write(name, merged(now, body))
                self.answer(200, cluster.services[name])

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def write(self, name: str, service: dict[str, Any]) -> None:
        """What the API server and KServe's controller do with a change."""
        metadata, spec = service["metadata"], service["spec"]
        metadata["resourceVersion"] = str(int(metadata.get("resourceVersion", "0")) + 1)
        metadata["generation"] = metadata.get("generation", 0) + 1
        (canary,) = spec.get("canary") or [None]
        uri = (canary or spec)["predictor"]["model"]["storageUri"]
        ready = "False" if self.broken and self.broken in uri else "True"
        conditions = [{"type": "Ready", "status": "True" if canary else ready}]
        statuses = [{"name": canary["predictor"]["name"], "ready": ready == "True", "trafficPercent": 0}] if canary else []
        service["status"] = {"observedGeneration": metadata["generation"], "conditions": conditions, "canaryStatuses": statuses}
        self.services[name] = service
        self.history.append((name, uri, canary["trafficPercent"] if canary else None))

    def serve(self, name: str, uri: str) -> None:
        model = {"name": "", "modelFormat": {"name": "icegraph"}, "storageUri": uri, "resources": {"limits": {"cpu": "1"}}}
        self.write(name, {"metadata": {"name": name}, "spec": {"predictor": {"model": model}}})
        self.history.clear()


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    cluster = Cluster()
    address = f"http://127.0.0.1:{cluster.server.server_port}"
    parts = {
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "clusters": [{"name": "here", "cluster": {"server": address}}],
        "users": [{"name": "me", "user": {"token": TOKEN}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
    }  # fmt: skip
    (tmp_path / "kubeconfig").write_text(json.dumps(parts))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    for name in ("segmenter", "tracker"):
        cluster.serve(name, "s3://models/old")
    yield cluster
    cluster.server.shutdown()


@pytest.fixture
def services(cluster: Cluster) -> list[InferenceService]:
    return [InferenceService(f"ice/{name}") for name in ("segmenter", "tracker")]


def test_a_roll_out_gives_a_share_of_the_traffic_first_and_then_all(cluster: Cluster, services: list[InferenceService]) -> None:
    roll_out(services, "s3://models/new", [10, 50], poll_s=0.01)
    assert [(name, share) for name, uri, share in cluster.history] == [
        (name, share) for share in (10, 50, None) for name in ("segmenter", "tracker")
    ]
    assert {uri for _, uri, _ in cluster.history} == {"s3://models/new"}
    assert "canary" not in cluster.services["segmenter"]["spec"]
    predictor = cluster.services["segmenter"]["spec"]["predictor"]
    assert predictor["model"]["resources"] == {"limits": {"cpu": "1"}}  # the rest is as it was
    assert predictor["model"]["modelFormat"] == {"name": "icegraph"}


def test_services_that_do_not_become_ready_are_led_back(cluster: Cluster, services: list[InferenceService]) -> None:
    cluster.broken = "new"
    with pytest.raises(RegistryError, match=r"^ice/segmenter: did not become ready within 0.05 s and was led back"):
        roll_out(services, "s3://models/new", patience_s=0.05, poll_s=0.01)
    for service in services:
        assert (service.state().uri, service.state().canary, service.state().ready) == ("s3://models/old", None, True)


def test_the_old_models_serve_on_beside_a_canary_that_is_a_predictor_of_its_own(cluster: Cluster, services: list[InferenceService]) -> None:
    services[0].lead("s3://models/new", 10, services[0].state())
    spec = cluster.services["segmenter"]["spec"]
    assert spec["predictor"]["model"]["storageUri"] == "s3://models/old"
    model = {"name": "", "modelFormat": {"name": "icegraph"}, "storageUri": "s3://models/new", "resources": {"limits": {"cpu": "1"}}}
    assert spec["canary"] == [{"trafficPercent": 10, "predictor": {"name": "next", "model": model}}]
    assert (services[0].state().uri, services[0].state().canary, services[0].state().ready) == ("s3://models/new", 10, True)


def test_a_change_by_somebody_else_is_told_and_not_overwritten(cluster: Cluster, services: list[InferenceService]) -> None:
    def somebody() -> None:
        cluster.before_patch = lambda: None
        cluster.write("segmenter", merged(cluster.services["segmenter"], {"spec": {"predictor": {"model": {"storageUri": "s3://theirs"}}}}))

    cluster.before_patch = somebody
    with pytest.raises(RegistryError, match=r"^ice/segmenter: somebody changed it meanwhile"):
        roll_out(services, "s3://models/new", poll_s=0.01)
    assert services[0].state().uri == "s3://theirs"
    assert services[1].state().uri == "s3://models/old"


def test_what_the_api_server_refuses_is_told(cluster: Cluster, services: list[InferenceService]) -> None:
    with pytest.raises(RegistryError, match="there is no such InferenceService"):
        InferenceService("ice/nobody").state()
    with pytest.raises(RegistryError, match=r"answered 422 .*\(spec.canary.trafficPercent: should be less than or equal to 100\)"):
        services[0].lead("s3://models/new", 150, services[0].state())
    with pytest.raises(InputError, match="write NAMESPACE/NAME"):
        InferenceService("segmenter")
    cluster.server.shutdown()
    cluster.server.server_close()
    with pytest.raises(RegistryError, match="the API server does not answer"):
        services[1].state()


def judge(models: Any) -> Verdict:
    return Verdict({"sar.segmentation.pq": 0.6})


def test_the_commands_lead_services_to_the_champions_and_back(
    cluster: Cluster, registry: Registry, place: Path, make_model: Any, tmp_path: Path, bucket: str
) -> None:
    made = [make_model(weights) for weights in ("first", "second")]
    versions = [registry.register(model, "segmenter-sar", {}) for model in made]
    store = f"s3://{bucket}/models"
    promote(registry, versions[0], "champion", place, judge)
    first = publish(registry, place, store)
    assert publish(registry, place, store) == first
    where = ["--registry", str(place), "--service", "ice/segmenter", "--service", "ice/tracker", "--store", store]
    icegraph("models", "deploy", *where)
    assert cluster.services["segmenter"]["spec"]["predictor"]["model"]["storageUri"] == first
    promote(registry, versions[1], "champion", place, judge)
    icegraph("models", "deploy", *where, "--canary", "25")
    second = cluster.services["tracker"]["spec"]["predictor"]["model"]["storageUri"]
    assert second != first
    assert ("tracker", second, 25) in cluster.history
    icegraph("models", "rollback", "segmenter-sar", *where, "--because", "blurs leads")
    assert cluster.history[-2:] == [("segmenter", first, None), ("tracker", first, None)]
    open_store(f"s3://{bucket}")[0].fetch(first.removeprefix(f"s3://{bucket}/").rpartition("/")[0], tmp_path / "served")
    served = model_set(str(tmp_path / "served"), ()).places["segmenter-sar"]
    assert {path.name: path.read_bytes() for path in served.iterdir()} == {path.name: path.read_bytes() for path in made[0].iterdir()}
    shutil.rmtree(served)


def icegraph(*words: str) -> str:
    with told():
        result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output
