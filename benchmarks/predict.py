"""How fast tiles are predicted, beside a plain loop in eager PyTorch with the same network and the same tiles, in one run.

The plain loop hands one tile after another to the network, without gradients, on as many threads as PyTorch takes; threads that wait for
each other cost processor time on a busy machine, so it also runs on one. Rows of *network* go from frames in memory to maps; those of
*scene* also read and normalise the bands, in both alike, and ours smooths the maps. On a machine that is busy with other work the processor
time alone can be trusted. Classes are compared pixel by pixel.

    python benchmarks/predict.py [--network unet|linknet|segformer] [--side 2048]
"""

import argparse
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from icegraph.ahead import cores
from icegraph.grid import tiles
from icegraph.registry import SHIPPED
from icegraph.segment import Engine, Segmenter, SegmenterConfig, load_segmenter
from icegraph.segment.engine import precision
from icegraph.segment.frames import predict_tiles, read_tile
from icegraph.segment.networks import EDGE
from icegraph.serve.array_scene import ArrayScene, Place

Frame = NDArray[np.float32]
_THREADS = torch.get_num_threads()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="unet", choices=("unet", "linknet", "segformer"), help="unet is the shipped one, trained")
    parser.add_argument("--side", type=int, default=2048, help="of the scene, pixels")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    segmenter = load_segmenter(SHIPPED / "segmenter-optical")
    if asked.network != "unet":
        torch.manual_seed(0)
        segmenter = Segmenter(SegmenterConfig.model_validate(segmenter.config.model_dump() | {"network": {"arch": asked.network}})).eval()
    config, engine = segmenter.config, Engine(segmenter)
    scene = _scene(config.bands, asked.side)

    def read() -> Iterator[Frame]:
        for window in tiles(scene.grid.shape, config.tile_px):
            tile = read_tile(config, scene, window)
            if tile.frame is not None:
                yield tile.frame

    frames = list(read())
    told = f"{len(frames)} tiles of {config.tile_px} pixels and a halo of {config.halo_px}"
    print(f"{asked.network}, {asked.side} × {asked.side} pixels, {told}; {cores()} cores, {precision()}")
    print(f"{'':34}{'wall s':>8}{'processor s':>13}{'Mpx/s':>8}{'times as fast':>15}{'by processor':>14}")
    network: dict[str, Callable[[], object]] = {
        "network: plain loop": lambda: _plain(segmenter, frames, _THREADS),
        "network: plain loop, one thread": lambda: _plain(segmenter, frames, 1),
        "network: ours": lambda: _ours(engine, frames),
    }
    whole: dict[str, Callable[[], object]] = {
        "scene: plain loop": lambda: _plain(segmenter, read(), _THREADS),
        "scene: plain loop, one thread": lambda: _plain(segmenter, read(), 1),
        "scene: ours": lambda: list(predict_tiles(engine, scene, scene.held)),
    }
    for ways in (network, whole):
        _compare(ways, asked.rounds, asked.side**2 / 1e6)
    agreed = [
        float(np.mean(plain[:3].argmax(0) == ours[:3].argmax(0)))
        for plain, ours in zip(_plain(segmenter, frames, _THREADS), _ours(engine, frames), strict=True)
    ]
    print(f"classes agree in {100 * np.mean(agreed):.3f} % of the pixels; in the worst tile in {100 * min(agreed):.3f} %")


def _compare(ways: dict[str, Callable[[], object]], rounds: int, megapixels: float) -> None:
    """Run the ways in turns and print the best of each, and how many times as fast the last is as each of the others."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for turn in range(rounds + 1):  # the first warms up
        for name, way in ways.items():
            wall, processor = time.perf_counter(), time.process_time()
            way()
            if turn:
                times[name].append((time.perf_counter() - wall, time.process_time() - processor))
    best = {name: tuple(map(min, zip(*seen, strict=True))) for name, seen in times.items()}
    *_, (our_wall, our_processor) = best.values()
    for name, (wall, processor) in best.items():
        print(f"{name:34}{wall:8.2f}{processor:13.2f}{megapixels / wall:8.2f}{wall / our_wall:15.2f}{processor / our_processor:14.2f}")


def _plain(segmenter: Segmenter, frames: Iterable[Frame], threads: int) -> list[Frame]:
    """Probabilities and distance [4, H, W] of each tile, by a plain loop."""
    torch.set_num_threads(threads)
    halo = segmenter.config.halo_px
    found = []
    for frame in frames:
        with torch.no_grad():
            logits, distance = segmenter(torch.from_numpy(frame)[None])
            maps = torch.cat([logits.softmax(1), distance[:, None]], 1)
        found.append(maps[0, :, halo:-halo, halo:-halo].numpy())
    return found


def _ours(engine: Engine, frames: Iterable[Frame]) -> list[Frame]:
    """The same by the engine, as many tiles at once as there are cores."""
    with ThreadPoolExecutor(cores()) as pool:
        return [maps[:, EDGE:-EDGE, EDGE:-EDGE] for maps in pool.map(engine, frames)]


def _scene(bands: tuple[str, ...], side: int) -> ArrayScene:
    """Bright discs on dark water."""
    rng = np.random.default_rng(1)
    floe = np.zeros((side, side), bool)
    for row, col, radius in zip(*rng.uniform(0, side, (2, side * side // 600)), rng.uniform(5, 14, side * side // 600), strict=True):
        top, left, reach = max(int(row) - 15, 0), max(int(col) - 15, 0), 30
        rows, cols = np.ogrid[top : min(top + reach, side), left : min(left + reach, side)]
        floe[top : top + reach, left : left + reach] |= (rows - row) ** 2 + (cols - col) ** 2 < radius**2
    bright, dark = (dict(zip(("red", "green", "blue", "nir", "swir22"), values, strict=True)) for values in _SURFACES)
    pixels = np.stack([np.where(floe, bright[band], dark[band]) for band in bands]) + rng.normal(0, 0.01, (len(bands), side, side))
    return ArrayScene.of_image(pixels.astype(np.float32), bands, None, None, Place())


_SURFACES = ((0.62, 0.6, 0.58, 0.5, 0.1), (0.06, 0.06, 0.08, 0.03, 0.01))  # reflectance of ice and water


if __name__ == "__main__":
    main()
