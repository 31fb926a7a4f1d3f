"""IceGraph on a cluster of this machine's own: `make cluster`, `make submit`, `make predict`, `make cluster-down`.

`up` goes on where it stopped: what is there already is left as it is, secrets and served models too. No secret is part of a command line
or of what is printed.
"""

import base64
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Any

import boto3
import requests
import yaml

from icegraph.errors import IceGraphError, told

ROOT = Path(__file__).parents[1]
OUT = Path(os.environ.get("OUT", ROOT / "out"), "cluster")
NAME = "icegraph"
IMAGES = [f"ghcr.io/icegraph/icegraph-{kind}:0.1.0" for kind in ("pipeline", "train", "serve")]
BUCKET = os.environ.get("ICEGRAPH_BUCKET", "icegraph")
REGISTRY = "http://mlflow.icegraph.svc.cluster.local:5000"

_KFP = "github.com/kubeflow/pipelines/manifests/kustomize/{}?ref=2.17.0"
_KSERVE = "https://github.com/kserve/kserve/releases/download/v0.21.0/{}.yaml"
_TRAINER = "https://github.com/kubeflow/trainer.git/manifests/overlays/{}?ref=v2.2.0"
_CERT_MANAGER = "https://github.com/cert-manager/cert-manager/releases/download/v1.17.0/cert-manager.yaml"

KSERVE_SETTINGS = {
    "deploy": {"defaultDeploymentMode": "Standard"},
    "ingress": {"disableIngressCreation": True},
    "service": {"serviceClusterIPNone": False},  # the services' port 80 is not the pods'
}
# KServe's own storage initializer says less than Pod Security's `restricted` asks for.
_RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


class ClusterError(IceGraphError):
    """A step on the way to a cluster failed."""


class Machine:
    """What makes the cluster: kind, or minikube."""

    def __init__(self, kind: str) -> None:
        if kind not in ("kind", "minikube"):
            raise ClusterError(kind, "makes no cluster here", "set CLUSTER to kind or minikube")
        self.kind = kind
        self.context = f"kind-{NAME}" if kind == "kind" else NAME

    def require_tools(self) -> None:
        """See that all is here that the cluster is made of."""
        for tool in ("kubectl", "docker", self.kind, "git"):
            if not shutil.which(tool):
                raise ClusterError(tool, "is not on the PATH", "install it (docs/cluster.md tells where from)")
        for image in IMAGES:
            if subprocess.run(["docker", "image", "inspect", image], capture_output=True).returncode:  # noqa: S603, S607
                raise ClusterError(image, "is not built yet", "run `make images`")

    def start(self) -> None:
        """Start the cluster, where it does not run."""
        if self.kind == "minikube":  # calico, as its own network knows no policies
            done("minikube", "start", f"--profile={NAME}", "--cni=calico", "--cpus=4", "--memory=12g", mend=_SEE_DOCKER)
        elif NAME not in done("kind", "get", "clusters", mend=_SEE_DOCKER).split():
            done("kind", "create", "cluster", f"--name={NAME}", "--wait=300s", mend=_SEE_DOCKER)

    def load(self) -> None:
        """Load our images into the cluster, which has no registry to pull them from."""
        for image in IMAGES:
            command = (
                ("load", "docker-image", image, f"--name={NAME}") if self.kind == "kind" else ("image", "load", image, f"--profile={NAME}")
            )
            done(self.kind, *command, mend="see that the disk has 10 GB free, then run `make cluster` again")

    def remove(self) -> None:
        """Remove the cluster."""
        command = ("delete", "cluster", f"--name={NAME}") if self.kind == "kind" else ("delete", f"--profile={NAME}")
        done(self.kind, *command, mend=_SEE_DOCKER)

    def kubectl(self, *words: str, given: Any = None, mend: str = "", show: bool = False) -> str:
        """Run kubectl on this cluster and no other; `given` goes to it as JSON."""
        text = json.dumps(given) if given is not None else None
        mend = mend or f"see `kubectl --context {self.context} get pods --all-namespaces`, then run the command again: it goes on"
        return done("kubectl", f"--context={self.context}", *words, given=text, mend=mend, show=show)

    def find(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        """An object; None where there is none."""
        found = self.kubectl("get", kind, name, f"--namespace={namespace}", "--ignore-not-found", "--output=json")
        return dict(json.loads(found)) if found.strip() else None

    def ready(self, namespace: str, what: str = "deployment", condition: str = "Available", minutes: int = 10) -> None:
        """Wait, and say what has become ready."""
        mend = (
            f"see `kubectl --context {self.context} --namespace {namespace} get pods,events` for what it waits for "
            "(images that are still being pulled, mostly), then run the command again: it goes on"
        )
        self.kubectl(
            "wait", what, "--all", f"--namespace={namespace}", f"--for=condition={condition}", f"--timeout={minutes}m", mend=mend, show=True
        )

    @contextmanager
    def forwarded(self, namespace: str, service: str, port: int, local: str = "") -> Iterator[str]:
        """The address, here, of a service there."""
        command = [
            "kubectl",
            f"--context={self.context}",
            "port-forward",
            f"--namespace={namespace}",
            f"service/{service}",
            f"{local}:{port}",
        ]
        forward = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # noqa: S603
        try:
            assert forward.stdout and forward.stderr  # noqa: S101 - PIPE
            match = re.match(r"Forwarding from 127\.0\.0\.1:(\d+)", forward.stdout.readline())
            if not match:
                raise ClusterError(
                    f"{namespace}/{service}", forward.stderr.read().strip() or "cannot be reached", "run `make cluster` first"
                )
            Thread(target=forward.stdout.read, daemon=True).start()  # it prints a line a connection, and would wait for a reader
            yield f"http://127.0.0.1:{match[1]}"
        finally:
            forward.terminate()
            forward.wait()


_SEE_DOCKER = "see that Docker runs (`docker info`) with 4 CPUs and 12 GB of memory, then run the command again"


def done(*command: str, given: str | None = None, mend: str, show: bool = False) -> str:
    """Run a command; what it printed.

    Raises:
        ClusterError: It failed.
    """
    shown = None if show else subprocess.PIPE
    result = subprocess.run(command, input=given, stdout=shown, stderr=subprocess.PIPE, text=True)  # noqa: S603
    if result.returncode:
        last = (result.stderr.strip().splitlines() or ["failed without a word"])[-1]
        raise ClusterError(" ".join(command[:4]), last, mend)
    return result.stdout or ""


def say(text: str) -> None:
    """Print what is being done, and when."""
    print(f"{datetime.now():%H:%M:%S}  {text}", flush=True)


def up(machine: Machine) -> None:
    """Make the cluster and all in it, as far as it is not there."""
    machine.require_tools()
    say(f"1/9  Starting a cluster ({machine.kind})")
    machine.start()
    say("2/9  Loading the images of IceGraph into it")
    machine.load()
    say("3/9  Installing cert-manager")
    machine.kubectl("apply", "--server-side", f"--filename={_CERT_MANAGER}", mend=_ONLINE)
    machine.ready("cert-manager")
    say("4/9  Installing Kubeflow Pipelines (some minutes: it has a dozen images)")
    install_pipelines(machine)
    say("5/9  Installing KServe")
    install_kserve(machine)
    say("6/9  Installing Kubeflow Trainer")
    machine.kubectl("apply", "--server-side", "--force-conflicts", f"--kustomize={_TRAINER.format('manager')}", mend=_ONLINE)
    machine.ready("kubeflow-system")  # it looks at every TrainingRuntime that is applied
    say("7/9  Starting MinIO, Postgres and MLflow")
    objects = list(yaml.safe_load_all(done("kubectl", "kustomize", str(ROOT / "manifests" / "overlays" / "kind"), mend="mend the overlay")))
    served = [one for one in objects if one["apiVersion"].startswith("serving.kserve.io/")]
    apply(machine, [one for one in objects if one["kind"] == "Namespace"])
    make_secrets(machine)
    apply(machine, [one for one in objects if one not in served])
    for what in ("statefulset/minio", "statefulset/postgres", "deployment/mlflow"):
        machine.kubectl("rollout", "status", what, "--namespace=icegraph", "--timeout=10m", show=True)
    say("8/9  Putting the shipped models into S3")
    put_models(machine)
    say("9/9  Starting the predictors")
    apply(machine, [as_it_serves(machine, one) for one in served])
    machine.ready("icegraph", "inferenceservice", "Ready")
    machine.ready("kubeflow")
    say("Ready. Next: `make predict` asks the predictors, `make submit` trains, `make cluster-down` removes it all.")


_ONLINE = "see that GitHub can be reached from here, then run `make cluster` again: it goes on"


def apply(machine: Machine, objects: list[dict[str, Any]]) -> None:
    """Make the objects what they are to be."""
    machine.kubectl(
        "apply", "--server-side", "--force-conflicts", "--filename=-", given={"apiVersion": "v1", "kind": "List", "items": objects}
    )


def install_pipelines(machine: Machine) -> None:
    """Kubeflow Pipelines, with a password of its own for its store of artifacts; runs may read from our S3."""
    machine.kubectl("apply", "--server-side", "--force-conflicts", f"--kustomize={_KFP.format('cluster-scoped-resources')}", mend=_ONLINE)
    machine.kubectl("wait", "crd/workflows.argoproj.io", "--for=condition=Established", "--timeout=1m")
    key = secret(machine, "kubeflow", "mlpipeline-minio-artifact", {"accesskey": "kubeflow", "secretkey": ""})
    with tempfile.TemporaryDirectory() as folder:  # for its owner alone
        patch = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mlpipeline-minio-artifact"}, "stringData": key}
        kustomization = {"resources": [_KFP.format("env/platform-agnostic")], "patches": [{"patch": yaml.safe_dump(patch)}]}
        Path(folder, "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        machine.kubectl("apply", "--server-side", "--force-conflicts", f"--kustomize={folder}", mend=_ONLINE)
    providers = {
        "s3": {
            "default": {
                "endpoint": "minio.icegraph.svc.cluster.local:9000",
                "disableSSL": True,
                "region": "us-east-1",
                "forcePathStyle": True,
                "credentials": {
                    "fromEnv": False,
                    "secretRef": {
                        "secretName": "icegraph-s3",
                        "accessKeyKey": "AWS_ACCESS_KEY_ID",
                        "secretKeyKey": "AWS_SECRET_ACCESS_KEY",
                    },
                },
            }
        }
    }
    launcher = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kfp-launcher", "namespace": "kubeflow"}}
    apply(machine, [launcher | {"data": {"providers": yaml.safe_dump(providers)}}])


def install_kserve(machine: Machine) -> None:
    """KServe in Standard mode, without an ingress, and its storage initializer as Pod Security wants it."""
    apply(machine, [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kserve"}}])
    for part in ("kserve-crds", "kserve"):
        machine.kubectl("apply", "--server-side", "--force-conflicts", f"--filename={_KSERVE.format(part)}", mend=_ONLINE)
    config = machine.find("configmap", "kserve", "inferenceservice-config") or {"data": {}}
    change = {"data": {part: json.dumps(json.loads(config["data"].get(part) or "{}") | own) for part, own in KSERVE_SETTINGS.items()}}
    machine.kubectl("patch", "configmap/inferenceservice-config", "--namespace=kserve", "--type=merge", f"--patch={json.dumps(change)}")
    machine.kubectl("rollout", "restart", "deployment/kserve-controller-manager", "--namespace=kserve")
    machine.kubectl("rollout", "status", "deployment/kserve-controller-manager", "--namespace=kserve", "--timeout=10m", show=True)
    machine.kubectl("apply", "--server-side", "--force-conflicts", f"--filename={_KSERVE.format('kserve-cluster-resources')}", mend=_ONLINE)
    change = {"spec": {"container": {"securityContext": _RESTRICTED}}}
    machine.kubectl("patch", "clusterstoragecontainer/default", "--type=merge", f"--patch={json.dumps(change)}")


def secret(machine: Machine, namespace: str, name: str, wanted: dict[str, str]) -> dict[str, str]:
    """The secret that is there; else what is wanted, each empty value made by chance."""
    found = machine.find("secret", namespace, name)
    if found:
        return {key: base64.b64decode(value).decode() for key, value in found["data"].items()}
    return {key: value or secrets.token_hex(20) for key, value in wanted.items()}


def make_secrets(machine: Machine) -> None:
    """The key to S3, for who stores, serves and runs; the password of the registry's database."""
    s3 = secret(machine, "icegraph", "icegraph-s3", {"AWS_ACCESS_KEY_ID": "icegraph", "AWS_SECRET_ACCESS_KEY": ""})
    postgres = secret(machine, "icegraph", "icegraph-postgres", {"password": ""})
    read_by_kserve = {
        "serving.kserve.io/s3-endpoint": "minio.icegraph.svc.cluster.local:9000",
        "serving.kserve.io/s3-usehttps": "0",
        "serving.kserve.io/s3-region": "us-east-1",
    }
    apply(
        machine,
        [
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": name, "namespace": namespace, "annotations": read_by_kserve if name == "icegraph-s3" else {}},
                "stringData": content,
            }
            for namespace, name, content in (
                ("icegraph", "icegraph-s3", s3),
                ("kubeflow", "icegraph-s3", s3),
                ("icegraph", "icegraph-postgres", postgres),
            )
        ],
    )


@contextmanager
def storage(machine: Machine) -> Iterator[Any]:
    """The cluster's S3, for boto3 and for icegraph."""
    key = secret(machine, "icegraph", "icegraph-s3", {})
    if not key:
        raise ClusterError("icegraph-s3", "there is no such secret in the cluster", "run `make cluster` first")
    with machine.forwarded("icegraph", "minio", 9000) as address:
        os.environ |= key | {"AWS_ENDPOINT_URL": address, "AWS_REGION": "us-east-1"}
        yield boto3.client("s3", endpoint_url=address, region_name="us-east-1")


def put_models(machine: Machine) -> None:
    """Make the bucket, and put the shipped models where the predictors look first."""
    with storage(machine) as s3:
        if BUCKET not in {one["Name"] for one in s3.list_buckets()["Buckets"]}:
            s3.create_bucket(Bucket=BUCKET)
        for path in sorted((ROOT / "models").rglob("*")):
            if path.is_file():
                s3.upload_file(str(path), BUCKET, f"models/in-use/{path.relative_to(ROOT / 'models')}")


def as_it_serves(machine: Machine, wanted: dict[str, Any]) -> dict[str, Any]:
    """An InferenceService goes on with the models that a promotion led it to."""
    if wanted["kind"] == "InferenceService":
        found = machine.find("inferenceservices.serving.kserve.io", wanted["metadata"]["namespace"], wanted["metadata"]["name"])
        if found:
            wanted["spec"]["predictor"]["model"]["storageUri"] = found["spec"]["predictor"]["model"]["storageUri"]
    return wanted


def submit(machine: Machine) -> None:
    """Simulate passes, put them into S3, and run the training pipeline on them; follow it to its end."""
    from icegraph.laptop import simulate_fields, simulated_fields
    from icegraph.store import open_store
    from icegraph.submit import submit_pipeline

    fields = simulated_fields(2)
    simulation = OUT / "simulation"
    if not simulation.exists():
        say("1/3  Simulating ice fields")
        OUT.mkdir(parents=True, exist_ok=True)
        simulate_fields(fields, simulation, 0, lambda text, share: say(f"  {text} {share:.0%}"))
    say("2/3  Putting passes and truth into S3")
    place = f"s3://{BUCKET}/passes/{datetime.now(UTC):%Y%m%dT%H%M%S}"
    with storage(machine):
        for field in fields:
            for part in ("passes", "truth"):
                store, key = open_store(f"{place}/{field.name}/{part}")
                store.commit(key, simulation / field.name / part)
        store, key = open_store(f"{place}/segmenter-sar")
        store.commit(key, ROOT / "models" / "segmenter-sar")
    say("3/3  Submitting sea_ice_training")
    compiled = OUT / "pipelines"
    subprocess.run(  # noqa: S603 - without GPUs, as there are none in such a cluster
        [sys.executable, "-m", "pipelines", str(compiled)],
        check=True,
        cwd=ROOT,
        env=os.environ | {"ICEGRAPH_GPUS": "0"},
        capture_output=True,
    )
    arguments = {
        "passes": [f"{place}/{field.name}/passes" for field in fields],
        "truth": [f"{place}/{field.name}/truth" for field in fields if not field.holdout],
        "holdout": [f"{place}/{field.name}/truth" for field in fields if field.holdout],
        "start": [f"{place}/segmenter-sar"],
        "registry": REGISTRY,
        "services": ["icegraph/segmenter", "icegraph/tracker"],
        "store": f"s3://{BUCKET}/models/sets",
    }
    with machine.forwarded("kubeflow", "ml-pipeline-ui", 80, os.environ.get("UI_PORT", "8082")) as address:
        link, _ = submit_pipeline(compiled / "sea_ice_training.yaml", address, arguments, None, "icegraph", wait=False)
        say(f"The run: {link}")
        say("The page is there while this command waits for the run's end; Ctrl-C leaves the run going.")
        follow(address, link.rpartition("/")[2])


def follow(address: str, run: str) -> None:
    """Say how a run stands until it has ended.

    Raises:
        ClusterError: It failed.
    """
    before, token = "", os.environ.get("KFP_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    while True:
        answer = requests.get(f"{address}/apis/v2beta1/runs/{run}", headers=headers, timeout=60)
        state = str(answer.json().get("state", "")) if answer.ok else before
        if state != before:
            say(f"  {state.lower()}")
            before = state
        if state == "SUCCEEDED":
            return
        if state in ("FAILED", "CANCELED", "SKIPPED"):
            raise ClusterError(run, f"ended as {state.lower()}", "open the run's page: the step that failed has its log")
        time.sleep(5)


def predict(machine: Machine) -> None:
    """Ask the predictors for the floes of two passes, and for their tracks; as in the README, through the cluster."""
    OUT.mkdir(parents=True, exist_ok=True)
    asked = (ROOT / "docs" / "passes.json").read_bytes()
    for name in ("segmenter", "tracker"):
        with machine.forwarded("icegraph", f"{name}-predictor", 80) as address:
            answer = requests.post(
                f"{address}/v1/models/{name}:predict", data=asked, headers={"Content-Type": "application/json"}, timeout=120
            )
        if not answer.ok:
            raise ClusterError(name, f"answered {answer.status_code}: {answer.text[:200]}", f"see the log of deployment/{name}-predictor")
        asked = answer.content
        (OUT / f"{name}.json").write_bytes(asked)
        say(f"{name} answered in {answer.elapsed.total_seconds():.1f} s: {OUT / name}.json")


def down(machine: Machine) -> None:
    """Remove the cluster and all that it held."""
    machine.remove()
    say("The cluster is gone, and what it stored with it.")


def main() -> None:
    """Do what the first word says."""
    commands = {"up": up, "submit": submit, "predict": predict, "down": down}
    with told():
        commands[sys.argv[1]](Machine(os.environ.get("CLUSTER", "kind")))


if __name__ == "__main__":
    main()
