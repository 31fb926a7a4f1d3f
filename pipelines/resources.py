"""What each task asks of the cluster: CPU, memory, GPUs and their nodes; who it is, and how it reaches S3.

`ICEGRAPH_GPUS=0`, when pipelines are compiled, leaves the GPUs out, for a cluster that has none.
"""

import os

from kfp import kubernetes
from kfp.dsl import PipelineTask

GPU = "nvidia.com/gpu"
GPU_NODES = ("nvidia.com/gpu.present", "true")  # as NVIDIA's GPU feature discovery labels them
USER = 10001  # of the images
_SETTINGS = "icegraph"  # config map; in manifests/base/runs.yaml
_NAMES = ("ICEGRAPH_S3_SECRET", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_CA_BUNDLE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE")
_GPUS = os.environ.get("ICEGRAPH_GPUS", "1") != "0"


def sized(task: PipelineTask, *, cpu: tuple[str, str], memory: tuple[str, str], gpus: int = 0) -> PipelineTask:
    """Set a task's CPU and memory, each as (request, limit), and its GPUs; gives the task back.

    No task takes its outputs from an earlier run: passes and labels are named by place, and what lies there may have changed.
    """
    task.set_caching_options(False)
    task.set_cpu_request(cpu[0]).set_cpu_limit(cpu[1]).set_memory_request(memory[0]).set_memory_limit(memory[1])
    if gpus and _GPUS:
        task.set_accelerator_type(GPU).set_accelerator_limit(gpus)
        kubernetes.add_node_selector(task, *GPU_NODES)
        kubernetes.add_toleration(task, key=GPU, operator="Exists", effect="NoSchedule")
    return _at_home(task)


def _at_home(task: PipelineTask) -> PipelineTask:
    """Say who the task is and how it reaches S3; a cluster without keys, or without an authority of its own, leaves that part out."""
    kubernetes.set_security_context(task, run_as_user=USER, run_as_group=USER, run_as_non_root=True)
    kubernetes.use_config_map_as_env(task, _SETTINGS, {name: name for name in _NAMES}, optional=True)
    kubernetes.use_secret_as_volume(task, "icegraph-s3", "/var/run/secrets/icegraph/s3", optional=True)
    kubernetes.use_config_map_as_volume(task, "icegraph-ca", "/etc/icegraph/ca", optional=True)
    return task


def small(task: PipelineTask) -> PipelineTask:
    """For a task that moves little data."""
    return sized(task, cpu=("500m", "1"), memory=("512M", "2G"))


def medium(task: PipelineTask) -> PipelineTask:
    """For a task that walks rasters or tables on the CPU."""
    return sized(task, cpu=("1", "4"), memory=("1G", "4G"))


def training(task: PipelineTask, gpus: int = 0) -> PipelineTask:
    """For a task that trains a network."""
    return sized(task, cpu=("1", "4"), memory=("2G", "8G"), gpus=gpus)
