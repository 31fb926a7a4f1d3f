"""The segmenter: a network that tells water, brash and floe and how deep inside a floe a pixel is; and its folder on disk."""

import json
from pathlib import Path
from typing import Literal, Self, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor, nn
from torch.nn import functional

from icegraph.errors import ModelError
from icegraph.segment.networks import STRIDE, Backbone, Network, ThresholdSizes, UNetSizes, build
from icegraph.segment.normalise import channels
from icegraph.segment.threshold import Threshold
from icegraph.weights import load_weights

WATER, BRASH, FLOE = 0, 1, 2
CONFIG, WEIGHTS = "config.json", "model.safetensors"


class FloeRule(BaseModel):
    """How pixels become floes (see `icegraph.segment.instances`); tuned at the end of training where scenes were held out.

    Attributes:
        probability: A pixel is ice of a floe above this floe probability.
        edge: And of one that begins with `icegraph.segment.instances.LARGE_PX` pixels or more above this: of the smallest floes most pixels
            are rim, and blurred.
        marker_px: A floe begins where the distance to its boundary exceeds this, pixels.
        min_area_px: Smaller floes are dropped, pixels.
        min_solidity: What fills less of its convex hull than this is no floe and is dropped. Of 1382 outlines drawn by hand none fills
            less than 0.81, nor than 0.87 from 500 pixels on.
        max_roughness: What has a rim longer than so many times the rim of its box is no floe and is dropped. Of the outlines drawn by hand
            none has one longer than 1.12.
        min_contrast: What is brighter than what lies beyond its rim by less than this is no floe and is dropped, where brightness is told
            (`icegraph.segment.frames.Tile`). Of 1384 outlines drawn by hand seven have less; of what networks that had not seen slush
            outlined on it none had more than 0.26.
        min_confidence: A floe whose mean floe probability is lower is dropped.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    probability: float = Field(0.3, gt=0, lt=1)
    edge: float = Field(0.45, gt=0, lt=1)
    marker_px: float = Field(1.9, gt=0)
    min_area_px: int = Field(25, ge=1)
    min_solidity: float = Field(0.7, ge=0, lt=1)
    max_roughness: float = Field(1.4, gt=1)
    min_contrast: float = Field(0.3, ge=0)
    min_confidence: float = Field(0.0, ge=0, le=1)


class SegmenterConfig(BaseModel):
    """All that is needed to build the network and to use it: `config.json` of a segmenter's folder.

    Attributes:
        kind: Always `icegraph-segmenter`: tells this folder from other models.
        version: Of this layout.
        sensor: `sar` or `optical`.
        bands: The bands it reads, in order.
        network: Which network, and its sizes.
        local_px: Half-width of the neighbourhood that inputs are normalised by, pixels.
        distance_cap_px: Distances to a floe's boundary are learnt up to this, pixels.
        tile_px: Side of a prediction tile without its halo, pixels.
        halo_px: What a tile sees beyond its sides, pixels.
        sharpness: Power of the odds of floe that makes its probability as sure as it is right; fitted at the end of training.
        rule: How pixels become floes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["icegraph-segmenter"] = "icegraph-segmenter"
    version: Literal[2] = 2
    sensor: Literal["sar", "optical"]
    bands: tuple[str, ...] = Field(min_length=1, max_length=64)
    network: Network = UNetSizes()
    local_px: int = Field(20, ge=1, le=200)
    distance_cap_px: float = Field(8.0, gt=1, le=64)
    tile_px: int = Field(128, ge=STRIDE, le=4096, multiple_of=STRIDE)
    halo_px: int = Field(32, ge=0, le=1024, multiple_of=STRIDE)
    sharpness: float = Field(1.0, gt=0, le=10)
    rule: FloeRule = FloeRule()

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.bands)) != len(self.bands):
            raise ValueError("a band is named twice")
        return self


class Segmenter(nn.Module):
    """Classes and distances to the floe's boundary, for every pixel."""

    def __init__(self, config: SegmenterConfig) -> None:
        super().__init__()
        self.config = config
        inputs = channels(len(config.bands))
        self.network: Backbone
        self.outputs: nn.Module = nn.Identity()
        self.repaint: nn.Module = nn.Identity()
        if isinstance(config.network, ThresholdSizes):
            self.network = Threshold(config.network, config.bands)
        else:
            self.network = build(config.network, inputs)
            self.outputs, self.repaint = (nn.Conv2d(self.network.width, count, 1) for count in (4, inputs - 1))

    def forward(self, inputs: Tensor, halo: int = 0) -> tuple[Tensor, Tensor]:
        """Predict.

        Args:
            inputs: [B, 2C+1, H, W] from `network_input`; H and W multiples of 16.
            halo: Of so many pixels around, all but `EDGE` are left out of what is given.

        Returns:
            Class logits [B, 3, H, W] (water, brash, floe), and the distance to the floe's boundary [B, H, W] in pixels, 0 outside floes.
        """
        out = self.outputs(self.network(inputs, halo))
        return out[:, :3], functional.softplus(out[:, 3]) * 2

    def reconstruct(self, inputs: Tensor) -> Tensor:
        """Repaint the bands of a partly hidden input [B, 2C+1, H, W]: the normalised values [B, 2C, H, W]. Used in pre-training only."""
        return cast(Tensor, self.repaint(self.network(inputs)))


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
