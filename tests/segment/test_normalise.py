"""What the network sees."""

import numpy as np
import pytest

from icegraph.grid import Window
from icegraph.segment.normalise import channels, network_input, read_scaled, to_scene_scale

from .conftest import Discs, write_scene


def test_scene_scale_maps_percentiles_to_plus_and_minus_one() -> None:
    values = to_scene_scale(np.array([[2.0, 5.0, 8.0]], np.float32), {"p02": 2.0, "p98": 8.0})
    np.testing.assert_allclose(values, [[-1, 0, 1]])


def test_a_constant_band_stays_finite() -> None:
    assert np.isfinite(to_scene_scale(np.full((3, 3), 100, np.float32), {"p02": 100.0, "p98": 100.0})).all()


def test_local_scale_matches_the_definition() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, (1, 60, 60)).astype(np.float32)
    values[0, 30:34, 20:40] = np.nan
    valid = np.isfinite(values[0])
    found = network_input(values, valid, 5)
    square = values[0, 25:36, 25:36]
    seen = square[np.isfinite(square)]
    row, col = 29, 30
    square = values[0, row - 5 : row + 6, col - 5 : col + 6]
    seen = square[np.isfinite(square)].astype(float)
    assert found[1, row, col] == pytest.approx((values[0, row, col] - seen.mean()) / np.sqrt(seen.var() + 0.08**2), rel=1e-5)


def test_local_scale_removes_haze_and_dimming() -> None:
    rng = np.random.default_rng(1)
    clear = rng.normal(0, 1, (1, 128, 128)).astype(np.float32)
    haze = 0.5 * clear + np.linspace(0, 0.5, 128, dtype=np.float32)
    valid = np.ones((128, 128), bool)
    one, other = network_input(clear, valid, 20), network_input(haze, valid, 20)
    inner = (1, slice(20, -20), slice(20, -20))
    assert np.abs(one[inner] - other[inner]).max() < 0.3
    assert np.abs(one[0] - other[0]).max() > 0.4


def test_tiles_with_a_halo_agree_with_the_whole(discs: list[Discs]) -> None:
    from icegraph.scene import Scene

    scene = Scene.open(discs[0].scene)
    whole = network_input(*read_scaled(scene, scene.bands, Window(0, 0, 256, 256)), 20)
    tile = network_input(*read_scaled(scene, scene.bands, Window(40, 60, 120, 120)), 20)
    np.testing.assert_allclose(tile[:, 20:-20, 20:-20], whole[:, 60:140, 80:160], atol=1e-5)


def test_missing_bands_and_invalid_pixels_are_zero(tmp_path) -> None:
    valid = np.ones((40, 40), bool)
    valid[:10] = False
    scene = write_scene(tmp_path / "s", {"red": np.random.default_rng(0).random((40, 40), np.float32)}, valid)
    values, seen = read_scaled(scene, ("nir", "red"), Window(0, 0, 40, 40))
    inputs = network_input(values, seen, 20)
    assert inputs.shape == (channels(2), 40, 40)
    assert np.isfinite(inputs).all()
    assert not inputs[[0, 2]].any()
    assert not inputs[:, :10].any()
    assert inputs[1, 10:].std() > 0.3
    np.testing.assert_array_equal(inputs[-1], valid)


def test_sigma_nought_is_freed_of_its_fall_with_incidence(tmp_path) -> None:
    valid = np.ones((40, 200), bool)
    incidence = np.tile(np.linspace(20, 46, 200, dtype=np.float32), (40, 1))
    bands = {"hh_db": -12 - 0.22 * (incidence - 35), "hv_db": -24 - 0.12 * (incidence - 35)}
    scene = write_scene(tmp_path / "s", bands | {"incidence_deg": incidence}, valid, sensor="sar")
    values, _ = read_scaled(scene, ("hh_db", "hv_db"), Window(5, 20, 30, 150))
    assert values.std(axis=(1, 2)) == pytest.approx([0, 0], abs=1e-5)
    without = write_scene(tmp_path / "t", bands, valid, sensor="sar")
    assert read_scaled(without, ("hh_db",), Window(5, 20, 30, 150))[0].std() > 0.3


def test_a_band_that_hardly_varies_is_not_stretched(tmp_path) -> None:
    rng = np.random.default_rng(2)
    noise = rng.normal(0, 1, (60, 60)).astype(np.float32)
    bands = {"tb_18h_k": 200 + 0.5 * noise, "hh_db": -15 + 4 * noise, "red": 0.3 + 0.01 * noise}
    scene = write_scene(tmp_path / "s", bands, np.ones((60, 60), bool), sensor="sar")
    inputs = network_input(*read_scaled(scene, ("tb_18h_k", "hh_db", "red"), Window(0, 0, 60, 60)), 20)
    assert inputs[[0, 3]].std(axis=(1, 2)).max() < 0.3
    assert inputs[[1, 2, 4, 5]].std(axis=(1, 2)).min() > 0.4
