"""Choose how pixels become floes, on predictions already made."""

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from scipy.optimize import minimize_scalar

from icegraph.grid import Window
from icegraph.segment.chips import UNKNOWN, Chip
from icegraph.segment.engine import Engine
from icegraph.segment.frames import sharpened
from icegraph.segment.model import FLOE, FloeRule, Segmenter, SegmenterConfig
from icegraph.segment.networks import ThresholdSizes
from icegraph.segment.predict import outline, predict_values
from icegraph.segment.threshold import LOCAL, MARKERS_PX, SCENE

Maps = NDArray[np.float32]
"""What `icegraph.segment.predict.predict_window` gives [5, H, W]."""

_PROBABILITIES = (0.3, 0.4, 0.5, 0.6)
_MARKERS_PX = (1.6, 1.9, 2.2)
_SHARPNESS = (0.2, 5.0)
_ABOUT_PX = 10  # sharpness is fitted so near to known floes: wide grounds without any would outweigh their outlines
_JUDGED_PX = 40  # floes are judged from this size on: smaller ones are drawn incompletely by hand too


def fit_sharpness(model: Segmenter, chips: Sequence[Chip]) -> float:
    """Power of the odds of floe (`SegmenterConfig.sharpness`) at which the known pixels are the likeliest.

    Temperature scaling (Guo et al. 2017, doi 10.48550/arXiv.1706.04599), after the smoothing. What training disturbs and weighs more, and
    what is smoothed, is told with too little certainty; on seas never seen by as much as on those learnt from.
    """
    engine = Engine(model)
    chances, floes = [], []
    for chip in chips:
        known = (chip.classes != UNKNOWN) & binary_dilation(chip.labels > 0, iterations=_ABOUT_PX)
        chances.append(_predict(engine, chip)[: FLOE + 1, known])
        floes.append(chip.classes[known] == FLOE)
    chance, floe = np.concatenate(chances, 1), np.concatenate(floes)

    def surprise(power: float) -> float:
        said = sharpened(chance, power)[FLOE].astype(np.float64).clip(1e-6, 1 - 1e-6)
        return -float(np.log(np.where(floe, said, 1 - said)).mean())

    return float(minimize_scalar(surprise, bounds=_SHARPNESS, method="bounded", options={"xatol": 0.01}).x)


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
    """The threshold that tells most pixels of the chips right, and with it the markers of the best F1."""

    def predict(network: ThresholdSizes) -> list[Maps]:
        engine = Engine(Segmenter(config.model_copy(update={"network": network})))
        return [_predict(engine, chip) for chip in chips]

    choices = [ThresholdSizes(local=local, scene=scene) for local, scene in product(LOCAL, SCENE)]
    network = max(choices, key=lambda choice: _dice(predict(choice), chips))
    maps = predict(network)
    rules = [FloeRule(probability=0.5, marker_px=marker) for marker in MARKERS_PX]
    rule = max(rules, key=lambda rule: _figures(maps, chips, rule)["f1"])
    return config.model_copy(update={"network": network, "rule": rule})


def score(model: Segmenter, chips: Sequence[Chip], rule: FloeRule) -> dict[str, float]:
    """How well a rule does on chips: floes, precision, recall, F1, mean IoU, PQ."""
    engine = Engine(model)
    return _figures([_predict(engine, chip) for chip in chips], chips, rule)


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


def _dice(maps: Sequence[Maps], chips: Sequence[Chip]) -> float:
    """How well floes and what is none are told apart, pixel by pixel."""
    shared = total = 0
    for said, chip in zip(maps, chips, strict=True):
        known = chip.classes != UNKNOWN
        found, true = said[FLOE, known] > 0.5, chip.labels[known] > 0
        shared, total = shared + 2 * int((found & true).sum()), total + int(found.sum() + true.sum())
    return shared / max(total, 1)


def _figures(maps: Sequence[Maps], chips: Sequence[Chip], rule: FloeRule) -> dict[str, float]:
    counts = [count_matches(outline(said, rule).labels, chip, _JUDGED_PX) for said, chip in zip(maps, chips, strict=True)]
    found, known = sum(count[0] for count in counts), sum(count[1] for count in counts)
    ious = [iou for count in counts for iou in count[2]]
    f1 = 2 * len(ious) / max(found + known, 1)
    mean = float(np.mean(ious)) if ious else 0.0
    figures = {"precision": len(ious) / max(found, 1), "recall": len(ious) / max(known, 1), "f1": f1, "mean_iou": mean, "pq": f1 * mean}
    return {"floes": known} | {name: round(value, 4) for name, value in figures.items()}


def _predict(engine: Engine, chip: Chip) -> Maps:
    window = Window(0, 0, *chip.valid.shape)
    return predict_values(engine, chip.values, chip.valid, window, window)
