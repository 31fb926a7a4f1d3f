"""The model that a request names."""

from typing import Any

from kserve.protocol.dataplane import DataPlane

from icegraph.serve.refusal import Refused, Why


def find_model(plane: DataPlane, name: str, version: str = "") -> Any:
    """A model by its name and, where given, the version that it must have in service.

    Raises:
        Refused: There is none.
    """
    models = plane.model_registry.get_models()
    if name not in models:
        raise Refused(Why.UNKNOWN, f"there is no model {name[:80]!r}; there are {', '.join(models)}.")
    if version and version not in models[name].versions:
        raise Refused(Why.UNKNOWN, f"{name} has no version {version[:80]!r} in service.")
    return models[name]


async def require_ready(plane: DataPlane, name: str, version: str = "") -> None:
    """The same, for a model that is to answer.

    Raises:
        Refused: There is none, or it is not loaded yet.
    """
    if not await find_model(plane, name, version).healthy():
        raise Refused(Why.NOT_READY, f"{name} is not loaded yet; ask again.", retry_after_s=1)
