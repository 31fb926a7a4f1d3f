"""The YAML for KServe, held against the schemas that a cluster checks it with, and against the server's own routes."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from jsonschema import Draft7Validator

from icegraph.commands.serve import serve

PLACE = Path(__file__).parents[2] / "kserve"
FILES = sorted(path.name for path in PLACE.glob("*.yaml") if path.name != "kustomization.yaml")


def read(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((PLACE / name).read_text()))


@pytest.fixture(scope="module")
def schemas() -> dict[tuple[str, str], dict[str, Any]]:
    """(apiVersion, kind) → schema."""
    place = os.environ.get("ICEGRAPH_KSERVE_SCHEMAS")
    if not place:
        pytest.skip("set ICEGRAPH_KSERVE_SCHEMAS to the folder of KServe's CRDs (kserve/kserve, config/crd) to run this test")
    found = {}
    for path in Path(place).glob("serving.kserve.io_*.yaml"):
        spec = yaml.safe_load(path.read_text())["spec"]
        for version in spec["versions"]:
            found[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = _closed(version["schema"]["openAPIV3Schema"])
    return found


def _closed(schema: Any) -> Any:
    """As strict as a cluster's field validation: unknown fields are refused."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(one) for name, one in schema.items()}
    known = schema.get("properties")
    if isinstance(known, dict) and known and schema.get("type") == "object" and not schema.get("x-kubernetes-preserve-unknown-fields"):
        closed.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    return closed


@pytest.mark.parametrize("name", FILES)
def test_a_cluster_takes_it(name: str, schemas: dict[tuple[str, str], dict[str, Any]]) -> None:
    manifest = read(name)
    schema = schemas[manifest["apiVersion"], manifest["kind"]]
    schema["properties"]["metadata"] = {"type": "object"}
    errors = [f"{'/'.join(map(str, error.path))}: {error.message}" for error in Draft7Validator(schema).iter_errors(manifest)]
    assert errors == []


def test_all_of_it_is_applied() -> None:
    assert sorted(read("kustomization.yaml")["resources"]) == FILES


def test_the_runtime_starts_the_command_with_options_that_it_has() -> None:
    (container,) = read("servingruntime.yaml")["spec"]["containers"]
    app = typer.Typer()
    app.command()(serve)
    known = {option for parameter in typer.main.get_command(app).params for option in parameter.opts}
    command, *options = container["args"]
    assert [*container["command"], command] == ["icegraph", "serve"]
    assert {option.partition("=")[0] for option in options} <= known
    ports = {port["containerPort"] for port in container["ports"]}
    assert {f"--port={min(ports)}", f"--grpc-port={max(ports)}"} <= set(options)


def test_the_graph_asks_addresses_that_the_server_has() -> None:
    from icegraph.serve import segmenter, tracker

    steps = read("inferencegraph.yaml")["spec"]["nodes"]["root"]["steps"]
    paths = [re.sub(r"^http://[^/]+", "", step["serviceUrl"]) for step in steps]
    assert paths == [f"/v1/models/{name}:predict" for name in (segmenter.NAME, tracker.NAME)]
    hosts = [re.match(r"http://([^.]+)", step["serviceUrl"])[1] for step in steps]  # type: ignore[index]
    assert hosts == [f"{read(f'{name}.yaml')['metadata']['name']}-predictor" for name in (segmenter.NAME, tracker.NAME)]


def test_the_grace_of_the_pod_outlasts_the_servers() -> None:
    from icegraph.registry import SHIPPED
    from icegraph.serve.server import Settings

    for name in ("segmenter.yaml", "tracker.yaml"):
        assert read(name)["spec"]["predictor"]["terminationGracePeriodSeconds"] > Settings(SHIPPED).grace_s
