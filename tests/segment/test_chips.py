"""Training examples."""

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from icegraph.errors import InputError
from icegraph.grid import Window
from icegraph.scene import Scene, write_band
from icegraph.segment.chips import NOT_FLOE, UNKNOWN, crop_at_random, cut_chips, edge_distance
from icegraph.truth import IGNORE, read_labels

from .conftest import Discs, write_scene, write_truth


def test_distance_is_to_the_floes_own_boundary() -> None:
    labels = np.zeros((30, 40), np.uint32)
    labels[5:25, 5:20], labels[5:25, 20:35] = 1, 2
    found = edge_distance(labels)
    for floe in (1, 2):
        inside = labels == floe
        # The oracle counts to the next floe's or the water's pixel, ours to the floe's own last one.
        np.testing.assert_allclose(found[inside] + 1, distance_transform_edt(inside)[inside], atol=0.5)
    assert np.isinf(edge_distance(np.ones((4, 4), np.uint32))).all()


def test_chips_know_what_is_unknown(discs: list[Discs]) -> None:
    chips = cut_chips([discs[0].scene], {"pass-1": discs[0].labels}, ("red", "nir"), 256, 10, np.random.default_rng(0))
    assert len(chips) == 1
    classes = chips[0].classes
    assert (classes[:10, :10] == UNKNOWN).all()
    assert set(np.unique(classes)) == {2, NOT_FLOE, UNKNOWN}
    assert not chips[0].labels[classes != 2].any()


def test_classes_beside_the_labels_are_used(tmp_path) -> None:
    from .conftest import disc_field

    bands, labels = disc_field((64, 64), 3)
    scene = write_scene(tmp_path / "p", bands, np.ones((64, 64), bool))
    write_truth(tmp_path / "p.labels.tif", labels)
    kinds = np.where(labels > 0, 2, 0).astype(np.uint8)
    kinds[:, 40:][kinds[:, 40:] == 0] = 1
    with write_band(tmp_path / "p.classes.tif", scene.grid, "uint8") as band:
        band.write(Window(0, 0, 64, 64), kinds)
    chip = cut_chips([scene.folder], {"p": tmp_path / "p.labels.tif"}, ("red",), 64, 10, np.random.default_rng(0))[0]
    known = chip.classes != UNKNOWN
    np.testing.assert_array_equal(chip.classes[known], kinds[known])


def test_ground_without_floes_is_known_as_such(discs: list[Discs], tmp_path) -> None:
    """Over what the labels say, too: a cloud drawn over a floe hides it."""
    labels = read_labels(discs[0].labels, Scene.open(discs[0].scene).grid)
    write_truth(tmp_path / "pass-1.labels.tif", labels)
    kinds = np.zeros(labels.shape, np.uint8)
    kinds[:40, :60], kinds[100:140, 100:160], kinds[200:] = 1, 4, 255
    with write_band(tmp_path / "pass-1.negatives.tif", Scene.open(discs[0].scene).grid, "uint8") as band:
        band.write(Window(0, 0, *labels.shape), kinds)
    chip = cut_chips([discs[0].scene], {"pass-1": tmp_path / "pass-1.labels.tif"}, ("red",), 256, 10, np.random.default_rng(0))[0]
    assert (chip.classes[:40, :60] == NOT_FLOE).all()
    assert (chip.classes[100:140, 100:160] == NOT_FLOE).all()
    np.testing.assert_array_equal(chip.labels > 0, (labels > 0) & (labels != IGNORE) & ~np.isin(kinds, (1, 4)))


def test_most_crops_lie_about_a_floe(tmp_path) -> None:
    """Of a wide scene with one small floe, at random, few crops would show it."""
    labels = np.zeros((512, 512), np.uint32)
    labels[30:38, 470:478] = 5
    scene = write_scene(tmp_path / "p", {"red": np.where(labels > 0, 1, 0.1).astype(np.float32)}, np.ones(labels.shape, bool))
    write_truth(tmp_path / "p.labels.tif", labels)
    rng = np.random.default_rng(2)
    chip = cut_chips([scene.folder], {"p": tmp_path / "p.labels.tif"}, ("red",), 512, 10, rng)[0]
    assert chip.floes == 1
    shown = np.mean([(crop_at_random(chip, 64, 5, 8.0, rng).classes == 2).any() for _ in range(100)])
    assert 0.75 < shown < 0.99


def test_augmented_crops_keep_pixels_and_truth_together(discs: list[Discs]) -> None:
    rng = np.random.default_rng(5)
    chip = cut_chips([discs[0].scene], {"pass-1": discs[0].labels}, ("red", "nir"), 256, 10, rng)[0]
    shares = []
    for _ in range(30):
        crop = crop_at_random(chip, 96, 20, 8.0, rng)
        assert crop.inputs.shape == (5, 96, 96)
        assert np.isfinite(crop.inputs).all()
        assert not (crop.distance[crop.classes == NOT_FLOE] > 0).any()
        floe, water = crop.classes == 2, crop.classes == NOT_FLOE
        bands = [band for band in crop.inputs[:2] if band.any()]
        if floe.any() and water.any():
            shares.append(np.mean([band[floe].mean() > band[water].mean() + 0.5 for band in bands]))
    assert np.mean(shares) > 0.97


def test_a_scene_without_valid_pixels_is_refused(tmp_path) -> None:
    scene = write_scene(tmp_path / "p", {"red": np.zeros((64, 64), np.float32)}, np.zeros((64, 64), bool))
    with pytest.raises(InputError, match="no valid pixels"):
        cut_chips([scene.folder], {}, ("red",), 64, 10, np.random.default_rng(0))


def test_radar_crops_keep_their_floes_bright_and_come_without_some_bands(tmp_path) -> None:
    from .conftest import disc_field

    bands, labels = disc_field((256, 256), 4, ignore=False)
    radar = {"hh_db": 14 * bands["red"] - 20, "hv_db": 14 * bands["nir"] - 30, "tb_18h_k": 200 + 40 * bands["red"]}
    scene = write_scene(tmp_path / "p", radar, np.ones(labels.shape, bool), sensor="sar")
    write_truth(tmp_path / "p.labels.tif", labels)
    rng = np.random.default_rng(6)
    chip = cut_chips([scene.folder], {"p": tmp_path / "p.labels.tif"}, tuple(radar), 256, 10, rng)[0]
    assert chip.radar
    seen = []
    for _ in range(60):
        crop = crop_at_random(chip, 96, 20, 8.0, rng)
        assert np.isfinite(crop.inputs).all()
        floe, water = crop.classes == 2, crop.classes == NOT_FLOE
        present = np.array([crop.inputs[band].any() for band in range(3)])
        for band in np.flatnonzero(present):
            assert crop.inputs[band][floe].mean() > crop.inputs[band][water].mean() + 0.3
        seen.append(present)
    shares = np.mean(seen, axis=0)
    assert (shares[:2] > 0.8).all()
    assert 0.1 < shares[2] < 0.4
    assert np.array(seen)[:, :2].any(axis=1).all()
