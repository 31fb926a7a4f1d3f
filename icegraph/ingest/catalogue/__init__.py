"""Catalogues: data found and fetched where it lives, ready for ingest.

copernicus      Sentinel-1 GRD from the Copernicus Data Space
asf             Sentinel-1 GRD from the Alaska Satellite Facility
earthdata       AMSR2 on daily grids, from NSIDC
gibs            MODIS true and false colour, from NASA GIBS
a folder        what lies there
s3://…          what lies there
"""

import os
import queue
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from icegraph.ingest.catalogue.area import parse_area
from icegraph.ingest.catalogue.pairs import Pair, overlapping_pairs
from icegraph.ingest.catalogue.product import Catalogue, CatalogueError, Product, Query, parse_period, read_found, write_found
from icegraph.progress import Progress
from icegraph.store import Refusal

__all__ = [
    "Catalogue",
    "CatalogueError",
    "Pair",
    "Product",
    "Query",
    "fetch",
    "open_catalogue",
    "overlapping_pairs",
    "parse_area",
    "parse_period",
    "read_found",
    "write_found",
]

PARALLEL = 4  # connections that the Copernicus Data Space allows an account
_ENDPOINTS = {
    "copernicus": {
        "stac": "ICEGRAPH_COPERNICUS_STAC",
        "odata": "ICEGRAPH_COPERNICUS_ODATA",
        "download": "ICEGRAPH_COPERNICUS_DOWNLOAD",
        "identity": "ICEGRAPH_COPERNICUS_IDENTITY",
    },
    "asf": {"cmr": "ICEGRAPH_CMR", "login": "ICEGRAPH_EARTHDATA_LOGIN", "data": "ICEGRAPH_EARTHDATA_DATA"},
    "earthdata": {"cmr": "ICEGRAPH_CMR", "login": "ICEGRAPH_EARTHDATA_LOGIN", "data": "ICEGRAPH_EARTHDATA_DATA"},
    "gibs": {"wms": "ICEGRAPH_GIBS_WMS"},
}


def open_catalogue(name: str) -> Catalogue:
    """A catalogue by its name, a folder or `s3://bucket/prefix`.

    Environment variables may name other endpoints, for mirrors and proxies: ICEGRAPH_COPERNICUS_{STAC,ODATA,DOWNLOAD,IDENTITY},
    ICEGRAPH_CMR, ICEGRAPH_EARTHDATA_LOGIN, ICEGRAPH_EARTHDATA_DATA (a host that may see the token), ICEGRAPH_GIBS_WMS.

    Raises:
        InputError: There is no such catalogue or folder.
    """
    endpoints = {name: os.environ[variable] for name, variable in _ENDPOINTS.get(name, {}).items() if os.environ.get(variable)}
    if name == "copernicus":
        from icegraph.ingest.catalogue.copernicus import Copernicus

        return Copernicus(**endpoints)
    if name in ("asf", "earthdata"):
        from icegraph.ingest.catalogue.cmr import Asf, Earthdata

        return Asf(**endpoints) if name == "asf" else Earthdata(**endpoints)
    if name == "gibs":
        from icegraph.ingest.catalogue.gibs import Gibs

        return Gibs(**endpoints)
    from icegraph.ingest.catalogue.files import Files

    return Files(name)


def fetch(products: Sequence[Product], folder: Path, progress: Progress, parallel: int = PARALLEL) -> tuple[list[Path], list[Refusal]]:
    """Bring products into `folder`, some at once; what fails is told by name, and the rest go on.

    Args:
        products: What `Catalogue.search` gave.
        folder: Where they are put.
        progress: Takes how much is there.
        parallel: How many at once.

    Returns:
        What `icegraph run` takes, in the order of `products`, and what could not be had.
    """
    course = _Course(sum(product.size or 0 for product in products), len(products), progress)
    catalogues = {name: open_catalogue(name) for name in dict.fromkeys(product.catalogue for product in products)}
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(len(products)):
        waiting.put(number)
    ended: queue.SimpleQueue[tuple[int, Path | BaseException]] = queue.SimpleQueue()

    def work() -> None:
        with suppress(queue.Empty):
            while True:
                number = waiting.get_nowait()
                try:
                    ended.put((number, catalogues[products[number].catalogue].fetch(products[number], folder, course.tell)))
                except BaseException as error:  # noqa: BLE001 - raised by the thread that waits for it
                    ended.put((number, error))

    # Daemons: one that waits for a busy server must not hold up an interruption.
    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(parallel, len(products)))]
    for thread in threads:
        thread.start()
    results: dict[int, Path | CatalogueError] = {}
    try:
        while len(results) < len(products):
            number, result = ended.get()
            if not isinstance(result, Path | CatalogueError):
                raise result
            results[number] = result
            course.finish()
    except BaseException:
        course.stop()
        for thread in threads:
            thread.join(1)
        raise
    ordered = [(product, results[number]) for number, product in enumerate(products)]
    failed = [Refusal(product.id, str(result)) for product, result in ordered if isinstance(result, CatalogueError)]
    return [result for _, result in ordered if isinstance(result, Path)], failed


class _StoppedError(Exception):
    """The work shall stop."""


class _Course:
    """How far parallel downloads have come together."""

    def __init__(self, total: int, count: int, progress: Progress) -> None:
        self._total, self._count, self._progress = total, count, progress
        self._here = self._finished = 0
        self._lock = threading.Lock()
        self._over = threading.Event()

    def tell(self, more: int) -> None:
        """Take bytes that came, or went."""
        if self._over.is_set():
            raise _StoppedError
        with self._lock:
            self._here += more
            self._show()

    def finish(self) -> None:
        """Take note that a product is there, or is not to be had."""
        with self._lock:
            self._finished += 1
            self._show()

    def stop(self) -> None:
        """Let all stop at their next bytes."""
        self._over.set()

    def _show(self) -> None:
        share = self._here / self._total if self._total else self._finished / self._count
        sizes = f", {self._here / 1e6:.1f} of {self._total / 1e6:.1f} MB" if self._total else f", {self._here / 1e6:.1f} MB"
        self._progress(f"fetching: {self._finished} of {self._count}{sizes}", min(share, 1.0))
