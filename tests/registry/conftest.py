"""Small models, a registry that is there already, and a server."""

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from icegraph.registry import Registry

MakeModel = Callable[..., Path]


@pytest.fixture
def make_model(tmp_path: Path) -> MakeModel:
    """Makes a model's folder, told apart by its weights."""

    def make(weights: str, name: str = "segmenter-sar", seed: int = 0) -> Path:
        folder = tmp_path / "trained" / weights / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({"kind": "icegraph-segmenter", "sensor": "sar", "bands": ["hh_db", "hv_db"]}))
        (folder / "model.safetensors").write_bytes(weights.encode())
        (folder / "README.md").write_text(f"# Card of {weights}")
        epochs = [{"phase": "train", "step": step, "loss": 1 / step} for step in (25, 50, 75)]
        history = {"seed": seed, "budget": {"steps": 75}, "held_out": {"f1": 0.5}, "parents": {"S1B_a": "ab" * 32}, "epochs": epochs}
        (folder / "history.json").write_text(json.dumps(history))
        return folder

    return make


@pytest.fixture(scope="session")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry's folder with nothing in it: making its database takes seconds."""
    place = tmp_path_factory.mktemp("empty") / "registry"
    Registry(place).names()
    return place


@pytest.fixture
def place(empty_registry: Path, tmp_path: Path) -> Path:
    """A registry's folder of its own."""
    return Path(shutil.copytree(empty_registry, tmp_path / "registry"))


@pytest.fixture
def registry(place: Path) -> Registry:
    return Registry(place)


class Server:
    """An MLflow server of its own, which can be stopped and started.

    Args:
        folder: Gets its artifacts, and its database where that is a file.
        database: A file to begin with, or the address of a database.
    """

    def __init__(self, folder: Path, database: Path | str) -> None:
        self.folder = folder
        folder.mkdir()
        if isinstance(database, Path):
            database = f"sqlite:///{shutil.copy(database, folder / 'mlflow.db')}"
        self._database = database
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        store = ["--backend-store-uri", self._database, "--artifacts-destination", str(self.folder / "artifacts"), "--serve-artifacts"]
        where = ["--host", "127.0.0.1", "--port", str(self._port), "--workers", "1"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen([sys.executable, "-m", "mlflow", "server", *store, *where], stdout=log, stderr=log)
        for _ in range(3000):
            with suppress(OSError), urllib.request.urlopen(f"{self.url}/health", timeout=5):
                return
            assert self._process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.2)
        raise AssertionError("the server does not start")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None


@pytest.fixture(scope="session")
def server(empty_registry: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that is running when a test begins."""
    server = Server(tmp_path_factory.mktemp("mlflow") / "server", empty_registry / "mlflow.db")
    server.start()
    yield server
    server.stop()
