"""The server's life: load and verify, warm up, answer, take new models as they come, finish what was accepted, end."""

import asyncio
import contextlib
import logging
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from kserve import ModelRepository
from kserve.protocol.dataplane import DataPlane

from icegraph.errors import InputError
from icegraph.segment.frames import cores
from icegraph.serve.account import MODEL
from icegraph.serve.gate import Gate
from icegraph.serve.models import Served, ServedModels
from icegraph.serve.protocol import Limits
from icegraph.serve.references import AllowList
from icegraph.serve.rest import make_app
from icegraph.serve.rpc import Servicer, make_rpc_server
from icegraph.serve.segmenter import SegmenterModel
from icegraph.serve.tracker import TrackerModel

_POLL_S = 1.0
_log = logging.getLogger("icegraph.serve")


@dataclass(frozen=True)
class Settings:
    """How a server is started.

    Args:
        models: A set of models, or a folder of the champions in use.
        host: Address to listen on.
        port: Of REST; 0 for any that is free.
        grpc_port: Of gRPC; 0 for any that is free.
        allow: Buckets and prefixes that requests may refer to scenes in.
        limits: What one request may ask.
        together: Requests are worked on side by side; else one after another.
        waiting: Requests let in, at work and waiting; more are told to come back.
        grace_s: How long what was accepted may take once the server is told to end.
    """

    models: Path
    host: str = "127.0.0.1"
    port: int = 8080
    grpc_port: int = 8081
    allow: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    together: bool = True
    waiting: int = 32
    grace_s: int = 30


def serve(settings: Settings, tell: Callable[[int, int], None]) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        settings: How.
        tell: Is given the ports of REST and gRPC once all models have answered their warm-up.

    Raises:
        ModelError: There is no model, or one cannot be used.
        InputError: A port is taken.
    """
    with tempfile.TemporaryDirectory(prefix="icegraph-serve-") as work:
        asyncio.run(_serve(settings, ServedModels(settings.models, Path(work), _in_service()), tell))


async def _serve(settings: Settings, models: ServedModels, tell: Callable[[int, int], None]) -> None:
    gate = Gate("predict", 2 * cores() if settings.together else 1, settings.waiting)
    registry = ModelRepository()
    registry.update(SegmenterModel(models, AllowList(settings.allow), settings.limits, gate))
    registry.update(TrackerModel(models, settings.limits, gate))
    plane = DataPlane(registry)
    state = {"ready": False}
    rest = _Rest(
        uvicorn.Config(make_app(plane, gate, settings.limits, lambda: state["ready"]), settings.host, settings.port, log_config=None)
    )
    rest.config.timeout_graceful_shutdown = settings.grace_s
    rpc, grpc_port = make_rpc_server(
        Servicer(plane, gate, lambda: state["ready"]), settings.limits, f"{settings.host}:{settings.grpc_port}"
    )
    if not grpc_port:
        raise InputError(f"{settings.host}:{settings.grpc_port}", "cannot be listened on", "name another port with --grpc-port")
    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    await rpc.start()
    serving = asyncio.create_task(rest.serve())
    try:
        await _first_of(asyncio.to_thread(models.load), serving, ending.wait())
        if serving.done():
            raise InputError(f"{settings.host}:{settings.port}", "cannot be listened on", "name another port with --port")
        if not ending.is_set():
            state["ready"] = True
            tell(rest.port, grpc_port)
            following = asyncio.create_task(_follow(models))
            await ending.wait()
            following.cancel()
    finally:
        state["ready"] = False
        _log.info("ending")
        rest.should_exit = True
        await asyncio.gather(rpc.stop(settings.grace_s), serving, return_exceptions=True)
        gate.close()


async def _first_of(loading: "asyncio.Future[None] | object", serving: "asyncio.Task[None]", ending: object) -> None:
    """Wait for the models; not in vain where the server cannot listen or is told to end."""
    tasks = [asyncio.ensure_future(loading), asyncio.ensure_future(ending)]  # type: ignore[call-overload]
    await asyncio.wait({*tasks, serving}, return_when=asyncio.FIRST_COMPLETED)
    tasks[1].cancel()
    if tasks[0].done():
        tasks[0].result()


async def _follow(models: ServedModels) -> None:
    while True:
        await asyncio.sleep(_POLL_S)
        await asyncio.to_thread(models.refresh)


class _Rest(uvicorn.Server):
    """Uvicorn, told of its end by us: signals are ours."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them."""
        yield

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.servers[0].sockets[0].getsockname()[1])


def _in_service() -> Callable[[Served], None]:
    """Keep the gauge of the versions in service."""
    before: dict[str, str] = {}

    def told(served: Served) -> None:
        if served.name in before:
            MODEL.remove(served.name, before[served.name])
        MODEL.labels(served.name, served.version).set(1)
        before[served.name] = served.version

    return told
