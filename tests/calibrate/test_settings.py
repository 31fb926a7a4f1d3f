"""Settings of the radar, from text as the command line and the pipelines give it."""

import pytest

from icegraph.calibrate import RadarSettings
from icegraph.errors import InputError


def test_text_becomes_settings() -> None:
    given = {"quantity": "gamma", "balance": "true", "area": "170,70,-170,75.5", "pixel_m": "80"}
    assert RadarSettings.parse(given) == RadarSettings(quantity="gamma", balance=True, area=(170, 70, -170, 75.5), pixel_m=80)
    assert RadarSettings.parse({}) == RadarSettings()


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("specle", "lee", "specle=lee: there is no such setting of the radar; choose of quantity, speckle, "),
        ("speckle", "frost", "speckle=frost: cannot be set (input should be 'lee', "),
        ("area", "0,80,10", "area=0,80,10: cannot be set ("),
        ("area", "0,80,10,70", "area=0,80,10,70: cannot be set (not west,south,east,north in degrees); "),
        ("pixel_m", "-40", "pixel_m=-40: cannot be set (input should be greater than 0); "),
        ("nesz", "perhaps", "nesz=perhaps: cannot be set ("),
    ],
)
def test_what_is_no_setting_is_one_sentence(name: str, value: str, told: str) -> None:
    with pytest.raises(InputError) as caught:
        RadarSettings.parse({name: value})
    assert str(caught.value).startswith(told)


def test_slopes_of_sigma_nought_are_not_taken_out_of_gamma() -> None:
    with pytest.raises(InputError, match="normalise is for sigma nought, whose slopes are known, and not for gamma"):
        RadarSettings.parse({"normalise": "water", "quantity": "gamma"})
