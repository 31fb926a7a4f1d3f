"""The gRPC side: KServe's servicer of the Open Inference Protocol, with this server's refusals, and nobody may unload a model."""

import asyncio
import logging
import uuid
from typing import Any, NoReturn

from grpc import StatusCode, aio
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as pb_grpc
from kserve.protocol.grpc.servicer import InferenceServicer
from kserve.protocol.infer_type import InferRequest
from kserve.protocol.model_repository_extension import ModelRepositoryExtension

from icegraph.serve.account import Account, current
from icegraph.serve.gate import Gate
from icegraph.serve.lookup import find_model, require_ready
from icegraph.serve.protocol import METADATA, Limits, as_text, check_datatype
from icegraph.serve.refusal import Refused, Why, refused

_MARGIN = 1 << 20  # bytes of a message that are not tensors
_CLIENT_GONE = "499"
_log = logging.getLogger("icegraph.serve")


class Servicer(InferenceServicer):  # type: ignore[misc] # KServe has no types
    """Answers what KServe's servicer does.

    Args:
        plane: Has the models.
        gate: Where requests are let in.
        ready: As for REST.
    """

    def __init__(self, plane: DataPlane, gate: Gate, ready: Any) -> None:
        super().__init__(plane, ModelRepositoryExtension(plane.model_registry))
        self._plane, self._gate, self._ready = plane, gate, ready

    async def ServerMetadata(self, request: pb.ServerMetadataRequest, context: aio.ServicerContext) -> pb.ServerMetadataResponse:  # noqa: ARG002, D102, N802
        return pb.ServerMetadataResponse(**METADATA)

    async def ServerReady(self, request: pb.ServerReadyRequest, context: aio.ServicerContext) -> pb.ServerReadyResponse:  # noqa: ARG002, D102, N802
        return pb.ServerReadyResponse(ready=self._ready())

    async def ModelReady(self, request: pb.ModelReadyRequest, context: aio.ServicerContext) -> pb.ModelReadyResponse:  # noqa: D102, N802
        try:
            find_model(self._plane, request.name, request.version)
            return pb.ModelReadyResponse(ready=self._ready() and await self._plane.model_ready(request.name))
        except Exception as error:  # noqa: BLE001 - all become a status
            await _abort(context, refused(error))

    async def ModelMetadata(self, request: pb.ModelMetadataRequest, context: aio.ServicerContext) -> pb.ModelMetadataResponse:  # noqa: D102, N802
        try:
            model = find_model(self._plane, request.name, request.version)
            said = await self._plane.model_metadata(request.name)
            return pb.ModelMetadataResponse(
                name=said["name"], versions=model.versions, platform="icegraph", inputs=said["inputs"], outputs=said["outputs"]
            )
        except Exception as error:  # noqa: BLE001 - all become a status
            await _abort(context, refused(error))

    async def RepositoryModelLoad(self, request: Any, context: aio.ServicerContext) -> Any:  # noqa: ARG002, D102, N802
        await context.abort(StatusCode.PERMISSION_DENIED, "models change by promotion, not by request.")

    async def RepositoryModelUnload(self, request: Any, context: aio.ServicerContext) -> Any:  # noqa: ARG002, D102, N802
        await context.abort(StatusCode.PERMISSION_DENIED, "models change by promotion, not by request.")

    async def ModelInfer(self, request: pb.ModelInferRequest, context: aio.ServicerContext) -> pb.ModelInferResponse:  # noqa: D102, N802
        headers = {str(name): str(value) for name, value in context.invocation_metadata() or ()}
        known = Account("grpc", request.id[:200] or headers.get("x-request-id", "")[:200] or str(uuid.uuid4()))
        current.set(known)
        try:
            await require_ready(self._plane, request.model_name, request.model_version)
            known.model = request.model_name
            with self._gate.let_in():
                with known.part("decode"):
                    asked = _decoded(request)
                found, _ = await self._plane.infer(request.model_name, asked, {})
                with known.part("encode"):
                    response = found.to_grpc()
        except asyncio.CancelledError:
            known.close(status=_CLIENT_GONE)
            raise
        except Exception as error:  # noqa: BLE001 - all become one line in the log and a status
            told = refused(error)
            if told.why is Why.DEFECT:
                _log.error("defect", exc_info=error, extra={"about": {"request_id": known.request_id}})
            known.close(told)
            await _abort(context, told)
        known.close()
        return response


def make_rpc_server(servicer: Servicer, limits: Limits, address: str) -> tuple[aio.Server, int]:
    """The server, not yet started, and its port.

    Args:
        servicer: Answers.
        limits: What one request may ask.
        address: HOST:PORT; port 0 for any that is free.
    """
    size = limits.body_bytes + _MARGIN
    server = aio.server(options=[("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", size), ("grpc.so_reuseport", 0)])
    pb_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    return server, server.add_insecure_port(address)


def _decoded(request: pb.ModelInferRequest) -> InferRequest:
    """KServe's request; what it holds is checked where a model takes it."""
    if request.id:
        as_text(request.id, "id")
    for tensor in request.inputs:
        check_datatype(as_text(tensor.name, "an input's name"), tensor.datatype)
    Servicer.validate_grpc_request(request)
    asked = InferRequest.from_grpc(request)
    if len({tensor.name for tensor in asked.inputs}) < len(asked.inputs):
        raise Refused(Why.MALFORMED, "two inputs have the same name; give each input once.")
    return asked


async def _abort(context: aio.ServicerContext, told: Refused) -> NoReturn:
    trailers = (("retry-after", str(told.retry_after_s)),) if told.retry_after_s else ()
    await context.abort(told.why.grpc, str(told), trailers)
    raise AssertionError  # abort raises
