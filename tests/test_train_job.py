"""A training in a cluster, through Kubernetes' own client and a server that answers as an API server and Trainer do."""

import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import dsl
from kubeflow_trainer_api import models

from components.train_job.component import train_job
from icegraph.errors import InputError
from icegraph.store import open_store
from icegraph.train_job import RUNTIME, TrainJob, TrainJobError, manifest

BASE = Path(__file__).parents[1] / "manifests" / "base"
JOBS = re.compile(r"/apis/trainer.kubeflow.org/v1alpha1/namespaces/ice/trainjobs(?:/([\w-]+))?")
PODS = re.compile(r"/api/v1/namespaces/ice/pods(?:/([\w-]+)/log)?")


class Cluster:
    """An API server with Trainer behind it; each look at a TrainJob moves it one step on.

    Attributes:
        steps: What happens at each look: the condition that becomes true, or nothing, and the pods: name → (phase, index, log).
    """

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.steps: list[tuple[str, dict[str, tuple[str, str, str]]]] = []
        self.pods: dict[str, tuple[str, str, str]] = {}
        self.asked: list[str] = []
        self.away = 0
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None: ...

            def answer(self, status: int, content: Any) -> None:
                body = content.encode() if isinstance(content, str) else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/plain" if isinstance(content, str) else "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def failed(self, status: int) -> None:
                self.answer(status, {"kind": "Status", "status": "Failure", "code": status})

            def do_GET(self) -> None:
                cluster.asked.append(self.path)
                path = self.path.partition("?")[0]
                if cluster.away > 0:
                    cluster.away -= 1
                    self.failed(503)
                elif job := JOBS.fullmatch(path):
                    self.answer(200, cluster.look(job[1])) if job[1] in cluster.jobs else self.failed(404)
                elif (pod := PODS.fullmatch(path)) and pod[1]:
                    self.answer(200, cluster.pods[pod[1]][2])
                else:
                    labels = {"batch.kubernetes.io/job-completion-index": ""}
                    items = [
                        {"metadata": {"name": name, "labels": dict.fromkeys(labels, index)}, "status": {"phase": phase}}
                        for name, (phase, index, _) in cluster.pods.items()
                    ]
                    self.answer(200, {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                name = body["metadata"]["name"]
                if name in cluster.jobs:
                    self.failed(409)
                else:
                    cluster.jobs[name] = body
                    self.answer(201, body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def look(self, name: str) -> dict[str, Any]:
        job = self.jobs[name]
        condition, self.pods = self.steps.pop(0) if self.steps else ("", self.pods)
        if condition:
            told = {"type": condition, "status": "True", "message": "jobset failed" if condition == "Failed" else "done"}
            job["status"] = {"conditions": [{"type": "Suspended", "status": "False"}, told]}
        return job


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    cluster = Cluster()
    parts = {
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{cluster.server.server_port}"}}],
        "users": [{"name": "me", "user": {"token": "a-token"}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
    }  # fmt: skip
    (tmp_path / "kubeconfig").write_text(json.dumps(parts))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    yield cluster
    cluster.server.shutdown()


RUNNING = {
    "night-0": ("Running", "0", "  0:12  train on known floes  42%\n"),
    "night-1": ("Running", "1", "  0:09  train on known floes  17%\n"),
}
LOST = {"night-1": ("Failed", "1", "Traceback …\nicegraph: s3://ice/passes: there is no such bucket; make it.\nE1121 torchrun: failed\n")}


def test_a_training_is_started_once_and_followed_to_its_end(cluster: Cluster) -> None:
    told: list[tuple[str, float]] = []
    cluster.steps = [("", {}), ("", RUNNING), ("Complete", RUNNING)]
    words = ["s3://ice/passes", "--out=s3://ice/models/mine"]
    assert TrainJob("ice/night").submit(words, nodes=2)
    assert not TrainJob("ice/night").submit(words, nodes=2)  # as a component does that was started again
    TrainJob("ice/night").follow(lambda *one: told.append(one), poll_s=0.01)
    assert cluster.jobs["night"]["spec"]["trainer"] == {"args": words, "numNodes": 2, "numProcPerNode": 1}
    assert cluster.jobs["night"]["spec"]["runtimeRef"]["name"] == RUNTIME
    assert told[-1] == ("train on known floes", 0.42)
    assert any("labelSelector=jobset.sigs.k8s.io%2Fjobset-name%3Dnight" in path for path in cluster.asked)


def test_a_failed_training_tells_what_its_pod_told_though_the_pod_is_gone(cluster: Cluster) -> None:
    told: list[str] = []
    cluster.steps = [("", RUNNING), ("", LOST), ("", {}), ("Failed", {})]
    TrainJob("ice/night").submit([], nodes=2)
    with pytest.raises(TrainJobError) as error:
        TrainJob("ice/night").follow(lambda text, _: told.append(text), poll_s=0.01)
    assert str(error.value).startswith("ice/night: the training failed (jobset failed); icegraph: s3://ice/passes: there is no such bucket")
    assert any(text.startswith("a pod failed: icegraph: s3://ice/passes") for text in told)


def test_an_api_server_that_is_away_for_a_while_is_waited_for(cluster: Cluster) -> None:
    TrainJob("ice/night").submit([], nodes=1)
    cluster.steps, cluster.away = [("Complete", {})], 3
    TrainJob("ice/night").follow(poll_s=0.01)
    cluster.away = 1000
    with pytest.raises(TrainJobError, match="the API server answered 503"):
        TrainJob("ice/night").follow(patience_s=0.05, poll_s=0.01)


def test_another_training_of_that_name_is_not_followed(cluster: Cluster) -> None:
    TrainJob("ice/night").submit(["--seed=1"], nodes=1)
    with pytest.raises(InputError, match=r"^ice/night: is there already and trains something else"):
        TrainJob("ice/night").submit(["--seed=2"], nodes=1)
    with pytest.raises(TrainJobError, match="there is no such TrainJob"):
        TrainJob("ice/nobody").follow(poll_s=0.01)
    with pytest.raises(InputError, match="write NAMESPACE/NAME"):
        TrainJob("night")


def test_the_component_brings_the_model(cluster: Cluster, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "config.json").write_text("{}")
    open_store(f"s3://{bucket}")[0].commit("models/mine", tmp_path / "made")
    cluster.steps = [("Complete", {})]
    model = dsl.Model(name="model", uri=str(tmp_path / "model"))
    train_job.python_func(
        job="ice/night", passes=["s3://ice/passes"], truth=["s3://ice/truth"], out=f"s3://{bucket}/models/mine",
        network="unet", steps=10, batch=2, seed=0, nodes=2, processes=1, model=model,
    )  # fmt: skip
    assert (tmp_path / "model" / "config.json").read_text() == "{}"
    words = cluster.jobs["night"]["spec"]["trainer"]["args"]
    assert words[:3] == ["s3://ice/passes", "--truth=s3://ice/truth", f"--out=s3://{bucket}/models/mine"]


def document(file: str, kind: str, name: str) -> dict[str, Any]:
    [found] = [one for one in yaml.safe_load_all((BASE / file).read_text()) if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return dict(found)


def test_what_is_sent_has_no_field_that_trainer_does_not_know() -> None:
    body = manifest("night", ["--seed=1"], 2, 1)
    assert models.TrainerV1alpha1TrainJob.from_dict(body).to_dict() == body


def test_the_pods_command_is_one_that_torchrun_starts(tmp_path: Path) -> None:
    """The runtime's command, with the variables that Trainer sets, starts its program once a process."""
    runtime = document("training.yaml", "TrainingRuntime", RUNTIME)
    pod = runtime["spec"]["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    command = pod["containers"][0]["command"]
    assert command == ["torchrun", "--no-python", "icegraph", "train"]
    told = {"PET_NNODES": "1", "PET_NPROC_PER_NODE": "2", "PET_NODE_RANK": "0", "PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": "29511"}
    import sys

    program = tmp_path / "icegraph"
    program.write_text(f"#!{sys.executable}\nimport os, sys\nprint(sys.argv[1], os.environ['RANK'], 'of', os.environ['WORLD_SIZE'])\n")
    program.chmod(0o755)
    where = os.environ | told | {"PATH": f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}"}
    result = subprocess.run(command, env=where, check=True, capture_output=True, text=True)
    assert {"train 0 of 2", "train 1 of 2"} <= set(result.stdout.splitlines())


def test_the_role_allows_what_is_asked_and_no_more(cluster: Cluster) -> None:
    cluster.steps = [("", RUNNING), ("Complete", RUNNING)]
    TrainJob("ice/night").submit([], nodes=1)
    TrainJob("ice/night").follow(poll_s=0.01)
    used = {("create", "trainjobs")}
    for path in cluster.asked:
        kind = "trainjobs" if JOBS.match(path) else "pods/log" if path.partition("?")[0].endswith("/log") else "pods"
        used.add(("list" if kind == "pods" else "get", kind))
    role = document("runs.yaml", "Role", "icegraph-train-job")
    assert {(verb, resource) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]} == used
