"""The classical segmenter: brighter than its neighbourhood is ice, and ice far from water is the middle of a floe.

A threshold on local brightness and a watershed of the distance to the boundary, the recipe of most floe finders before learned ones
(Lopez-Acosta et al. 2019, doi 10.1016/j.rse.2019.111406, for MODIS). It is here for learned models to be held against, tuned on the same
scenes, through the same outlining.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter
from torch import Tensor

from icegraph.segment.networks import EDGE, Backbone, ThresholdSizes, without

READS = {"optical": ("red", "green", "blue", "nir"), "sar": ("hh_db", "vv_db", "hv_db", "vh_db")}  # bands in which ice is bright
# As `icegraph train --network threshold` tunes it on `data/floes`, and on radar passes of `icegraph simulate`.
TUNED: dict[str, dict[str, dict[str, str | float]]] = {
    "optical": {"network": {"arch": "threshold", "local": -0.4, "scene": 0.0}, "rule": {"probability": 0.5, "marker_px": 5.0}},
    "sar": {"network": {"arch": "threshold", "local": -0.8, "scene": 0.0}, "rule": {"probability": 0.5, "marker_px": 1.6}},
}
_SURE = 3.0  # logit of what the threshold says
_DEEPEST_PX = 60.0  # distances are told up to this
_DARK_ICE = ("swir22",)  # bands in which ice is no brighter than water
LOCAL, SCENE, MARKERS_PX = (-0.8, -0.4, 0.0, 0.4), (-1.2, -0.8, -0.4, 0.0), (1.6, 2.2, 3.0, 4.0, 5.0)  # what tuning chooses from


class Threshold(Backbone):
    """Logits of water, brash and floe, and what becomes the distance; nothing in it is learnt by descent."""

    width = 4

    def __init__(self, sizes: ThresholdSizes, bands: tuple[str, ...]) -> None:
        super().__init__()
        self._sizes = sizes
        self._count = len(bands)
        self._bright = [index for index, band in enumerate(bands) if band not in _DARK_ICE] or list(range(len(bands)))

    def forward(self, inputs: Tensor, halo: int = 0) -> Tensor:
        """[B, 4, H', W'] of an input [B, 2C+1, H, W]; see `Backbone`."""
        maps = [self._one(image) for image in inputs.float().cpu().numpy()]
        ice, distance = (torch.from_numpy(np.stack(part)).to(inputs.device) for part in zip(*maps, strict=True))
        floe = (2 * ice - 1) * _SURE
        raw = (distance / 2).clamp(min=1e-6).expm1().log()  # the segmenter's softplus gives the distance again
        return without(torch.stack([-floe, torch.full_like(floe, -2 * _SURE), floe, raw], 1), halo - EDGE)

    def _one(self, image: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        scene = image[self._bright].mean(0)
        local = image[[self._count + index for index in self._bright]].mean(0)
        ice = (local > self._sizes.local) & (scene > self._sizes.scene) & (image[-1] > 0)
        distance = gaussian_filter(distance_transform_edt(np.pad(ice, 1))[1:-1, 1:-1], self._sizes.blur_px)
        return ice.astype(np.float32), np.minimum(distance, _DEEPEST_PX).astype(np.float32)
