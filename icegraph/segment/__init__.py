"""From pixels to floes: networks, tiled prediction, and floe outlines that no tile edge cuts.

`train.fit_segmenter` trains; it is not imported here, as what predicts and serves does without it.
"""

from icegraph.segment.engine import Engine
from icegraph.segment.model import FloeRule, Segmenter, SegmenterConfig, load_segmenter, read_config
from icegraph.segment.passes import model_for, segment_all
from icegraph.segment.predict import Outlines, outline, predict_window, segment, segment_window

__all__ = [
    "Engine",
    "FloeRule",
    "Outlines",
    "Segmenter",
    "SegmenterConfig",
    "load_segmenter",
    "model_for",
    "outline",
    "predict_window",
    "read_config",
    "segment",
    "segment_all",
    "segment_window",
]
