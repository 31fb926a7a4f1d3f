"""What a request can be refused for: one table of HTTP and gRPC statuses."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from http import HTTPStatus
from typing import Any

from grpc import StatusCode
from kserve.errors import InvalidInput, ModelNotFound, ModelNotReady

from icegraph.errors import IceGraphError, InputError, ModelError, PassError, StoreError


class Why(Enum):
    """Why a request is refused: its name in the metrics, the HTTP status and the gRPC status."""

    MALFORMED = "malformed", HTTPStatus.BAD_REQUEST, StatusCode.INVALID_ARGUMENT
    NOT_ALLOWED = "not_allowed", HTTPStatus.FORBIDDEN, StatusCode.PERMISSION_DENIED
    UNKNOWN = "unknown", HTTPStatus.NOT_FOUND, StatusCode.NOT_FOUND
    SLOW = "slow", HTTPStatus.REQUEST_TIMEOUT, StatusCode.DEADLINE_EXCEEDED
    TOO_LARGE = "too_large", HTTPStatus.REQUEST_ENTITY_TOO_LARGE, StatusCode.RESOURCE_EXHAUSTED
    MEDIA_TYPE = "media_type", HTTPStatus.UNSUPPORTED_MEDIA_TYPE, StatusCode.INVALID_ARGUMENT
    UNUSABLE = "unusable", HTTPStatus.UNPROCESSABLE_ENTITY, StatusCode.INVALID_ARGUMENT
    BUSY = "busy", HTTPStatus.SERVICE_UNAVAILABLE, StatusCode.UNAVAILABLE
    STORE = "store", HTTPStatus.SERVICE_UNAVAILABLE, StatusCode.UNAVAILABLE
    NOT_READY = "not_ready", HTTPStatus.SERVICE_UNAVAILABLE, StatusCode.UNAVAILABLE
    DEFECT = "defect", HTTPStatus.INTERNAL_SERVER_ERROR, StatusCode.INTERNAL

    def __init__(self, label: str, http: HTTPStatus, grpc: StatusCode) -> None:
        self.label, self.http, self.grpc = label, http, grpc


class Refused(InvalidInput):  # type: ignore[misc] # KServe has no types
    """A request that is not answered.

    Args:
        why: Its kind.
        text: One sentence: what was wrong, and what would be right.
        retry_after_s: When asking again makes sense, seconds; 0 for never.
    """

    def __init__(self, why: Why, text: str, retry_after_s: int = 0) -> None:
        super().__init__(text)
        self.why = why
        self.retry_after_s = retry_after_s


def malformed(text: str) -> Refused:
    """A request that is not what the protocol says."""
    return Refused(Why.MALFORMED, text)


def unusable(text: str) -> Refused:
    """A request that the protocol allows and the model cannot use."""
    return Refused(Why.UNUSABLE, text)


@contextmanager
def within(what: str) -> Iterator[None]:
    """Refusals of this block tell what part of the request they are about."""
    try:
        yield
    except Refused as error:
        raise Refused(error.why, f"{what}: {error}", error.retry_after_s) from error


def refused(error: BaseException) -> Refused:
    """What to tell of any error; of one that nobody foresaw no more than that."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, ModelNotFound):
        return Refused(Why.UNKNOWN, str(error))
    if isinstance(error, ModelNotReady):
        return Refused(Why.NOT_READY, str(error), retry_after_s=1)
    if isinstance(error, StoreError):
        return Refused(Why.STORE, str(error), retry_after_s=10)
    if isinstance(error, PassError | ModelError | InputError):
        return unusable(str(error))
    if isinstance(error, MemoryError):
        return Refused(Why.BUSY, "the server is out of memory; ask again later, or for less at once.", retry_after_s=10)
    if isinstance(error, IceGraphError | InvalidInput):
        return malformed(str(error))
    return Refused(Why.DEFECT, "a defect of the server; its log tells more under this request's id.")


def error_object(error: Refused) -> dict[str, Any]:
    """The error object of the Open Inference Protocol."""
    return {"error": str(error)}
