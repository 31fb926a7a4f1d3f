"""A segmenter compiled for this machine's processor: a frame in, its maps out.

OpenVINO computes what PyTorch describes, in bfloat16 where the processor has instructions for it, else in float32. It is handed the network
in memory when a segmenter is loaded: a model's folder holds weights and a config alone.

A frame goes through alone and on one thread, as many frames at once as there are cores. So its bytes are a function of its pixels, whatever
else is asked at that moment and however many cores there are; they differ between kinds of processors. On a CPU nothing is lost: a stacked
frame costs as many processor seconds as one alone.
"""

import threading
import warnings
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache, lru_cache, partial

import numpy as np
import openvino as ov
import torch
from numpy.typing import NDArray
from openvino.frontend import FrontEndManager
from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
from torch import Tensor, nn

from icegraph.ahead import cores
from icegraph.segment.model import Segmenter
from icegraph.segment.networks import STRIDE, ThresholdSizes
from icegraph.segment.normalise import channels

FloatArray = NDArray[np.float32]
_SHAPES = 4  # kept compiled; a scene has no more: tiles within, at the right, at the bottom, and in the corner
_tracing = threading.Lock()  # PyTorch traces one module at a time


class Engine:
    """What predicts: a segmenter as it is now; what it learns later does not come in.

    Args:
        segmenter: The network; of a trained one as `load_segmenter` gives it.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        self.config = segmenter.config
        self._maps = _Maps(deepcopy(segmenter)).eval()  # OpenVINO copies no weights
        self._lock = threading.Lock()
        self._compiled: Callable[..., _Compiled] | None = None
        if not isinstance(self.config.network, ThresholdSizes):
            # Not a method of this engine: it would refer to itself, and its hundreds of megabytes stay until Python looks for such garbage.
            self._compiled = lru_cache(_SHAPES)(partial(_compile, _graph(self._maps)))

    def __call__(self, frame: FloatArray) -> FloatArray:
        """Predict one frame; may be called by several threads at once.

        Args:
            frame: A tile with its halo [2C + 1, S, T], from `network_input`; S and T multiples of 16.

        Returns:
            [4, S', T']: the probabilities of water, brash and floe, and the distance to the floe's boundary in pixels; of the halo, where
            there is one, `EDGE` pixels are left on each side.
        """
        if self._compiled is None:
            with torch.inference_mode():
                maps: FloatArray = self._maps(torch.from_numpy(frame)[None])[0].numpy()
            return maps
        with self._lock:
            compiled = self._compiled(*frame.shape)
        return compiled(frame)


@cache
def precision() -> str:
    """What networks are computed in on this machine: `bf16` or `f32`."""
    return "bf16" if "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"


@dataclass(frozen=True)
class _Compiled:
    """The network for frames of one shape; each frame under way has a request of its own, which is used again."""

    model: ov.CompiledModel
    idle: list[ov.InferRequest] = field(default_factory=list)

    def __call__(self, frame: FloatArray) -> FloatArray:
        try:
            request = self.idle.pop()
        except IndexError:
            request = self.model.create_infer_request()
        request.infer([frame[None]], share_inputs=True)
        maps: FloatArray = request.get_output_tensor(0).data[0].copy()
        self.idle.append(request)
        return maps


def _compile(graph: ov.Model, *shape: int) -> _Compiled:
    graph = graph.clone()
    graph.reshape([1, *shape])
    settings = {
        "INFERENCE_PRECISION_HINT": precision(),
        # As many streams as cores, of one thread each, that run where the system likes.
        "NUM_STREAMS": cores(),
        "INFERENCE_NUM_THREADS": cores(),
        "ENABLE_CPU_PINNING": False,
    }
    return _Compiled(_core().compile_model(graph, "CPU", settings))


class _Maps(nn.Module):
    """See `Engine.__call__`, with a batch of one before the other dimensions."""

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self._segmenter = segmenter

    def forward(self, frame: Tensor) -> Tensor:
        logits, distance = self._segmenter(frame, self._segmenter.config.halo_px)
        return torch.cat([logits.softmax(1), distance[:, None]], 1)


def _graph(maps: _Maps) -> ov.Model:
    """The network as OpenVINO takes it; by its frontend, as `openvino.convert_model` adds seconds, and telemetry."""
    config = maps._segmenter.config
    side = 2 * STRIDE + 2 * config.halo_px
    example = torch.zeros(1, channels(len(config.bands)), side, side + STRIDE)
    with _tracing, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing in general; `torch.export`, to which they point, takes ten times as long
        decoder = TorchScriptPythonDecoder(torch.jit.trace(maps, example, check_trace=False))  # type: ignore[no-untyped-call]
    frontend = FrontEndManager().load_by_framework("pytorch")
    return frontend.convert(frontend.load(decoder))


@cache
def _core() -> ov.Core:
    return ov.Core()
