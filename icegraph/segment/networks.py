"""The networks behind a segmenter: each turns an input [B, I, H, W] into features [B, D, H, W] at full resolution.

What decides between two floes is a crack of one pixel, so every network here joins what it knows of the surroundings with a branch that
never loses a pixel. Normalisation uses the training's statistics: statistics of the tile at hand would make a pixel's answer depend on
where the tiles fall.

The halo of a tile is there for the coarse levels; on the way back to full resolution a few pixels of it are enough. A network that is told
of the halo leaves the rest out there, a fifth of all work, and gives the very features of the tile, and of `EDGE` pixels around it.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Literal, Self, cast

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from icegraph.segment.transformer import MixTransformer

STRIDE = 16  # height and width of an input are multiples of this: the coarsest level of each network
EDGE = 4  # given beyond a tile's sides, pixels
_SEEN = EDGE + 2  # two 3 × 3 convolutions use up two pixels; doubling the `EDGE` that is left of a coarser level gives more than this again
Width = Annotated[int, Field(ge=4, le=1024)]
Widths = tuple[Width, Width, Width, Width, Width]


class UNetSizes(BaseModel):
    """A U-Net (Ronneberger et al. 2015, doi 10.48550/arXiv.1505.04597) of five levels.

    Attributes:
        arch: Tells this network from the others.
        widths: Channels of each level, from full resolution to a sixteenth.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    arch: Literal["unet"] = "unet"
    widths: Widths = (16, 32, 64, 96, 128)


class LinkNetSizes(BaseModel):
    """A LinkNet (Chaurasia & Culurciello 2017, doi 10.48550/arXiv.1707.03718): a U-Net that adds its levels instead of stacking them.

    Attributes:
        arch: Tells this network from the others.
        widths: Channels of each level, from full resolution to a sixteenth.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    arch: Literal["linknet"] = "linknet"
    widths: Widths = (16, 32, 64, 96, 128)


class SegFormerSizes(BaseModel):
    """A SegFormer (Xie et al. 2021, doi 10.48550/arXiv.2105.15203) with a shallow branch at full resolution.

    SegFormer answers at a quarter of the input's resolution, where narrow cracks are gone: here its stem's stride is 2 instead of 4.

    Attributes:
        arch: Tells this network from the others.
        hidden: Width of each of the four encoder stages.
        depths: Transformer blocks of each stage.
        heads: Attention heads of each stage.
        reductions: Each stage's attention looks at keys thinned by this factor along rows and columns.
        decoder: Width of the decoder.
        detail: Width of the branch at full resolution.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    arch: Literal["segformer"] = "segformer"
    hidden: tuple[int, int, int, int] = (16, 32, 64, 96)
    depths: tuple[int, int, int, int] = (1, 1, 1, 1)
    heads: tuple[int, int, int, int] = (1, 2, 4, 4)
    reductions: tuple[int, int, int, int] = (8, 4, 2, 1)
    decoder: int = Field(32, ge=8, le=1024)
    detail: int = Field(16, ge=4, le=256)

    @model_validator(mode="after")
    def _buildable(self) -> Self:
        sizes = [*self.hidden, *self.depths, *self.heads, *self.reductions]
        if min(sizes) < 1 or max(sizes) > 1024 or any(h % n for h, n in zip(self.hidden, self.heads, strict=True)):
            raise ValueError("stage sizes must be 1..1024, each width a multiple of its heads")
        return self


class ThresholdSizes(BaseModel):
    """No network: see `icegraph.segment.threshold`.

    Attributes:
        arch: Tells it from the networks.
        local: A pixel is ice above this on its neighbourhood's scale.
        scene: And above this on the scene's scale.
        blur_px: Smoothing of the distance to the boundary, pixels.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    arch: Literal["threshold"] = "threshold"
    local: float = 0.0
    scene: float = -0.8
    blur_px: float = Field(0.8, ge=0, le=10)


Learned = UNetSizes | LinkNetSizes | SegFormerSizes
Network = Annotated[Learned | ThresholdSizes, Field(discriminator="arch")]


class Backbone(nn.Module):
    """A network; `width` is the number of its features.

    Called with an input [B, I, H, W] and its halo (pixels, 0 or a multiple of 16), it gives features [B, D, H', W'] with no more of the
    halo than `EDGE` pixels.
    """

    width: int


def build(network: Learned, inputs: int) -> Backbone:
    """The network of these sizes for `inputs` channels, with random weights."""
    match network:
        case UNetSizes():
            return UNet(network, inputs)
        case LinkNetSizes():
            return LinkNet(network, inputs)
        case SegFormerSizes():
            return SegFormer(network, inputs)


class UNet(Backbone):
    """See `UNetSizes`."""

    def __init__(self, sizes: UNetSizes, inputs: int) -> None:
        super().__init__()
        widths = sizes.widths
        self.width = widths[0]
        self.down = _levels(inputs, widths)
        self.up = nn.ModuleList(_pair(fine + coarse, fine) for fine, coarse in pairwise(widths))

    def forward(self, inputs: Tensor, halo: int = 0) -> Tensor:
        """Features; see `Backbone`."""
        *levels, out = _descend(self.down, inputs)
        for up, level, (surplus, edge) in zip(reversed(list(self.up)), reversed(levels), _cuts(halo), strict=True):
            out = up(torch.cat([without(_double(out), surplus), without(level, edge)], 1))
        return without(out, min(halo, _SEEN) - EDGE)


class LinkNet(Backbone):
    """See `LinkNetSizes`."""

    def __init__(self, sizes: LinkNetSizes, inputs: int) -> None:
        super().__init__()
        widths = sizes.widths
        self.width = widths[0]
        self.down = _levels(inputs, widths)
        self.narrow = nn.ModuleList(_block(coarse, fine) for fine, coarse in pairwise(widths))
        self.up = nn.ModuleList(_block(fine, fine) for fine in widths[:-1])

    def forward(self, inputs: Tensor, halo: int = 0) -> Tensor:
        """Features; see `Backbone`."""
        *levels, out = _descend(self.down, inputs)
        steps = zip(*(reversed(list(part)) for part in (self.narrow, self.up, levels)), _cuts(halo), strict=True)
        for narrow, up, level, (surplus, edge) in steps:
            out = up(without(_double(narrow(out)), surplus) + without(level, edge))
        return without(out, min(halo, _SEEN) - EDGE)


class SegFormer(Backbone):
    """See `SegFormerSizes`.

    input ──┬── encoder: 1/2, 1/4, 1/8, 1/16 ── all-MLP decoder at 1/2 ── ×2 ──┐
            └── detail: two 3 × 3 convolutions at full resolution ─────────────┴── join
    """

    def __init__(self, sizes: SegFormerSizes, inputs: int) -> None:
        super().__init__()
        self.width = sizes.detail
        self.encoder = MixTransformer(inputs, sizes.hidden, sizes.depths, sizes.heads, sizes.reductions)
        self.levels = nn.ModuleList(nn.Conv2d(hidden, sizes.decoder, 1) for hidden in sizes.hidden)
        self.fuse = nn.Sequential(nn.BatchNorm2d(sizes.decoder), nn.GELU(), nn.Conv2d(sizes.decoder, sizes.detail, 1))
        self.detail = _pair(inputs, sizes.detail)
        self.join = _block(2 * sizes.detail, sizes.detail)

    def forward(self, inputs: Tensor, halo: int = 0) -> Tensor:
        """Features; see `Backbone`."""
        stages = self.encoder(inputs)
        *finer, coarsest = (level(stage) for level, stage in zip(self.levels, stages, strict=True))
        # From coarse to fine: each level is enlarged by 2 only, which costs less than enlarging all of them to the finest.
        deep = coarsest
        for level in reversed(finer):
            deep = level + _double(deep)
        deep = without(_double(self.fuse(without(deep, halo // 2 - _SEEN))), min(halo, _SEEN))
        near = without(self.detail(without(inputs, halo - 2 * _SEEN)), min(halo, _SEEN))
        return without(cast(Tensor, self.join(torch.cat([deep, near], 1))), min(halo, _SEEN) - EDGE)


def without(image: Tensor, edge: int) -> Tensor:
    """An image [B, D, H, W] without `edge` pixels on each side, if that is more than none."""
    return image[..., edge:-edge, edge:-edge] if edge > 0 else image


def _levels(inputs: int, widths: Widths) -> nn.ModuleList:
    return nn.ModuleList(_pair(before, width) for before, width in zip((inputs, *widths), widths, strict=False))


def _descend(levels: nn.ModuleList, inputs: Tensor) -> list[Tensor]:
    """Each level's features, each at half the resolution of the one before."""
    found = [levels[0](inputs)]
    for level in levels[1:]:
        found.append(level(functional.max_pool2d(found[-1], 2)))
    return found


def _pair(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(_block(inputs, outputs), _block(outputs, outputs))


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


def _cuts(halo: int) -> Iterator[tuple[int, int]]:
    """What is cut from each side at each level on the way back, from coarse to fine: from the doubled coarser level, and from the level."""
    left = halo // STRIDE
    for stride in (8, 4, 2, 1):
        doubled, left = 2 * left, min(2 * left, _SEEN)
        yield doubled - left, halo // stride - left


def _double(image: Tensor) -> Tensor:
    return functional.interpolate(image, scale_factor=2.0, mode="bilinear", align_corners=False)
