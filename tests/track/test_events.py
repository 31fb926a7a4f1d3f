import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from ice_fields import field, seen
from shapely import affinity
from shapely.geometry import box

from icegraph.graph import build_graph
from icegraph.track.follow import track

WHOLE = 20  # the floe that breaks
STEP = np.array([900.0, -450.0])


def pieces(table):
    """The table with one floe cut in two unequal parts, 200 m apart, numbered 901 and 902."""
    row = table[table["floe_id"] == WHOLE].iloc[0]
    middle = np.array(row.geometry.centroid.coords[0])
    halves = []
    for number, (side, low, high) in enumerate((("west", -1e5, 100.0), ("east", 300.0, 1e5))):
        part = row.geometry.intersection(box(middle[0] + low, middle[1] - 1e5, middle[0] + high, middle[1] + 1e5))
        part = affinity.translate(part, 200 if side == "east" else -100)
        off = np.array(part.centroid.coords[0]) - middle
        half = row.copy()
        half["floe_id"], half["area_m2"], half["geometry"] = 901 + number, part.area, part
        half["x"], half["y"] = row["x"] + off[0], row["y"] + off[1]
        halves.append(half)
    rest = table[table["floe_id"] != WHOLE]
    return gpd.GeoDataFrame(pd.concat([rest, gpd.GeoDataFrame(halves)], ignore_index=True), crs=table.crs).astype(table.dtypes.to_dict())


def followed(tmp_path, matcher, tables):
    passes = [seen(table, f"p{k}", 6.0 * k, move=lambda xy, k=k: xy + STEP * k) for k, table in enumerate(tables)]
    build_graph(passes, tmp_path / "graph")
    track(tmp_path / "graph", matcher, tmp_path / "tracks")
    return gpd.read_parquet(tmp_path / "tracks" / "tracks.parquet")


@pytest.fixture(scope="module")
def table():
    table = field(60, np.random.default_rng(21))
    big = table["floe_id"] == WHOLE
    factor = 3.0 / np.sqrt(table.loc[big, "area_m2"].iloc[0] / 1e6)
    table.loc[big, "geometry"] = [affinity.scale(table.loc[big, "geometry"].iloc[0], factor, factor)]
    table.loc[big, "area_m2"] = 9e6
    return table


def test_a_floe_that_breaks_is_told_with_its_pieces(tmp_path, matcher, table):
    tracks = followed(tmp_path, matcher, [table, table, pieces(table), pieces(table)])
    broke = tracks[tracks["ends"] == "split"]
    assert broke[["pass_id", "floe_id"]].values.tolist() == [["p1", WHOLE]]
    born = tracks[tracks["begins"] == "split"]
    assert sorted(born["floe_id"]) == [901, 902]
    assert set(born["track_id"]) == set(broke["children"].iloc[0])
    assert all(list(parents) == broke["track_id"].tolist() for parents in born["parents"])
    assert not tracks["begins"].isin(["birth", "merge"]).any()


def test_seen_backwards_it_is_a_merge(tmp_path, matcher, table):
    tracks = followed(tmp_path, matcher, [pieces(table), pieces(table), table, table])
    assert sorted(tracks[tracks["ends"] == "merge"]["floe_id"]) == [901, 902]
    made = tracks[tracks["begins"] == "merge"]
    assert made["floe_id"].tolist() == [WHOLE]
    assert len(made["parents"].iloc[0]) == 2


def test_floes_that_come_and_go_are_births_and_deaths(tmp_path, matcher, table):
    first, last = table[table["floe_id"] != 7], table[table["floe_id"] != 9]
    tracks = followed(tmp_path, matcher, [first.reset_index(drop=True), table, last.reset_index(drop=True)])
    assert tracks[tracks["begins"] == "birth"][["pass_id", "floe_id"]].values.tolist() == [["p1", 7]]
    assert tracks[tracks["ends"] == "death"][["pass_id", "floe_id"]].values.tolist() == [["p1", 9]]
    assert (tracks[tracks["pass_id"] == "p0"]["begins"] == "").all()
    assert not tracks["ends"].isin(["split", "merge"]).any()


def test_a_floe_of_which_the_edge_cuts_a_piece_is_not_told_to_have_broken(tmp_path, matcher, table):
    cut = pieces(table)
    cut.loc[cut["floe_id"] == 902, "touches_edge"] = True
    tracks = followed(tmp_path, matcher, [table, table, cut, cut])
    assert not tracks["ends"].isin(["split", "merge"]).any()
