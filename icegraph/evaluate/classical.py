"""The classical segmenter on the passes of a run: what a learned one is held against."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors.numpy import save_file

from icegraph.evaluate.segmentation import FloeCounts, count_floes
from icegraph.scene import Scene
from icegraph.segment import SegmenterConfig, segment
from icegraph.segment.model import CONFIG, WEIGHTS
from icegraph.segment.threshold import READS, TUNED
from icegraph.truth import overlap


def count_classical(scenes: Sequence[Scene], truth: Mapping[str, Path]) -> FloeCounts | None:
    """Floes that `icegraph.segment.threshold` finds with the settings tuned for the sensor; None where it reads no band of a scene.

    Args:
        scenes: Passes of one sensor.
        truth: Pass id → label raster.
    """
    counts = FloeCounts()
    for scene in scenes:
        bands = [band for band in READS[scene.sensor] if band in scene.bands and scene.statistics(band)]
        if not bands:
            return None
        with tempfile.TemporaryDirectory() as work:
            model, found = Path(work, "model"), Path(work, "found")
            _write(model, SegmenterConfig.model_validate({"sensor": scene.sensor, "bands": bands, "tile_px": 512, **TUNED[scene.sensor]}))
            segment(scene, model, found)
            counts += count_floes(overlap(found / "labels.tif", truth[scene.id], scene.grid))
    return counts


def _write(folder: Path, config: SegmenterConfig) -> None:
    folder.mkdir()
    (folder / CONFIG).write_text(json.dumps(config.model_dump(mode="json")))
    save_file({}, folder / WEIGHTS)
