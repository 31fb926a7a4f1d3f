"""What counts as known of a snapshot."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
from affine import Affine

from icegraph.grid import Grid, Window
from icegraph.simulate.field import BRASH, FLOE, LAND, Snapshot
from icegraph.simulate.truth import Known

UNKNOWN = np.iinfo(np.uint32).max
SHAPE = (40, 40)


def scene() -> Snapshot:
    """Floe 5 of 100 pixels, floe 6 of 36, floe 7 of 100 cut by the edge to 30, a strip of land."""
    identity = np.zeros(SHAPE, np.uint32)
    identity[5:15, 5:15], identity[20:26, 20:26], identity[30:40, 0:3] = 5, 6, 7
    classes = np.where(identity > 0, FLOE, 0).astype(np.uint8)
    classes[:, 38:] = LAND
    flat = np.zeros(SHAPE, np.float32)
    grid = Grid("EPSG:3413", Affine(250, 0, 0, 0, -250, 0), *SHAPE)
    return Snapshot(datetime(2021, 5, 1, tzinfo=UTC), grid, identity, classes, classes * 0, flat + 5, flat, flat)


@dataclass(frozen=True)
class Seen:
    """All that is known of a snapshot."""

    labels: np.ndarray
    classes: np.ndarray
    hidden: frozenset[int]
    shown: frozenset[int]


def seen(snapshot: Snapshot, *, optical: bool) -> Seen:
    known = Known(snapshot, optical=optical)
    return Seen(*known.labels_and_classes(Window(0, 0, *SHAPE)), known.hidden, known.shown)


def test_floes_are_labelled_small_ones_are_brash_and_land_is_unknown() -> None:
    what = seen(scene(), optical=True)
    assert (what.labels[5:15, 5:15] == 5).all()
    assert (what.classes[5:15, 5:15] == 2).all()
    assert (what.labels[20:26, 20:26] == 0).all()
    assert (what.classes[20:26, 20:26] == BRASH).all()
    assert (what.labels[:, 38:] == UNKNOWN).all()
    assert (what.classes[:, 38:] == 255).all()
    assert what.shown == {5}


def test_what_the_edge_leaves_of_a_floe_is_unknown_when_too_small() -> None:
    what = seen(scene(), optical=True)
    assert (what.labels[30:40, 0:3] == UNKNOWN).all()
    assert 7 not in what.hidden


def test_cloud_hides_from_the_camera_and_wind_from_the_radar() -> None:
    cloud = np.zeros(SHAPE, np.float32)
    cloud[:20] = 1
    cloudy = replace(scene(), cloud=cloud)
    assert seen(cloudy, optical=True).hidden == {5}
    assert (seen(cloudy, optical=True).labels[:20] == UNKNOWN).all()
    assert seen(cloudy, optical=False).shown == {5}
    windy = replace(scene(), wind_m_s=np.full(SHAPE, 20, np.float32))
    assert seen(windy, optical=False).hidden == {5}
    assert seen(windy, optical=True).shown == {5}


def test_a_floe_half_under_cloud_keeps_the_part_that_is_seen() -> None:
    cloud = np.zeros(SHAPE, np.float32)
    cloud[:, :9] = 1
    what = seen(replace(scene(), cloud=cloud), optical=True)
    assert (what.labels[5:15, 9:15] == 5).all()
    assert (what.labels[5:15, 5:9] == UNKNOWN).all()
    assert 5 not in what.hidden
