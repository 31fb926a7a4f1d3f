"""The field's floes: their sizes, their motion, their ends."""

import numpy as np
import pytest
import shapely
from scipy.optimize import minimize_scalar

from icegraph.errors import InputError
from icegraph.simulate.field import DEFORMED, LEVEL, YOUNG, Field, Settings, _arranged

DAY_S = 86400.0


def make(seed: int, **changes: object) -> Field:
    settings = {"size_km": 64.0, "pixel_m": 250.0, "span_s": 2 * DAY_S, "land": False} | changes
    return Field(Settings(seed, **settings))


def power_law_fit(sizes: np.ndarray, smallest: float, largest: float) -> float:
    """Maximum likelihood exponent of a power law cut at both ends."""

    def minus_log_likelihood(a: float) -> float:
        return -float(np.sum(np.log(a) - (a + 1) * np.log(sizes) - np.log(smallest**-a - largest**-a)))

    return float(minimize_scalar(minus_log_likelihood, bounds=(0.2, 5), method="bounded").x)


@pytest.mark.parametrize("exponent", [1.3, 2.0])
def test_floe_sizes_follow_the_power_law_asked_for(exponent: float) -> None:
    sizes, largest = [], 0.3 * 128 / 0.25
    for seed in range(3):
        field = make(seed, size_km=128.0, exponent=exponent, largest=0.3, cover=0.3)
        sizes += [np.sqrt(shapely.Polygon(floe.body).area * 4 / np.pi) / 250 for floe in field.floes if floe.diameter_m > 0]
    found = np.array(sizes)
    found = found[(found > 9) & (found < largest)]
    assert len(found) > 300
    assert power_law_fit(found, 9, largest) == pytest.approx(exponent, abs=0.25)


@pytest.mark.parametrize("regime", ["pack", "marginal"])
def test_no_two_floes_overlap_in_any_pass(regime: str) -> None:
    field = make(7, regime=regime, breaking=0.2)
    for _ in range(3):
        shapes = [shapely.Polygon(outline) for outline in field.outlines()]
        assert all(shape.is_valid for shape in shapes)
        first, second = shapely.STRtree(shapes).query(shapes, predicate="intersects")
        common = [shapes[a].intersection(shapes[b]).area for a, b in zip(first, second, strict=True) if a < b]
        assert sum(common) < 1e-4 * sum(shape.area for shape in shapes)
        field.step(DAY_S)


def test_floes_keep_identity_shape_and_brightness_unless_they_break() -> None:
    field = make(8, regime="pack", breaking=0.2, size_km=100.0)
    before = {floe.identity: floe for floe in field.floes}
    field.step(DAY_S)
    after = {floe.identity: floe for floe in field.floes}
    kept = before.keys() & after.keys()
    broken = {floe.parent for floe in after.values() if floe.identity not in before}
    assert len(broken) > 3
    assert not broken & after.keys()
    assert len(kept) + len(broken) > 0.97 * len(before)
    assert all(after[k].outline is before[k].outline and after[k].shade == before[k].shade for k in kept)
    for parent in broken:
        pieces = sum(floe.area_m2 for floe in after.values() if floe.parent == parent)
        assert 0.5 * before[parent].area_m2 < pieces < before[parent].area_m2


def test_velocity_carries_each_floe_to_where_it_is_next() -> None:
    field = make(9, breaking=0.0)
    before = {floe.identity: position for floe, position in zip(field.floes, field.position, strict=True)}
    velocity = field.step(DAY_S)
    for floe, position in zip(field.floes, field.position, strict=True):
        assert np.allclose(before[floe.identity] + velocity[floe.identity] * DAY_S, position, atol=1e-6)


def test_the_drift_has_the_rotation_and_shear_asked_for() -> None:
    motion = {
        "drift_m_s": 0.05,
        "weather_m_s": 0.0,
        "rotation_per_day": 0.08,
        "shear_per_day": 0.03,
        "wander_px": 0.5,
        "spin_per_day": 0.05,
    }
    field = make(10, regime="marginal", cover=0.25, **motion)
    before = {floe.identity: (position, angle) for floe, position, angle in zip(field.floes, field.position, field.angle, strict=True)}
    start = np.array([before[floe.identity][0] for floe in field.floes])
    velocity = field.step(DAY_S)
    u = np.array([velocity[identity] for identity in before]) * DAY_S
    fit, *_ = np.linalg.lstsq(np.column_stack([np.ones(len(start)), start]), u, rcond=None)
    gradient = fit[1:].T
    assert (gradient[1, 0] - gradient[0, 1]) / 2 == pytest.approx(0.08, abs=0.012)
    assert gradient[1, 0] + gradient[0, 1] == pytest.approx(0.03, abs=0.02)
    turned = [angle - before[floe.identity][1] for floe, angle in zip(field.floes, field.angle, strict=True) if floe.identity in before]
    assert np.mean(turned) == pytest.approx(0.08, abs=0.02)
    assert 0.01 < np.std(turned) < 0.06
    assert np.linalg.norm(fit[0]) / DAY_S == pytest.approx(0.05, abs=0.015)


def test_weather_moves_all_floes_alike_and_new_ones_come_into_view() -> None:
    motion = {"drift_m_s": 0.0, "rotation_per_day": 0.0, "shear_per_day": 0.0, "wander_px": 0.1, "breaking": 0.0}
    field = make(11, regime="pack", span_s=4 * DAY_S, weather_m_s=0.2, **motion)
    number, half = [], 32e3
    for day in range(4):
        number.append(sum(np.abs(place).max() < half for place in field.position))
        velocity = np.array(list(field.step(DAY_S).values()))
        expected = field.flow.weather.shift(day * DAY_S, (day + 1) * DAY_S) / DAY_S
        assert np.linalg.norm(expected) > 0.05
        assert np.median(np.linalg.norm(velocity - expected, axis=1)) < 0.03
    assert min(number) > 0.6 * number[0]


def test_a_small_view_is_not_left_between_two_passes() -> None:
    for seed in range(20):
        field = make(seed, size_km=10.0, interval_s=DAY_S)
        assert field.flow.weather.sigma_m_s * DAY_S <= 10e3 / 8
        assert np.linalg.norm(field.flow.mean_m_s) * DAY_S <= 10e3 / 16


def test_floes_enter_and_leave_the_view() -> None:
    field = make(11, regime="pack", drift_m_s=0.06, weather_m_s=0.0)
    half = 32e3
    seen = []
    for _ in range(3):
        seen.append({f.identity for f, p in zip(field.floes, field.position, strict=True) if np.abs(p).max() < half})
        field.step(DAY_S)
    assert seen[0] - seen[2]
    assert seen[2] - seen[0]
    assert len(seen[2]) > 0.75 * len(seen[0])


def test_floes_keep_off_the_land() -> None:
    field = make(12, land=True, regime="pack")
    assert field.coast is not None
    for _ in range(3):
        assert (field.coast.inland_m(field.position) < 0).all()
        corners = np.vstack(list(field.outlines()))
        assert (field.coast.inland_m(corners) < 2 * 250).mean() > 0.985
        field.step(DAY_S)


def test_the_seed_decides_everything() -> None:
    one, same, other = make(13), make(13), make(14)
    for field in (one, same):
        field.step(DAY_S)
    assert np.array_equal(one.position, same.position)
    everywhere = (-40e3, -40e3, 40e3, 40e3)
    assert np.array_equal(one.fragments_in(*everywhere).place, same.fragments_in(*everywhere).place)
    assert np.linalg.norm(one.centre_m - other.centre_m) > 10e3


def test_regimes_differ_in_cover() -> None:
    cover = {}
    for regime in ("pack", "marginal"):
        field = make(15, regime=regime)
        cover[regime] = sum(f.area_m2 for f, p in zip(field.floes, field.position, strict=True) if np.abs(p).max() < 32e3) / 64e3**2
    assert cover["pack"] > 0.35
    assert cover["marginal"] < 0.75 * cover["pack"]


@pytest.mark.parametrize("changes", [{"size_km": 1.0}, {"size_km": 1e5}, {"regime": "soup"}])
def test_impossible_settings_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InputError):
        make(1, **changes)


def test_smooth_floes_lie_in_rubble_and_rough_ones_in_young_ice() -> None:
    field = make(3, regime="mixed", rubble=0.5, size_km=100.0)
    fragments, nearest = field.fragments_in(-60e3, -60e3, 60e3, 60e3), []
    for position in field.position:
        close = np.argsort(np.hypot(*(fragments.place - position).T))[:9]
        nearest.append(np.median(fragments.ice_type[close]) == DEFORMED)
    smooth = np.array([floe.ice_type == LEVEL for floe in field.floes])
    in_rubble = np.array(nearest)
    assert 0.2 < in_rubble.mean() < 0.8
    assert smooth[in_rubble].mean() > 0.8
    assert smooth[~in_rubble].mean() < 0.4
    assert set(np.unique(fragments.ice_type)) == {DEFORMED, YOUNG}
    assert fragments.fill[fragments.ice_type == DEFORMED].mean() > fragments.fill[fragments.ice_type == YOUNG].mean()


def test_floes_keep_the_distance_asked_for() -> None:
    shapes = [shapely.Polygon(outline) for outline in make(7, regime="pack", gap_px=2.0).outlines()]
    first, second = shapely.STRtree(shapes).query_nearest(shapes, exclusive=True)
    apart = np.array([shapes[a].distance(shapes[b]) for a, b in zip(first, second, strict=True)]) / 250
    assert np.median(apart) > 1.5
    assert np.mean(apart < 1) < 0.05


def test_first_places_are_those_of_a_plain_search() -> None:
    sizes = np.sort(np.random.default_rng(0).pareto(1.5, 300) + 1)[::-1]
    trial = np.random.default_rng(1).uniform(-25, 25, (400, 2))
    chance = np.full(len(trial), 1 / len(trial))
    rng = np.random.default_rng(2)
    draws, jitter = rng.choice(len(trial), (len(sizes), 16), p=chance), rng.normal(0, 0.3, (len(sizes), 16, 2)) * sizes[-1]
    plain = np.empty((len(sizes), 2))
    for k, size in enumerate(sizes):
        options = trial[draws[k]] + jitter[k]
        apart = np.linalg.norm(options[:, None] - plain[None, :k], axis=2)
        free = np.min(apart - 0.48 * (size + sizes[:k]), axis=1, initial=np.inf)
        plain[k] = options[np.argmax(free > 0) if (free > 0).any() else free.argmax()]
    assert np.array_equal(_arranged(sizes, trial, chance, np.random.default_rng(2)), plain)


def test_a_rectangle_holds_all_the_fragments_that_have_drifted_into_it() -> None:
    field = make(3, regime="pack", size_km=160.0, rotation_per_day=0.3, shear_per_day=0.2)
    for _ in range(3):
        field.step(DAY_S)

    def inside(*bounds: float) -> set[tuple[float, float]]:
        place = field.fragments_in(*bounds).place[:-1]  # the last is open water
        return {(x, y) for x, y in place.tolist() if 20e3 <= x <= 30e3 and -30e3 <= y <= -20e3}

    everything = inside(-80e3, -80e3, 80e3, 80e3)
    assert len(everything) > 100
    assert inside(20e3, -30e3, 30e3, -20e3) == everything
    assert len(field.fragments_in(20e3, -30e3, 30e3, -20e3).place) < 0.7 * len(field.fragments_in(-80e3, -80e3, 80e3, 80e3).place)
