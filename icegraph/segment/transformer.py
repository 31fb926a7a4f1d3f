"""The encoder of SegFormer (Xie et al. 2021, doi 10.48550/arXiv.2105.15203, section 3.1): Mix Transformers, without positions."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

_SPREAD = 0.02  # standard deviation of the weights at first


class MixTransformer(nn.Module):
    """Stages, each at half the resolution of the one before.

    The paper's first stage is at a quarter of the image's resolution, where narrow cracks between floes are gone.

    Args:
        inputs: I, channels of an image.
        widths: W of each stage.
        depths: Blocks of each stage.
        heads: Attention heads of each stage; its width is a multiple of them.
        reductions: Each stage's attention looks at keys thinned by this factor along rows and columns.
    """

    def __init__(self, inputs: int, widths: Sequence[int], depths: Sequence[int], heads: Sequence[int], reductions: Sequence[int]) -> None:
        super().__init__()
        sizes = zip((inputs, *widths), widths, (5, 3, 3, 3), depths, heads, reductions, strict=False)
        self.stages = nn.ModuleList(_Stage(*size) for size in sizes)
        self.apply(_initialise)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Features [B, W, H', W'] of each stage, fine to coarse, of an image [B, I, H, W]."""
        found = []
        for stage in self.stages:
            image = stage(image)
            found.append(image)
        return found


class _Stage(nn.Module):
    """Patches that overlap, at half the resolution, then blocks."""

    def __init__(self, inputs: int, width: int, patch: int, depth: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(inputs, width, patch, stride=2, padding=patch // 2)
        self.first = _PixelNorm(width)
        self.blocks = nn.ModuleList(_Block(width, heads, reduction) for _ in range(depth))
        self.last = _PixelNorm(width)

    def forward(self, image: Tensor) -> Tensor:
        image = self.first(self.patches(image))
        for block in self.blocks:
            image = block(image)
        found: Tensor = self.last(image)
        return found


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.before_attention, self.attention = _PixelNorm(width), _Attention(width, heads, reduction)
        self.before_mix = _PixelNorm(width)
        # Equation 3: the convolution between the layers tells a pixel where it is.
        self.mix = nn.Sequential(
            nn.Conv2d(width, 4 * width, 1),
            nn.Conv2d(4 * width, 4 * width, 3, padding=1, groups=4 * width),
            nn.GELU(),
            nn.Conv2d(4 * width, width, 1),
        )

    def forward(self, image: Tensor) -> Tensor:
        image = image + self.attention(self.before_attention(image))
        mixed: Tensor = image + self.mix(self.before_mix(image))
        return mixed


class _Attention(nn.Module):
    """Equations 1 and 2: each pixel asks squares of `reduction` × `reduction` pixels, one by one, rather than all pixels."""

    def __init__(self, width: int, heads: int, reduction: int) -> None:
        super().__init__()
        self._heads = heads
        self.query, self.key, self.value, self.out = (nn.Conv2d(width, width, 1) for _ in range(4))
        self.thin: nn.Module = nn.Identity()
        if reduction > 1:
            self.thin = nn.Sequential(nn.Conv2d(width, width, reduction, stride=reduction), _PixelNorm(width))

    def forward(self, image: Tensor) -> Tensor:
        asked = self.thin(image)
        query, key, value = map(self._by_head, (self.query(image), self.key(asked), self.value(asked)))
        answer = functional.scaled_dot_product_attention(query, key, value).transpose(2, 3)
        found: Tensor = self.out(answer.reshape(image.shape))
        return found

    def _by_head(self, image: Tensor) -> Tensor:
        """[B, W, H', W'] to [B, heads, H' · W', W / heads]."""
        pixels = image.flatten(2)
        return pixels.reshape(pixels.shape[0], self._heads, -1, pixels.shape[2]).transpose(2, 3)


class _PixelNorm(nn.LayerNorm):
    """Layer normalisation of each pixel's features [B, W, H, W']."""

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image.movedim(1, -1)).movedim(-1, 1)


def _initialise(part: nn.Module) -> None:
    if isinstance(part, nn.Conv2d):
        nn.init.normal_(part.weight, std=_SPREAD)
        nn.init.zeros_(part.bias)  # type: ignore[arg-type]
