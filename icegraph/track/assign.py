"""One-to-one assignment on sparse candidates, with the choice of no partner."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching


def assign(edges: NDArray[np.int64], gain: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.int64]:
    """Choose the candidates of largest total gain, at most one for each floe.

    Args:
        edges: Candidates [2, E]: index of the floe in the earlier and in the later pass, each pair once.
        gain: What choosing a candidate gains over leaving both floes alone [E]; only positive gains are ever chosen. With log
            probabilities, log p(match) from both sides minus log p(none) of both floes, the choice is the most probable one.
        shape: Number of floes in the earlier and in the later pass.

    Returns:
        Numbers of the chosen candidates, sorted.
    """
    worth = np.nonzero(gain > 0)[0]
    if worth.size == 0:
        return worth
    row, col = edges[:, worth]
    rows, row = np.unique(row, return_inverse=True)
    # Each floe of the earlier pass gets a dustbin of its own, of gain 0. All costs are made positive: a stored zero would be no edge.
    most = float(gain[worth].max()) + 1.0
    cost = np.concatenate([most - gain[worth], np.full(rows.size, most)])
    dustbins = shape[1] + np.arange(rows.size)
    places = (np.concatenate([row, np.arange(rows.size)]), np.concatenate([col, dustbins]))
    table = coo_array((cost, places), shape=(rows.size, shape[1] + rows.size)).tocsr()
    one, other = min_weight_full_bipartite_matching(table)
    chosen = set(zip(rows[one[other < shape[1]]].tolist(), other[other < shape[1]].tolist(), strict=True))
    pairs = zip(edges[0, worth].tolist(), edges[1, worth].tolist(), strict=True)
    return worth[[pair in chosen for pair in pairs]]
