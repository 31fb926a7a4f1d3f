"""train-job: a segmenter is trained by several machines."""

from kfp import dsl

from components import PIPELINE_IMAGE


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def train_job(
    job: str,
    passes: list[str],
    truth: list[str],
    out: str,
    network: str,
    steps: int,
    batch: int,
    seed: int,
    nodes: int,
    processes: int,
    model: dsl.Output[dsl.Model],
):
    """Start a TrainJob, or find the one that was started before, follow it to its end and bring its model.

    Args:
        job: The TrainJob, as NAMESPACE/NAME.
        passes: Places of passes of one sensor, in S3.
        truth: Places of label rasters, in S3.
        out: `s3://BUCKET/NAME` of the model; the states of the training are kept beside it.
        network: `unet`, `linknet`, `segformer` or `threshold`.
        steps: Steps with known floes.
        batch: Crops a step, by all processes together.
        seed: Same seed, same examples.
        nodes: Pods.
        processes: Processes a pod: one a GPU.
        model: Model folder: config.json, model.safetensors, history.json, README.md.
    """
    from pathlib import Path

    from icegraph.errors import told
    from icegraph.progress import print_progress
    from icegraph.store import open_store
    from icegraph.train_job import TrainJob

    words = [*passes, *(f"--truth={place}" for place in truth), f"--out={out}", f"--network={network}"]
    words += [f"--steps={steps}", f"--batch={batch}", f"--seed={seed}"]
    with told():
        training = TrainJob(job)
        print(f"{job} was {'started' if training.submit(words, nodes, processes) else 'found'}", flush=True)
        training.follow(print_progress)
        store, key = open_store(out)
        store.fetch(key, Path(model.path))
