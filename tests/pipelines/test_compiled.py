import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines import COMPILED, PIPELINES


@pytest.mark.parametrize("name", PIPELINES)
def test_the_committed_yaml_is_what_compiles_today(name: str, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ICEGRAPH_")}
    subprocess.run([sys.executable, "-m", "pipelines", str(tmp_path)], check=True, env=environment, capture_output=True)
    assert (tmp_path / f"{name}.yaml").read_text() == (COMPILED / f"{name}.yaml").read_text(), "run `make compile` and commit"


def test_images_follow_the_environment(tmp_path: Path) -> None:
    environment = os.environ | {"ICEGRAPH_IMAGES": "registry.example/ice", "ICEGRAPH_TAG": "7"}
    subprocess.run([sys.executable, "-m", "pipelines", str(tmp_path)], check=True, env=environment, capture_output=True)
    images = {task["container"]["image"] for task in executors("sea_ice_training", tmp_path).values()}
    assert images == {"registry.example/ice/icegraph-pipeline:7", "registry.example/ice/icegraph-train:7"}


@pytest.mark.parametrize("name", PIPELINES)
def test_every_task_asks_for_cpu_and_memory_and_segment_train_for_a_gpu(name: str) -> None:
    for task, spec in executors(name).items():
        if "container" in spec:
            asked = spec["container"]["resources"]
            assert {"resourceCpuRequest", "resourceCpuLimit", "resourceMemoryRequest", "resourceMemoryLimit"} <= set(asked)
            assert ("accelerator" in asked) == (task == "exec-segment-train")


@pytest.mark.parametrize("name", PIPELINES)
def test_no_task_takes_its_outputs_from_an_earlier_run_on_the_same_places(name: str) -> None:
    pipeline = documents(name)[0]
    tasks = [
        task for part in (pipeline["root"], *pipeline["components"].values()) for task in part.get("dag", {}).get("tasks", {}).values()
    ]
    containers = {f"comp-{task.removeprefix('exec-')}" for task, spec in executors(name).items() if "container" in spec}
    stages = [task for task in tasks if task["componentRef"]["name"] in containers]
    assert len(stages) == len(containers)
    assert not any(task["cachingOptions"].get("enableCache") for task in stages)


def test_the_stages_are_in_the_training_pipeline_and_deploy_where_there_is_a_store() -> None:
    stages = {task.removeprefix("exec-") for task in executors("sea_ice_training")}
    assert stages == {
        "ingest", "calibrate", "fuse", "segment-train", "segment", "graph-build", "gnn-train", "track", "evaluate", "register", "deploy",
    }  # fmt: skip
    tasks = documents("sea_ice_training")[0]["root"]["dag"]["tasks"]
    assert "store'] != ''" in tasks["condition-1"]["triggerPolicy"]["condition"]


def executors(name: str, folder: Path = COMPILED) -> dict[str, Any]:
    return dict(documents(name, folder)[0]["deploymentSpec"]["executors"])


def documents(name: str, folder: Path = COMPILED) -> list[dict[str, Any]]:
    """The pipeline, and what Kubernetes is asked for its tasks."""
    return list(yaml.safe_load_all((folder / f"{name}.yaml").read_text()))
