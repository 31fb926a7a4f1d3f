"""From pixels to floes: a SegFormer pre-trained on unlabelled passes, tiled prediction, and floe outlines that no tile edge cuts."""

from icegraph.segment.model import FloeRule, Segmenter, SegmenterConfig, load_segmenter, read_config
from icegraph.segment.passes import model_for, segment_all
from icegraph.segment.predict import Outlines, predict_window, segment, segment_window
from icegraph.segment.train import fit_segmenter

__all__ = [
    "FloeRule",
    "Outlines",
    "Segmenter",
    "SegmenterConfig",
    "fit_segmenter",
    "load_segmenter",
    "model_for",
    "predict_window",
    "read_config",
    "segment",
    "segment_all",
    "segment_window",
]
