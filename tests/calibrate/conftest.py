"""A simulated product, and passes as ingest lists them."""

import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from icegraph.ingest.manifest import File, Pass
from icegraph.ingest.passes import describe
from icegraph.simulate import simulate


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulation of one radar and one optical pass, 20 km: about 450 × 450 and 80 × 80 pixels."""
    out = tmp_path_factory.mktemp("simulated") / "run"
    simulate(out, seed=5, size_km=20, passes=1, views=("sar", "optical"), start=datetime(2021, 5, 1, 10, 30, tzinfo=UTC))
    return out


@pytest.fixture(scope="session")
def safe(simulated: Path) -> Pass:
    """The radar pass."""
    return describe(next((simulated / "passes").glob("*.SAFE"))).entry


@pytest.fixture(scope="session")
def zipped(safe: Pass, tmp_path_factory: pytest.TempPathFactory) -> Pass:
    """The same as a zip."""
    path = tmp_path_factory.mktemp("zip") / f"{safe.id}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(safe.href.rglob("*")):
            archive.write(file, file.relative_to(safe.href.parent))
    return describe(path).entry


@pytest.fixture(scope="session")
def real_safe(shared_data: Path) -> Path:
    """The real Sentinel-1B IW GRDH product (its pixels are all zero)."""
    return next((shared_data / "sentinel1_safe").glob("*.SAFE"))


@pytest.fixture(scope="session")
def real_pass(real_safe: Path) -> Pass:
    """The same as a pass; ingest refuses its empty pixels."""
    raw = File(path=real_safe / "manifest.safe", sha256="0" * 64, bytes=1)
    time = datetime(2021, 12, 23, 5, 11, 35, tzinfo=UTC)
    fields = {"platform": "Sentinel-1B", "bounds": (11.8, 40.8, 15.4, 42.8), "licence": "test", "bands": ["vv_db", "incidence_deg"]}
    return Pass(id=real_safe.stem, kind="sentinel1", href=real_safe, files=[raw], time=time, **fields)
