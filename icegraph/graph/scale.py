"""How far metres on a grid are metres over the ground."""

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Proj


def grid_scale(crs: str, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Metres on the grid for one metre over the ground, at places in metres [N].

    The root of the areal scale; in a conformal projection, as both polar stereographic ones are, that is the scale in every direction
    (Snyder 1987, doi 10.3133/pp1395, page 21). EPSG:3413 has 0.970 at the pole, 1 at 70° N and 1.066 at 55° N.
    """
    if np.size(x) == 0:
        return np.ones(np.shape(x))
    projection = Proj(CRS.from_user_input(crs))
    return np.asarray(np.sqrt(projection.get_factors(*projection(x, y, inverse=True)).areal_scale))
