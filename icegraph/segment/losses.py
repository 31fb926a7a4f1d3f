"""What training minimises. Pixels of which nothing is known weigh nothing."""

import torch
from torch import Tensor
from torch.nn import functional

from icegraph.segment.chips import NOT_FLOE, UNKNOWN
from icegraph.segment.model import FLOE

_NEAR = 3.0  # weight of pixels beside a boundary, where one-pixel cracks are decided; 1 elsewhere
_DISTANCE = 0.3  # weight of the distance against the classes


def segment_loss(logits: Tensor, distance: Tensor, classes: Tensor, true_distance: Tensor, near: Tensor) -> Tensor:
    """Cross-entropy and dice for the classes, smooth L1 for the distance.

    Args:
        logits: [B, 3, H, W].
        distance: Predicted, [B, H, W], pixels.
        classes: [B, H, W], int64: 0 water, 1 brash, 2 floe, `NOT_FLOE`: water or brash, `UNKNOWN`: no loss.
        true_distance: [B, H, W], pixels, capped.
        near: 1 beside a boundary, else 0, [B, H, W].
    """
    weight = (classes != UNKNOWN).float() * (1 + (_NEAR - 1) * near)
    total = weight.sum().clamp(min=1)
    logp = logits.log_softmax(1)
    exact = logp.gather(1, classes.clamp(max=2)[:, None])[:, 0]
    either = torch.logsumexp(logp[:, :FLOE], 1)
    entropy = -(weight * torch.where(classes == NOT_FLOE, either, exact)).sum() / total
    floe, true = logp[:, FLOE].exp(), (classes == FLOE).float()
    dice = 1 - (2 * (weight * floe * true).sum() + 1) / ((weight * (floe + true)).sum() + 1)
    depth = (weight * functional.smooth_l1_loss(distance, true_distance, reduction="none")).sum() / total
    return entropy + dice + _DISTANCE * depth


def repaint_loss(repainted: Tensor, inputs: Tensor, hidden: Tensor) -> Tensor:
    """Mean absolute error of repainted bands [B, 2C, H, W] against `inputs` [B, 2C+1, H, W], where `hidden` [B, 1, H, W] and seen."""
    judged = hidden * inputs[:, -1:]
    # A band that is missing is zero throughout: it is not judged, else the network would learn to paint nothing.
    present = (inputs[:, :-1].abs().amax((2, 3), keepdim=True) > 0) * judged
    return ((repainted - inputs[:, :-1]).abs() * present).sum() / present.sum().clamp(min=1)
