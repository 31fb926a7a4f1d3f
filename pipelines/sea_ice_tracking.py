"""Tracking: raw passes to floes, tracks, drift and a report, with models that are given.

ingest → [calibrate → fuse] × pass → segment → graph-build → track → evaluate
"""

from typing import NamedTuple

from kfp import dsl

from components.evaluate.component import evaluate
from components.graph_build.component import graph_build
from components.ingest.component import ingest
from components.segment.component import segment
from components.track.component import track
from pipelines.lifetime import LIFETIME
from pipelines.resources import medium, small
from pipelines.scenes import passes_to_scenes


class Outputs(NamedTuple):
    """What a run leaves: each a folder, or one a pass."""

    scenes: list[dsl.Dataset]
    floes: dsl.Dataset
    tracks: dsl.Dataset
    results: dsl.Dataset


@dsl.pipeline(name="models", description="Bring models that lie somewhere into the run.")
def import_models(uris: list[str]) -> list[dsl.Model]:
    """One model artifact for each place."""
    with dsl.ParallelFor(uris) as uri:
        model = dsl.importer(artifact_uri=uri, artifact_class=dsl.Model, reimport=False)
    return dsl.Collected(model.output)


@dsl.pipeline(name="sea-ice-tracking", description="Track the floes of a few passes with trained models.", pipeline_config=LIFETIME)
def sea_ice_tracking(
    passes: list[str],
    segmenters: list[str],
    matcher: str,
    truth: list[str] = [],  # noqa: B006 - KFP takes the default from the signature
    max_speed_m_s: float = 1.0,
    radar: dict = {},  # noqa: B006
) -> Outputs:
    """Find the floes of each pass and follow them.

    Args:
        passes: Where the passes are.
        segmenters: Places of the models that find floes.
        matcher: Place of the model that matches them.
        truth: Places of label rasters, where floes are known; may be empty.
        max_speed_m_s: How fast a floe may drift.
        radar: What to make of Sentinel-1 products, by name: quantity, speckle, nesz, balance, area, pixel_m, normalise.
    """
    found = small(ingest(passes=passes))
    scenes = passes_to_scenes(manifest=found.outputs["manifest"], pass_ids=found.outputs["pass_ids"], radar=radar)
    models = import_models(uris=segmenters)
    matching = dsl.importer(artifact_uri=matcher, artifact_class=dsl.Model, reimport=False)
    segments = medium(segment(scenes=scenes.output, models=models.output))
    graph = medium(graph_build(scenes=scenes.output, segments=segments.outputs["segments"], max_speed_m_s=max_speed_m_s))
    tracks = medium(track(graph=graph.outputs["graph"], model=matching.output))
    verdict = medium(
        evaluate(
            manifest=found.outputs["manifest"],
            scenes=scenes.output,
            floes=graph.outputs["floes"],
            tracks=tracks.outputs["tracks"],
            segmenters=models.output,
            matcher=matching.output,
            truth=truth,
            only_known=False,
        )
    )
    return Outputs(scenes=scenes.output, floes=graph.outputs["floes"], tracks=tracks.outputs["tracks"], results=verdict.outputs["results"])
