"""Small made-up runs: discs that drift over a grid, written as scenes, segments, tracks and truth."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from affine import Affine
from shapely.geometry import Point

from icegraph.expectations import BETWEEN, Rule, validate
from icegraph.grid import Grid, Window
from icegraph.scene import write_band, write_item

PIXEL_M = 100.0
START = datetime(2024, 3, 1, 8, tzinfo=UTC)


def write_raster(path: Path, grid: Grid, pixels: np.ndarray) -> Path:
    with write_band(path, grid, pixels.dtype.name) as band:
        band.write(Window(0, 0, *grid.shape), pixels)
    return path


@dataclass
class MadeRun:
    """A run of discs; `scenes`, `segments`, `truth` are what evaluate takes."""

    root: Path
    sensor: str = "sar"
    size: int = 256
    hours: float = 24.0
    scenes: dict[str, Path] = field(default_factory=dict)
    segments: dict[str, Path] = field(default_factory=dict)
    truth: dict[str, Path] = field(default_factory=dict)
    known: list[dict] = field(default_factory=list)

    def __post_init__(self):
        self.grid = Grid("EPSG:3413", Affine(PIXEL_M, 0, 600_000, 0, -PIXEL_M, -1_000_000), self.size, self.size)

    def draw(self, discs) -> np.ndarray:
        """Labels [H, W] of (id, row, col, radius px)."""
        rows, cols = np.mgrid[: self.size, : self.size]
        labels = np.zeros((self.size, self.size), np.uint32)
        for number, row, col, radius in discs:
            labels[(rows - row) ** 2 + (cols - col) ** 2 <= radius**2] = number
        return labels

    def add_pass(self, pass_id: str, discs, found: np.ndarray | None = None) -> None:
        """Write scene, truth and segment of one pass; `found` are the labels found (default: the true ones)."""
        number = len(self.scenes)
        time = START + timedelta(hours=self.hours * number)
        true = self.draw(discs)
        found = true if found is None else found
        self._write_scene(pass_id, time, true)
        truth = self.root / "truth"
        write_raster(truth / f"{pass_id}.labels.tif", self.grid, np.where(true > 0, true, 0).astype(np.uint16))
        write_raster(truth / f"{pass_id}.classes.tif", self.grid, np.where(true > 0, 2, 0).astype(np.uint8))
        self.truth[pass_id] = truth / f"{pass_id}.labels.tif"
        segment = self.root / "segments" / pass_id
        write_raster(segment / "labels.tif", self.grid, found.astype(np.uint32))
        write_raster(segment / "classes.tif", self.grid, np.where(found > 0, 2, 0).astype(np.uint8))
        self.segments[pass_id] = segment
        for identity, row, col, radius in discs:
            x, y = self.grid.xy(row, col)
            self.known.append(
                {"pass_id": pass_id, "identity": identity, "time": time, "x": float(x), "y": float(y)}
                | {"area_m2": np.pi * (radius * PIXEL_M) ** 2, "u": 0.0, "v": 0.0, "parent": 0, "hidden": False}
            )
        columns = ["pass_id", "identity", "time", "x", "y", "area_m2", "u", "v", "parent", "hidden"]
        pd.DataFrame(self.known, columns=columns).to_parquet(truth / "floes.parquet")

    def _write_scene(self, pass_id: str, time: datetime, true: np.ndarray) -> None:
        folder = self.root / "scenes" / pass_id
        noise = np.random.default_rng(len(self.scenes)).normal(0, 1.2, true.shape)
        if self.sensor == "sar":
            bands = {"hh_db": np.where(true > 0, -11, -20) + noise, "hv_db": np.where(true > 0, -21, -30) + noise}
        else:
            bands = {name: np.where(true > 0, 0.7, 0.06) + 0.02 * noise for name in ("red", "green", "blue")}
        for name, pixels in bands.items():
            write_raster(folder / f"{name}.tif", self.grid, pixels.astype(np.float32))
        valid = np.ones(true.shape, np.uint8)
        valid[:, :6] = 0
        write_raster(folder / "valid.tif", self.grid, valid)
        write_item(
            folder,
            pass_id=pass_id,
            time=time,
            sensor=self.sensor,
            grid=self.grid,
            rasters={name: f"{name}.tif" for name in [*bands, "valid"]},
            properties={"platform": "made", "icegraph:parents": [{"name": f"{pass_id}.SAFE", "sha256": "ab" * 32}]},
        )
        self.scenes[pass_id] = folder

    def write_tracks(self, tracks: dict[int, list[tuple[str, int]]], places: dict[tuple[str, int], tuple[float, float]]) -> Path:
        """Write a tracks folder: track id → its sightings (pass id, floe id), with the (x, y) of each."""
        times = {p: START + timedelta(hours=self.hours * n) for n, p in enumerate(self.scenes)}
        rows, matches = [], []
        for track, seen in tracks.items():
            for here, after in zip(seen, [*seen[1:], None], strict=True):
                u, v = (0.0, 0.0)
                if after:
                    lapse = (times[after[0]] - times[here[0]]).total_seconds()
                    u, v = ((b - a) / lapse for a, b in zip(places[here], places[after], strict=True))
                    matches.append((*here, *after, 0.9))
                elif len(seen) > 1:
                    u, v = rows[-1]["u"], rows[-1]["v"]
                rows.append(
                    {"track_id": track, "time": times[here[0]], "pass_id": here[0], "floe_id": here[1], "u": u, "v": v}
                    | {"sigma": 0.005, "confidence": 0.9, "geometry": Point(*places[here])}
                )
        folder = self.root / "tracks"
        folder.mkdir()
        frame = gpd.GeoDataFrame(rows, geometry="geometry", crs=self.grid.crs)
        frame.to_parquet(folder / "tracks.parquet")
        pd.DataFrame(matches, columns=["pass_from", "floe_from", "pass_to", "floe_to", "confidence"]).to_parquet(folder / "matches.parquet")
        last = frame.groupby("track_id").tail(1)
        ahead = [
            {"track_id": r.track_id, "time": r.time + timedelta(hours=h), "horizon_h": float(h), "sigma_major_m": 150.0 * h**0.5}
            | {"sigma_minor_m": 90.0 * h**0.5, "angle_deg": 30.0, "confidence": 0.8}
            | {"geometry": Point(r.geometry.x + r.u * h * 3600, r.geometry.y + r.v * h * 3600)}
            for r in last.itertuples()
            for h in (6, 24)
        ]
        gpd.GeoDataFrame(ahead, geometry="geometry", crs=self.grid.crs).to_parquet(folder / "forecast.parquet")
        return folder


@pytest.fixture
def made_run(tmp_path: Path) -> MadeRun:
    """Three passes of 24 discs that drift 3 px right and 2 px down a day, found as they are, and their tracks."""
    return drifting_discs(tmp_path)


def drifting_discs(root: Path, sensor: str = "sar", passes: int = 3) -> MadeRun:
    run = MadeRun(root, sensor)
    rng = np.random.default_rng(5)
    centres = [(30.0 + 40 * r, 30.0 + 50 * c) for r in range(6) for c in range(4)]
    radii = rng.uniform(6, 17, len(centres))
    ids = [f"{sensor}-pass-{n}" for n in range(passes)]
    tracks, places = {}, {}
    for step, pass_id in enumerate(ids):
        discs = [(i + 1, r + 2 * step, c + 3 * step, radius) for i, ((r, c), radius) in enumerate(zip(centres, radii, strict=True))]
        run.add_pass(pass_id, discs)
        for identity, row, col, _ in discs:
            tracks.setdefault(identity, []).append((pass_id, identity))
            places[pass_id, identity] = tuple(map(float, run.grid.xy(row, col)))
    run.write_tracks(tracks, places)
    return run


def write_manifest(run: MadeRun, path: Path) -> Path:
    entries = [
        {
            "id": p,
            "kind": "sentinel1",
            "href": f"/data/{p}.SAFE",
            "files": [{"path": f"/data/{p}.SAFE/x.tiff", "sha256": "cd" * 32, "bytes": 123456789}],
        }
        | {"time": (START + timedelta(hours=run.hours * n)).isoformat(), "platform": "Sentinel-1B", "bounds": [-20.0, 78.0, -15.0, 80.0]}
        | {"licence": "Copernicus", "bands": ["hh_db"], "notes": ["The polarisation was taken from the file name."]}
        for n, p in enumerate(run.scenes)
    ]
    refused = [{"path": "/data/<script>alert(1)</script>.tif", "reason": "not a GeoTIFF: <img src=http://evil.example/x.png>"}]
    rows = [{"pass_id": p, "bytes": 0 if p == "sar-pass-0" else 9} for p in run.scenes]
    rules = [Rule(BETWEEN, {"column": "bytes", "min_value": 1}, "is empty", "download it again")]
    expectations = [validate("raw passes", rows, rules, ["pass_id"])[0]]
    path.write_text(
        json.dumps(
            {"passes": entries, "refused": refused, "expectations": expectations, "notes": ["Sorted by time."], "created_by": "0.1.0"}
        )
    )
    return path


def write_model(folder: Path, kind: str = "segmenter") -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"kind": kind, "sensor": "sar", "bands": ["hh_db", "hv_db"]}))
    (folder / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    epochs = [{"epoch": n, "loss": 1.2 * 0.8**n, "validation_f1": 1 - 0.7**n} for n in range(1, 13)]
    (folder / "history.json").write_text(json.dumps({"pretraining": [{"epoch": n, "loss": 0.9**n} for n in range(8)], "training": epochs}))
    (folder / "README.md").write_text("# Model card\n")
    return folder
