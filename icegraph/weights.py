"""Weights from a safetensors file into a network."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from icegraph.errors import ModelError

Network = TypeVar("Network", bound=nn.Module)


def load_weights(build: Callable[[], Network], path: Path, mend: str) -> Network:
    """Build a network and load its weights; gives it ready to predict.

    Args:
        build: Makes the network that config.json describes.
        path: The safetensors file beside it.
        mend: What the user can do about a bad file.

    Raises:
        ModelError: The file cannot be read, holds other tensors than the network has, or values that are not finite.
    """
    try:
        weights = load_file(path)
        # Built on no device first: a config that asks for far more than the file holds is refused before memory is taken for it.
        with torch.device("meta"):
            shapes = {name: tensor.shape for name, tensor in build().state_dict().items()}
        if shapes != {name: tensor.shape for name, tensor in weights.items()}:
            raise ModelError(path, "its tensors are not those that config.json describes", mend)
        if not all(bool(torch.isfinite(tensor).all()) for tensor in weights.values()):
            raise ModelError(path, "it holds values that are not finite", mend)
        network = build()
        network.load_state_dict(weights)
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise ModelError(path, f"the weights cannot be read ({error})", mend) from error
    return network.eval()
