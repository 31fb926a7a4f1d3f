"""Archive: years of raw passes to floes in a lake, shard beside shard; run again, it goes on where it ended.

archive-plan → [archive-shard] × shard → archive-report
"""

from typing import NamedTuple

from kfp import dsl

from components.archive_plan.component import archive_plan
from components.archive_report.component import archive_report
from components.archive_shard.component import archive_shard
from pipelines.lifetime import LIFETIME
from pipelines.resources import medium, small
from pipelines.sea_ice_tracking import import_models


class Outputs(NamedTuple):
    """What a run leaves beside the lake."""

    manifest: dsl.Dataset
    summary: dsl.Dataset


@dsl.pipeline(name="shards", description="Bring every shard into the lake.")
def run_shards(
    manifest: dsl.Input[dsl.Dataset], models: dsl.Input[list[dsl.Model]], shards: list[str], lake: str, attempts: int
) -> list[dsl.Dataset]:
    """One report a shard; a task that is killed is started again, and goes on where it was."""
    with dsl.ParallelFor(shards, parallelism=16) as shard:
        done = medium(archive_shard(manifest=manifest, models=models, shard=shard, lake=lake, attempts=attempts))
        done.set_retry(num_retries=3, backoff_duration="60s", backoff_factor=2, backoff_max_duration="3600s")
    return dsl.Collected(done.outputs["report"])


@dsl.pipeline(name="sea-ice-archive", description="Find the floes of a backlog of passes, each once.", pipeline_config=LIFETIME)
def sea_ice_archive(passes: list[str], segmenters: list[str], lake: str, shard_size: int = 50, attempts: int = 3) -> Outputs:
    """Find the floes of every pass and commit them to a lake, exactly once.

    Args:
        passes: Where the passes are.
        segmenters: Places of the models that find floes.
        lake: Folder or `s3://BUCKET/NAME` for the floes.
        shard_size: Passes a shard.
        attempts: How often a failing pass is tried within a shard.
    """
    plan = small(archive_plan(passes=passes, shard_size=shard_size))
    models = import_models(uris=segmenters)
    reports = run_shards(
        manifest=plan.outputs["manifest"], models=models.output, shards=plan.outputs["Output"], lake=lake, attempts=attempts
    )
    told = small(archive_report(manifest=plan.outputs["manifest"], reports=reports.output))
    return Outputs(manifest=plan.outputs["manifest"], summary=told.outputs["summary"])
