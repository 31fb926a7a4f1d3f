"""What is told of each request: Prometheus metrics, and one JSON line in the log."""

import json
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Counter, Gauge, Histogram

from icegraph.serve.refusal import Refused

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
REQUEST = Histogram(
    "icegraph_request_seconds", "From the request's first byte to the response's", ["model", "protocol", "status"], buckets=_SECONDS
)
PART = Histogram("icegraph_request_part_seconds", "By part: decode, read, queue, predict, encode", ["model", "part"], buckets=_SECONDS)
TOGETHER = Histogram(
    "icegraph_batch_requests", "Requests at work together when one begins", ["model"], buckets=(1, 2, 3, 4, 6, 8, 12, 16, 32)
)
IMAGES = Histogram("icegraph_request_images", "Images or floe tables of a request", ["model"], buckets=(1, 2, 4, 8, 16, 32, 64))
WAITING = Gauge("icegraph_waiting_requests", "Requests accepted and not yet begun", ["model"])
REFUSED = Counter("icegraph_refused_requests", "Requests refused, by reason", ["model", "reason"])
MODEL = Gauge("icegraph_model_in_service", "1 for the version of each model that is in service", ["name", "version"])
BAND = Histogram(
    "icegraph_input_scaled",
    "Mean of a band over an image's valid pixels, −1 at the scene's 2nd percentile and 1 at its 98th",
    ["band"],
    buckets=tuple(np.arange(-2, 2.01, 0.25)),  # of numbers below 0 a histogram has no sum
)
SPREAD = Histogram("icegraph_input_range", "p98 − p02 of a band, in its unit", ["band"], buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100))
VALID = Histogram(
    "icegraph_input_valid_share", "Share of an image's pixels that are valid", buckets=(0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1)
)

_log = logging.getLogger("icegraph.serve")


@dataclass
class Account:
    """What is known of one request; see `current`.

    Args:
        protocol: `v1`, `v2`, `v2-binary` or `grpc`.
        request_id: The client's, or one made here.
    """

    protocol: str
    request_id: str
    model: str = ""
    parts: dict[str, float] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    began: float = field(default_factory=time.perf_counter)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time a part of the work; parts of one name add up."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - start)

    def add(self, name: str, seconds: float) -> None:
        """Add to a part."""
        self.parts[name] = self.parts.get(name, 0.0) + seconds

    def close(self, error: Refused | None = None, *, status: str = "") -> None:
        """Count and log the request, answered or refused."""
        seconds = time.perf_counter() - self.began
        status = status or (str(int(error.why.http)) if error else "200")
        REQUEST.labels(self.model, self.protocol, status).observe(seconds)
        for name, value in self.parts.items():
            PART.labels(self.model, name).observe(value)
        if error:
            REFUSED.labels(self.model, error.why.label).inc()
        said = {
            "request_id": self.request_id,
            "protocol": self.protocol,
            "model": self.model,
            "status": status,
            "seconds": round(seconds, 6),
        }
        said |= {"parts": {name: round(value, 6) for name, value in self.parts.items()}} | self.about
        _log.info("request", extra={"about": said | ({"error": str(error)} if error else {})})


current: ContextVar[Account | None] = ContextVar("current", default=None)
"""The account of the request that is being worked on."""


def account() -> Account:
    """The account of this request; one that nobody reads where there is none, as under KServe's own server."""
    return current.get() or Account("", "")


def observe_input(band: str, scaled: NDArray[np.float32], statistics: Mapping[str, float]) -> None:
    """Count what a band of an image is like."""
    seen = scaled[np.isfinite(scaled)]
    if seen.size and statistics:
        BAND.labels(band).observe(float(seen.mean()))
        SPREAD.labels(band).observe(statistics["p98"] - statistics["p02"])


class JsonLines(logging.Formatter):
    """A log record as one line of JSON: time, level, event, and what the record is about."""

    def format(self, record: logging.LogRecord) -> str:  # noqa: D102
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        said = {"time": when, "level": record.levelname.lower(), "event": record.getMessage()} | getattr(record, "about", {})
        if record.exc_info:
            said["traceback"] = self.formatException(record.exc_info)
        return json.dumps(said, ensure_ascii=False, default=str)


def log_to_stderr(level: int = logging.INFO) -> None:
    """Send this server's log, and what its libraries warn of, to standard error as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name, least in (("icegraph.serve", level), ("kserve", logging.ERROR), ("uvicorn", logging.WARNING), ("grpc", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(least)
