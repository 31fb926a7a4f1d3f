"""Submit a compiled pipeline to a Kubeflow Pipelines server."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from icegraph.errors import IceGraphError, InputError


class SubmitError(IceGraphError):
    """The server could not be reached or would not take the run."""


def submit_pipeline(
    package: Path, endpoint: str, arguments: dict[str, Any], run_name: str | None, experiment: str, wait: bool
) -> tuple[str, str]:
    """Create a run and, if asked, wait for its end.

    Args:
        package: A compiled pipeline.
        endpoint: URL of the KFP API. A token in KFP_TOKEN is sent as bearer.
        arguments: The pipeline's parameters.
        run_name: Name of the run; default: the package's name and the time.
        experiment: Name of the experiment; made where it does not exist.
        wait: Wait until the run has ended.

    Returns:
        The link to the run in the UI, and its state (empty where nobody waited).

    Raises:
        InputError: There is no such package, or it has no such parameter.
        SubmitError: The server did not answer, or refused.
    """
    check_arguments(package, arguments)
    name = run_name or f"{package.stem} {datetime.now(UTC):%Y-%m-%d %H:%M}"
    with connected(endpoint) as client:
        run = client.create_run_from_pipeline_package(str(package), arguments=arguments, run_name=name, experiment_name=experiment)
        link = f"{endpoint.rstrip('/')}/#/runs/details/{run.run_id}"
        state = str(client.wait_for_run_completion(run.run_id, timeout=7 * 24 * 3600).state) if wait else ""
    return link, state


def check_arguments(package: Path, arguments: Mapping[str, Any]) -> None:
    """Hold arguments against the parameters of a compiled pipeline.

    Raises:
        InputError: There is no such package, it has no such parameter, or it is not given one that it needs.
    """
    import yaml

    if not package.is_file():
        raise InputError(package, "there is no such compiled pipeline", "compile with `make compile`, or name a YAML file")
    root = next(yaml.safe_load_all(package.read_text(encoding="utf-8")))["root"]
    known = root.get("inputDefinitions", {}).get("parameters", {})
    unknown = sorted(set(arguments) - set(known))
    missing = sorted(name for name, one in known.items() if not one.get("isOptional") and name not in arguments)
    if unknown or missing:
        problem = " and ".join([f"has no {name}" for name in unknown] + [f"is not given {name}" for name in missing])
        raise InputError(package.stem, problem, f"its parameters are {', '.join(known)}")


@contextmanager
def connected(endpoint: str) -> Iterator[Any]:
    """Give a client of a KFP API, whose errors become one sentence; a token in KFP_TOKEN is sent as bearer.

    Raises:
        SubmitError: The server does not answer, or refuses.
    """
    import kfp
    import kfp_server_api
    from urllib3.exceptions import HTTPError

    _check_health(endpoint)
    try:
        yield kfp.Client(host=endpoint, existing_token=os.environ.get("KFP_TOKEN"))
    except kfp_server_api.ApiException as error:
        raise SubmitError(endpoint, f"the server answered {error.status} {error.reason}", _mend(error.status)) from error
    except HTTPError as error:
        raise SubmitError(endpoint, f"it no longer answers ({type(error).__name__})", "see that it runs, then do the same again") from error


def _check_health(endpoint: str) -> None:
    """Ask the server how it is: the KFP client itself would ask five times and print a traceback for each."""
    import requests

    token = os.environ.get("KFP_TOKEN")
    try:
        answer = requests.get(
            f"{endpoint.rstrip('/')}/apis/v2beta1/healthz", headers={"Authorization": f"Bearer {token}"} if token else {}, timeout=20
        )
    except requests.RequestException as error:
        raise SubmitError(endpoint, f"no KFP API answers there ({type(error).__name__})", "check the URL and the port-forward") from error
    if not answer.ok:
        raise SubmitError(endpoint, f"the server answered {answer.status_code} {answer.reason}", _mend(answer.status_code))


def _mend(status: int) -> str:
    return "set KFP_TOKEN to a valid token" if status in (401, 403) else "see the server's log"
