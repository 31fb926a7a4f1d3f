"""Label rasters as runs, and hulls of points."""

import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import label

from icegraph.runs import END, LABEL, ROW, START, area, chain, connect, find_runs


@settings(deadline=None)
@given(arrays(np.uint32, st.tuples(st.integers(1, 6), st.integers(1, 9)), elements=st.integers(0, 2)))
def test_runs_are_the_raster_in_the_order_of_its_pixels(labels: np.ndarray) -> None:
    runs = find_runs(labels)
    drawn = np.zeros_like(labels)
    for run in runs:
        assert run[END] > run[START]
        assert not drawn[run[ROW], run[START] : run[END]].any()
        drawn[run[ROW], run[START] : run[END]] = run[LABEL]
    np.testing.assert_array_equal(drawn, labels)
    assert len(runs) == np.count_nonzero((np.diff(labels, axis=1, prepend=0) != 0) & (labels != 0))
    places = [(run[ROW], run[START]) for run in runs.tolist()]
    assert places == sorted(places)


@settings(deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 8), st.integers(1, 8))))
def test_connected_runs_are_the_pieces_of_scipy(inside: np.ndarray) -> None:
    runs = find_runs(inside)
    drawn = np.zeros(inside.shape, int)
    for run, piece in zip(runs, connect(runs), strict=True):
        drawn[run[ROW], run[START] : run[END]] = piece
    np.testing.assert_array_equal(drawn, label(inside)[0])


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=40))
def test_hulls_are_those_of_shapely(points: list[tuple[int, int]]) -> None:
    corners = chain(np.array(sorted(points), np.int64))
    hull = shapely.convex_hull(shapely.multipoints(points))
    assert area(corners) == hull.area
    assert {tuple(corner) for corner in corners.tolist()} == {tuple(map(int, corner)) for corner in shapely.get_coordinates(hull)}
