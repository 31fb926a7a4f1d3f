"""Which floe is which from pass to pass, how they drift, and where they will be."""

from icegraph.track.augment import Stress
from icegraph.track.fit import fit_matcher
from icegraph.track.follow import track

__all__ = ["Stress", "fit_matcher", "track"]
