"""What training minimises."""

import pytest
import torch

from icegraph.segment.chips import NOT_FLOE, UNKNOWN
from icegraph.segment.losses import repaint_loss, segment_loss


def example() -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 3, 8, 8, generator=generator, requires_grad=True)
    distance = torch.rand(1, 8, 8, generator=generator).requires_grad_()
    classes = torch.randint(0, 3, (1, 8, 8), generator=generator)
    true = torch.rand(1, 8, 8, generator=generator) * 4
    near = (torch.rand(1, 8, 8, generator=generator) > 0.5).float()
    return logits, distance, classes, true, near


def test_unknown_pixels_get_no_gradient() -> None:
    logits, distance, classes, true, near = example()
    classes[:, :4] = UNKNOWN
    segment_loss(logits, distance, classes, true, near).backward()
    assert logits.grad is not None
    assert distance.grad is not None
    assert not logits.grad[:, :, :4].any()
    assert not distance.grad[:, :4].any()
    assert logits.grad[:, :, 4:].abs().amin() > 0


def test_nothing_known_is_no_loss_and_no_gradient() -> None:
    logits, distance, classes, true, near = example()
    segment_loss(logits, distance, torch.full_like(classes, UNKNOWN), true, near).backward()
    assert logits.grad is not None
    assert not logits.grad.any()


def test_not_floe_leaves_water_and_brash_open() -> None:
    _, distance, classes, _, near = example()
    classes = torch.full_like(classes, NOT_FLOE)
    losses = []
    for kind in range(3):
        logits = torch.zeros(1, 3, 8, 8)
        logits[:, kind] = 9
        losses.append(segment_loss(logits, distance, classes, distance, near).item())
    assert losses[0] == pytest.approx(losses[1])
    assert losses[2] > losses[0] + 5


def test_a_perfect_answer_costs_next_to_nothing() -> None:
    _, _, classes, true, near = example()
    logits = 30 * torch.nn.functional.one_hot(classes, 3).permute(0, 3, 1, 2).float()
    assert segment_loss(logits, true, classes, true, near).item() < 1e-3


def test_repainting_is_judged_on_hidden_seen_pixels_of_present_bands() -> None:
    inputs = torch.ones(1, 5, 8, 8)
    inputs[:, 1] = 0
    inputs[:, -1, :2] = 0
    hidden = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    hidden[..., :4] = True
    repainted = torch.zeros(1, 4, 8, 8, requires_grad=True)
    loss = repaint_loss(repainted, inputs, hidden)
    loss.backward()
    assert loss.item() == pytest.approx(1.0)
    assert repainted.grad is not None
    assert not repainted.grad[:, 1].any()
    assert not repainted.grad[:, :, :2].any()
    assert not repainted.grad[..., 4:].any()
    assert repainted.grad[:, 0, 2:, :4].abs().amin() > 0
