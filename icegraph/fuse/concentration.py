"""Sea-ice concentration from brightness temperatures: the ASI algorithm.

Spreen, Kaleschke & Heygster 2008 (doi 10.1029/2005JC003384): the polarisation difference at 89 GHz, small over ice and large over water,
through a cubic; weather over open water, which looks like ice at 89 GHz, is filtered by gradient ratios of the lower channels.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

P_WATER_K: Final = 47.0
P_ICE_K: Final = 11.7
_CUBIC: Final = (1.640e-5, -1.618e-3, 1.916e-2, 0.9710)
_GR_36_18: Final = 0.045  # above these there is no ice (section 3.2)
_GR_23_18: Final = 0.04


def asi_percent(tb_18v_k: Float, tb_23v_k: Float, tb_36v_k: Float, tb_89h_k: Float, tb_89v_k: Float) -> Float:
    """Ice concentration, %, 0 … 100; NaN where an input is.

    Args:
        tb_18v_k: 18.7 GHz, vertical, K; all of one shape.
        tb_23v_k: 23.8 GHz, vertical.
        tb_36v_k: 36.5 GHz, vertical.
        tb_89h_k: 89 GHz, horizontal.
        tb_89v_k: 89 GHz, vertical.
    """
    difference = tb_89v_k - tb_89h_k
    share = np.clip(np.polyval(_CUBIC, difference), 0.0, 1.0)
    share = np.where(difference >= P_WATER_K, 0.0, np.where(difference <= P_ICE_K, 1.0, share))
    weather = (_gradient(tb_36v_k, tb_18v_k) > _GR_36_18) | (_gradient(tb_23v_k, tb_18v_k) > _GR_23_18)
    percent = 100.0 * np.where(weather, 0.0, share)
    known = np.isfinite(difference) & np.isfinite(tb_18v_k) & np.isfinite(tb_23v_k) & np.isfinite(tb_36v_k)
    return np.where(known, percent, np.nan)


def _gradient(upper: Float, lower: Float) -> Float:
    return (upper - lower) / (upper + lower)
