"""Levels, slopes and the marks that single floes carry."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from affine import Affine

from icegraph.grid import Grid
from icegraph.simulate.backscatter import FLOE_SPREAD_DB, RIM_DB, TEXTURE_DB, sigma_nought
from icegraph.simulate.field import BRASH, DEFORMED, FLOE, LEVEL, MULTIYEAR, WATER, YOUNG, Snapshot


def even(surface: int, ice_type: int = 0, wind: float = 5.0, shape: tuple[int, int] = (8, 8)) -> Snapshot:
    return Snapshot(
        time=datetime(2020, 3, 1, tzinfo=UTC),
        grid=Grid("EPSG:3413", Affine(40, 0, 0, 0, -40, 0), *shape),
        identity=np.zeros(shape, np.uint32),
        classes=np.full(shape, surface, np.uint8),
        ice_type=np.full(shape, ice_type, np.uint8),
        wind_m_s=np.full(shape, wind, np.float32),
        cloud=np.zeros(shape, np.float32),
        texture=np.zeros(shape, np.float32),
    )


def level_db(snapshot: Snapshot, polarisation: str, incidence: float = 35.0) -> np.ndarray:
    return 10 * np.log10(sigma_nought(snapshot, polarisation, np.full(snapshot.grid.shape, incidence, np.float32)))


@pytest.mark.parametrize(
    ("surface", "ice_type", "polarisation", "low", "high"),
    [
        (FLOE, LEVEL, "HH", -17, -14),
        (FLOE, LEVEL, "HV", -30, -26),
        (FLOE, DEFORMED, "HH", -13, -10),
        (FLOE, DEFORMED, "HV", -24, -20),
        (FLOE, MULTIYEAR, "HH", -11, -8),
        (FLOE, MULTIYEAR, "HV", -20, -16),
    ],
)
def test_ice_is_as_bright_as_published(surface: int, ice_type: int, polarisation: str, low: float, high: float) -> None:
    assert low <= level_db(even(surface, ice_type), polarisation).mean() <= high


@pytest.mark.parametrize(("wind", "hh"), [(5.0, -20.0), (10.0, -14.0), (15.0, -11.0)])
def test_water_brightens_with_wind(wind: float, hh: float) -> None:
    assert level_db(even(WATER, wind=wind), "HH").mean() == pytest.approx(hh, abs=0.01)


def test_everything_darkens_away_from_the_nadir_and_water_most() -> None:
    fall = {
        name: (level_db(snapshot, "HH", 25.0) - level_db(snapshot, "HH", 45.0)).mean()
        for name, snapshot in {
            "water": even(WATER),
            "level": even(FLOE, LEVEL),
            "old": even(FLOE, MULTIYEAR),
            "brash": even(BRASH, LEVEL),
        }.items()
    }
    assert min(fall.values()) > 2
    assert max(fall, key=lambda name: fall[name]) == "water"
    assert fall["level"] == pytest.approx(5.0, abs=0.05)  # 0.25 dB/deg, Mäkynen & Karvonen 2017


def floes() -> Snapshot:
    """A hundred floes of one type, 20 pixels a side, in a row."""
    field = even(FLOE, LEVEL, shape=(40, 3000))
    row, col = np.mgrid[:40, :3000]
    ice = (row >= 10) & (row < 30) & (col % 30 < 20)
    return replace(field, identity=np.where(ice, col // 30 + 1, 0).astype(np.uint32), classes=np.where(ice, FLOE, WATER).astype(np.uint8))


def test_floes_of_one_type_differ_and_some_have_bright_rims() -> None:
    level = level_db(floes(), "HH")
    inner, rim = level[20, 10::30], level[20, 1::30]
    assert inner.min() >= -16.5 - FLOE_SPREAD_DB - 0.01
    assert inner.max() <= -16.5 + FLOE_SPREAD_DB + 0.01
    assert inner.std() == pytest.approx(2 * FLOE_SPREAD_DB / np.sqrt(12), rel=0.2)  # evenly spread
    assert set(np.round(rim - inner, 2)) == {0.0, RIM_DB}
    assert 0.2 < np.mean(rim - inner > 1) < 0.6


def test_a_floe_looks_the_same_wherever_it_has_drifted() -> None:
    field = floes()
    moved = replace(
        field, **{name: np.roll(getattr(field, name), (4, 7), (0, 1)) for name in ("identity", "classes", "ice_type", "texture")}
    )
    assert np.array_equal(np.roll(level_db(field, "HV"), (4, 7), (0, 1))[:, 30:-30], level_db(moved, "HV")[:, 30:-30])


def test_texture_is_stronger_on_rough_ice_and_none_on_water() -> None:
    texture = np.random.default_rng(0).standard_normal((100, 100)).astype(np.float32)
    spread = {
        kind: level_db(replace(even(FLOE, kind, shape=(100, 100)), texture=texture), "HH").std() for kind in (LEVEL, DEFORMED, MULTIYEAR)
    }
    assert spread == pytest.approx({kind: TEXTURE_DB[kind] for kind in spread}, rel=0.03)
    assert spread[LEVEL] < 0.7 * spread[DEFORMED]
    water = replace(even(WATER, shape=(100, 100)), texture=texture)
    assert level_db(water, "HH").std() < 1e-4


@pytest.mark.parametrize(("polarisation", "least"), [("HH", 3.5), ("HV", 2.0)])
def test_floes_stand_out_from_what_fills_the_gaps(polarisation: str, least: float) -> None:
    shape = (8, 8)
    full, none = np.ones(shape, np.float32), np.zeros(shape, np.float32)

    def gap_db(ground: int) -> float:
        gap = replace(even(BRASH, ground), ground=np.full(shape, ground, np.uint8), ice_fraction=none, slush=full)
        return float(level_db(gap, polarisation).mean())

    smooth, old = (level_db(even(FLOE, kind), polarisation).mean() for kind in (LEVEL, MULTIYEAR))
    assert gap_db(DEFORMED) - smooth > least
    assert smooth - gap_db(YOUNG) > least
    assert old - gap_db(YOUNG) > least
    assert gap_db(YOUNG) < (-20 if polarisation == "HH" else -30)  # new ice: HH below -20 dB


def test_shares_of_ice_slush_and_water_add_their_powers() -> None:
    shape = (8, 8)
    full, none = np.ones(shape, np.float32), np.zeros(shape, np.float32)
    ice = replace(even(FLOE, MULTIYEAR), ice_fraction=full, slush=none, shade=none)
    water, slush = replace(ice, ice_fraction=none), replace(ice, ice_fraction=none, slush=full)
    mixed = replace(ice, ice_fraction=full * 0.5, slush=full * 0.4)
    incidence = np.full(shape, 30, np.float32)
    parts = [sigma_nought(snapshot, "HV", incidence).mean() for snapshot in (ice, slush, water)]
    assert sigma_nought(mixed, "HV", incidence).mean() == pytest.approx(0.5 * parts[0] + 0.5 * (0.4 * parts[1] + 0.6 * parts[2]), rel=1e-5)
    assert parts[0] == pytest.approx(sigma_nought(even(FLOE, MULTIYEAR), "HV", incidence).mean(), rel=1e-5)
    assert parts[2] == pytest.approx(sigma_nought(even(WATER), "HV", incidence).mean(), rel=1e-5)


def test_the_shade_of_a_piece_sets_its_level_within_the_spread() -> None:
    shape = (8, 8)
    base = replace(even(FLOE, LEVEL), ice_fraction=np.ones(shape, np.float32), slush=np.zeros(shape, np.float32))
    levels = [level_db(replace(base, shade=np.full(shape, shade, np.float32)), "HH").mean() + 16.5 for shade in (-3, -1, 0, 1, 3)]
    assert levels == pytest.approx([-FLOE_SPREAD_DB, -FLOE_SPREAD_DB / 2, 0, FLOE_SPREAD_DB / 2, FLOE_SPREAD_DB], abs=1e-4)
