"""What the OpenAPI page says of requests and answers: the Open Inference Protocol's own schemas, with this server's names."""

from typing import Any

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string", "description": "One sentence: what was wrong, and what would be right."}},
}
_MEANINGS = {
    400: "Not a request of the protocol",
    403: "A reference to a place that this server does not read",
    404: "No such model, version or scene",
    405: "No such method",
    408: "Too slow",
    413: "Too large",
    415: "Neither JSON nor binary tensors behind JSON",
    422: "The model cannot use it",
    500: "A defect",
    503: "Busy or not ready: ask again after Retry-After seconds",
}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": meaning, "content": {"application/json": {"schema": _ERROR}}} for status, meaning in _MEANINGS.items()
}
_PARAMETERS = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
_NAME = {"type": "string", "minLength": 1, "maxLength": 200}
_TENSOR = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {**_NAME, "description": "segmenter: image (and valid), or scene; tracker: floes"},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1, "maxItems": 8},
        "datatype": {"type": "string", "enum": ["BOOL", "UINT8", "UINT16", "INT16", "FP16", "FP32", "FP64", "BYTES"]},
        "parameters": _PARAMETERS,
        "data": {"type": "array", "minItems": 1},
    },
}
_REQUEST = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": _NAME,
        "parameters": _PARAMETERS,
        "inputs": {"type": "array", "minItems": 1, "items": _TENSOR},
        "outputs": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "object", "required": ["name"], "properties": {"name": _NAME, "parameters": _PARAMETERS}},
        },
    },
    "example": {
        "inputs": [
            {
                "name": "scene",
                "shape": [1],
                "datatype": "BYTES",
                "data": ["s3://ice/scenes/S1B_EW_GRDM_1SDH_20200123T120618"],
                "parameters": {"window": "0,0,512,512"},
            }
        ]
    },
}
_PREDICT = {
    "type": "object",
    "required": ["instances"],
    "properties": {"instances": {"type": "array", "minItems": 1, "items": {"type": "object"}}},
    "example": {"instances": [{"scene": "s3://ice/scenes/S1B_EW_GRDM_1SDH_20200123T120618", "window": [0, 0, 512, 512]}]},
}
_RESPONSE = {
    "type": "object",
    "required": ["model_name", "model_version", "id", "outputs"],
    "properties": {
        "model_name": {"type": "string"},
        "model_version": {"type": "string"},
        "id": {"type": "string"},
        "parameters": _PARAMETERS,
        "outputs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "shape", "datatype"],
                "properties": {
                    "name": {"type": "string"},
                    "shape": {"type": "array", "items": {"type": "integer"}},
                    "datatype": {"type": "string"},
                    "parameters": _PARAMETERS,
                    "data": {"type": "array"},
                },
            },
        },
    },
}
_PREDICTIONS = {
    "type": "object",
    "required": ["predictions"],
    "properties": {
        "predictions": {"type": "array", "items": {"type": "object"}},
        "model_version": {"type": "string"},
        "id": {"type": "string"},
    },
}

INFER = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": _REQUEST},
            "application/octet-stream": {
                "schema": {"type": "string", "format": "binary"},
            },
        },
    }
}
PREDICT = {"requestBody": {"required": True, "content": {"application/json": {"schema": _PREDICT}}}}


def answer(protocol: str) -> dict[int | str, dict[str, Any]]:
    """The responses of an address that predicts, `v1` or `v2`."""
    schema = _RESPONSE if protocol == "v2" else _PREDICTIONS
    content: dict[str, Any] = {"application/json": {"schema": schema}}
    if protocol == "v2":
        content["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}
    return ERRORS | {200: {"description": "Predictions", "content": content}}
