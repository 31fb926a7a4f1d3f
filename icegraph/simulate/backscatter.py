"""How bright ice and water are to a C-band radar: sigma nought by surface, polarisation, incidence and wind.

Levels at 35 degrees are the middle of published ranges; slopes follow Mäkynen & Karvonen 2017 (doi 10.1109/TGRS.2017.2721981) for
first-year ice and a RADARSAT Constellation study for multiyear ice (doi 10.1109/TGRS.2023.3315056). They set a believable contrast,
not a calibrated one.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from icegraph.simulate.field import BRASH, DEFORMED, FLOE, LAND, LEVEL, MULTIYEAR, YOUNG, Snapshot

REFERENCE_DEG: Final = 35.0

# Level at 35 degrees (dB) and slope (dB per degree).
_ICE: Final = {
    "HH": {LEVEL: (-16.5, -0.25), DEFORMED: (-12.0, -0.24), MULTIYEAR: (-9.5, -0.167), YOUNG: (-20.5, -0.25)},
    "HV": {LEVEL: (-28.5, -0.10), DEFORMED: (-22.0, -0.16), MULTIYEAR: (-18.0, -0.10), YOUNG: (-31.0, -0.10)},
}
_RUBBLE: Final = {"HH": (-10.5, -0.24), "HV": (-20.5, -0.16)}  # broken and piled up: the bright end of deformed ice
_BRASH: Final = {"HH": (-13.5, -0.20), "HV": (-23.5, -0.12)}
_LAND: Final = {"HH": (-9.0, -0.15), "HV": (-16.0, -0.10)}
_WIND_M_S: Final = [0.0, 5.0, 10.0, 15.0, 25.0]
_WATER_DB: Final = {"HH": [-29.0, -20.0, -14.0, -11.0, -8.0], "HV": [-37.0, -32.5, -29.5, -26.5, -22.0]}
_WATER_SLOPE: Final = {"HH": -0.60, "HV": -0.30}

# One standard deviation of the texture that the ice carries: little on smooth ice, more on ridges and hummocks.
TEXTURE_DB: Final = {LEVEL: 0.5, DEFORMED: 1.0, MULTIYEAR: 1.0, YOUNG: 0.7}
RUBBLE_DB: Final = 0.8  # the same of rubble between floes, and what its blocks differ by, up to
FLOE_SPREAD_DB: Final = 1.5  # floes of one type differ by up to this much
RIM_DB: Final = 2.5  # ridged rims stand out by this much
_RIM_SHARE: Final = 0.4  # of the floes have one
RIM_PX: Final = 2


def sigma_nought(snapshot: Snapshot, polarisation: str, incidence_deg: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sigma nought without speckle and noise, linear, [H, W] on the snapshot's grid.

    Where the snapshot knows what share of a pixel is ice and slush, their powers add up; else a pixel is what its class says.

    Args:
        snapshot: The field.
        polarisation: `HH` or `HV`; `VV` and `VH` are taken to be like them.
        incidence_deg: Incidence angle of each pixel, [H, W], degrees.
    """
    polarisation = "HH" if polarisation[0] == polarisation[1] else "HV"
    away = incidence_deg - np.float32(REFERENCE_DEG)
    ice, slush = _shares(snapshot)
    water = (
        np.interp(snapshot.wind_m_s, _WIND_M_S, _WATER_DB[polarisation]).astype(np.float32) + np.float32(_WATER_SLOPE[polarisation]) * away
    )
    power = (1 - ice) * ((1 - slush) * _linear(water) + slush * _linear(_slush_db(snapshot, polarisation, away)))
    power += ice * _linear(_ice_db(snapshot, polarisation, away))
    land = snapshot.classes == LAND
    power[land] = _linear(_at(_LAND[polarisation], away[land]))
    return np.asarray(power, np.float32)


def _shares(snapshot: Snapshot) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Share of solid ice in each pixel, and of slush in the rest."""
    if snapshot.ice_fraction is not None and snapshot.slush is not None:
        return snapshot.ice_fraction, snapshot.slush
    return (snapshot.classes == FLOE).astype(np.float32), (snapshot.classes == BRASH).astype(np.float32)


def _slush_db(snapshot: Snapshot, polarisation: str, away: NDArray[np.float32]) -> NDArray[np.float32]:
    """Level of what fills the gaps, dB: brash; or, where the field knows, young ice or rubble, which is deformed ice."""
    if snapshot.ground is None:
        return _at(_BRASH[polarisation], away)
    kinds = _ICE[polarisation]
    rubble = _at(_RUBBLE[polarisation], away) + np.float32(RUBBLE_DB) * snapshot.texture
    return np.where(snapshot.ground == DEFORMED, rubble, _at(kinds[YOUNG], away))


def _ice_db(snapshot: Snapshot, polarisation: str, away: NDArray[np.float32]) -> NDArray[np.float32]:
    """Level of the solid ice, dB, with texture, what the piece differs by from others of its type, and its rim."""
    kinds = _ICE[polarisation]
    rows = [(*kinds[kind], TEXTURE_DB[kind]) for kind in (LEVEL, LEVEL, DEFORMED, MULTIYEAR, YOUNG)]
    base, slope, rough = np.array(rows, np.float32).T[:, snapshot.ice_type]
    rubble = _rubble(snapshot)
    base[rubble], slope[rubble], rough[rubble] = *_RUBBLE[polarisation], RUBBLE_DB
    return np.asarray(base + slope * away + rough * snapshot.texture + _piece_db(snapshot), np.float32)


def _rubble(snapshot: Snapshot) -> NDArray[np.bool_]:
    """Where there is rubble between floes, if the field knows."""
    if snapshot.ground is None:
        return np.zeros(snapshot.grid.shape, bool)
    return np.asarray((snapshot.ground == DEFORMED) & (snapshot.identity == 0))


def _piece_db(snapshot: Snapshot) -> NDArray[np.float32]:
    """From the snapshot's shade, or else from the identity alone: the same in every pass."""
    identity, draw = snapshot.identity, _hash(snapshot.identity)
    if snapshot.shade is not None:
        offset = np.clip(snapshot.shade / 2, -1, 1) * np.where(_rubble(snapshot), np.float32(RUBBLE_DB), np.float32(FLOE_SPREAD_DB))
    else:
        offset = np.where(identity > 0, (2 * (draw & np.uint64(0xFFFF)) / 65535.0 - 1) * FLOE_SPREAD_DB, 0.0).astype(np.float32)
    rimmed = (identity > 0) & ((draw >> np.uint64(16) & np.uint64(0xFFFF)) < _RIM_SHARE * 65536)
    size = 2 * RIM_PX + 1
    if snapshot.ground is not None:
        rimmed &= snapshot.ground != DEFORMED  # there the rubble itself is the rim
    edge = ndimage.minimum_filter(identity, size) != ndimage.maximum_filter(identity, size)
    offset[rimmed & edge] += np.float32(RIM_DB)
    return np.asarray(offset, np.float32)


def _at(surface: tuple[float, float], away: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(surface[0] + surface[1] * away, np.float32)


def _linear(level_db: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(10 ** (level_db / 10), np.float32)


def _hash(identity: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser: neighbouring identities get unrelated numbers."""
    z = identity.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
