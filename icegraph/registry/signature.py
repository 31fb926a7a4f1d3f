"""What goes into a model and what comes out, told to MLflow: a `MLmodel` file beside the weights, and nothing pickled."""

import json
from collections.abc import Sequence
from pathlib import Path

from icegraph.registry.content import DESCRIPTION

# Name, type and shape of each tensor; -1 is any length. B scenes of C bands, N floes of F features, E candidate pairs.
Tensors = Sequence[tuple[str, str, tuple[int, ...]]]


def describe(model: Path, run_id: str) -> None:
    """Write MLflow's description of a model into its folder.

    Args:
        model: Model folder.
        run_id: The run that made it.
    """
    import numpy as np
    from mlflow.models import Model
    from mlflow.models.signature import ModelSignature
    from mlflow.types import Schema, TensorSpec

    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    kind = str(config.get("kind", "")).removeprefix("icegraph-")
    inputs, outputs = _tensors(config)
    flavour = {"icegraph": {"kind": kind, "config": "config.json", "weights": "model.safetensors"}}
    told = {"bands": config["bands"]} if "bands" in config else {}

    def schema(tensors: Tensors) -> Schema:
        return Schema([TensorSpec(np.dtype(dtype), shape, name) for name, dtype, shape in tensors])

    signature = ModelSignature(schema(inputs), schema(outputs)) if inputs else None
    Model(artifact_path=model.name, run_id=run_id, flavors=flavour, signature=signature, metadata=told).save(str(model / DESCRIPTION))


def _tensors(config: dict[str, object]) -> tuple[Tensors, Tensors]:
    if isinstance(bands := config.get("bands"), list):
        image = [("pixels", "float32", (-1, len(bands), -1, -1))]
        return image, [("classes", "uint8", (-1, -1, -1)), ("labels", "uint32", (-1, -1, -1)), ("probability", "float32", (-1, -1, -1))]
    if isinstance(features := config.get("features"), list):
        floes = [("features", "float32", (-1, len(features))), ("positions", "float64", (-1, 2)), ("candidates", "int64", (2, -1))]
        return floes, [("probability", "float32", (-1,))]
    return [], []
