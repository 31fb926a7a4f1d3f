"""Small passes to ingest: a simulated Sentinel-1 product, and GeoTIFFs written here."""

import json
import shutil
import zipfile
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine

from icegraph.simulate import simulate


@pytest.fixture(scope="session")
def simulated_safe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated SAFE folder of about 270 × 270 pixels."""
    out = tmp_path_factory.mktemp("simulated") / "run"
    simulate(out, seed=5, size_km=12, passes=1, views=("sar", "amsr2"), start=datetime(2021, 5, 1, 10, 30, tzinfo=UTC))
    return next((out / "passes").glob("*.SAFE"))


@pytest.fixture
def safe(simulated_safe: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may damage."""
    return Path(shutil.copytree(simulated_safe, tmp_path / "in" / simulated_safe.name))


@pytest.fixture
def zipped(simulated_safe: Path, tmp_path: Path) -> Path:
    """The same product as the zip that Copernicus serves."""
    path = tmp_path / "in" / f"{simulated_safe.stem}.SAFE.zip"
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(simulated_safe.rglob("*")):
            archive.write(file, file.relative_to(simulated_safe.parent))
    return path


@pytest.fixture
def write_rgb(tmp_path: Path) -> Callable[..., Path]:
    """Write an RGBA GeoTIFF, 64 × 64, 250 m, in EPSG:3413."""

    def write(name: str, pixels: np.ndarray | None = None, tags: dict[str, str] | None = None, **options: Any) -> Path:
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if pixels is None:
            pixels = np.random.default_rng(zlib.crc32(name.encode())).integers(60, 250, (3, 64, 64)).astype(np.uint8)
        settings = {"crs": "EPSG:3413", "transform": Affine(250, 0, -800_000, 0, -250, -2_000_000)} | options
        count, height, width = pixels.shape
        with rasterio.open(path, "w", driver="GTiff", count=count, height=height, width=width, dtype=pixels.dtype, **settings) as dataset:
            dataset.write(pixels)
            dataset.update_tags(**(tags or {}))
        return path

    return write


@pytest.fixture
def write_item(tmp_path: Path) -> Callable[..., Path]:
    """Write a STAC item for a true-colour picture."""

    def write(name: str, href: str, **changes: Any) -> Path:
        item = {
            "type": "Feature",
            "stac_version": "1.0.0",
            "id": name,
            "geometry": None,
            "bbox": [-67, 67, -60, 70],
            "properties": {"datetime": "2006-07-04T17:43:00Z", "platform": "aqua"},
            "links": [],
            "assets": {"truecolor": {"href": href, "type": "image/tiff", "eo:bands": [{"name": n} for n in ("red", "green", "blue")]}},
        } | changes
        path = tmp_path / "in" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(item))
        return path

    return write
