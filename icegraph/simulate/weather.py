"""What weather adds to the drift of a field: the same everywhere in it, to and fro, and forgotten within days.

Winds blow over a thousand kilometres, so that all floes of a view drift with them alike. Each component of the velocity is an
Ornstein–Uhlenbeck process, as drifting buoys show it (Rampal et al. 2009, doi 10.1029/2008JC005227), and on top of it the ice is
shaken by tides, inertial loops and squalls, of which from pass to pass a random walk is left.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

Float = NDArray[np.float64]

# Twelve buoys in the ice of the Barents, Laptev and Greenland Seas (Rabault et al. 2023, doi 10.1038/s41597-023-02160-9): the root mean
# square of a day's mean velocity is 0.14 to 0.32 m/s from campaign to campaign, currents in it; it correlates by 0.5 to 0.8 with the next
# day's; that of six hours has 1.2 to 1.5 times its variance.
SIGMA_M_S = (0.1, 0.25)
_MEMORY_S = 2 * 86400.0
_SHAKEN_S = 2 * 3600.0  # the random walk's variance a second, in variances of the velocity
STEP_S = 3600.0


@dataclass(frozen=True)
class Weather:
    """The motion that weather adds, a function of time alone.

    Args:
        seed: It follows from this.
        sigma_m_s: Standard deviation of each component of the velocity.
    """

    seed: int
    sigma_m_s: float

    def path(self, seconds: float) -> Float:
        """How far the ice has been carried by each full hour, from the start to the first that is no earlier than a time, [K, 2] metres."""
        return self.sigma_m_s * _path(self.seed, int(np.ceil(seconds / STEP_S)))

    def shift(self, begin_s: float, end_s: float) -> Float:
        """How far the ice is carried from one time to another, [2] metres."""
        path = self.path(end_s)
        hours = np.arange(len(path)) * STEP_S
        return np.array([np.diff(np.interp([begin_s, end_s], hours, along))[0] for along in path.T])


@lru_cache  # fragments ask for the same steps again, cell by cell
def _path(seed: int, steps: int) -> Float:
    """`Weather.path` [steps + 1, 2] where the velocity's standard deviation is 1."""
    normal = np.random.default_rng([seed, 15]).standard_normal((steps, 4))
    kept = np.exp(-STEP_S / _MEMORY_S)
    change = normal[:, :2] * np.sqrt(1 - kept**2)
    change[:1] = normal[:1, :2]
    moved = STEP_S * lfilter([1.0], [1.0, -kept], change, axis=0) + np.sqrt(_SHAKEN_S * STEP_S) * normal[:, 2:]
    return np.vstack([np.zeros(2), np.cumsum(moved, axis=0)])
