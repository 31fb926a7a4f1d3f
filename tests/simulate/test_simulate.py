"""Whole simulations: files, truth against itself, and the same bytes again."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from pyproj import Transformer

from icegraph.errors import InputError
from icegraph.simulate import amsr2, sentinel1, simulate, truth, view
from icegraph.store import sha256

UNKNOWN = np.iinfo(np.uint32).max


@pytest.fixture(scope="module")
def optical(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("simulated") / "field"
    simulate(out, seed=21, size_km=64, passes=3, views=("optical",), ice={"regime": "pack", "breaking": 0.1, "land": False})
    return out


def labels_of(out: Path, pass_id: str) -> np.ndarray:
    with rasterio.open(out / "truth" / f"{pass_id}.labels.tif") as dataset:
        return np.asarray(dataset.read(1))


def test_every_pass_has_its_files_and_platforms_take_turns(optical: Path) -> None:
    items = [json.loads(path.read_text()) for path in sorted((optical / "passes").glob("*.json"))]
    assert [item["properties"]["platform"] for item in items] == ["terra", "aqua", "terra"]
    for item in items:
        assert all((optical / "passes" / asset["href"]).exists() for asset in item["assets"].values())
        with rasterio.open(optical / "truth" / f"{item['id']}.labels.tif") as labels:
            assert list(labels.transform)[:6] == item["properties"]["proj:transform"]
            assert labels.dtypes == ("uint32",)
        with rasterio.open(optical / "truth" / f"{item['id']}.classes.tif") as classes:
            assert set(np.unique(classes.read(1)).tolist()) <= {0, 1, 2, 255}
            assert (classes.read(1) == 2).sum() == (lambda a: ((a > 0) & (a < UNKNOWN)).sum())(labels_of(optical, item["id"]))
    assert json.loads((optical / "simulation.json").read_text())["seed"] == 21


def test_rows_agree_with_the_labels(optical: Path) -> None:
    table = pq.read_table(optical / "truth" / "floes.parquet").to_pandas()
    for pass_id, rows in table.groupby("pass_id"):
        labels = labels_of(optical, pass_id)
        assert set(rows.identity[~rows.hidden]) == set(np.unique(labels).tolist()) - {0, UNKNOWN}
        assert (np.bincount(labels[labels < UNKNOWN])[rows.identity[~rows.hidden]] >= 40).all()
        inside = rows[~rows.hidden & ~rows.identity.isin(np.unique(np.r_[labels[0], labels[-1], labels[:, 0], labels[:, -1]]))]
        pixels = np.array([(labels == identity).sum() for identity in inside.identity]) * 250.0**2
        assert np.median(np.abs(pixels / inside.area_m2 - 1)) < 0.06


def test_velocity_agrees_with_the_displacement_of_label_centroids(optical: Path) -> None:
    table = pq.read_table(optical / "truth" / "floes.parquet").to_pandas()
    first, second = (rows.set_index("identity") for _, rows in list(table.groupby("time"))[:2])
    seconds = (second.time.iloc[0] - first.time.iloc[0]).total_seconds()
    error, moved = [], []
    for identity in first.index.intersection(second.index):
        centroids = []
        for rows in (first, second):
            labels = labels_of(optical, rows.pass_id.iloc[0])
            row, col = np.nonzero(labels == identity)
            at_edge = len(row) == 0 or row.min() == 0 or col.min() == 0 or max(row.max(), col.max()) == labels.shape[0] - 1
            centroids.append(None if at_edge else np.array([col.mean(), -row.mean()]) * 250)
        if centroids[0] is not None and centroids[1] is not None:
            moved.append(centroids[1] - centroids[0])
            error.append(moved[-1] - seconds * first.loc[identity, ["u", "v"]].to_numpy(float))
    assert len(error) > 30
    assert np.linalg.norm(moved, axis=1).mean() > 500
    assert np.percentile(np.linalg.norm(error, axis=1), 90) < 125  # half a pixel


def test_breaking_names_the_parent(optical: Path) -> None:
    table = pq.read_table(optical / "truth" / "floes.parquet").to_pandas()
    children = table[table.parent > 0]
    assert len(children) > 0
    born = children.groupby("identity").time.min()
    parents = children.groupby("identity").parent.first()
    last_of_parent = table.groupby("identity").time.max().reindex(parents.to_numpy())
    alive = last_of_parent.notna().to_numpy()
    assert alive.any()
    assert (last_of_parent.to_numpy()[alive] < born.to_numpy()[alive]).all()


def digests(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed, passes in (("a", 3, 2), ("b", 3, 2), ("c", 4, 1)):
        simulate(tmp_path / name, seed=seed, size_km=8, passes=passes)
    first, again, other = (digests(tmp_path / name) for name in "abc")
    assert first == again
    assert any(".SAFE/" in name for name in first)
    assert any(name.endswith(".h5") for name in first)
    assert not set(first) & {name for name in other if name.startswith("passes/")}
    assert not set(first.values()) & {digest for name, digest in other.items() if name.endswith((".labels.tif", ".truecolor.tif", ".h5"))}


@pytest.mark.parametrize("wrong", [{"passes": 0}, {"views": ("radio",)}, {"interval_h": 0}, {"ice": {"colour": 1}}])
def test_impossible_requests_are_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(InputError):
        simulate(tmp_path / "x", **({"seed": 1, "size_km": 20, "passes": 1} | wrong))
    assert not (tmp_path / "x").exists()


def test_nothing_is_known_of_a_radar_pass_outside_its_image(tmp_path: Path) -> None:
    """Places of the image by its ground control points alone."""
    simulate(tmp_path / "s", seed=5, size_km=8.0, passes=1, views=("sar",), ice={"land": False})
    (labels,) = (tmp_path / "s" / "truth").glob("*.labels.tif")
    (measurement,) = (tmp_path / "s" / "passes").glob("*.SAFE/measurement/*-hh-*.tiff")
    with rasterio.open(labels) as known, rasterio.open(measurement) as image:
        unknown, dn = known.read(1) == UNKNOWN, image.read(1)
        points, _ = image.gcps
        x, y = Transformer.from_crs(4326, known.crs, always_xy=True).transform([p.x for p in points], [p.y for p in points])
        design = np.column_stack([np.ones(len(points)), x, y])
        to_image, *_ = np.linalg.lstsq(design, np.array([(p.row, p.col) for p in points]), rcond=None)
        row, col = np.mgrid[: known.height, : known.width]
        there = known.xy(row.ravel(), col.ravel())
    line, pixel = (np.column_stack([np.ones(row.size), *there]) @ to_image).T.reshape(2, *row.shape)
    nearest = np.round(line).astype(int), np.round(pixel).astype(int)
    inside = (nearest[0] >= 0) & (nearest[0] < dn.shape[0]) & (nearest[1] >= 0) & (nearest[1] < dn.shape[1])
    dark = ~inside
    dark[inside] = dn[nearest[0][inside], nearest[1][inside]] == 0
    assert 0.05 < dark.mean() < 0.5
    assert unknown[dark].mean() > 0.999
    assert unknown[~dark].mean() < 0.2


def test_the_bytes_do_not_depend_on_how_much_is_worked_on_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(name: str) -> dict[str, str]:
        simulate(tmp_path / name, seed=6, size_km=9.0, passes=2, sar_pixel_m=80.0, optical_pixel_m=160.0)
        return digests(tmp_path / name)

    large = write("large")
    for module, name, size in ((view, "_TILE", 48), (sentinel1, "_STRIP", 37), (truth, "BLOCK", 64), (amsr2, "_TILE", 30)):
        monkeypatch.setattr(module, name, size)
    small = write("small")
    assert any(name.endswith(".tiff") for name in large)
    assert small == large
