"""The wire format, held against the encoder and the decoder of Triton's client, and what is refused."""

import json
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from kserve import InferRequest, InferResponse

from icegraph.serve.protocol import Limits, array_of, decode, encode, output_tensor
from icegraph.serve.refusal import Refused, Why

tensors = st.sampled_from([("FP32", "<f4"), ("FP64", "<f8"), ("INT16", "<i2"), ("UINT8", "u1"), ("BOOL", "?")]).flatmap(
    lambda kind: st.tuples(st.just(kind[0]), arrays(kind[1], array_shapes(max_dims=4, max_side=5)))
)


@given(st.lists(tensors, min_size=1, max_size=3), st.booleans())
def test_tensors_that_triton_encodes_are_decoded(given_tensors: list[tuple[str, np.ndarray]], binary: bool) -> None:
    inputs = []
    for number, (datatype, values) in enumerate(given_tensors):
        tensor = triton.InferInput(f"x{number}", values.shape, datatype)
        values = values if binary else np.nan_to_num(values, posinf=1, neginf=1)  # JSON has no infinity
        tensor.set_data_from_numpy(values, binary_data=binary)
        inputs.append(tensor)
    body, length = triton.InferenceServerClient.generate_request_body(inputs)
    decoded = decode(body, None if length is None else str(length), "segmenter")
    for tensor, (_, values) in zip(decoded.inputs, given_tensors, strict=True):
        np.testing.assert_array_equal(array_of(tensor), values if binary else np.nan_to_num(values, posinf=1, neginf=1))


def test_binary_tensors_stay_the_bytes_that_were_sent() -> None:
    values = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    tensor = triton.InferInput("image", values.shape, "FP32")
    tensor.set_data_from_numpy(values)
    body, length = triton.InferenceServerClient.generate_request_body([tensor])
    decoded = array_of(decode(body, str(length), "segmenter").inputs[0])
    assert np.shares_memory(decoded, np.frombuffer(body, np.uint8))
    # KServe's own reader makes a Python list of them. Where it no longer does, ours is not needed any more.
    assert isinstance(InferRequest.from_bytes(body, length, "segmenter").inputs[0].data, list)


@given(arrays("<f4", array_shapes(max_dims=4, max_side=5)), arrays("<u4", array_shapes(max_dims=3, max_side=5)), st.booleans())
def test_triton_reads_what_is_encoded(floats: np.ndarray, numbers: np.ndarray, binary: bool) -> None:
    texts = np.array([b"floes", "\u00e9tang".encode()], object)
    outputs = [output_tensor("a", floats), output_tensor("b", numbers), output_tensor("c", texts)]
    response = InferResponse("7", "segmenter", outputs, model_version="1")
    request = InferRequest("segmenter", [], parameters={"binary_data_output": binary})
    body, length = encode(response, request)
    result = triton.InferenceServerClient.parse_response_body(body, header_length=length)
    shown = floats if binary else np.where(np.isfinite(floats), floats, np.nan)  # JSON has null alone
    for name, values in (("a", shown), ("b", numbers)):
        np.testing.assert_array_equal(result.as_numpy(name).astype(values.dtype), values)
    assert [text if isinstance(text, bytes) else text.encode() for text in result.as_numpy("c")] == list(texts)
    assert (length is None) == (not binary)


def _request(**tensor: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "image", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]} | tensor]}


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        ([], "JSON object"),
        ({"inputs": []}, "inputs"),
        ({"inputs": [3]}, "inputs"),
        (_request(name=None), "name"),
        (_request(datatype="FP99"), "FP99"),
        (_request(shape=[1, -2]), "shape"),
        (_request(shape=[1, 2.5]), "shape"),
        (_request(shape=[True, 2]), "shape"),
        (_request(shape=[1] * 9), "shape"),
        (_request(shape=[10**9, 10**9]), "2 values"),
        (_request(shape=[10**30]), "shape"),
        (_request(data=[[1, 2], [3]]), "rows of one length"),
        (_request(data=["ice", "water"]), "FP32"),
        (_request(data=[{}, 2]), "FP32"),
        (_request(data=["1", "2"]), "FP32"),
        (_request(data=[None, "2"]), "FP32"),
        (_request(data=[1e300, 2]), "FP32"),
        (_request(data=[[1], [2]]), r"rows of the shape \[2, 1\]"),
        (_request(data=None), "binary_data_size"),
        (_request(data=None, parameters={"binary_data_size": 8}), "bytes are left"),
        (_request(data=None, parameters={"binary_data_size": -8}), "bytes are left"),
        (_request(parameters={"bands": ["red"]}), "bands"),
        (_request(datatype="FP16"), "FP16"),
        (_request(datatype="UINT8", data=[1, 256]), "UINT8"),
        (_request(datatype="UINT8", data=[1, -1]), "UINT8"),
        (_request(datatype="INT16", data=[1, 0.5]), "INT16"),
        (_request(datatype="INT16", data=[1, None]), "INT16"),
        (_request(datatype="BOOL", data=[1, 2]), "BOOL"),
        (_request() | {"id": 7}, "id"),
        (_request() | {"outputs": [{"name": 1}]}, "output's name"),
        (_request() | {"outputs": [{"name": "a", "parameters": {"binary_data": "no"}}]}, "binary_data must be true or false"),
        (_request() | {"parameters": {"binary_data_output": 1}}, "binary_data_output must be true or false"),
        ({"inputs": _request()["inputs"] * 2}, "same name"),
    ],
)
def test_what_is_not_a_request_is_told_by_the_field(request_: Any, told: str) -> None:
    with pytest.raises(Refused, match=told) as refusal:
        array_of(decode(json.dumps(request_).encode(), None, "segmenter").inputs[0])
    assert refusal.value.why is Why.MALFORMED


@pytest.mark.parametrize(("length", "told"), [("-1", "Length"), ("1e3", "Length"), ("100000", "Length"), ("²", "Length")])
def test_a_length_of_json_that_cannot_be_is_refused(length: str, told: str) -> None:
    with pytest.raises(Refused, match=told):
        decode(b"{}", length, "segmenter")


def test_bytes_that_no_input_claims_are_refused() -> None:
    text = json.dumps(_request()).encode()
    with pytest.raises(Refused, match="3 bytes follow"):
        decode(text + b"abc", str(len(text)), "segmenter")


def test_bytes_of_another_number_than_the_shape_are_refused() -> None:
    text = json.dumps(_request(data=None, parameters={"binary_data_size": 4})).encode()
    with pytest.raises(Refused, match=r"4 bytes were sent, and its shape \[1, 2\] of FP32 has 8"):
        decode(text + bytes(4), str(len(text)), "segmenter")


def test_texts_whose_length_lies_are_refused() -> None:
    entry = {"name": "scene", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 8}}
    text = json.dumps({"inputs": [entry]}).encode()
    with pytest.raises(Refused, match="not a tensor of BYTES"):
        array_of(decode(text + b"\xff\xff\xff\x7fabcd", str(len(text)), "segmenter").inputs[0])


def test_json_too_deep_is_refused() -> None:
    with pytest.raises(Refused):
        decode(b'{"inputs":' + b"[" * 100_000, None, "segmenter")
    deep = json.dumps(_request()).replace("[1, 2]}", "[" * 900 + "]" * 900 + "}").encode()
    with pytest.raises(Refused):
        array_of(decode(deep, None, "segmenter").inputs[0])


def test_limits_count_all_images_together() -> None:
    limits = Limits(pixels=1000, images=4)
    limits.check_images(2, 20, 25)
    for count, height, width, told in ((2, 20, 26, "26 pixels"), (5, 1, 1, "5 at once"), (10**9, 10**9, 10**9, "at once")):
        with pytest.raises(Refused, match=told) as refusal:
            limits.check_images(count, height, width)
        assert refusal.value.why is Why.TOO_LARGE
