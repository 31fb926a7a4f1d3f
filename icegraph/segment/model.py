"""The segmenter: a SegFormer with a full-resolution detail branch, and its folder on disk.

      input [B, 2C+1, H, W] ──┬── SegFormer encoder: 1/2, 1/4, 1/8, 1/16 ── all-MLP decoder at 1/2 ── ×2 ──┐
                              └── detail: two 3 × 3 convolutions at full resolution ───────────────────────┴── join ── outputs [B, 4, H, W]

SegFormer (Xie et al. 2021, doi 10.48550/arXiv.2105.15203) answers at a quarter of the input's resolution, where a crack of one pixel
between two floes is gone. So the stem's stride is 2 instead of 4, and what it knows is joined with a shallow branch that never loses a
pixel.
"""

import json
from pathlib import Path
from typing import Any, Literal, Self, cast

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor, nn
from torch.nn import functional
from transformers import SegformerConfig, SegformerModel

from icegraph.errors import ModelError
from icegraph.segment.normalise import channels
from icegraph.weights import load_weights

WATER, BRASH, FLOE = 0, 1, 2
CONFIG, WEIGHTS = "config.json", "model.safetensors"
STRIDE = 16  # height and width of an input are multiples of this


class FloeRule(BaseModel):
    """How pixels become floes (see `icegraph.segment.instances`); tuned at the end of training.

    Attributes:
        probability: A pixel is ice of a floe above this floe probability.
        marker_px: A floe begins where the distance to its boundary exceeds this, pixels.
        min_area_px: Smaller floes are dropped, pixels.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    probability: float = Field(0.3, gt=0, lt=1)
    marker_px: float = Field(1.6, gt=0)
    min_area_px: int = Field(25, ge=1)


class SegmenterConfig(BaseModel):
    """All that is needed to build the network and to use it: `config.json` of a segmenter's folder.

    Attributes:
        kind: Always `icegraph-segmenter`: tells this folder from other models.
        version: Of this layout.
        sensor: `sar` or `optical`.
        bands: The bands it reads, in order.
        hidden: Width of each of the four encoder stages.
        depths: Transformer blocks of each stage.
        heads: Attention heads of each stage.
        reductions: Each stage's attention looks at keys thinned by this factor along rows and columns.
        decoder: Width of the decoder.
        detail: Width of the detail branch.
        local_px: Half-width of the neighbourhood that inputs are normalised by, pixels.
        distance_cap_px: Distances to a floe's boundary are learnt up to this, pixels.
        tile_px: Side of a prediction tile without its halo, pixels.
        halo_px: What a tile sees beyond its sides, pixels.
        rule: How pixels become floes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["icegraph-segmenter"] = "icegraph-segmenter"
    version: Literal[1] = 1
    sensor: Literal["sar", "optical"]
    bands: tuple[str, ...] = Field(min_length=1, max_length=64)
    hidden: tuple[int, int, int, int] = (16, 32, 64, 96)
    depths: tuple[int, int, int, int] = (1, 1, 1, 1)
    heads: tuple[int, int, int, int] = (1, 2, 4, 4)
    reductions: tuple[int, int, int, int] = (8, 4, 2, 1)
    decoder: int = Field(32, ge=8, le=1024)
    detail: int = Field(16, ge=4, le=256)
    local_px: int = Field(20, ge=1, le=200)
    distance_cap_px: float = Field(8.0, gt=1, le=64)
    tile_px: int = Field(128, ge=STRIDE, le=4096, multiple_of=STRIDE)
    halo_px: int = Field(32, ge=0, le=1024, multiple_of=STRIDE)
    rule: FloeRule = FloeRule()

    @model_validator(mode="after")
    def _buildable(self) -> Self:
        sizes = [*self.hidden, *self.depths, *self.heads, *self.reductions]
        if min(sizes) < 1 or max(sizes) > 1024 or any(h % n for h, n in zip(self.hidden, self.heads, strict=True)):
            raise ValueError("stage sizes must be 1..1024, each width a multiple of its heads")
        if len(set(self.bands)) != len(self.bands):
            raise ValueError("a band is named twice")
        return self


class Segmenter(nn.Module):
    """Classes and distances to the floe's boundary, for every pixel."""

    def __init__(self, config: SegmenterConfig) -> None:
        super().__init__()
        self.config = config
        width, detail, inputs = config.decoder, config.detail, channels(len(config.bands))
        self.encoder = SegformerModel(_encoder_config(config))
        self.levels = nn.ModuleList(nn.Conv2d(hidden, width, 1) for hidden in config.hidden)
        self.fuse = nn.Sequential(nn.BatchNorm2d(width), nn.GELU(), nn.Conv2d(width, detail, 1))
        self.detail = nn.Sequential(_block(inputs, detail), _block(detail, detail))
        self.join = _block(2 * detail, detail)
        self.outputs = nn.Conv2d(detail, 4, 1)
        self.repaint = nn.Conv2d(detail, inputs - 1, 1)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Predict.

        Args:
            inputs: [B, 2C+1, H, W] from `network_input`; H and W multiples of 16.

        Returns:
            Class logits [B, 3, H, W] (water, brash, floe), and the distance to the floe's boundary [B, H, W] in pixels, 0 outside floes.
        """
        out = self.outputs(self.features(inputs))
        return out[:, :3], functional.softplus(out[:, 3]) * 2

    def reconstruct(self, inputs: Tensor) -> Tensor:
        """Repaint the bands of a partly hidden input [B, 2C+1, H, W]: the normalised values [B, 2C, H, W]. Used in pre-training only."""
        return cast(Tensor, self.repaint(self.features(inputs)))

    def features(self, inputs: Tensor) -> Tensor:
        """Joined features [B, D, H, W] at full resolution."""
        stages = self.encoder(inputs, output_hidden_states=True).hidden_states
        deep = torch.zeros(())
        # From coarse to fine: each level is enlarged by 2 only, which costs less than enlarging all of them to the finest.
        for level, stage in zip(reversed(list(self.levels)), reversed(stages), strict=True):
            level_out = level(stage)
            deep = level_out if deep.ndim == 0 else level_out + _double(deep)
        return cast(Tensor, self.join(torch.cat([_double(self.fuse(deep)), self.detail(inputs)], 1)))


def load_segmenter(folder: Path) -> Segmenter:
    """Load a segmenter's folder: `config.json` and `model.safetensors`, nothing else is read or run.

    Raises:
        ModelError: The folder is no segmenter, or a file of it is missing, damaged or does not fit the other.
    """
    config = read_config(folder)
    return load_weights(lambda: Segmenter(config), folder / WEIGHTS, "name the folder of a trained segmenter, or train one again")


def read_config(folder: Path) -> SegmenterConfig:
    """Read `config.json` of a segmenter's folder.

    Raises:
        ModelError: It is missing, or not the config of a segmenter.
    """
    path = folder / CONFIG
    mend = "name the folder of a trained segmenter, or train one again"
    try:
        return SegmenterConfig.model_validate(json.loads(path.read_text()))
    except OSError as error:
        raise ModelError(path, f"it cannot be read ({error.strerror or error})", mend) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "it"
        raise ModelError(path, f"not the config of a segmenter: {where}: {first['msg']}", mend) from error
    except (ValueError, RecursionError) as error:
        raise ModelError(path, f"it is not JSON ({error})", mend) from error


def _encoder_config(config: SegmenterConfig) -> SegformerConfig:
    settings: dict[str, Any] = {
        "num_channels": channels(len(config.bands)),
        "hidden_sizes": list(config.hidden),
        "depths": list(config.depths),
        "num_attention_heads": list(config.heads),
        "sr_ratios": list(config.reductions),
        "patch_sizes": [5, 3, 3, 3],
        "strides": [2, 2, 2, 2],
        "mlp_ratios": [4, 4, 4, 4],
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "drop_path_rate": 0.0,
    }
    return SegformerConfig(**settings)


def _block(inputs: int, outputs: int) -> nn.Sequential:
    # Batch statistics, frozen after training: statistics of the tile at hand would make a pixel's answer depend on where the tiles fall.
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.GELU())


def _double(image: Tensor) -> Tensor:
    return functional.interpolate(image, scale_factor=2.0, mode="bilinear", align_corners=False)
