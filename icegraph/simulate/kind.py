"""Kinds of Sentinel-1 GRD products: mode, platform, polarisations and processor."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Mode:
    """An acquisition mode with its product at medium or high resolution.

    Args:
        name: `EW` or `IW`.
        resolution: `GRDM` or `GRDH`.
        swaths: Names of the sub-swaths, from near to far.
        seams_deg: Incidence at the outer edges and seams of the sub-swaths.
        line_time_s: Azimuth time of a line, a metre of its width.
        looks: In range and azimuth, of which `enl` are equivalent (Sentinel-1 Product Definition).
        enl: Equivalent number of looks.
        nesz: Noise-equivalent sigma nought of each sub-swath, u = 0 … 1 from its near to its far edge: floor, lowest u, curve of
            floor_db + curve_db · (u - lowest)².
        scallop: Rise of azimuth noise at burst edges, of each sub-swath.
    """

    name: str
    resolution: str
    swaths: tuple[str, ...]
    seams_deg: tuple[float, ...]
    line_time_s: float
    looks: tuple[int, int]
    enl: float
    nesz: tuple[tuple[float, float, float], ...]
    scallop: tuple[float, ...]


EW: Final = Mode(
    "EW",
    "GRDM",
    ("EW1", "EW2", "EW3", "EW4", "EW5"),
    (19.0, 29.2, 34.45, 39.65, 43.9, 47.0),  # Sentinel-1 EW user guide, table 2, the middle of the overlaps
    5.998e-3 / 40,
    (6, 2),
    10.7,
    ((-25.9, 0.70, 7.0), (-29.2, 0.50, 10.0), (-30.0, 0.45, 12.0), (-30.3, 0.50, 9.0), (-30.0, 0.45, 16.0)),
    (0.136, 0.092, 0.104, 0.098, 0.115),
)
# Seams, noise and scallops as in a real product of Sentinel-1B.
IW: Final = Mode(
    "IW",
    "GRDH",
    ("IW1", "IW2", "IW3"),
    (30.3, 36.5, 41.8, 46.1),
    1.497e-3 / 10,
    (5, 1),
    4.4,
    ((-25.4, 0.70, 6.0), (-27.2, 0.50, 8.0), (-30.1, 0.45, 20.0)),
    (0.136, 0.092, 0.104),
)


@dataclass(frozen=True)
class Kind:
    """What a product is, beside its pixels.

    Args:
        platform: `S1A`, `S1B` or `S1C`.
        mode: Of the acquisition.
        polarisations: One, or co- and cross-polarised.
        ipf: Version of the processor. Before 2.9 noise has no azimuth part, and borders hold small numbers.
    """

    platform: str = "S1B"
    mode: Mode = EW
    polarisations: tuple[str, ...] = ("HH", "HV")
    ipf: str = "003.10"

    @property
    def has_azimuth_noise(self) -> bool:
        """Whether the processor tells how noise varies along a burst."""
        return tuple(map(int, self.ipf.split("."))) >= (2, 90)

    @property
    def code(self) -> str:
        """`S` or `D` for single or dual, and the polarisation sent."""
        return f"{'D' if len(self.polarisations) > 1 else 'S'}{self.polarisations[0][0]}"
