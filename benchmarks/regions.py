"""How well floes are outlined in regions that the model has never seen: leave one region out, or learn from few.

For each region of the labels a segmenter is trained on the others (or on `--regions` of them, the next ones in order) and judged on both
passes of this one. As many regions as there are: it learns from the western half of this one too, and is judged on the eastern. Figures are
as `icegraph evaluate` gives them, and also: recall of floes under 80 pixels; recall where areas inside *ignore* count too, so that what
spills over an outline is not forgiven; share of the known pixels' ground without floes that is called floe; and the expected calibration
error of the floe probability over known pixels, in 15 bins.

    icegraph fetch data/floes/imagery.json --out imagery
    python benchmarks/regions.py imagery
"""

import argparse
import csv
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio

from icegraph.calibrate import calibrate
from icegraph.evaluate.segmentation import NO_FLOE_GROUND, count_false_ground, count_floes
from icegraph.ingest import ingest
from icegraph.scene import Scene
from icegraph.segment import segment
from icegraph.segment.train import fit_segmenter
from icegraph.truth import IGNORE, find_truth, overlap, read_labels

LABELS = Path(__file__).parents[1] / "data" / "floes"
SMALL_PX = 80
COLUMNS = ("precision", "recall", "f1", "pq", "small_recall", "strict_recall", "ece", *NO_FLOE_GROUND.values())


def main() -> None:
    """Train, judge and print a row a pass, and their mean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("imagery", type=Path, help="folder of the passes that data/floes has labels for")
    parser.add_argument("--held-out", nargs="*", help="regions to judge on, by the beginning of their names; default: all")
    parser.add_argument("--regions", type=int, default=3, help="how many of the other regions to learn from")
    parser.add_argument("--network", default="unet", choices=("unet", "linknet", "segformer", "threshold"))
    parser.add_argument("--start", type=Path, help="model to go on from")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--pretrain-steps", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the models and the outlines")
    parser.add_argument("--csv", type=Path, help="file to which the rows are added")
    asked = parser.parse_args()
    truth = find_truth([LABELS])
    with tempfile.TemporaryDirectory() as temporary:
        work = asked.keep or Path(temporary)
        manifest = ingest([asked.imagery], work / "manifest")
        scenes = [calibrate(entry, work / "scenes" / entry.id) for entry in manifest.require_scenes() if entry.id in truth]
        regions = sorted({_region(scene) for scene in scenes})
        rows = []
        for number, region in enumerate(regions):
            if asked.held_out and not region.startswith(tuple(asked.held_out)):
                continue
            learnt = [regions[(number + step) % len(regions)] for step in range(1, asked.regions + 1)]
            parts = [dict(truth), dict(truth)]
            for scene in scenes:
                if _region(scene) == region and region in learnt:
                    for half, part in enumerate(parts):
                        part[scene.id] = _half(truth[scene.id], half, work / "halves" / f"{scene.id}-{half}")
            rows += _leave_out(region, learnt, scenes, parts, work, asked)
    rows.append({"pass": "mean", **{name: np.mean(seen) for name in COLUMNS if (seen := [row[name] for row in rows if name in row])}})
    _print(rows)
    if asked.csv:
        _add(asked, rows)


def _region(scene: Scene) -> str:
    return scene.id.rpartition("-")[0]


def _half(labels: Path, half: int, folder: Path) -> Path:
    """Labels of which only the western (0) or eastern (1) half is known, and the ground without floes beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    for path, unknown in ((labels, np.iinfo(np.uint16).max), (_negatives(labels), 0)):
        if path.exists():
            with rasterio.open(path) as dataset:
                values, profile = dataset.read(1), dataset.profile
            np.array_split(values, 2, axis=1)[1 - half][:] = unknown
            with rasterio.open(folder / path.name, "w", **profile) as dataset:
                dataset.write(values, 1)
    return folder / labels.name


def _negatives(labels: Path) -> Path:
    return labels.with_name(labels.name.replace(".labels.", ".negatives."))


def _leave_out(
    region: str, learnt: Sequence[str], scenes: Sequence[Scene], truth: Sequence[dict[str, Path]], work: Path, asked: argparse.Namespace
) -> list[dict[str, Any]]:
    """Rows of a region's passes: `truth` is what may be learnt, and what is judged by."""
    model = work / "models" / region
    known = {scene.id: truth[0][scene.id] for scene in scenes if _region(scene) in learnt}
    settings: dict[str, Any] = {"start": asked.start} if asked.start else {"network": {"arch": asked.network}}
    started = time.monotonic()
    fit_segmenter(
        [scene.folder for scene in scenes if scene.id in known],
        known,
        model,
        sensor="optical",
        # What is seen without labels may be seen of any region, the one held out too.
        unlabelled=[scene.folder for scene in scenes] if asked.pretrain_steps else [],
        pretrain_steps=asked.pretrain_steps,
        steps=asked.steps,
        batch=8,
        hold_out=False,
        seed=asked.seed,
        tile_px=512,
        halo_px=64,
        progress=lambda text, share: print(f"\r{region}: {text} {share:.0%}", end="", file=sys.stderr),
        **settings,
    )
    print(f"\r{region}: trained in {time.monotonic() - started:.0f} s" + " " * 30, file=sys.stderr)
    return [_judge(scene, model, truth[1][scene.id], work / "found" / scene.id) for scene in scenes if _region(scene) == region]


def _judge(scene: Scene, model: Path, truth: Path, out: Path) -> dict[str, Any]:
    segment(scene, model, out)
    common = overlap(out / "labels.tif", truth, scene.grid)
    counts = count_floes(common)
    row: dict[str, Any] = {"pass": scene.id, **{name: counts.metrics().get(name, 0.0) for name in ("precision", "recall", "f1", "pq")}}
    small = common.known_px < SMALL_PX
    row["small_recall"] = np.isin(np.flatnonzero(small), common.pairs[common.iou > 0.5, 1]).mean()
    whole = common.found_total_px[common.pairs[:, 0]] + common.known_px[common.pairs[:, 1]] - common.pairs_px
    row["strict_recall"] = (common.pairs_px / whole > 0.5).sum() / len(common.known)
    row["ece"] = _calibration_error(scene, out, truth)
    negatives = _negatives(truth)
    if negatives.exists():
        for name, (area, called) in zip(
            NO_FLOE_GROUND.values(), count_false_ground(out / "labels.tif", negatives, scene.grid), strict=True
        ):
            row |= {name: called / area} if area > SMALL_PX else {}
    return row


def _calibration_error(scene: Scene, found: Path, truth: Path) -> float:
    """Mean difference between the floe probability and the share of floe, weighted by pixels (Naeini et al. 2015)."""
    labels = read_labels(truth, scene.grid)
    with rasterio.open(found / "floe_probability.tif") as dataset:
        chance = dataset.read(1)
    use = (labels != IGNORE) & np.isfinite(chance)
    chance, floe = chance[use], labels[use] > 0
    bins = np.minimum((chance * 15).astype(int), 14)
    total = np.bincount(bins, minlength=15)
    gap = np.abs(np.bincount(bins, chance, 15) - np.bincount(bins, floe, 15))
    return float(gap.sum() / total.sum())


def _print(rows: Sequence[dict[str, Any]]) -> None:
    print(f"{'':36}" + "".join(f"{name[:13]:>14}" for name in COLUMNS))
    for row in rows:
        print(f"{row['pass']:36}" + "".join(f"{row[name]:14.3f}" if name in row else f"{'':14}" for name in COLUMNS))


def _add(asked: argparse.Namespace, rows: Sequence[dict[str, Any]]) -> None:
    settings = json.dumps({name: str(value) for name, value in vars(asked).items() if name not in ("csv", "keep", "imagery")})
    with asked.csv.open("a", newline="") as file:
        writer = csv.DictWriter(file, ("settings", "pass", *COLUMNS))
        for row in rows:
            writer.writerow({"settings": settings, **row})


if __name__ == "__main__":
    main()
