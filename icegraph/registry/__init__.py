"""Versions of models, which of them is in use, and which models a run takes."""

from icegraph.registry.model_set import SHIPPED, ModelSet, judged_models, model_name, model_set
from icegraph.registry.versions import promote, register, resolve

__all__ = ["SHIPPED", "ModelSet", "judged_models", "model_name", "model_set", "promote", "register", "resolve"]
