"""register: models that passed the gate become versions that other runs can name."""

from kfp import dsl

from components import PIPELINE_IMAGE


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def register(
    segmenters: dsl.Input[list[dsl.Model]],
    matcher: dsl.Input[dsl.Model],
    results: dsl.Input[dsl.Dataset],
    registry: str,
):
    """Put the models that the gate judged into the registry, with the figures that they passed it with, and make them the ones in use.

    A segmenter of a sensor that no judged pass came from is left out.

    Args:
        segmenters: The models that find floes.
        matcher: The model that matches them.
        results: What evaluate wrote.
        registry: Folder of the registry; in S3 (`s3://BUCKET/NAME`) it is one item, which is brought, added to and committed anew.
    """
    import json
    from pathlib import Path

    from icegraph.errors import told
    from icegraph.evaluate import flat_metrics
    from icegraph.places import delivered
    from icegraph.registry import judged_models, model_name, promote, register

    with told(), delivered(registry, "*/champion.json", brings="") as place:
        figures = flat_metrics(json.loads((Path(results.path) / "metrics.json").read_text()))
        gate = json.loads((Path(results.path) / "gate.json").read_text())
        models = [Path(model.path) for model in [*segmenters, matcher]]
        judged = judged_models(models, gate)
        versions = [register(model, place, metrics=figures, name=model_name(model), gate=gate) for model in judged]
        for pointer in promote(versions):
            print(pointer)
        for model in models:
            if model not in judged:
                print(f"{model_name(model)} is not registered: no pass of its sensor was judged")
