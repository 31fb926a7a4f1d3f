"""The overlays, as `kubectl kustomize` renders them."""

import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
OVERLAYS = sorted(path.parent.name for path in (ROOT / "manifests" / "overlays").glob("*/kustomization.yaml"))
Thing = dict[str, Any]


@cache
def rendered(overlay: str) -> list[Thing]:
    """The objects of an overlay."""
    return kustomized(ROOT / "manifests" / "overlays" / overlay)


def kustomized(folder: Path) -> list[Thing]:
    """The objects of a kustomization."""
    if not shutil.which("kubectl"):
        pytest.skip("install kubectl to run this test")
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def name_of(thing: Thing) -> str:
    return f"{thing['kind']}/{thing['metadata'].get('namespace', '')}/{thing['metadata']['name']}"


def of_kind(things: list[Thing], *kinds: str) -> list[Thing]:
    return [thing for thing in things if thing["kind"] in kinds]


def katib_trial() -> Thing:
    """The job of a trial of the search."""
    experiment = yaml.safe_load((ROOT / "manifests" / "katib" / "segmenter.yaml").read_text())
    return dict(experiment["spec"]["trialTemplate"]["trialSpec"])


def pods(things: list[Thing]) -> dict[str, Thing]:
    """Every pod that comes of the objects, as its template: metadata and spec. KServe joins a predictor of its service and
    the runtime; Trainer makes a training of its runtime."""
    found = {name_of(thing): thing["spec"]["template"] for thing in of_kind(things, "Deployment", "StatefulSet", "DaemonSet", "Job")}
    runtimes = {runtime["metadata"]["name"]: runtime["spec"] for runtime in of_kind(things, "ServingRuntime")}
    for service in of_kind(things, "InferenceService"):
        predictor = service["spec"]["predictor"]
        runtime = runtimes[predictor["model"]["runtime"]]
        spec = {key: value for key, value in predictor.items() if key not in ("model", "labels")}
        spec |= {"containers": runtime["containers"], "volumes": runtime.get("volumes", [])}
        labels = {"serving.kserve.io/inferenceservice": service["metadata"]["name"]} | predictor["labels"]
        found[name_of(service)] = {"metadata": {"labels": labels}, "spec": spec}
    for runtime in of_kind(things, "TrainingRuntime"):
        found |= {name_of(runtime): one["template"]["spec"]["template"] for one in runtime["spec"]["template"]["spec"]["replicatedJobs"]}
    return found | {"Job/kubeflow/trial": katib_trial()["spec"]["template"]}


def containers(spec: Thing) -> list[Thing]:
    return [*spec.get("initContainers", []), *spec["containers"]]
