"""Requests and responses of the Open Inference Protocol over REST, as JSON or with binary tensors behind the JSON.

KServe 0.21 reads binary tensors with `InferRequest.from_bytes`, which makes a Python list of each: 1 × 512 × 512 × 4 numbers take longer
than the model. It writes JSON number by number too. `decode` and `encode` here keep tensors as the bytes or arrays that they are; what is
between them is KServe's own `InferRequest` and `InferResponse`.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import orjson
from kserve.protocol.infer_type import (
    InferInput,
    InferOutput,
    InferRequest,
    InferResponse,
    RequestedOutput,
    deserialize_bytes_tensor,
    serialize_byte_tensor,
)
from kserve.utils.numpy_codec import to_np_dtype
from numpy.typing import NDArray

from icegraph.serve.refusal import Refused, Why, malformed

METADATA: dict[str, Any] = {"name": "icegraph", "version": "1"}
JSON_LENGTH = "inference-header-content-length"
_DTYPES = ("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES")
_PARAMETERS = (str, int, float, bool)
_SWITCHES = ("binary_data", "binary_data_output")
_MOST_DIMENSIONS = 8


@dataclass(frozen=True)
class Limits:
    """What one request may ask.

    Args:
        body_bytes: Its size.
        pixels: Pixels of all its images together.
        images: Images, references or floe tables.
    """

    body_bytes: int = 128 << 20
    pixels: int = 4096 * 4096
    images: int = 64

    def check_body(self, size: int) -> None:
        """Refuse a body of too many bytes."""
        if size > self.body_bytes:
            text = f"the request, or what it refers to, has {size} bytes, more than the {self.body_bytes} that this server takes"
            raise Refused(Why.TOO_LARGE, f"{text}; ask for less at once.")

    def check_images(self, count: int, height: int, width: int) -> None:
        """Refuse images, references or floe tables that are too many, or images that are too large together."""
        if count > self.images:
            raise Refused(Why.TOO_LARGE, f"{count} at once are more than the {self.images} that this server takes; ask for less at once.")
        if count * height * width > self.pixels:
            text = f"{count} × {height} × {width} pixels are more than the {self.pixels} that this server takes at once"
            raise Refused(Why.TOO_LARGE, f"{text}; ask for less at once.")


def decode(body: bytes, json_length: str | None, model_name: str) -> InferRequest:
    """Read a v2 request.

    Args:
        body: What was sent.
        json_length: What `Inference-Header-Content-Length` says: bytes of JSON, before the binary tensors; None where all is JSON.
        model_name: From the address.

    Raises:
        Refused: It is not a request of the protocol.
    """
    length = len(body)
    if json_length is not None:
        if not json_length.isascii() or not json_length.isdigit() or int(json_length) > len(body):
            raise malformed(
                f"Inference-Header-Content-Length is {json_length[:20]!r}; give the bytes of JSON, at most the {len(body)} sent."
            )
        length = int(json_length)
    said = _object(parse_json(body[:length]), "the request")
    rest = memoryview(body)[length:]
    inputs = []
    for number, entry in enumerate(_list(said.get("inputs"), "inputs")):
        tensor, taken = _input(_object(entry, f"inputs[{number}]"), rest, number)
        rest = rest[taken:]
        inputs.append(tensor)
    if len(rest):
        raise malformed(f"{len(rest)} bytes follow the last tensor; send as many as the inputs' binary_data_size say.")
    if len({tensor.name for tensor in inputs}) < len(inputs):
        raise malformed("two inputs have the same name; give each input once.")
    outputs = said.get("outputs")
    wanted = None
    if outputs is not None:
        entries = [_object(entry, f"outputs[{number}]") for number, entry in enumerate(_list(outputs, "outputs"))]
        wanted = [RequestedOutput(as_text(entry.get("name"), "an output's name"), _parameters(entry)) for entry in entries]
    request_id = said.get("id")
    if request_id is not None:
        as_text(request_id, "id")
    return InferRequest(model_name, inputs, request_id=request_id, parameters=_parameters(said), request_outputs=wanted)


def encode(response: InferResponse, request: InferRequest) -> tuple[bytes, int | None]:
    """Write a v2 response; gives the body, and the bytes of JSON in it where binary tensors follow."""
    asked = {output.name: output.binary_data for output in request.request_outputs or []}
    all_binary = bool((request.parameters or {}).get("binary_data_output", False))
    outputs, raw = [], []
    for output in response.outputs:
        entry = {"name": output.name, "shape": list(output.shape), "datatype": output.datatype}
        parameters = dict(output.parameters or {})
        binary = asked.get(output.name)
        if all_binary if binary is None else binary:
            raw.append(_to_bytes(output.data))
            parameters["binary_data_size"] = len(raw[-1])
        elif output.datatype == "BYTES":
            entry["data"] = [_to_text(value, output.name) for value in output.data.ravel()]
        else:
            entry["data"] = np.ascontiguousarray(output.data).ravel()
        outputs.append(entry | ({"parameters": parameters} if parameters else {}))
    said = {"model_name": response.model_name, "model_version": response.model_version, "id": response.id}
    said |= {"parameters": response.parameters or {}, "outputs": outputs}
    text = orjson.dumps(said, option=orjson.OPT_SERIALIZE_NUMPY)
    return (b"".join([text, *raw]), len(text)) if raw else (text, None)


def output_tensor(name: str, values: NDArray[Any]) -> InferOutput:
    """An output whose data stays an array until it is sent."""
    datatype = {"|u1": "UINT8", "<u4": "UINT32", "<f4": "FP32", "|O": "BYTES"}[values.dtype.str]
    return InferOutput(name, list(values.shape), datatype, data=values)


def array_of(tensor: InferInput) -> NDArray[Any]:
    """The values of an input, of its shape; `null` in JSON is NaN.

    Raises:
        Refused: They are not of the type or number that the input declares.
    """
    shape, dtype = _checked(tensor.name, tensor.shape, tensor.datatype)
    values = tensor.data
    if tensor._raw_data is not None:
        values = _of_bytes(tensor, dtype)
    elif not isinstance(values, np.ndarray):
        values = _of_list(tensor.name, values, shape, tensor.datatype, dtype)
    if values.size != prod(shape):
        raise malformed(f"input {tensor.name}: {values.size} values were sent, and its shape {list(shape)} has {prod(shape)}.")
    return np.asarray(values.reshape(shape))


def _of_bytes(tensor: InferInput, dtype: np.dtype[Any]) -> NDArray[Any]:
    if tensor.datatype != "BYTES":
        _check_size(tensor.name, len(tensor._raw_data), tuple(tensor.shape), tensor.datatype, dtype)
        return np.frombuffer(tensor._raw_data, dtype)
    try:
        return np.asarray(deserialize_bytes_tensor(bytes(tensor._raw_data)))
    except struct.error as error:
        raise malformed(f"input {tensor.name}: its bytes are not a tensor of BYTES, each text behind its length.") from error


def _of_list(name: str, data: Any, shape: tuple[int, ...], datatype: str, dtype: np.dtype[Any]) -> NDArray[Any]:
    try:
        if datatype == "BYTES":
            return np.array([_utf8(value) for value in _flat(data)], object)
        values = numbers(data, dtype)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise malformed(f"input {name}: its data are not {datatype} values in rows of one length.") from error
    if values.ndim > 1 and values.shape != shape and values.size == prod(shape):
        raise malformed(f"input {name}: its data lie in rows of the shape {list(values.shape)}; send them as {list(shape)}, or flat.")
    return values.ravel()


def numbers(data: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    """An array of numbers as they were sent, none cut to fit its type; `null` is NaN.

    Raises:
        ValueError, TypeError, OverflowError: They are no numbers of this type, or not in rows of one length.
    """
    sent = np.array(data)
    if sent.dtype == object and not any(isinstance(one, str) for one in sent.flat):
        sent = np.array(data, np.float64)
    if sent.dtype.kind not in "biuf":
        raise TypeError
    with np.errstate(over="ignore", invalid="ignore"):
        values: NDArray[Any] = sent.astype(dtype)
    if (np.isinf(values) if dtype.kind == "f" else values != sent).any():
        raise OverflowError
    return values


def parse_json(text: bytes, what: str = "the request") -> Any:
    """Parse JSON, strictly.

    Raises:
        Refused: It is not JSON.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise malformed(f"{what} is not JSON ({error}).") from error


def _input(entry: Mapping[str, Any], rest: memoryview, number: int) -> tuple[InferInput, int]:
    name = as_text(entry.get("name"), f"the name of inputs[{number}]")
    parameters = _parameters(entry) or {}
    datatype = as_text(entry.get("datatype"), f"input {name}: datatype")
    shape, dtype = _checked(name, entry.get("shape"), datatype)
    size = parameters.pop("binary_data_size", None)
    data = entry.get("data")
    if (size is None) == (data is None):
        raise malformed(f"input {name}: give either data, or the parameter binary_data_size and as many bytes behind the JSON.")
    if data is not None:
        if datatype == "FP16":
            raise malformed(f"input {name}: FP16 has no JSON form; send it as binary data, or as FP32.")
        # An array at once: a list of numbers takes eight times as much memory, for as long as the request lasts.
        values = _of_list(name, _list(data, f"input {name}: data"), shape, datatype, dtype)
        return InferInput(name, list(shape), datatype, data=values, parameters=parameters), 0
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(rest):
        raise malformed(f"input {name}: binary_data_size is {size!r}, and {len(rest)} bytes are left behind the JSON.")
    if datatype != "BYTES":
        _check_size(name, size, shape, datatype, dtype)
    tensor = InferInput(name, list(shape), datatype, parameters=parameters)
    tensor._raw_data = rest[:size]
    return tensor, size


def _check_size(name: str, size: int, shape: tuple[int, ...], datatype: str, dtype: np.dtype[Any]) -> None:
    asked = prod(shape) * dtype.itemsize
    if size != asked:
        raise malformed(f"input {name}: {size} bytes were sent, and its shape {list(shape)} of {datatype} has {asked}.")


def check_datatype(name: str, datatype: str) -> None:
    """Refuse a datatype that the protocol does not have."""
    if datatype not in _DTYPES:
        raise malformed(f"input {name}: the datatype {datatype[:20]!r} is not one of {', '.join(_DTYPES)}.")


def _checked(name: str, shape: Any, datatype: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    check_datatype(name, datatype)
    sizes = list(shape) if isinstance(shape, list | tuple) else None
    whole = sizes and len(sizes) <= _MOST_DIMENSIONS and all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in sizes)
    if not sizes or not whole:
        raise malformed(f"input {name}: its shape must be 1 to {_MOST_DIMENSIONS} whole numbers from 1 on.")
    return tuple(sizes), np.dtype(to_np_dtype(datatype))


def _to_bytes(values: NDArray[Any]) -> bytes:
    if values.dtype == object:
        return bytes(serialize_byte_tensor(values).item()) if values.size else b""
    return values.tobytes()


def _to_text(value: bytes | str, name: str) -> str:
    try:
        return value if isinstance(value, str) else value.decode()
    except UnicodeDecodeError as error:
        raise Refused(Why.UNUSABLE, f"output {name} is not text; ask for it with the parameter binary_data: true.") from error


def _utf8(value: Any) -> bytes:
    if not isinstance(value, str | bytes):
        raise TypeError
    return value.encode() if isinstance(value, str) else value


def _flat(data: Any) -> list[Any]:
    return [value for entry in data for value in _flat(entry)] if isinstance(data, list) else [data]


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise malformed(f"{what} must be a JSON object.")
    return value


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise malformed(f"{what} must be a list that is not empty.")
    return value


def as_text(value: Any, what: str) -> str:
    """A name or an id.

    Raises:
        Refused: It is none.
    """
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= 200:
        raise malformed(f"{what} must be a text of 1 to 200 printable characters.")
    return value


def _parameters(entry: Mapping[str, Any]) -> dict[str, Any] | None:
    parameters = entry.get("parameters")
    if parameters is None:
        return None
    for name, value in _object(parameters, "parameters").items():
        if not isinstance(value, _PARAMETERS):
            raise malformed(f"the parameter {name[:40]!r} must be a text, a number, true or false.")
        if name in _SWITCHES and not isinstance(value, bool):
            raise malformed(f"the parameter {name} must be true or false.")
    return dict(parameters)
