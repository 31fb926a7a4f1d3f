"""`icegraph serve`: the models, over REST and gRPC."""

import gc
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def serve(
    models: Annotated[
        Path | None, typer.Option("--models", help="A set of models, or the folder of the champions in use; default: the shipped ones.")
    ] = None,
    port: Annotated[int, typer.Option("--port", help="REST; 0 for any that is free.", min=0, max=65535)] = 8080,
    grpc_port: Annotated[int, typer.Option("--grpc-port", help="gRPC; 0 for any that is free.", min=0, max=65535)] = 8081,
    host: Annotated[str, typer.Option("--host", help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    allow: Annotated[
        list[str] | None,
        typer.Option("--allow", help="s3://BUCKET or s3://BUCKET/PREFIX that requests may name scenes in. May be given again."),
    ] = None,
    waiting: Annotated[int, typer.Option("--waiting", help="Requests let in; more get 503 and Retry-After.", min=1)] = 32,
    max_mb: Annotated[int, typer.Option("--max-mb", help="Largest request, MiB.", min=1, max=2048)] = 128,
    max_pixels: Annotated[int, typer.Option("--max-pixels", help="Pixels of one request, at most.", min=1)] = 4096 * 4096,
    batching: Annotated[bool, typer.Option("--batching/--no-batching", help="Work on requests side by side, or one after another.")] = True,
) -> None:
    """Serve the models: segmenter and tracker, by the Open Inference Protocol (v2, REST and gRPC) and KServe's v1."""
    gc.disable()  # a sixth of the time that these take would go into looking for garbage among what stays
    from icegraph.registry import SHIPPED
    from icegraph.serve.account import log_to_stderr
    from icegraph.serve.protocol import Limits
    from icegraph.serve.server import Settings, serve

    gc.freeze()
    gc.enable()
    log_to_stderr()
    limits = Limits(body_bytes=max_mb << 20, pixels=max_pixels)
    settings = Settings(models or SHIPPED, host, port, grpc_port, tuple(allow or ()), limits, batching, waiting)

    def tell(rest: int, grpc: int) -> None:
        Console(highlight=False).print(f"Ready: http://{host}:{rest}/v2 and gRPC on {host}:{grpc}", soft_wrap=True)

    serve(settings, tell)
