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
from fastapi import FastAPI
from grpc import aio
from kserve.model_repository import ModelRepository
from kserve.protocol.dataplane import DataPlane

from icegraph.ahead import cores
from icegraph.errors import InputError
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
    """Serve until SIGTERM or SIGINT; see `run`."""

    async def until_told() -> None:
        ending = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, ending.set)
        await run(settings, tell, ending)

    asyncio.run(until_told())


async def run(settings: Settings, tell: Callable[[int, int], None], ending: asyncio.Event) -> None:
    """Serve until `ending` is set, then finish what was accepted.

    Args:
        settings: How.
        tell: Is given the ports of REST and gRPC once all models have answered their warm-up.
        ending: Ends it.

    Raises:
        ModelError: There is no model, or one cannot be used.
        InputError: A port is taken.
    """
    with tempfile.TemporaryDirectory(prefix="icegraph-serve-") as work:
        models = ServedModels(settings.models, Path(work), _in_service())
        ready = asyncio.Event()
        gate = Gate("predict", 2 * cores() if settings.together else 1, settings.waiting)
        plane = _plane(settings, models, gate)
        rest = _Rest(_http(make_app(plane, gate, settings.limits, ready.is_set), settings))
        rpc, grpc_port = _rpc(settings, Servicer(plane, gate, ready.is_set))
        await rpc.start()
        answering = asyncio.create_task(rest.answer())
        told = asyncio.create_task(ending.wait())
        loading = asyncio.create_task(asyncio.to_thread(models.load))
        following = None
        try:
            await asyncio.wait({answering, told, loading}, return_when=asyncio.FIRST_COMPLETED)
            if loading.done():
                loading.result()
                ready.set()
                tell(rest.port, grpc_port)
                following = asyncio.create_task(_follow(models))
                await asyncio.wait({answering, told}, return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                answering.result()
        finally:
            ready.clear()
            _log.info("ending")
            for task in (told, following):
                if task:
                    task.cancel()
            rest.should_exit = True
            await asyncio.gather(rpc.stop(settings.grace_s), answering, loading, return_exceptions=True)
            await asyncio.to_thread(gate.close)


def _http(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """How HTTP is spoken: by h11, which ends a request whose head grows beyond 64 KiB; httptools takes heads of any size."""
    return uvicorn.Config(
        app,
        settings.host,
        settings.port,
        http="h11",
        ws="none",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=settings.grace_s,
    )


def _plane(settings: Settings, models: ServedModels, gate: Gate) -> DataPlane:
    registry = ModelRepository()
    registry.update(SegmenterModel(models, AllowList(settings.allow), settings.limits, gate))
    registry.update(TrackerModel(models, settings.limits, gate))
    return DataPlane(registry)


def _rpc(settings: Settings, servicer: Servicer) -> tuple[aio.Server, int]:
    try:
        return make_rpc_server(servicer, settings.limits, f"{settings.host}:{settings.grpc_port}")
    except RuntimeError as error:
        raise InputError(f"{settings.host}:{settings.grpc_port}", "cannot be listened on", "name another port with --grpc-port") from error


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

    async def answer(self) -> None:
        """Serve.

        Raises:
            InputError: The port is taken.
        """
        try:
            await self.serve()
        except SystemExit as error:  # how uvicorn tells that it cannot listen
            where = f"{self.config.host}:{self.config.port}"
            raise InputError(where, "cannot be listened on", "name another port with --port") from error

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
