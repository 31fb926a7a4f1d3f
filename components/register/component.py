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
    """Put the models into the registry, with the figures that they passed the gate with.

    Args:
        segmenters: The models that find floes.
        matcher: The model that matches them.
        results: What evaluate wrote.
        registry: Folder of the registry.
    """
    import json
    from pathlib import Path

    from icegraph.errors import told
    from icegraph.evaluate import flat_metrics
    from icegraph.registry import model_name, promote, register

    with told():
        figures = flat_metrics(json.loads((Path(results.path) / "metrics.json").read_text()))
        gate = json.loads((Path(results.path) / "gate.json").read_text())
        for model in (Path(model.path) for model in [*segmenters, matcher]):
            version = register(model, Path(registry), metrics=figures, name=model_name(model), gate=gate)
            print(promote(version))
