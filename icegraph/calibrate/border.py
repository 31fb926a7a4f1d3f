"""Where a Sentinel-1 product has no data."""

import numpy as np
from numpy.typing import NDArray

from icegraph.calibrate.compiled import compiled

BORDER = 5  # pixels: zeros are border where they fill BORDER × BORDER pixels; a lone zero is dark water
HALO = BORDER - 1

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]


def border(dn: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """Where a product has no data, [H, W]: zeros that fill a square of BORDER pixels, which may reach over the image's edge."""
    mask = np.zeros(dn.shape, np.uint8)
    _fill(dn, mask)
    return mask.view(np.bool_)


@compiled
def _fill(dn: NDArray[np.uint16], mask: Bytes) -> None:
    """An opening of the zeros by the square: each direction once for the least and once for the greatest of BORDER neighbours."""
    height, width = dn.shape
    zero = np.ones((height + 2 * HALO, width + 2 * HALO), np.uint8)
    found = 0
    for i in range(height):
        number, to = dn[i], zero[HALO + i, HALO : HALO + width]
        for j in range(width):
            to[j] = number[j] == 0
            found += to[j]
    if found == 0:
        return
    filled = np.zeros((height + HALO, width + HALO), np.uint8)  # a square's lower right corner → whether it is full
    for i in range(height + HALO):
        to = filled[i]
        for j in range(width + HALO):
            to[j] = 1
        for k in range(BORDER):
            for m in range(BORDER):
                line = zero[i + k, m : m + width + HALO]
                for j in range(width + HALO):
                    to[j] &= line[j]
    for i in range(height):
        to = mask[i]
        for k in range(BORDER):
            for m in range(BORDER):
                line = filled[i + k, m : m + width]
                for j in range(width):
                    to[j] |= line[j]
        own = zero[HALO + i, HALO : HALO + width]
        for j in range(width):
            to[j] &= own[j]
