"""register: trainings are tracked, and models that passed the gate become versions that other runs can name."""

from kfp import dsl

from components import PIPELINE_IMAGE


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def register(
    scenes: dsl.Input[list[dsl.Dataset]],
    segmenters: dsl.Input[list[dsl.Model]],
    matcher: dsl.Input[dsl.Model],
    results: dsl.Input[dsl.Dataset],
    holdout: list[str],
    registry: str,
    registered: dsl.Output[dsl.Dataset],
) -> str:
    """Track the trainings; where the gate let the models pass, register those that it judged and make them champions if they are better.

    A segmenter of a sensor that no judged pass came from is tracked, and not registered. The held-out passes are pinned as evaluation set
    where none is.

    Args:
        scenes: Scene folders.
        segmenters: The models that find floes.
        matcher: The model that matches them.
        results: What evaluate wrote.
        holdout: Places of the label rasters that the models were judged by.
        registry: A folder; in S3 (`s3://BUCKET/NAME`) it is one item, which is brought, added to and committed anew; or the address of an
            MLflow server.
        registered: Folder with registered.json: each model, its version, and whether it is the champion, or why not.

    Returns:
        `pass` or `fail`: the gate's verdict.
    """
    import json
    from pathlib import Path

    from icegraph.errors import told
    from icegraph.places import brought
    from icegraph.progress import print_progress
    from icegraph.scene import scene_folders
    from icegraph.trial import register_trained
    from icegraph.truth import find_truth

    with told(), brought(holdout) as labelled:
        outcomes = register_trained(
            [Path(model.path) for model in [*segmenters, matcher]],
            registry,
            Path(results.path),
            scene_folders([Path(scene.path) for scene in scenes]),
            find_truth(labelled),
            progress=print_progress,
        )
        out = Path(registered.path)
        out.mkdir(parents=True, exist_ok=True)
        (out / "registered.json").write_text(json.dumps(outcomes, indent=2) + "\n")
        for outcome in outcomes:
            print(f"{outcome['name']}: {outcome['told']}")
        return "pass" if json.loads((Path(results.path) / "gate.json").read_text())["passed"] else "fail"
