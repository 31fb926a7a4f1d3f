"""Choose how pixels become floes, on predictions already made."""

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from icegraph.grid import Window
from icegraph.segment.chips import UNKNOWN, Chip
from icegraph.segment.engine import Engine
from icegraph.segment.instances import find_floes
from icegraph.segment.model import FLOE, FloeRule, Segmenter, SegmenterConfig
from icegraph.segment.networks import ThresholdSizes
from icegraph.segment.predict import Array, predict_values
from icegraph.segment.threshold import BLURS_PX, LOCAL, MARKERS_PX, SCENE

Maps = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Floe probability and distance to the floe's boundary, each [H, W]."""

_PROBABILITIES = (0.3, 0.4, 0.5, 0.6)
_MARKERS_PX = (1.6, 1.9, 2.2)
_JUDGED_PX = 40  # floes are judged from this size on: smaller ones are drawn incompletely by hand too


def tune_rule(model: Segmenter, chips: Sequence[Chip]) -> FloeRule:
    """The rule of the best F1 over the chips; of equals, the best PQ."""
    engine = Engine(model)
    maps = [_predict(engine, chip) for chip in chips]

    def quality(rule: FloeRule) -> tuple[float, float]:
        figures = _figures(maps, chips, rule)
        return figures["f1"], figures["pq"]

    choices = product(_PROBABILITIES, _MARKERS_PX)
    return max((FloeRule(probability=probability, marker_px=marker) for probability, marker in choices), key=quality)


def tune_threshold(config: SegmenterConfig, chips: Sequence[Chip]) -> SegmenterConfig:
    """The threshold, and with it the rule, of the best F1 over the chips."""
    best, tuned = -1.0, config
    for local, scene, blur_px in product(LOCAL, SCENE, BLURS_PX):
        network = ThresholdSizes(local=local, scene=scene, blur_px=blur_px)
        engine = Engine(Segmenter(config.model_copy(update={"network": network})))
        maps = [_predict(engine, chip) for chip in chips]
        for marker in MARKERS_PX:
            rule = FloeRule(marker_px=marker)
            if (f1 := _figures(maps, chips, rule)["f1"]) > best:
                best, tuned = f1, config.model_copy(update={"network": network, "rule": rule})
    return tuned


def score(model: Segmenter, chips: Sequence[Chip], rule: FloeRule) -> dict[str, float]:
    """How well a rule does on chips: floes, precision, recall, F1, mean IoU, PQ."""
    engine = Engine(model)
    return _figures([_predict(engine, chip) for chip in chips], chips, rule)


def outline(probability: NDArray[np.float32], distance: NDArray[np.float32], rule: FloeRule) -> NDArray[np.uint32]:
    """Floes [H, W] of maps in memory."""
    shape = (probability.shape[0], probability.shape[1])
    markers, pieces = (Array(shape, "uint32") for _ in range(2))
    floes = find_floes(lambda window: (probability[window.slices], distance[window.slices]), shape, rule, markers, pieces)
    return floes.read(Window(0, 0, *shape))


def count_matches(found: NDArray[np.uint32], chip: Chip, min_area_px: int) -> tuple[int, int, list[float]]:
    """Floes found and known that are large enough outside ignore, and the IoU of each pair over 0.5; areas are taken outside ignore."""
    known = chip.classes != UNKNOWN
    total, clear = np.bincount(found.ravel()), np.bincount(found[known])
    clear = np.pad(clear, (0, len(total) - len(clear)))
    counted = (clear > total / 2) & (clear >= min_area_px)
    names, labels = np.unique(np.where(known, chip.labels, 0), return_inverse=True)
    labels = labels.reshape(found.shape)
    true_area = np.bincount(labels[known], minlength=len(names))
    wanted = (true_area >= min_area_px) & (names > 0)
    pairs, shared = np.unique(found[known].astype(np.int64) * len(names) + labels[known], return_counts=True)
    here, there = np.divmod(pairs, len(names))
    iou = shared / (clear[here] + true_area[there] - shared)
    good = (iou > 0.5) & (here > 0) & counted[here] & wanted[there]
    return int(counted[1:].sum()), int(wanted.sum()), iou[good].tolist()


def _figures(maps: Sequence[Maps], chips: Sequence[Chip], rule: FloeRule) -> dict[str, float]:
    counts = [count_matches(outline(*pair, rule), chip, _JUDGED_PX) for pair, chip in zip(maps, chips, strict=True)]
    found, known = sum(count[0] for count in counts), sum(count[1] for count in counts)
    ious = [iou for count in counts for iou in count[2]]
    f1 = 2 * len(ious) / max(found + known, 1)
    mean = float(np.mean(ious)) if ious else 0.0
    figures = {"precision": len(ious) / max(found, 1), "recall": len(ious) / max(known, 1), "f1": f1, "mean_iou": mean, "pq": f1 * mean}
    return {"floes": known} | {name: round(value, 4) for name, value in figures.items()}


def _predict(engine: Engine, chip: Chip) -> Maps:
    window = Window(0, 0, *chip.valid.shape)
    probabilities, distance = predict_values(engine, chip.values, chip.valid, window, window)
    return probabilities[FLOE], distance
