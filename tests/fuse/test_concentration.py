"""ASI against its published tie points."""

import numpy as np
import pytest

from icegraph.fuse.concentration import asi_percent


def asi(difference: float, tb_18v: float = 230.0, tb_23v: float = 228.0, tb_36v: float = 225.0) -> float:
    values = (np.array([value]) for value in (tb_18v, tb_23v, tb_36v, 200.0, 200.0 + difference))
    return float(asi_percent(*values)[0])


def test_the_tie_points_are_nought_and_a_hundred_and_the_cubic_joins_them() -> None:
    assert asi(47.0) == 0
    assert asi(46.9) == pytest.approx(0, abs=1)
    assert asi(11.7) == 100
    assert asi(11.8) == pytest.approx(100, abs=1)
    values = [asi(difference) for difference in np.linspace(11.7, 47.0, 50)]
    assert np.all(np.diff(values) <= 0)


def test_half_ice_lies_at_the_root_of_the_published_cubic() -> None:
    roots = np.roots([1.640e-5, -1.618e-3, 1.916e-2, 0.9710 - 0.5])
    middle = float(next(root.real for root in roots if abs(root.imag) < 1e-9 and 11.7 < root.real < 47))
    assert asi(middle) == pytest.approx(50, abs=1e-6)


def test_weather_over_water_is_no_ice() -> None:
    assert asi(20.0) > 50
    assert asi(20.0, tb_18v=184.0, tb_36v=210.0) == 0
    assert asi(20.0, tb_18v=184.0, tb_23v=202.0, tb_36v=190.0) == 0


def test_unknown_stays_unknown() -> None:
    assert np.isnan(asi(float("nan")))
    assert np.isnan(asi(20.0, tb_36v=float("nan")))
