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
    from icegraph.progress import print_progress
    from icegraph.scene import scene_folders
    from icegraph.segment import segment_all

    with told():
        segment_all(
            scene_folders([Path(scene.path) for scene in scenes]),
            [Path(model.path) for model in models],
            Path(segments.path),
            progress=print_progress,
        )
