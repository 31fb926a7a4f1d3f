"""The REST side: v1 and v2 as KServe routes them, with bounded bodies, errors as the protocol's object, and clients that may leave.

KServe's own routes are not used: they let anyone unload a model, read bodies of any size, and answer a wrong request with 500.
"""

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from kserve.errors import ModelNotFound
from kserve.protocol.dataplane import DataPlane
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from icegraph.serve.account import Account, account, current
from icegraph.serve.gate import Gate
from icegraph.serve.lookup import find_model, require_ready
from icegraph.serve.openapi import ERRORS, INFER, PREDICT, answer
from icegraph.serve.protocol import JSON_LENGTH, METADATA, Limits, decode, encode, parse_json
from icegraph.serve.refusal import Refused, Why, error_object, malformed, refused

_JSON = "application/json"
_BINARY = "application/octet-stream"
_CLIENT_GONE = 499
_SLOWEST_S = 60
_FORWARDED = ("x-request-id", "traceparent")
_log = logging.getLogger("icegraph.serve")


def make_app(plane: DataPlane, gate: Gate, limits: Limits, ready: Callable[[], bool]) -> FastAPI:
    """The application.

    Args:
        plane: Has the models.
        gate: Where requests are let in.
        limits: What one request may ask.
        ready: Whether all models have answered their warm-up, and the server is not on its way down.
    """
    app = FastAPI(title="IceGraph", version="1", docs_url=None, redoc_url=None)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _http_error)
    for kind in (Refused, ModelNotFound):
        app.add_exception_handler(kind, _any_error)
    app.add_exception_handler(Exception, _any_error)

    async def infer(model_name: str, request: Request, model_version: str = "") -> Response:
        async def work(body: bytes) -> Response:
            known = account()
            with known.part("decode"):
                length = request.headers.get(JSON_LENGTH)
                known.protocol = "v2" if length is None else "v2-binary"
                asked = decode(body, length, model_name)
                known.request_id = asked.id or known.request_id
            found, _ = await plane.infer(model_name, asked, _headers(request))
            with known.part("encode"):
                text, length_sent = encode(found, asked)
            if length_sent is None:
                return _answer(text)
            return _answer(text, _BINARY, {"Inference-Header-Content-Length": str(length_sent)})

        return await _accounted(request, "v2", plane, model_name, gate, limits, work, model_version)

    async def predict(model_name: str, request: Request) -> Response:
        async def work(body: bytes) -> Response:
            known = account()
            with known.part("decode"):
                asked = parse_json(body)
                if not isinstance(asked, dict):
                    raise malformed("a v1 request is a JSON object.")
            found, _ = await plane.infer(model_name, asked, _headers(request))
            with known.part("encode"):
                return _answer(orjson.dumps(found, option=orjson.OPT_SERIALIZE_NUMPY))

        return await _accounted(request, "v1", plane, model_name, gate, limits, work)

    app.post("/v2/models/{model_name}/infer", openapi_extra=INFER, responses=answer("v2"), operation_id="infer")(infer)
    app.post(
        "/v2/models/{model_name}/versions/{model_version}/infer", openapi_extra=INFER, responses=answer("v2"), operation_id="infer_version"
    )(infer)
    app.post("/v1/models/{model_name}:predict", openapi_extra=PREDICT, responses=answer("v1"), operation_id="predict")(predict)
    _health(app, plane, ready)  # behind: its /v1/models/{model_name} reads NAME:predict too
    return app


def _health(app: FastAPI, plane: DataPlane, ready: Callable[[], bool]) -> None:
    @app.get("/", responses=ERRORS)
    @app.get("/v2/health/live", responses=ERRORS, operation_id="live")
    async def live() -> dict[str, Any]:
        return {"live": True, "status": "alive"}

    @app.get("/v2/health/ready", responses=ERRORS)
    async def server_ready() -> dict[str, bool]:
        if not ready():
            raise Refused(Why.NOT_READY, "the models have not answered their warm-up yet, or the server is going down.", retry_after_s=1)
        return {"ready": True}

    @app.get("/v2", responses=ERRORS)
    async def server_metadata() -> dict[str, Any]:
        return METADATA | {"extensions": ["binary_tensor_data"]}

    @app.get("/v1/models", responses=ERRORS, operation_id="models_v1")
    @app.get("/v2/models", responses=ERRORS, operation_id="models_v2")
    async def models() -> dict[str, list[str]]:
        return {"models": list(plane.model_registry.get_models())}

    async def model_ready(model_name: str, model_version: str = "") -> dict[str, Any]:
        if not ready() or not await find_model(plane, model_name, model_version).healthy():
            raise Refused(Why.NOT_READY, f"{model_name} is not ready.", retry_after_s=1)
        return {"name": model_name, "ready": True}

    async def model_metadata(model_name: str, model_version: str = "") -> dict[str, Any]:
        model = find_model(plane, model_name, model_version)
        said = dict(await plane.model_metadata(model_name))
        return said | {"versions": model.versions, "platform": "icegraph"}

    app.get("/v1/models/{model_name}", responses=ERRORS, operation_id="ready_v1")(model_ready)
    for path, what, name in (("/ready", model_ready, "ready_v2"), ("", model_metadata, "metadata")):
        app.get(f"/v2/models/{{model_name}}{path}", responses=ERRORS, operation_id=name)(what)
        app.get(f"/v2/models/{{model_name}}/versions/{{model_version}}{path}", responses=ERRORS, operation_id=f"{name}_version")(what)

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


async def _accounted(
    request: Request,
    protocol: str,
    plane: DataPlane,
    model_name: str,
    gate: Gate,
    limits: Limits,
    work: Callable[[bytes], Awaitable[Response]],
    model_version: str = "",
) -> Response:
    """Answer a request and account for it, whatever comes of it."""
    given = request.headers.get("x-request-id", "")
    known = Account(protocol, given if given.isprintable() and 0 < len(given) <= 200 else str(uuid.uuid4()))
    current.set(known)
    try:
        await require_ready(plane, model_name, model_version)
        known.model = model_name
        with gate.let_in():
            body = await _body(request, limits, (_JSON,) if protocol == "v1" else (_JSON, _BINARY))
            response = await _unless_gone(request, work(body))
    except asyncio.CancelledError:
        known.close(status=str(_CLIENT_GONE))
        raise
    except ClientDisconnect:
        known.close(status=str(_CLIENT_GONE))
        return Response(status_code=_CLIENT_GONE)  # which nobody reads
    except Exception as error:  # noqa: BLE001 - all become one line in the log and the protocol's error object
        told = refused(error)
        if told.why is Why.DEFECT:
            _log.error("defect", exc_info=error, extra={"about": {"request_id": known.request_id}})
        known.close(told)
        response = _refusal(told)
    else:
        if response.status_code == _CLIENT_GONE:
            known.close(status=str(_CLIENT_GONE))
        else:
            known.close()
    response.headers["x-request-id"] = known.request_id.encode("ascii", "replace").decode()
    return response


async def _unless_gone(request: Request, work: Awaitable[Response]) -> Response:
    """The response, or an empty one as soon as the client has left; the work ends then."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(request.receive())  # the body is read, so all that can come is that the client left
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return await working if working.done() else Response(status_code=_CLIENT_GONE)
    finally:
        working.cancel()
        leaving.cancel()


async def _body(request: Request, limits: Limits, media_types: tuple[str, ...]) -> bytes:
    """The body, as long as it is of an allowed size and kind."""
    kind = request.headers.get("content-type", _JSON).partition(";")[0].strip().lower()
    if kind not in media_types:
        raise Refused(Why.MEDIA_TYPE, f"the content type {kind[:80]!r} is not {' or '.join(media_types)}.")
    if request.headers.get("content-encoding", "identity") != "identity":
        raise Refused(Why.MEDIA_TYPE, "the body is compressed; send it as it is.")
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal():
        limits.check_body(int(declared))
    parts, size = [], 0
    try:
        async with asyncio.timeout(_SLOWEST_S):
            async for part in request.stream():
                size += len(part)
                limits.check_body(size)
                parts.append(part)
    except TimeoutError as error:
        raise Refused(Why.SLOW, f"the request did not arrive within {_SLOWEST_S} s; send less at once.") from error
    return b"".join(parts)


def _headers(request: Request) -> Mapping[str, str]:
    """The headers that a model may see."""
    return {name: request.headers[name] for name in _FORWARDED if name in request.headers}


def _answer(text: bytes, media_type: str = _JSON, headers: Mapping[str, str] | None = None) -> Response:
    return Response(text, media_type=media_type, headers=dict(headers or {}))


def _refusal(told: Refused) -> Response:
    headers = {"Retry-After": str(told.retry_after_s)} if told.retry_after_s else {}
    # What is left unread of a body that is too large or slow is not waited for.
    headers |= {"Connection": "close"} if told.why in (Why.TOO_LARGE, Why.SLOW) else {}
    return Response(orjson.dumps(error_object(told)), int(told.why.http), headers, _JSON)


async def _http_error(_: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return Response(orjson.dumps({"error": str(error.detail)}), error.status_code, dict(error.headers or {}), _JSON)
    return _refusal(malformed("the address or its parameters are not those of this server."))


async def _any_error(_: Request, error: Exception) -> Response:
    return _refusal(refused(error))
