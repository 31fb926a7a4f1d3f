"""A segmenter, trained by several machines at once.

train-job
"""

from kfp import dsl

from components.train_job.component import train_job
from pipelines.lifetime import LIFETIME
from pipelines.resources import small


@dsl.pipeline(
    name="sea-ice-segmenter",
    description="Train one segmenter on several machines, by Kubeflow Trainer.",
    pipeline_config=LIFETIME,
)
def sea_ice_segmenter(
    job: str,
    passes: list[str],
    truth: list[str],
    out: str,
    network: str = "unet",
    steps: int = 1000,
    batch: int = 8,
    seed: int = 0,
    nodes: int = 2,
    processes: int = 1,
) -> dsl.Model:
    """Train one segmenter; its model can be what `sea_ice_training` starts from.

    Args:
        job: The TrainJob, as NAMESPACE/NAME.
        passes: Places of passes of one sensor, in S3.
        truth: Places of label rasters, in S3.
        out: `s3://BUCKET/NAME` of the model.
        network: `unet`, `linknet`, `segformer` or `threshold`.
        steps: Steps with known floes.
        batch: Crops a step, by all processes together.
        seed: Same seed, same examples.
        nodes: Pods.
        processes: Processes a pod: one a GPU.
    """
    trained = small(
        train_job(
            job=job,
            passes=passes,
            truth=truth,
            out=out,
            network=network,
            steps=steps,
            batch=batch,
            seed=seed,
            nodes=nodes,
            processes=processes,
        )
    )
    trained.set_retry(num_retries=3, backoff_duration="60s", backoff_factor=2, backoff_max_duration="3600s")
    return trained.outputs["model"]
