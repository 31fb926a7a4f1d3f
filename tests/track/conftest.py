import numpy as np
import pytest
from ice_fields import field, seen

from icegraph.graph import build_graph
from icegraph.track.fit import fit_matcher


@pytest.fixture(scope="session")
def matcher(tmp_path_factory):
    """A matcher of some seconds' training on a made field, taken alone (no identities)."""
    folder = tmp_path_factory.mktemp("matcher")
    table = field(120, np.random.default_rng(100))
    build_graph([seen(table, "teacher", 0)], folder / "graph")
    fit_matcher(folder / "graph", {}, folder / "model", steps=90, seed=0)
    return folder / "model"
