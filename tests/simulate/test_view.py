"""The drawing of the field on a view's grid."""

import resource
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from icegraph.grid import NORTH, Grid, Window, tiles
from icegraph.simulate import view
from icegraph.simulate.field import BRASH, DEFORMED, FLOE, LAND, NO_ICE, WATER, YOUNG, Field, Fragments, Settings, Snapshot

TIME = datetime(2021, 5, 1, tzinfo=UTC)


def make(seed: int, **changes: object) -> Field:
    return Field(Settings(seed, **({"size_km": 40.0, "pixel_m": 250.0, "land": False, "regime": "pack"} | changes)))


def take(field: Field, index: int = 0, *, pixel_m: float = 250.0, cloudy: bool = False) -> Snapshot:
    whole = view.View(field, TIME, pixel_m, index=index, cloudy=cloudy)
    return whole.part(Window(0, 0, *whole.grid.shape))


def fragments(field: Field) -> Fragments:
    return field.fragments_in(-20e3, -20e3, 20e3, 20e3)


def test_grids_lie_on_multiples_of_the_pixel_and_cover_the_field() -> None:
    field = make(1)
    for pixel in (250.0, 40.0):
        grid = view.View(field, TIME, pixel, index=0, cloudy=False).grid
        left, bottom, right, top = grid.bounds
        assert [edge % pixel for edge in (left, top)] == [0, 0]
        assert grid == Grid.covering(NORTH, np.array([left + 1, right - 1]), np.array([bottom + 1, top - 1]), pixel)
        assert np.allclose([(left + right) / 2, (top + bottom) / 2], field.centre_m, atol=pixel)
        assert right - left == 40e3


def test_drawn_floes_have_the_area_and_centroid_of_their_outlines() -> None:
    field = make(2, size_km=64.0)
    seen = take(field)
    side = seen.grid.width
    row, col = seen.grid.rowcol(*(field.position + field.centre_m).T)
    offset = []
    for floe, r, c in zip(field.floes, row, col, strict=True):
        rows, cols = np.nonzero(seen.identity == floe.identity)
        reach = floe.diameter_m / 250
        if len(rows) < 60 or not (reach < r < side - reach and reach < c < side - reach):
            continue
        assert len(rows) == pytest.approx(floe.area_m2 / 250**2, rel=0.06)
        assert np.hypot(rows.mean() - r, cols.mean() - c) < 0.2
        offset.append((rows.mean() - r, cols.mean() - c))
    assert len(offset) > 15
    assert np.abs(np.mean(offset, axis=0)).max() < 0.03


def test_each_floe_is_in_one_piece_and_its_neighbours_are_apart() -> None:
    seen = take(make(3))
    pieces = [ndimage.label(seen.identity == k, np.ones((3, 3)))[1] for k in np.unique(seen.identity) if k]
    assert np.mean(np.array(pieces) == 1) > 0.97
    beside = (seen.identity[:, 1:] != seen.identity[:, :-1]) & (seen.identity[:, 1:] > 0) & (seen.identity[:, :-1] > 0)
    assert beside.sum() < 0.03 * (seen.identity > 0).sum()


def test_classes_agree_with_identities_types_and_ice() -> None:
    seen = take(make(4, regime="mixed", land=True))
    assert ((seen.identity > 0) == (seen.classes == FLOE)).all()
    assert set(np.unique(seen.classes).tolist()) == {WATER, BRASH, FLOE, LAND}
    bare = (seen.classes == WATER) | (seen.classes == LAND)
    assert ((seen.ice_type == NO_ICE) == bare).all()
    assert seen.ice_fraction is not None
    assert seen.ice_fraction[seen.classes == FLOE].mean() > 0.95
    assert seen.ice_fraction[seen.classes == WATER].mean() < 0.3


def test_texture_moves_with_the_floe_and_has_unit_variance() -> None:
    field = make(5, spin_per_day=0.0, rotation_per_day=0.0, shear_per_day=0.0)
    first = take(field)
    way = np.array([1000.0, -500.0])
    field.position = field.position + way
    second = take(field)
    largest = np.bincount(first.identity.ravel())[1:].argmax() + 1
    moved = np.roll(first.texture, (2, 4), (0, 1))
    both = (np.roll(first.identity, (2, 4), (0, 1)) == largest) & (second.identity == largest)
    assert both.sum() > 100
    assert np.abs(moved - second.texture)[both].max() < 1e-3
    assert abs(float(first.texture.mean())) < 0.2
    assert 0.7 < float(first.texture.std()) < 1.3


def test_weather_differs_from_pass_to_pass_and_clouds_lie_between_0_and_1() -> None:
    field = make(6)
    clouds = [take(field, i, cloudy=True).cloud for i in range(8)]
    assert all(cloud.min() >= 0 and cloud.max() <= 1 for cloud in clouds)
    assert any(cloud.max() > 0.8 for cloud in clouds)
    assert any(cloud.max() < 0.4 for cloud in clouds)
    assert not np.array_equal(take(field, 0).wind_m_s, take(field, 1).wind_m_s)


def test_consolidated_ground_is_brash_with_hardly_a_floe() -> None:
    field = next(f for f in (make(seed) for seed in range(20, 60)) if fragments(f).solid.mean() > 0.05)
    seen = take(field)
    row, col = (np.round(at).astype(int) for at in seen.grid.rowcol(*(fragments(field).place + field.centre_m).T))
    inside = fragments(field).solid & (row > 2) & (row < 157) & (col > 2) & (col < 157)
    classes = seen.classes[row[inside], col[inside]]
    assert len(classes) > 100
    assert (classes == FLOE).mean() < 0.25  # those pushed onto its rim
    assert (classes == WATER).mean() < 0.02
    assert seen.slush is not None
    assert seen.slush[row[inside], col[inside]].mean() > 0.9


def test_water_among_ice_is_calmer_than_open_water() -> None:
    wind = np.full((200, 200), 10, np.float32)
    cover = np.zeros((200, 200), np.float32)
    cover[:, :100] = 0.9
    calmed = view._sheltered(wind, cover)
    assert calmed[:, :50] == pytest.approx(4.0, rel=1e-3)
    assert calmed[:, 150:] == pytest.approx(10.0)
    assert (np.diff(calmed[100]) >= -1e-4).all()


def test_a_field_with_rubble_tells_what_fills_the_gaps() -> None:
    assert take(make(3)).ground is None
    snapshot = take(make(3, rubble=0.5, regime="mixed"))
    assert snapshot.ground is not None
    assert set(np.unique(snapshot.ground)) == {DEFORMED, YOUNG}


@pytest.mark.parametrize(("size", "changes"), [(97, {"land": True, "regime": "marginal"}), (130, {"rubble": 0.5, "regime": "mixed"})])
def test_a_window_shows_the_same_bits_as_the_whole_view(size: int, changes: dict[str, object]) -> None:
    field = make(8, **changes)
    field.step(86400.0)
    whole = take(field, cloudy=True)
    windows = view.View(field, TIME, 250.0, index=0, cloudy=True)
    for window in tiles(whole.grid.shape, size):
        part = windows.part(window)
        assert part.grid == whole.grid.part(window)
        assert part.rasters.keys() == whole.rasters.keys()
        for name, raster in part.rasters.items():
            assert np.array_equal(raster, whole.rasters[name][window.slices]), name


def test_a_sheet_gives_back_what_was_drawn(tmp_path: Path) -> None:
    whole = take(make(9))
    sheet = view.Sheet(whole, tmp_path)
    window = Window(3, 50, 70, 90)
    for name, raster in sheet.part(window).rasters.items():
        assert raster.dtype == whole.rasters[name].dtype
        assert np.array_equal(raster, whole.rasters[name][window.slices])


def test_a_sheet_takes_its_room_before_it_writes_and_says_when_there_is_none(tmp_path: Path) -> None:
    """What is mapped without room is told by a signal that kills."""
    whole = take(make(9))
    sheet = view.Sheet(whole, tmp_path)
    sheet._file("more", np.dtype(np.float32))
    assert (tmp_path / "more").stat().st_blocks * 512 >= 4 * whole.texture.size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="evenmore"):
            sheet._file("evenmore", np.dtype(np.float32))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
