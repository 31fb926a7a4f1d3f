"""segment: scenes become labelled floes."""

from kfp import dsl

from components import PIPELINE_IMAGE


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def segment(scenes: dsl.Input[list[dsl.Dataset]], models: dsl.Input[list[dsl.Model]], segments: dsl.Output[dsl.Dataset]):
    """Find the floes of every scene with the model of its sensor.

    Args:
        scenes: Scene folders; refusals among them are passed over.
        models: Segmenters, one for each kind of sensor.
        segments: One folder a pass: labels.tif, classes.tif, floe_probability.tif, item.json.
    """
    from pathlib import Path

    from icegraph.errors import told
    from icegraph.ingest import Manifest
    from icegraph.progress import print_progress
    from icegraph.scene import scene_folders
    from icegraph.segment import segment_all
    from icegraph.store import code_version, read_refusal

    with told():
        places = [Path(scene.path) for scene in scenes]
        folders = scene_folders(places)
        if not folders:
            refused = [refusal for refusal in map(read_refusal, places) if refusal is not None]
            Manifest(passes=[], created_by=code_version()).refusing(refused).require_scenes()
        segment_all(
            folders,
            [Path(model.path) for model in models],
            Path(segments.path),
            progress=print_progress,
        )
