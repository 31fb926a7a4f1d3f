"""KServe's objects against the server that they start."""

import re

import typer
from overlays import Thing, of_kind, rendered

from icegraph.commands.serve import serve


def runtime() -> Thing:
    (found,) = of_kind(rendered("kind"), "ServingRuntime")
    return found


def test_the_runtime_starts_the_command_with_options_that_it_has() -> None:
    (container,) = runtime()["spec"]["containers"]
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

    (graph,) = of_kind(rendered("kind"), "InferenceGraph")
    steps = [step["serviceUrl"] for step in graph["spec"]["nodes"]["root"]["steps"]]
    assert [re.sub(r"^http://[^/]+", "", step) for step in steps] == [
        f"/v1/models/{name}:predict" for name in (segmenter.NAME, tracker.NAME)
    ]
    services = {one["metadata"]["name"]: one["metadata"]["namespace"] for one in of_kind(rendered("kind"), "InferenceService")}
    hosts = [f"http://{name}-predictor.{services[name]}.svc.cluster.local/" for name in (segmenter.NAME, tracker.NAME)]
    assert [re.match(r"http://[^/]+/", step)[0] for step in steps] == hosts  # type: ignore[index]


def test_the_grace_of_the_pod_outlasts_the_servers() -> None:
    from icegraph.registry import SHIPPED
    from icegraph.serve.server import Settings

    for service in of_kind(rendered("kind"), "InferenceService"):
        assert service["spec"]["predictor"]["terminationGracePeriodSeconds"] > Settings(SHIPPED).grace_s


def test_predictors_scale_on_a_metric_that_the_server_has() -> None:
    from icegraph.serve.account import REQUEST
    from icegraph.serve.segmenter import NAME as SEGMENTER
    from icegraph.serve.tracker import NAME as TRACKER

    (family,) = REQUEST.collect()
    for service in of_kind(rendered("gpu"), "InferenceService"):
        (metric,) = service["spec"]["predictor"]["autoScaling"]["metrics"]
        name, labels = re.findall(r"(\w+)_bucket\{(.*?)\}", metric["external"]["metric"]["query"])[0]
        assert name == family.name
        assert labels == f'model="{service["metadata"]["name"]}"'
        assert service["metadata"]["name"] in (SEGMENTER, TRACKER)
