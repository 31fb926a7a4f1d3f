"""Models: tracked, registered, promoted and rolled back, and which of them a run takes."""

from icegraph.registry.in_use import bring, resolve, use
from icegraph.registry.model_set import SHIPPED, ModelSet, judged_models, model_name, model_set
from icegraph.registry.registry import Registry, Version, registered_in

__all__ = [
    "SHIPPED",
    "ModelSet",
    "Registry",
    "Version",
    "bring",
    "judged_models",
    "model_name",
    "model_set",
    "registered_in",
    "resolve",
    "use",
]
