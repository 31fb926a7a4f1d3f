"""The network and its folder."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.ndimage import distance_transform_edt

from icegraph.errors import ModelError
from icegraph.segment.model import Segmenter, SegmenterConfig, load_segmenter
from icegraph.segment.networks import LinkNetSizes, SegFormerSizes, ThresholdSizes, UNetSizes

CONFIG = SegmenterConfig(sensor="optical", bands=("red", "nir"))
NETWORKS = [UNetSizes(), LinkNetSizes(), SegFormerSizes()]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(CONFIG.model_dump_json())
    save_file(Segmenter(CONFIG).state_dict(), folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.arch)
@pytest.mark.parametrize(("height", "width"), [(64, 64), (96, 32)])
def test_outputs_have_the_size_of_the_input(height: int, width: int, network: UNetSizes | LinkNetSizes | SegFormerSizes) -> None:
    model = Segmenter(CONFIG.model_copy(update={"network": network})).eval()
    logits, distance = model(torch.randn(2, 5, height, width))
    assert logits.shape == (2, 3, height, width)
    assert distance.shape == (2, height, width)
    assert (distance >= 0).all()
    assert model.reconstruct(torch.randn(1, 5, height, width)).shape == (1, 4, height, width)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.arch)
def test_every_pixel_of_the_input_counts(network: UNetSizes | LinkNetSizes | SegFormerSizes) -> None:
    """A crack of one pixel must be able to change the answer at that pixel."""
    torch.manual_seed(1)
    model = Segmenter(CONFIG.model_copy(update={"network": network})).eval()
    inputs = torch.randn(1, 5, 32, 32)
    for row, col in ((7, 8), (16, 15)):
        changed = inputs.clone()
        changed[:, :, row, col] += 3
        with torch.inference_mode():
            difference = (model(changed)[0] - model(inputs)[0]).abs().amax(1)[0]
        assert difference[row, col] > 1.5 * difference[row, (col + 6) % 32]


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.arch)
def test_the_network_is_small(network: UNetSizes | LinkNetSizes | SegFormerSizes) -> None:
    bands = tuple(f"band_{number}" for number in range(10))
    model = Segmenter(SegmenterConfig(sensor="sar", bands=bands, network=network))
    assert sum(p.numel() for p in model.parameters()) < 2_000_000
    assert sum(p.numel() * p.element_size() for p in model.state_dict().values()) < 10e6


def test_the_threshold_finds_what_is_brighter_than_its_neighbourhood() -> None:
    network = ThresholdSizes(local=0.0, scene=-0.5, blur_px=0)
    model = Segmenter(CONFIG.model_copy(update={"network": network})).eval()
    inputs = torch.full((1, 5, 32, 32), -1.0)
    inputs[:, 4] = 1
    inputs[:, :4, 8:20, 10:26] = 1
    logits, distance = model(inputs)
    floe = torch.zeros(32, 32, dtype=torch.bool)
    floe[8:20, 10:26] = True
    assert torch.equal(logits.argmax(1)[0] == 2, floe)
    assert not (logits.argmax(1) == 1).any()
    np.testing.assert_allclose(distance[0], distance_transform_edt(floe), atol=1e-4)


def test_save_and_load_gives_the_same_answer(saved: Path) -> None:
    inputs = torch.randn(1, 5, 64, 64)
    torch.manual_seed(0)
    with torch.inference_mode():
        before, after = Segmenter(CONFIG).eval()(inputs), load_segmenter(saved)(inputs)
    assert torch.equal(before[0], after[0])
    assert torch.equal(before[1], after[1])


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json"):
        load_segmenter(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"kind": "matcher"}, "kind"),
        ({"version": 1}, "version"),
        ({"network": {"arch": "transformer"}}, "network"),
        ({"network": {"arch": "unet", "widths": [16, 32, 64]}}, "widths"),
        ({"network": {"arch": "unet", "widths": [16, 32, 64, 96, 10**9]}}, "1024"),
        ({"network": {"arch": "segformer", "hidden": [16, 32, 64, 10**9]}}, "1..1024"),
        ({"bands": []}, "bands"),
        ({"surprise": 1}, "surprise"),
        ({"rule": {"probability": 2}}, "probability"),
        ({"network": {"arch": "unet", "widths": [16, 32, 64, 96, 64]}}, "tensors"),
        ({"bands": ["red"]}, "tensors"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(saved: Path, change: dict[str, object], what: str) -> None:
    config = json.loads((saved / "config.json").read_text()) | change
    (saved / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=what):
        load_segmenter(saved)


@pytest.mark.parametrize("content", [b"", b"{", b"\x80\x04K\x01.", b"[1, 2]", b"\xff\xfe"])
def test_a_config_that_is_not_json_is_refused(saved: Path, content: bytes) -> None:
    (saved / "config.json").write_bytes(content)
    with pytest.raises(ModelError):
        load_segmenter(saved)


@pytest.mark.parametrize("cut", [0, 7, 1000, -1])
def test_truncated_weights_are_refused(saved: Path, cut: int) -> None:
    weights = saved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:cut])
    with pytest.raises(ModelError, match="weights"):
        load_segmenter(saved)


def test_pickled_weights_are_refused(saved: Path) -> None:
    (saved / "model.safetensors").unlink()
    torch.save(Segmenter(CONFIG).state_dict(), saved / "model.safetensors")
    with pytest.raises(ModelError, match="weights"):
        load_segmenter(saved)


def test_weights_that_are_not_finite_are_refused(saved: Path) -> None:
    state = Segmenter(CONFIG).state_dict()
    state["outputs.bias"][0] = float("nan")
    save_file(state, saved / "model.safetensors")
    with pytest.raises(ModelError, match="finite"):
        load_segmenter(saved)
