"""What every reader gives: what a file tells of itself, and measurements at places."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from icegraph.bounds import Bounds

Float = NDArray[np.float64]
Bools = NDArray[np.bool_]

PLATFORM = "GCOM-W1"


class Partner(NamedTuple):
    """What a file tells of itself.

    Args:
        time: Middle of what it holds, UTC.
        bounds: West, south, east, north of it, degrees; west > east across 180 degrees.
        platform: The satellite.
        licence: Terms of use.
    """

    time: datetime
    bounds: Bounds
    platform: str
    licence: str


@dataclass(frozen=True)
class Points:
    """Measurements at the same places.

    Args:
        lon: Longitude, degrees, [N].
        lat: Latitude, degrees, [N].
        values: What was measured, [N, C].
        bands: Names of the C columns, with their units.
        sigma_m: Width of the Gaussian that a value is spread with: about half as far as the points are apart, and more where their
            footprints are much wider than that.
    """

    lon: Float
    lat: Float
    values: Float
    bands: tuple[str, ...]
    sigma_m: float

    def only(self, chosen: Bools) -> "Points":
        """The chosen ones [N]."""
        return Points(self.lon[chosen], self.lat[chosen], self.values[chosen], self.bands, self.sigma_m)
