"""segment-train: a SegFormer for the scenes of one kind of sensor."""

from kfp import dsl

from components import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def segment_train(
    scenes: dsl.Input[list[dsl.Dataset]],
    sensor: str,
    truth: list[str],
    holdout: list[str],
    start: list[str],
    pretrain_steps: int,
    steps: int,
    seed: int,
    model: dsl.Output[dsl.Model],
):
    """Pre-train on all scenes of a sensor but the held-out ones, then train on those with known floes.

    Args:
        scenes: Scene folders of all sensors.
        sensor: `sar` or `optical`.
        truth: Places of the label rasters to train on.
        holdout: Places of the label rasters that are for evaluation: their scenes are not seen here.
        start: Places of models to go on from; for a sensor that has none, training begins with random weights.
        pretrain_steps: Steps of masked image modelling.
        steps: Steps of supervised training.
        seed: Same seed, same scenes, same model.
        model: Model folder: config.json, model.safetensors, history.json, README.md.
    """
    from pathlib import Path

    from icegraph.errors import told
    from icegraph.places import brought
    from icegraph.progress import print_progress
    from icegraph.scene import scene_folders
    from icegraph.segment import read_config
    from icegraph.segment.train import fit_segmenter
    from icegraph.truth import find_truth

    with told(), brought(truth) as shown, brought(holdout) as kept, brought(start) as begun:
        known, held = find_truth(shown), find_truth(kept)
        folders = scene_folders([Path(scene.path) for scene in scenes], sensor=sensor)
        mine = {pass_id: folder for pass_id, folder in folders.items() if pass_id not in held}
        known_models = [place for place in begun if read_config(place).sensor == sensor]
        fit_segmenter(
            [folder for pass_id, folder in mine.items() if pass_id in known],
            known,
            Path(model.path),
            sensor=sensor,
            unlabelled=list(mine.values()),
            start=known_models[0] if known_models else None,
            pretrain_steps=pretrain_steps,
            steps=steps,
            seed=seed,
            progress=print_progress,
        )
    model.metadata["sensor"] = sensor
