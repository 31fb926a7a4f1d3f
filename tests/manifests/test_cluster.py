"""`make cluster` and its companions, with programs in place of kubectl, kind and docker that note what they are told; S3 is real."""

import base64
import json
import os
import shutil
import stat
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import boto3
import pytest
from overlays import ROOT
from test_submit import KfpApi

from icegraph.store import open_store

PROGRAM = """#!{python}
import json, os, subprocess, sys
place, name = {place!r}, os.path.basename(sys.argv[0])
words = sys.argv[1:]
given = sys.stdin.read() if "--filename=-" in words else ""
with open(place + "/told", "a") as told:
    told.write(json.dumps([name, *words, given]) + "\\n")
state = json.load(open(place + "/state"))
if state["breaks"] and state["breaks"] in " ".join(words):
    sys.exit("first line\\nerror: it broke")
if words[:2] == ["get", "clusters"]:
    print(state["clusters"])
elif words[0] == "kustomize":
    sys.exit(subprocess.call([state["kubectl"], *words]))
elif words[1] == "get":
    found = state["objects"].get("/".join([words[2].partition(".")[0], words[3]]))
    print(json.dumps(found) if found else "")
elif words[1] == "port-forward":
    print("Forwarding from 127.0.0.1:%d -> 9000" % state["ports"][words[3].partition("/")[2]], flush=True)
    import time
    time.sleep(60)
"""


class World:
    """What the programs find and what they were told."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.state: dict[str, Any] = {"breaks": "", "clusters": "", "objects": {}, "ports": {}, "kubectl": shutil.which("kubectl")}
        for name in ("kubectl", "kind", "docker", "minikube"):
            program = place / "bin" / name
            program.parent.mkdir(exist_ok=True)
            program.write_text(PROGRAM.format(python=sys.executable, place=str(place)))
            program.chmod(program.stat().st_mode | stat.S_IXUSR)

    def make(self, what: str, **environment: str) -> subprocess.CompletedProcess[str]:
        (self.place / "state").write_text(json.dumps(self.state))
        (self.place / "told").write_text("")
        path = f"{self.place / 'bin'}:{environment.pop('PATH', os.environ['PATH'])}"
        command = [sys.executable, "manifests/cluster.py", what]
        return subprocess.run(command, cwd=ROOT, env=os.environ | {"PATH": path} | environment, capture_output=True, text=True)

    @property
    def told(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.place / "told").read_text().splitlines()]

    def applied(self) -> list[dict[str, Any]]:
        return [item for words in self.told if "apply" in words and words[-1] for item in json.loads(words[-1])["items"]]


@pytest.fixture
def world(tmp_path: Path) -> World:
    if not shutil.which("kubectl"):
        pytest.skip("install kubectl to run this test")
    return World(tmp_path)


def encoded(**content: str) -> dict[str, Any]:
    return {"data": {key: base64.b64encode(value.encode()).decode() for key, value in content.items()}}


@pytest.fixture
def with_storage(world: World, bucket: str, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world whose MinIO is the S3 server of the tests, which has its key already."""
    found = boto3.Session().get_credentials()
    world.state["objects"]["secret/icegraph-s3"] = encoded(AWS_ACCESS_KEY_ID=found.access_key, AWS_SECRET_ACCESS_KEY=found.secret_key)
    world.state["ports"]["minio"] = int(os.environ["ICEGRAPH_TEST_S3_ENDPOINT"].rpartition(":")[2])
    monkeypatch.setenv("ICEGRAPH_BUCKET", bucket)
    return world


def test_a_cluster_is_made_step_by_step_and_no_secret_is_on_a_command_line(with_storage: World, bucket: str) -> None:
    result = with_storage.make("up")
    assert result.returncode == 0, result.stderr
    assert [line[10:13] for line in result.stdout.splitlines()] == [f"{step}/9" for step in range(1, 10)] + ["Rea"]
    told = with_storage.told
    assert all(words[1] == "--context=kind-icegraph" for words in told if words[0] == "kubectl" and words[1] != "kustomize")
    made = {(one["metadata"]["namespace"], one["metadata"]["name"]): one for one in with_storage.applied() if one["kind"] == "Secret"}
    assert set(made) == {("icegraph", "icegraph-s3"), ("kubeflow", "icegraph-s3"), ("icegraph", "icegraph-postgres")}
    assert made["icegraph", "icegraph-s3"]["stringData"] == made["kubeflow", "icegraph-s3"]["stringData"]
    assert len(made["icegraph", "icegraph-postgres"]["stringData"]["password"]) == 40
    values = {value for one in made.values() for key, value in one["stringData"].items() if key != "AWS_ACCESS_KEY_ID"}
    spoken = json.dumps([words[:-1] for words in told]) + result.stdout + result.stderr
    assert not any(value in spoken for value in values)
    kinds = [one["kind"] for one in with_storage.applied()]
    assert kinds.index("Secret") < kinds.index("StatefulSet") < kinds.index("InferenceService")
    s3 = boto3.client("s3", endpoint_url=os.environ["ICEGRAPH_TEST_S3_ENDPOINT"], region_name="us-east-1")
    keys = {one["Key"] for one in s3.list_objects_v2(Bucket=bucket, Prefix="models/in-use/")["Contents"]}
    assert keys == {f"models/in-use/{path.relative_to(ROOT / 'models')}" for path in (ROOT / "models").rglob("*") if path.is_file()}


def test_again_it_keeps_the_cluster_its_secrets_and_what_is_served(with_storage: World) -> None:
    promoted = "s3://icegraph/models/sets/1/content-2"
    with_storage.state["clusters"] = "icegraph"
    with_storage.state["objects"] |= {
        "secret/icegraph-postgres": encoded(password="before"),
        "inferenceservices/segmenter": {"spec": {"predictor": {"model": {"storageUri": promoted}}}},
    }
    assert with_storage.make("up").returncode == 0
    assert not any("create" in words for words in with_storage.told if words[0] == "kind")
    applied = {(one["kind"], one["metadata"]["name"]): one for one in with_storage.applied()}
    assert applied["Secret", "icegraph-postgres"]["stringData"] == {"password": "before"}
    assert applied["InferenceService", "segmenter"]["spec"]["predictor"]["model"]["storageUri"] == promoted
    assert applied["InferenceService", "tracker"]["spec"]["predictor"]["model"]["storageUri"] == "s3://icegraph/models/in-use"


@pytest.mark.parametrize(
    ("breaks", "told"),
    [
        ("image inspect", "icegraph-pipeline:0.1.0: is not built yet; run `make images`"),
        ("create cluster", "kind create cluster --name=icegraph: error: it broke; see that Docker runs"),
        ("cert-manager.yaml", "error: it broke; see that GitHub can be reached from here, then run `make cluster` again: it goes on"),
        ("wait deployment --all", "get pods,events` for what it waits for"),
    ],
)
def test_a_step_that_fails_says_what_to_do(world: World, breaks: str, told: str) -> None:
    world.state["breaks"] = breaks
    result = world.make("up")
    assert result.returncode == 1
    assert told in result.stderr
    assert "Traceback" not in result.stderr


def test_a_tool_that_is_missing_and_another_maker_of_clusters_are_told(world: World) -> None:
    (world.place / "bin" / "kind").unlink()
    assert "kind: is not on the PATH; install it" in world.make("up", PATH="/usr/bin:/bin").stderr
    assert "set CLUSTER to kind or minikube" in world.make("up", CLUSTER="k3d").stderr


def test_minikube_serves_too_and_both_are_removed(world: World) -> None:
    assert world.make("down", CLUSTER="minikube").returncode == 0
    assert world.told == [["minikube", "delete", "--profile=icegraph", ""]]
    assert world.make("down").returncode == 0
    assert world.told == [["kind", "delete", "cluster", "--name=icegraph", ""]]


def test_passes_are_put_into_s3_and_a_run_is_submitted_and_followed(with_storage: World, bucket: str, tmp_path: Path) -> None:
    from icegraph.laptop import simulated_fields

    fields = simulated_fields(2)
    for field in fields:
        for part in ("passes", "truth"):
            file = tmp_path / "cluster" / "simulation" / field.name / part / "file"
            file.parent.mkdir(parents=True)
            file.write_text(f"{field.name} {part}")
    KfpApi.runs, KfpApi.polls = {}, 0
    server = ThreadingHTTPServer(("127.0.0.1", 0), KfpApi)
    Thread(target=server.serve_forever, daemon=True).start()
    with_storage.state["ports"]["ml-pipeline-ui"] = server.server_port
    result = with_storage.make("submit", OUT=str(tmp_path), KFP_TOKEN="secret", HOME=str(tmp_path))
    server.shutdown()
    assert result.returncode == 0, result.stderr
    assert f"http://127.0.0.1:{server.server_port}/#/runs/details/r1" in result.stdout
    assert result.stdout.rstrip().endswith("succeeded")
    asked = KfpApi.runs["r1"]["runtime_config"]["parameters"]
    assert (len(asked["passes"]), len(asked["truth"]), len(asked["holdout"])) == (6, 4, 2)
    assert "nvidia" not in json.dumps(KfpApi.runs["r1"])
    for field, place in zip(fields, asked["passes"], strict=True):
        store, key = open_store(place)
        store.fetch(key, tmp_path / "back" / field.name)
        assert (tmp_path / "back" / field.name / "file").read_text() == f"{field.name} passes"
    assert all(place.startswith(f"s3://{bucket}/passes/") for place in [*asked["truth"], *asked["holdout"], *asked["start"]])


def test_the_tracker_is_asked_with_what_the_segmenter_answered(world: World, tmp_path: Path) -> None:
    asked = []

    class Predictor(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f'{{"predictions": ["{self.path}"]}}'.encode())

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Predictor)
    Thread(target=server.serve_forever, daemon=True).start()
    world.state["ports"] = {"segmenter-predictor": server.server_port, "tracker-predictor": server.server_port}
    assert world.make("predict", OUT=str(tmp_path)).returncode == 0
    server.shutdown()
    passes, floes = asked
    assert passes == ("/v1/models/segmenter:predict", (ROOT / "docs" / "passes.json").read_bytes())
    assert floes == ("/v1/models/tracker:predict", (tmp_path / "cluster" / "segmenter.json").read_bytes())
    assert json.loads((tmp_path / "cluster" / "tracker.json").read_text()) == {"predictions": ["/v1/models/tracker:predict"]}


def test_what_is_installed_is_what_the_guide_names() -> None:
    guide = (ROOT / "docs" / "cluster.md").read_text()
    source = (ROOT / "manifests" / "cluster.py").read_text()
    for version in ("2.17.0", "v0.21.0", "v2.2.0", "v1.17.0"):
        assert version in source
        assert version in guide
