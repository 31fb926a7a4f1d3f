"""The models that a server uses: loaded from a folder, verified, and replaced in service when the folder names others.

Each is copied to a place of the server's own first, and what was copied is what is verified, loaded and used: nothing that happens in the
folder later changes a model in service.
"""

import logging
import re
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from icegraph.ahead import map_ahead
from icegraph.errors import IceGraphError, ModelError
from icegraph.registry.model_set import member, names_in
from icegraph.segment.engine import Engine
from icegraph.segment.model import load_segmenter
from icegraph.serve.warmup import try_matcher, try_segmenter
from icegraph.store import sha256

_VERSION = re.compile(r"[0-9a-f]{12}")
_NOT_THE_MODEL = shutil.ignore_patterns("registration.json", "MLmodel")
_log = logging.getLogger("icegraph.serve")


@dataclass(frozen=True)
class Served:
    """A model in service.

    Args:
        name: `segmenter-optical`, `segmenter-sar` or `matcher`.
        sha256: Of its folder, as `icegraph.store.sha256` gives it.
        folder: The server's own copy.
        segmenter: What predicts, where it is a segmenter.
    """

    name: str
    sha256: str
    folder: Path
    segmenter: Engine | None

    @property
    def engine(self) -> Engine:
        """What predicts, of a segmenter."""
        assert self.segmenter is not None  # noqa: S101 - only segmenters are asked
        return self.segmenter

    @property
    def version(self) -> str:
        """The version, as the registry names it."""
        return self.sha256[:12]


class ServedModels:
    """The models of a folder, kept up with what the folder says.

    Args:
        place: A set of models, or a folder with the champions in use; see `icegraph.registry.model_set`.
        work: Where copies are kept.
        told: Is called when a model comes into service.
    """

    def __init__(self, place: Path, work: Path, told: Callable[[Served], None] = lambda _: None) -> None:
        self._place, self._work, self._told = place, work, told
        self._served: dict[str, Served] = {}
        self._failed: dict[str, str] = {}
        self._lock = threading.Lock()

    @property
    def served(self) -> dict[str, Served]:
        """Name → model."""
        return self._served

    @property
    def segmenters(self) -> list[Served]:
        """Those that find floes."""
        return [model for model in self._served.values() if model.segmenter is not None]

    def load(self) -> None:
        """Load all models, for the first time.

        Raises:
            ModelError: One is damaged, or there is none.
        """
        places = {name: member(self._place, name) for name in names_in(self._place)}
        if not places:
            raise ModelError(self._place, "holds no model", "name a set of models with --models")
        for served in map_ahead(lambda one: self._prepared(*one), places.items()):
            self._enter(served)

    def refresh(self) -> None:
        """Take what the folder names now; a model that cannot be taken is logged once, and the one in service stays."""
        with self._lock:
            for name in names_in(self._place):
                try:
                    self._enter(self._prepared(name, member(self._place, name)))
                    self._failed.pop(name, None)
                except (IceGraphError, OSError) as error:
                    self._report(name, error)

    def _prepared(self, name: str, folder: Path) -> Served | None:
        """Copy, verify, load and try a model; None if it is the one in service."""
        copy = self._work / name / "new"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder, copy, ignore=_NOT_THE_MODEL)
        digest = sha256(copy)
        before = self._served.get(name)
        if before and before.sha256 == digest:
            return None
        if _VERSION.fullmatch(folder.name) and not digest.startswith(folder.name):
            raise ModelError(folder, "its files are not those that were registered", "register the model again")
        kept = self._work / name / digest
        if not kept.exists():
            copy.rename(kept)
        return Served(name, digest, kept, _tried(name, kept))

    def _enter(self, served: Served | None) -> None:
        """Let a model take the place of the one in service."""
        if served:
            self._served = self._served | {served.name: served}
            _log.info("model in service", extra={"about": {"model": served.name, "version": served.version, "sha256": served.sha256}})
            self._told(served)

    def _report(self, name: str, error: Exception) -> None:
        if self._failed.get(name) != str(error):
            self._failed[name] = str(error)
            _log.error("model refused, the one in service stays", extra={"about": {"model": name, "error": str(error)}})


def _tried(name: str, folder: Path) -> Engine | None:
    """Load a model and let it answer once; gives what predicts, of a segmenter."""
    if not name.startswith("segmenter"):
        try_matcher(folder)
        return None
    engine = Engine(load_segmenter(folder))
    try_segmenter(engine, folder)
    return engine
