"""What is compiled gives what the network says, and for the same pixels the same bytes."""

import gc
import os
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from icegraph.registry import SHIPPED
from icegraph.segment import Engine, Segmenter, SegmenterConfig, load_segmenter
from icegraph.segment.networks import EDGE, LinkNetSizes, SegFormerSizes, ThresholdSizes, UNetSizes

NETWORKS = [UNetSizes(), LinkNetSizes(), SegFormerSizes(), ThresholdSizes()]


def network(sizes: UNetSizes | LinkNetSizes | SegFormerSizes | ThresholdSizes, halo: int = 32) -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(SegmenterConfig(sensor="optical", bands=("red", "nir"), network=sizes, halo_px=halo)).eval()


def frame(height: int, width: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 1, (5, height, width)).astype(np.float32)


@pytest.mark.parametrize("sizes", NETWORKS, ids=lambda sizes: sizes.arch)
@pytest.mark.parametrize("halo", [0, 16, 64])
def test_leaving_out_the_halo_changes_nothing_within(sizes: UNetSizes | LinkNetSizes | SegFormerSizes | ThresholdSizes, halo: int) -> None:
    segmenter = network(sizes)
    inputs = torch.from_numpy(frame(32 + 2 * halo, 48 + 2 * halo))[None]
    with torch.inference_mode():
        (logits, distance), (inner_logits, inner_distance) = segmenter(inputs), segmenter(inputs, halo)
    edge = min(halo, EDGE)
    assert inner_logits.shape == (1, 3, 32 + 2 * edge, 48 + 2 * edge)
    part = slice(halo - edge, halo + edge + 32), slice(halo - edge, halo + edge + 48)
    torch.testing.assert_close(inner_logits, logits[..., *part], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(inner_distance, distance[..., *part], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("sizes", NETWORKS, ids=lambda sizes: sizes.arch)
def test_maps_are_those_of_the_network(sizes: UNetSizes | LinkNetSizes | SegFormerSizes | ThresholdSizes) -> None:
    segmenter = network(sizes)
    engine = Engine(segmenter)
    for shape in ((96, 112), (128, 96)):
        pixels = frame(*shape)
        with torch.inference_mode():
            logits, distance = segmenter(torch.from_numpy(pixels)[None], 32)
        found = engine(pixels)
        # bfloat16 has a relative precision of 2^-8.
        np.testing.assert_allclose(found[:3], logits[0].softmax(0), atol=0.03)
        np.testing.assert_allclose(found[3], distance[0], atol=0.05, rtol=0.03)


@pytest.mark.parametrize("sizes", NETWORKS, ids=lambda sizes: sizes.arch)
def test_what_is_compiled_goes_with_the_last_who_holds_it(sizes: UNetSizes | LinkNetSizes | SegFormerSizes | ThresholdSizes) -> None:
    gc.disable()  # which comes late: a pass after the other held as many compiled networks
    try:
        engine = Engine(network(sizes))
        engine(frame(96, 96))
        gone = weakref.ref(engine)
        del engine
        assert gone() is None
    finally:
        gc.enable()


def test_the_shipped_models_classes_are_those_of_the_network() -> None:
    segmenter = load_segmenter(SHIPPED / "segmenter-optical")
    rng = np.random.default_rng(3)
    rows, cols = np.ogrid[:256, :256]
    ice = np.zeros((256, 256), bool)
    for row, col, radius in zip(*rng.uniform(0, 256, (2, 60)), rng.uniform(5, 20, 60), strict=True):
        ice |= (rows - row) ** 2 + (cols - col) ** 2 < radius**2
    pixels = np.where(ice, np.float32(0.9), np.float32(-0.9)) + rng.normal(0, 0.1, (11, 256, 256)).astype(np.float32)
    pixels[-1] = 1
    with torch.inference_mode():
        logits, _ = segmenter(torch.from_numpy(pixels)[None], segmenter.config.halo_px)
    found = Engine(segmenter)(pixels)[:3].argmax(0)
    assert 0.1 < (found == 2).mean() < 0.9
    assert (found == logits[0].argmax(0).numpy()).mean() > 0.995


@pytest.mark.parametrize("sizes", NETWORKS, ids=lambda sizes: sizes.arch)
def test_frames_beside_it_and_their_order_do_not_change_a_frames_bytes(
    sizes: UNetSizes | LinkNetSizes | SegFormerSizes | ThresholdSizes,
) -> None:
    frames = [frame(*shape, seed) for seed, shape in enumerate([(96, 96), (112, 96), (96, 112), (112, 112), (128, 96), (96, 128)])]
    alone = [Engine(network(sizes))(one).tobytes() for one in frames]
    engine = Engine(network(sizes))
    with ThreadPoolExecutor(4) as pool:
        order = np.random.default_rng(0).permutation(np.tile(np.arange(len(frames)), 6)).tolist()
        for number, maps in zip(order, pool.map(engine, [frames[number] for number in order]), strict=True):
            assert maps.tobytes() == alone[number]


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_the_number_of_cores_does_not_change_a_frames_bytes(tmp_path: Path) -> None:
    program = f"""
import os, sys, numpy as np
os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[:1]})
from pathlib import Path
from icegraph.segment import Engine, load_segmenter
pixels = np.random.default_rng(0).normal(0, 1, (11, 160, 192)).astype(np.float32)
Path(sys.argv[1]).write_bytes(Engine(load_segmenter(Path({str(SHIPPED / "segmenter-optical")!r})))(pixels).tobytes())
"""
    subprocess.run([sys.executable, "-c", program, tmp_path / "one"], check=True)
    pixels = np.random.default_rng(0).normal(0, 1, (11, 160, 192)).astype(np.float32)
    assert (tmp_path / "one").read_bytes() == Engine(load_segmenter(SHIPPED / "segmenter-optical"))(pixels).tobytes()


def test_a_model_that_goes_on_learning_does_not_change_what_was_compiled() -> None:
    segmenter, frames = network(UNetSizes()), [frame(96, 96), frame(112, 96)]
    engine, before = Engine(segmenter), [Engine(segmenter)(one) for one in frames]
    assert np.array_equal(engine(frames[0]), before[0])
    with torch.no_grad():
        segmenter.outputs.bias.add_(1.0)
    assert [np.array_equal(engine(one), maps) for one, maps in zip(frames, before, strict=True)] == [True, True]
    assert not np.array_equal(Engine(segmenter)(frames[0]), before[0])
