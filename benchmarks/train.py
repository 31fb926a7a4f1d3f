"""What a step of training costs, beside a plain PyTorch loop with the same network, examples and batches, in one run.

The plain loop prepares a batch, then learns from it, in float32 and PyTorch's own layout. Ours is `fit_segmenter` as it is, its examples
prepared in another process, its moving average and its states included; counted from one epoch's end to another's, so without what comes
before and after. Both on one thread. On a machine that is busy with other work the processor time alone can be trusted.

    python benchmarks/train.py [--steps 50]
"""

import argparse
import os
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from affine import Affine

from icegraph.grid import Grid, Window
from icegraph.scene import Scene, write_band, write_item
from icegraph.segment import Segmenter, SegmenterConfig
from icegraph.segment.chips import crop_at_random, cut_chips
from icegraph.segment.losses import segment_loss
from icegraph.segment.train import fit_segmenter

CROP, BATCH, SIDE = 128, 8, 384
BANDS = {"red": (0.62, 0.06), "green": (0.6, 0.06), "blue": (0.58, 0.08), "nir": (0.5, 0.03), "swir22": (0.1, 0.01)}  # ice and water


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=50, help="counted in, a multiple of 25")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        scene, truth = _scene(Path(work))
        plain = _plain(scene, truth, asked.steps)
        ours = _ours(scene, truth, asked.steps, Path(work) / "model")
    print(f"U-Net, {BATCH} crops of {CROP} × {CROP} pixels of {len(BANDS)} bands a step, {asked.steps} steps; {os.cpu_count()} cores")
    print(f"{'':12}{'wall ms a step':>16}{'processor ms':>14}{'times as fast':>15}{'by processor':>14}")
    for name, (wall, processor) in {"plain loop": plain, "ours": ours}.items():
        print(f"{name:12}{1000 * wall:16.0f}{1000 * processor:14.0f}{wall / ours[0]:15.2f}{processor / ours[1]:14.2f}")


def _plain(scene: Scene, truth: Path, steps: int) -> tuple[float, float]:
    """Seconds a step, on the clock and of the processor."""
    chips = cut_chips([scene.folder], {scene.id: truth}, tuple(BANDS), SIDE, 64, np.random.default_rng(0))
    model = Segmenter(SegmenterConfig(sensor="optical", bands=tuple(BANDS)))
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    rng = np.random.default_rng(0)
    start = (0.0, 0.0)
    for step in range(steps + 2):
        if step == 2:  # what came before warmed up
            start = time.perf_counter(), _processor_s()
        crops = [crop_at_random(chips[0], CROP, model.config.local_px, model.config.distance_cap_px, rng) for _ in range(BATCH)]
        inputs, classes, distance, near = (
            torch.from_numpy(np.stack([getattr(crop, name) for crop in crops])) for name in ("inputs", "classes", "distance", "near")
        )
        loss = segment_loss(*model(inputs), classes.long(), distance, near)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return (time.perf_counter() - start[0]) / steps, (_processor_s() - start[1]) / steps


def _ours(scene: Scene, truth: Path, steps: int, out: Path) -> tuple[float, float]:
    """The same of `fit_segmenter`."""
    ends: list[tuple[float, float]] = []
    fit_segmenter(
        [scene.folder],
        {scene.id: truth},
        out,
        sensor="optical",
        pretrain_steps=0,
        steps=steps + 50,  # the first epoch warms up; in the last the process that prepares examples runs out of work, and ends
        crop=CROP,
        batch=BATCH,
        hold_out=False,
        progress=lambda _text, _share: ends.append((time.perf_counter(), _processor_s())),
    )
    first, last = ends[0], ends[-2]
    return (last[0] - first[0]) / steps, (last[1] - first[1]) / steps


def _processor_s() -> float:
    """Processor time of this process and of those that it has under way."""
    children = (Path(f"/proc/self/task/{task}/children").read_text().split() for task in os.listdir("/proc/self/task"))
    ticks = [Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[11:13] for some in children for process in some]
    return time.process_time() + sum(float(part) for one in ticks for part in one) / os.sysconf("SC_CLK_TCK")


def _scene(work: Path) -> tuple[Scene, Path]:
    """Bright discs on dark water, of the size of a chip that training cuts, and their labels."""
    rng = np.random.default_rng(1)
    labels = np.zeros((SIDE, SIDE), np.uint32)
    rows, cols = np.ogrid[:SIDE, :SIDE]
    for number, (row, col, radius) in enumerate(zip(*rng.uniform(0, SIDE, (2, 200)), rng.uniform(5, 14, 200), strict=True), 1):
        reach = (rows - row) ** 2 + (cols - col) ** 2
        if not labels[reach < (radius + 2) ** 2].any():
            labels[reach < radius**2] = number
    grid, whole = Grid("EPSG:3413", Affine(250.0, 0, 0, 0, -250.0, 0), SIDE, SIDE), Window(0, 0, SIDE, SIDE)
    (folder := work / "scene").mkdir()
    for name, (ice, water) in BANDS.items():
        with write_band(folder / f"{name}.tif", grid, "float32") as band:
            band.write(whole, (np.where(labels > 0, ice, water) + rng.normal(0, 0.01, labels.shape)).astype(np.float32))
    for path, pixels in ((folder / "valid.tif", np.ones(labels.shape, np.uint8)), (work / "scene.labels.tif", labels)):
        with write_band(path, grid, str(pixels.dtype)) as band:
            band.write(whole, pixels)
    rasters = {name: f"{name}.tif" for name in (*BANDS, "valid")}
    moment = datetime(2021, 5, 1, tzinfo=UTC)
    scene = write_item(folder, pass_id=folder.name, time=moment, sensor="optical", grid=grid, rasters=rasters, properties={})
    return scene, work / "scene.labels.tif"


if __name__ == "__main__":
    main()
