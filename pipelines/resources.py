"""What each task asks of the cluster: CPU, memory, GPUs, and to be run each time."""

from kfp.dsl import PipelineTask

GPU = "nvidia.com/gpu"


def sized(task: PipelineTask, *, cpu: tuple[str, str], memory: tuple[str, str], gpus: int = 0) -> PipelineTask:
    """Set a task's CPU and memory, each as (request, limit), and its GPUs; gives the task back.

    No task takes its outputs from an earlier run: passes and labels are named by place, and what lies there may have changed.
    """
    task.set_caching_options(False)
    task.set_cpu_request(cpu[0]).set_cpu_limit(cpu[1]).set_memory_request(memory[0]).set_memory_limit(memory[1])
    return task.set_accelerator_type(GPU).set_accelerator_limit(gpus) if gpus else task


def small(task: PipelineTask) -> PipelineTask:
    """For a task that moves little data."""
    return sized(task, cpu=("500m", "1"), memory=("512M", "2G"))


def medium(task: PipelineTask) -> PipelineTask:
    """For a task that walks rasters or tables on the CPU."""
    return sized(task, cpu=("1", "4"), memory=("1G", "4G"))


def training(task: PipelineTask, gpus: int = 0) -> PipelineTask:
    """For a task that trains a network."""
    return sized(task, cpu=("1", "4"), memory=("2G", "8G"), gpus=gpus)
