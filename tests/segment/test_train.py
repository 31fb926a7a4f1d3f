"""Training, and what a trained model does with scenes."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch

from icegraph.errors import InputError, ModelError
from icegraph.grid import Window
from icegraph.scene import Scene
from icegraph.segment import Engine, load_segmenter, model_for, predict_window, segment, segment_all, segment_window
from icegraph.segment.chips import NOT_FLOE, UNKNOWN, cut_chips
from icegraph.segment.model import FLOE
from icegraph.segment.normalise import read_scaled
from icegraph.segment.train import fit_segmenter
from icegraph.segment.tune import count_matches, fit_sharpness
from icegraph.store import sha256

from .conftest import Discs, disc_field, make_discs, write_scene

BUDGET = {"pretrain_steps": 50, "steps": 120, "crop": 96, "batch": 2, "tile_px": 96, "halo_px": 16, "local_px": 10}


def fit(discs: list[Discs], out: Path, **changes: object) -> Path:
    truth = {disc.scene.name: disc.labels for disc in discs}
    fit_segmenter([disc.scene for disc in discs], truth, out, sensor="optical", **(BUDGET | changes))  # type: ignore[arg-type]
    return out


@pytest.fixture(scope="module")
def model(discs: list[Discs], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(discs, tmp_path_factory.mktemp("models") / "discs")


@pytest.fixture(scope="module")
def unseen(tmp_path_factory: pytest.TempPathFactory) -> Discs:
    return make_discs(tmp_path_factory.mktemp("unseen") / "pass-9", (200, 230), 9)


def labels_of(folder: Path) -> np.ndarray:
    with rasterio.open(folder / "labels.tif") as dataset:
        return dataset.read(1)


def test_training_lowers_both_losses(model: Path) -> None:
    epochs = json.loads((model / "history.json").read_text())["epochs"]
    for phase in ("pretrain", "train"):
        losses = [epoch["loss"] for epoch in epochs if epoch["phase"] == phase]
        assert losses[-1] < 0.9 * losses[0]


def test_the_floe_probability_is_as_sure_as_it_is_right(model: Path, discs: list[Discs]) -> None:
    segmenter = load_segmenter(model)
    truth = {disc.scene.name: disc.labels for disc in discs}
    chips = cut_chips([disc.scene for disc in discs], truth, segmenter.config.bands, 200, 64, np.random.default_rng(0))
    rng = np.random.default_rng(0)
    for known in chips:  # what is said of a tenth of the pixels is wrong: no answer may be surer than that
        wrong = (known.classes != UNKNOWN) & (rng.random(known.classes.shape) < 0.1)
        known.classes[wrong] = np.where(known.classes[wrong] == FLOE, NOT_FLOE, FLOE)
    power = fit_sharpness(segmenter, chips)
    assert power < 1
    for part in (1.0, 0.5):
        segmenter.config = segmenter.config.model_copy(update={"sharpness": part * power * load_segmenter(model).config.sharpness})
        assert fit_sharpness(segmenter, chips) == pytest.approx(1 / part, rel=0.1)


def test_the_model_folder_is_whole(model: Path) -> None:
    assert sorted(path.name for path in model.iterdir()) == ["README.md", "config.json", "history.json", "model.safetensors"]
    assert (model / "model.safetensors").stat().st_size < 10e6
    assert set(load_segmenter(model).config.bands) == {"red", "nir"}
    history = json.loads((model / "history.json").read_text())
    assert set(history["parents"]) == {"pass-1", "pass-2"}


def test_training_goes_on_from_a_known_model(model: Path, discs: list[Discs], tmp_path: Path) -> None:
    further = fit(discs, tmp_path / "further", start=model, pretrain_steps=0, steps=1, tile_px=128)
    then, now = (load_segmenter(place) for place in (model, further))
    assert now.config.tile_px == 128
    assert now.config.local_px == then.config.local_px == 10
    gaps = [(a - b).abs().max() for a, b in zip(then.parameters(), now.parameters(), strict=True)]
    assert 0 < max(gaps) < 0.01
    assert json.loads((further / "history.json").read_text())["goes_on_from"] == sha256(model / "model.safetensors")
    assert "from the weights of an earlier model" in (further / "README.md").read_text()
    assert "from random weights" in (model / "README.md").read_text()


class StoppedError(Exception):
    """What ends a training in the middle."""


FOUR_EPOCHS = {"pretrain_steps": 50, "steps": 50, "crop": 64}


@pytest.fixture(scope="module")
def whole(discs: list[Discs], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(discs, tmp_path_factory.mktemp("models") / "whole", **FOUR_EPOCHS)


@pytest.mark.parametrize("phase", ["pre-train", "train"])
def test_a_training_that_was_stopped_goes_on_to_the_same_bytes(phase: str, discs: list[Discs], whole: Path, tmp_path: Path) -> None:
    told = []

    def stop(text: str, share: float) -> None:
        told.append((text, share))
        if text.startswith(phase) and sum(text.startswith(phase) for text, _ in told) == 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        fit(discs, tmp_path / "stopped", **FOUR_EPOCHS, progress=stop)
    assert not (tmp_path / "stopped").exists()
    begun = len(told)
    fit(discs, tmp_path / "stopped", **FOUR_EPOCHS, progress=lambda *step: told.append(step))
    assert len(told) - begun < 4  # of four epochs in all, those before the stop are not learnt again
    for name in ("model.safetensors", "config.json", "history.json"):
        assert (whole / name).read_bytes() == (tmp_path / "stopped" / name).read_bytes(), name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stopped"]


def test_a_long_path_for_temporary_files_stops_no_training(discs: list[Discs], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No socket can be there: the path of one has 108 bytes at most."""
    (tmp_path / ("t" * 120)).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("t" * 120)))
    assert fit(discs, tmp_path / "model", pretrain_steps=2, steps=2, crop=64).is_dir()


def test_a_state_of_another_training_is_not_gone_on_from(discs: list[Discs], tmp_path: Path) -> None:
    def stop(text: str, share: float) -> None:
        raise StoppedError

    budget = {"pretrain_steps": 0, "steps": 26, "crop": 64}
    with pytest.raises(StoppedError):
        fit(discs, tmp_path / "model", **budget, seed=1, progress=stop)
    [kept] = tmp_path.iterdir()
    fit(discs, tmp_path / "model", **budget, seed=2)
    fresh = fit(discs, tmp_path / "fresh", **budget, seed=2)
    assert (fresh / "model.safetensors").read_bytes() == (tmp_path / "model" / "model.safetensors").read_bytes()
    assert not kept.exists()


def test_several_processes_learn_together(discs: list[Discs], tmp_path: Path) -> None:
    """Each sees half of every batch; what the first writes is what both have learnt, and close to what one learns alone."""
    code = f"""
import sys
from pathlib import Path
from icegraph.segment.train import fit_segmenter
place = Path({str(discs[0].scene.parent)!r})
fit_segmenter([place / "pass-1", place / "pass-2"], {{f"pass-{{n}}": place / f"pass-{{n}}.labels.tif" for n in (1, 2)}}, Path(sys.argv[1]),
              sensor="optical", pretrain_steps=0, steps=50, crop=64, batch=4, local_px=10)
"""
    script = tmp_path / "learn.py"
    script.write_text(code)
    alone, together = tmp_path / "alone", tmp_path / "together"
    subprocess.run([sys.executable, script, alone], check=True, capture_output=True)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([*torchrun, script, together], check=True, capture_output=True)
    curves = [[epoch["loss"] for epoch in json.loads((place / "history.json").read_text())["epochs"]] for place in (alone, together)]
    np.testing.assert_allclose(curves[0], curves[1], rtol=0.25)
    assert curves[1][1] < 0.9 * curves[1][0]


def test_a_model_of_another_sensor_is_no_start(model: Path, discs: list[Discs], tmp_path: Path) -> None:
    truth = {disc.scene.name: disc.labels for disc in discs}
    with pytest.raises(ModelError, match="reads optical scenes, not sar"):
        fit_segmenter([disc.scene for disc in discs], truth, tmp_path / "out", sensor="sar", start=model, pretrain_steps=0, steps=1)


def test_floes_of_an_unseen_field_are_found(model: Path, unseen: Discs, tmp_path: Path) -> None:
    segment(Scene.open(unseen.scene), model, tmp_path / "out")
    chip = cut_chips([unseen.scene], {"pass-9": unseen.labels}, ("red",), 400, 1, np.random.default_rng(0))[0]
    found, known, ious = count_matches(labels_of(tmp_path / "out"), chip, 40)
    assert 2 * len(ious) / (found + known) > 0.8


def test_the_segment_folder_holds_what_it_should(model: Path, unseen: Discs, tmp_path: Path) -> None:
    scene = Scene.open(unseen.scene)
    segment(scene, model, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["classes.tif", "floe_probability.tif", "item.json", "labels.tif"]
    labels = labels_of(tmp_path / "out")
    assert labels.dtype == np.uint32
    assert np.unique(labels).tolist() == list(range(labels.max() + 1))
    with rasterio.open(tmp_path / "out" / "classes.tif") as classes, rasterio.open(tmp_path / "out" / "floe_probability.tif") as chance:
        assert classes.shape == chance.shape == scene.grid.shape
        assert classes.transform == scene.grid.transform
        assert (classes.read(1)[labels > 0] == 2).all()
        assert chance.read(1)[labels > 0].mean() > 0.7
    names = [parent["name"] for parent in json.loads((tmp_path / "out" / "item.json").read_text())["properties"]["icegraph:parents"]]
    assert names == ["scene pass-9", "segmenter config", "segmenter weights"]


def test_the_same_input_gives_the_same_bytes(model: Path, unseen: Discs, tmp_path: Path) -> None:
    for name in ("one", "other"):
        segment(Scene.open(unseen.scene), model, tmp_path / name)
    for file in ("labels.tif", "classes.tif", "floe_probability.tif"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()


def test_a_tile_predicted_alone_is_the_tile_of_the_scene(model: Path, unseen: Discs, tmp_path: Path) -> None:
    scene = Scene.open(unseen.scene)
    segment(scene, model, tmp_path / "out")
    window = Window(96, 96, 96, 96)
    maps = predict_window(Engine(load_segmenter(model)), scene, window)
    with rasterio.open(tmp_path / "out" / "floe_probability.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(1, window=window.rasterio()), maps[2])
    np.testing.assert_array_equal(maps[4], read_scaled(scene, ["red"], window)[0][0])


def test_without_red_no_brightness_is_told_and_floes_are_outlined_all_the_same(model: Path, unseen: Discs, tmp_path: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    assert config["bands"][0] == "red"
    blind = tmp_path / "blind"
    shutil.copytree(model, blind)
    (blind / "config.json").write_text(json.dumps(config | {"bands": ["green", *config["bands"][1:]]}))
    seen = Scene.open(unseen.scene)
    scene = write_scene(tmp_path / "green", {"green": seen.read(["red"])[0]}, seen.mask("valid"))
    engine = Engine(load_segmenter(blind))
    assert np.isnan(predict_window(engine, scene, Window(0, 0, *scene.grid.shape))[4]).all()
    assert segment_window(engine, scene, Window(0, 0, *scene.grid.shape)).labels.max() > 10


def test_no_read_is_larger_than_the_padded_tile(model: Path, unseen: Discs, monkeypatch: pytest.MonkeyPatch) -> None:
    scene, engine, asked = Scene.open(unseen.scene), Engine(load_segmenter(model)), []
    read = Scene.read

    def watched(self: Scene, bands: list[str], window: Window | None = None) -> np.ndarray:
        assert window is not None
        asked.append(max(window.shape))
        return read(self, bands, window)

    monkeypatch.setattr(Scene, "read", watched)
    config = engine.config
    predict_window(engine, scene, Window(96, 96, 96, 96))
    assert max(asked) <= config.tile_px + 2 * (config.halo_px + config.local_px)


def test_memory_follows_the_window_not_the_scene(model: Path, tmp_path: Path) -> None:
    def scene_of(size: int) -> Scene:
        calm = np.zeros((size, size), np.float32)
        calm[::7, ::5] = 1
        valid = np.zeros((size, size), bool)
        valid[:150, :150] = True
        return write_scene(tmp_path / f"size-{size}", {"red": calm}, valid)

    segment(scene_of(200), model, tmp_path / "out-200")  # what is compiled at the first use is compiled
    size, cores = 5200, os.sched_getaffinity(0)
    scene = scene_of(size)
    os.sched_setaffinity(0, sorted(cores)[:1])  # every core has windows under way
    tracemalloc.start()
    try:
        segment(scene, model, tmp_path / "out")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        os.sched_setaffinity(0, cores)
    assert peak < 4 * size**2  # not one of the scene's float32 maps, of which there are two, and three more rasters


def test_invalid_pixels_are_never_floe(model: Path, tmp_path: Path) -> None:
    bands, _ = disc_field((128, 128), 4)
    valid = np.ones((128, 128), bool)
    valid[:, 50:70] = False
    segment(write_scene(tmp_path / "p", bands, valid), model, tmp_path / "out")
    assert labels_of(tmp_path / "out")[valid].max() > 0
    assert not labels_of(tmp_path / "out")[~valid].any()
    with rasterio.open(tmp_path / "out" / "classes.tif") as classes, rasterio.open(tmp_path / "out" / "floe_probability.tif") as chance:
        assert (classes.read(1)[~valid] == 255).all()
        assert np.isnan(chance.read(1)[~valid]).all()


def test_a_scene_that_lacks_a_band_is_segmented(model: Path, tmp_path: Path) -> None:
    bands, labels = disc_field((128, 128), 6, ignore=False)
    segment(write_scene(tmp_path / "p", {"red": bands["red"]}, np.ones((128, 128), bool)), model, tmp_path / "out")
    found = labels_of(tmp_path / "out") > 0
    assert ((labels > 0) & found).sum() / ((labels > 0) | found).sum() > 0.6


def test_a_scene_without_a_common_band_is_refused(model: Path, tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "p", {"thermal": np.ones((32, 32), np.float32)}, np.ones((32, 32), bool))
    with pytest.raises(ModelError, match="no band in common"):
        segment(scene, model, tmp_path / "out")
    with pytest.raises(ModelError, match="thermal"):
        model_for(scene, [model])
    assert not (tmp_path / "out").exists()


def test_a_scene_of_another_sensor_is_refused(model: Path, tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "p", {"red": np.ones((32, 32), np.float32)}, np.ones((32, 32), bool), sensor="sar")
    with pytest.raises(ModelError, match="sar"):
        segment(scene, model, tmp_path / "out")


def test_several_scenes_get_a_folder_each(model: Path, discs: list[Discs], unseen: Discs, tmp_path: Path) -> None:
    told: list[float] = []
    places = {disc.scene.name: disc.scene for disc in [discs[0], unseen]}
    segment_all(places, [model], tmp_path / "all", progress=lambda _text, share: told.append(share))
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == ["pass-1", "pass-9"]
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1.0)


def test_the_same_seed_gives_the_same_model_and_another_another(discs: list[Discs], tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        models = [fit(discs[:1], tmp_path / name, pretrain_steps=2, steps=3, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    finally:
        torch.set_num_threads(threads)
    one, same, other = ((model / "model.safetensors").read_bytes() for model in models)
    assert one == same
    assert one != other


def test_bands_about_the_sample_and_wide_channels_are_no_inputs_by_accident(discs: list[Discs], tmp_path: Path) -> None:
    scene = Scene.open(discs[0].scene)
    valid, red = scene.mask(), scene.read(["red"])[0]
    more = ("incidence_deg", "tb_06h_k", "tb_18h_k", "sic_percent", "amsr2_age_h", "unheard_of")
    write_scene(tmp_path / scene.id, {"red": red} | dict.fromkeys(more, red), valid)
    out = fit([discs[0]._replace(scene=tmp_path / scene.id)], tmp_path / "m", pretrain_steps=0, steps=1)
    assert load_segmenter(out).config.bands == ("red", "tb_18h_k", "sic_percent")


def test_training_without_truth_is_refused(discs: list[Discs], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no scene has known floes"):
        fit_segmenter([discs[0].scene], {}, tmp_path / "m", sensor="optical")
    with pytest.raises(InputError, match="crop 100"):
        fit(discs, tmp_path / "m", crop=100)
    assert not (tmp_path / "m").exists()
