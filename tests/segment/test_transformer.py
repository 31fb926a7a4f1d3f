"""SegFormer's encoder, against the one that others wrote."""

import numpy as np
import torch
from transformers import SegformerConfig, SegformerModel

from icegraph.segment.transformer import MixTransformer

WIDTHS, DEPTHS, HEADS, REDUCTIONS = (8, 16, 24, 32), (1, 2, 1, 1), (1, 2, 3, 4), (8, 4, 2, 1)


def test_it_gives_what_anothers_gives_with_the_same_weights() -> None:
    torch.manual_seed(0)
    ours = MixTransformer(5, WIDTHS, DEPTHS, HEADS, REDUCTIONS).eval()
    settings = {
        "num_channels": 5,
        "hidden_sizes": WIDTHS,
        "depths": DEPTHS,
        "num_attention_heads": HEADS,
        "sr_ratios": REDUCTIONS,
        "patch_sizes": (5, 3, 3, 3),
        "strides": (2, 2, 2, 2),
        "mlp_ratios": (4, 4, 4, 4),
    }
    others = SegformerModel(SegformerConfig(**settings)).eval()
    with torch.no_grad():
        for mine, theirs in zip(ours.parameters(), others.parameters(), strict=True):
            mine.copy_(torch.randn_like(mine) / mine[0].numel() ** 0.5)
            theirs.copy_(mine.view_as(theirs))
        image = torch.randn(2, 5, 96, 64)
        found, wanted = ours(image), others(image, output_hidden_states=True).hidden_states
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine.std() > 0.1
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)
