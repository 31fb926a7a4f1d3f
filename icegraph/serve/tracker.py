"""The tracker as a model of KServe's: floe tables of two or more passes in; matches, tracks, drift and forecast out."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from kserve.model import Model
from kserve.protocol.infer_type import InferRequest, InferResponse

from icegraph.errors import ModelError
from icegraph.graph import make_graph
from icegraph.graph.build import description
from icegraph.registry.model_set import MATCHER
from icegraph.serve.account import IMAGES, account
from icegraph.serve.gate import Gate
from icegraph.serve.geojson import floe_table_of, to_geojson, to_records
from icegraph.serve.models import Served, ServedModels
from icegraph.serve.protocol import Limits, array_of, output_tensor, parse_json
from icegraph.serve.refusal import malformed, unusable
from icegraph.serve.segmenter import plain
from icegraph.store import code_version

NAME = "tracker"
OUTPUTS = ("matches", "tracks", "forecast", "drift")
_DEFAULT = ("matches", "tracks", "forecast")


class TrackerModel(Model):  # type: ignore[misc] # KServe has no types
    """Follows floes from pass to pass.

    Args:
        models: Has the matcher in service.
        limits: What one request may ask.
        gate: Lets requests run.
    """

    def __init__(self, models: ServedModels, limits: Limits, gate: Gate) -> None:
        super().__init__(NAME)
        self._models, self._limits, self._gate = models, limits, gate

    @property
    def versions(self) -> list[str]:
        """The versions in service."""
        return [self._models.served[MATCHER].version] if MATCHER in self._models.served else []

    async def healthy(self) -> bool:  # noqa: D102
        return bool(self.versions)

    def get_input_types(self) -> list[dict[str, Any]]:  # noqa: D102
        return [{"name": "floes", "datatype": "BYTES", "shape": [-1]}]

    def get_output_types(self) -> list[dict[str, Any]]:  # noqa: D102
        return [{"name": name, "datatype": "BYTES", "shape": [1]} for name in OUTPUTS]

    async def predict(
        self,
        payload: InferRequest | dict[str, Any],
        headers: Mapping[str, str] | None = None,  # noqa: ARG002 - KServe gives them
    ) -> InferResponse | dict[str, Any]:
        """Answer a v2 request, or one of v1 as a dict; of that also what the segmenter answers, as an InferenceGraph hands it on."""
        known = account()
        is_v2 = isinstance(payload, InferRequest)
        with known.part("decode"):
            said, wanted, parameters = _asked_v2(payload) if isinstance(payload, InferRequest) else _asked_v1(payload)
            self._limits.check_images(len(said), 1, 1)
            unknown = [str(name)[:40] for name in wanted if name not in OUTPUTS]
            if unknown or len(set(wanted)) < len(wanted):
                raise malformed(
                    f"the outputs there are: {', '.join(OUTPUTS)}, each once; asked for were {', '.join(map(str, wanted))[:200]}."
                )
            if len(said) < 2:
                raise unusable("one pass alone shows no drift; send the floes of two passes or more.")
            fastest = _speed(parameters.get("max_speed_m_s", 1.0))
            known.about["input_sha256"] = hashlib.sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).hexdigest()
        if MATCHER not in self._models.served:
            raise ModelError(MATCHER, "there is none in service", "name a set of models that has one with --models")
        model = self._models.served[MATCHER]
        known.about |= {"model_name": model.name, "version": model.version, "model_sha256": model.sha256, "code_version": code_version()}
        IMAGES.labels(NAME).observe(len(said))
        results = await self._gate.run(lambda check: _tracked(said, model, wanted, fastest, check))
        about = {"model": model.name, "model_sha256": model.sha256, "input_sha256": known.about["input_sha256"]}
        if is_v2:
            outputs = [output_tensor(name, np.array([_sent(results[name])], object)) for name in wanted]
            return InferResponse(known.request_id, NAME, outputs, model_version=model.version, parameters=about)
        return {"predictions": [results], "model_version": model.version, "id": known.request_id, "parameters": about}


def _tracked(said: Sequence[Any], model: Served, wanted: Sequence[str], fastest: float, check: Callable[[], None]) -> dict[str, Any]:
    """Results by name: matches as records, tracks and forecast as GeoJSON, drift as the bytes of a NetCDF file."""
    from icegraph.track.follow import follow

    tables = []
    for number, one in enumerate(said):
        check()
        tables.append(floe_table_of(one, number))
    graph = make_graph(tables, max_speed_m_s=fastest)
    check()
    found = follow(graph, model.folder, hashlib.sha256(description(graph).encode()).hexdigest())
    results: dict[str, Any] = {}
    for name in wanted:
        if name == "drift":
            with tempfile.TemporaryDirectory(prefix="icegraph-") as place:
                found.write_drift(Path(place) / "drift.nc")
                results[name] = (Path(place) / "drift.nc").read_bytes()
        elif name == "matches":
            results[name] = to_records(found.matches)
        else:
            results[name] = to_geojson(getattr(found, name))
    return results


def _sent(result: Any) -> bytes:
    return result if isinstance(result, bytes) else json.dumps(result, ensure_ascii=False, allow_nan=False).encode()


def _asked_v2(request: InferRequest) -> tuple[list[Any], list[str], dict[str, Any]]:
    if [tensor.name for tensor in request.inputs] != ["floes"] or request.inputs[0].datatype != "BYTES":
        raise malformed("the tracker takes one input, floes: BYTES, the GeoJSON of each pass's floes.")
    texts = array_of(request.inputs[0]).ravel()
    wanted = [output.name for output in request.request_outputs or []] or list(_DEFAULT)
    return [parse_json(text, f"floe table {number + 1}") for number, text in enumerate(texts)], wanted, plain(request.parameters)


def _asked_v1(payload: Any) -> tuple[list[Any], list[Any], dict[str, Any]]:
    if not isinstance(payload, dict):
        raise malformed("a v1 request is a JSON object with instances.")
    instances = payload.get("instances", payload.get("predictions"))
    if not isinstance(instances, list) or not all(isinstance(one, dict) and "floes" in one for one in instances):
        raise malformed(
            'a v1 request is {"instances": [{"floes": GeoJSON}, …]}; predictions of the segmenter with their floes are one too.'
        )
    parameters = payload.get("parameters")
    wanted = payload.get("outputs", list(_DEFAULT))
    if not isinstance(wanted, list) or not wanted or not all(isinstance(name, str) for name in wanted):
        raise malformed("outputs must be a list of names.")
    if "drift" in wanted:
        raise malformed("drift is NetCDF, which v1 cannot carry; ask for it over v2, as binary data.")
    return [one["floes"] for one in instances], wanted, parameters if isinstance(parameters, dict) else {}


def _speed(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0.01 <= value <= 10:
        raise unusable("max_speed_m_s must be a number from 0.01 to 10.")
    return float(value)
