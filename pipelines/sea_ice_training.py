"""Training: raw passes and known floes to models, held to the gate.

ingest → [calibrate → fuse] × pass → [segment-train] × sensor → segment → graph-build → gnn-train → track → evaluate → register → deploy
"""

from typing import NamedTuple

from kfp import dsl

from components.deploy.component import deploy
from components.evaluate.component import evaluate
from components.gnn_train.component import gnn_train
from components.graph_build.component import graph_build
from components.ingest.component import ingest
from components.register.component import register
from components.segment.component import segment
from components.segment_train.component import segment_train
from components.track.component import track
from pipelines.lifetime import LIFETIME
from pipelines.resources import medium, small, training
from pipelines.scenes import passes_to_scenes


class Outputs(NamedTuple):
    """What a run leaves: each a folder, or one a pass."""

    scenes: list[dsl.Dataset]
    segmenters: list[dsl.Model]
    floes: dsl.Dataset
    matcher: dsl.Model
    tracks: dsl.Dataset
    results: dsl.Dataset
    registered: dsl.Dataset


@dsl.pipeline(name="segmenters", description="One segmenter for each kind of sensor.")
def train_segmenters(
    scenes: dsl.Input[list[dsl.Dataset]],
    sensors: list[str],
    truth: list[str],
    holdout: list[str],
    start: list[str],
    pretrain_steps: int,
    steps: int,
    seed: int,
) -> list[dsl.Model]:
    """Train the segmenters side by side."""
    with dsl.ParallelFor(sensors) as sensor:
        trained = training(
            segment_train(
                scenes=scenes,
                sensor=sensor,
                truth=truth,
                holdout=holdout,
                start=start,
                pretrain_steps=pretrain_steps,
                steps=steps,
                seed=seed,
            ),
            gpus=1,
        )
    return dsl.Collected(trained.outputs["model"])


@dsl.pipeline(
    name="sea-ice-training",
    description="Train the segmenters and the matcher, and put into use what is better.",
    pipeline_config=LIFETIME,
)
def sea_ice_training(
    passes: list[str],
    truth: list[str],
    holdout: list[str],
    registry: str,
    start: list[str] = [],  # noqa: B006 - KFP takes the default from the signature
    pretrain_steps: int = 40,
    steps: int = 280,
    matcher_steps: int = 260,
    max_speed_m_s: float = 1.0,
    seed: int = 0,
    services: list[str] = [],  # noqa: B006
    store: str = "",
    canary: list[int] = [10],  # noqa: B006
) -> Outputs:
    """Train, evaluate on held-out passes, track the trainings, register what passes the gate and make the better ones champions.

    Args:
        passes: Where the passes are.
        truth: Places of the label rasters to train on.
        holdout: Places of the label rasters to evaluate on.
        registry: The model registry: a folder, one in S3, or the address of an MLflow server.
        start: Places of segmenters to go on from, at most one a sensor; the others begin with random weights.
        pretrain_steps: Self-supervised steps of each segmenter.
        steps: Supervised steps of each segmenter.
        matcher_steps: Steps of the matcher.
        max_speed_m_s: How fast a floe may drift.
        seed: Same seed, same models.
        services: InferenceServices that are to serve the champions, each NAMESPACE/NAME.
        store: `s3://BUCKET/NAME` that they read models from; empty: nothing is deployed.
        canary: Percents of the traffic that new champions get, one after the other, before all.
    """
    found = small(ingest(passes=passes))
    scenes = passes_to_scenes(manifest=found.outputs["manifest"], pass_ids=found.outputs["pass_ids"])
    segmenters = train_segmenters(
        scenes=scenes.output,
        sensors=found.outputs["sensors"],
        truth=truth,
        holdout=holdout,
        start=start,
        pretrain_steps=pretrain_steps,
        steps=steps,
        seed=seed,
    )
    segments = medium(segment(scenes=scenes.output, models=segmenters.output))
    graph = medium(graph_build(scenes=scenes.output, segments=segments.outputs["segments"], max_speed_m_s=max_speed_m_s))
    matcher = training(
        gnn_train(graph=graph.outputs["graph"], floes=graph.outputs["floes"], truth=truth, holdout=holdout, steps=matcher_steps, seed=seed)
    )
    tracks = medium(track(graph=graph.outputs["graph"], model=matcher.outputs["model"]))
    verdict = medium(
        evaluate(
            manifest=found.outputs["manifest"],
            scenes=scenes.output,
            floes=graph.outputs["floes"],
            tracks=tracks.outputs["tracks"],
            segmenters=segmenters.output,
            matcher=matcher.outputs["model"],
            truth=holdout,
            only_known=True,
        )
    )
    versions = medium(
        register(
            scenes=scenes.output,
            segmenters=segmenters.output,
            matcher=matcher.outputs["model"],
            results=verdict.outputs["results"],
            holdout=holdout,
            registry=registry,
        )
    )
    with dsl.If(store != "", "deploy"):
        small(deploy(registered=versions.outputs["registered"], registry=registry, services=services, store=store, canary=canary))
    return Outputs(
        scenes=scenes.output,
        segmenters=segmenters.output,
        floes=graph.outputs["floes"],
        matcher=matcher.outputs["model"],
        tracks=tracks.outputs["tracks"],
        results=verdict.outputs["results"],
        registered=versions.outputs["registered"],
    )
