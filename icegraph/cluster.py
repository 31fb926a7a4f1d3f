"""The API server of a cluster: the one that kubeconfig or the pod's service account names."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager

from icegraph.errors import IceGraphError, InputError


def parse_address(address: str, kind: str) -> tuple[str, str]:
    """The namespace and the name of a resource that an address names.

    Raises:
        InputError: It is no such address.
    """
    namespace, slash, name = address.partition("/")
    if not (namespace and slash and name):
        raise InputError(address, f"names no {kind}", "write NAMESPACE/NAME")
    return namespace, name


def connect() -> None:
    """Tell Kubernetes' client where the cluster is.

    Raises:
        InputError: Nothing tells.
    """
    from kubernetes import config

    try:
        # The client itself looks at KUBECONFIG only once, when it is imported.
        config.load_config(**({"config_file": os.environ["KUBECONFIG"]} if os.environ.get("KUBECONFIG") else {}))
    except config.ConfigException as error:
        raise InputError("cluster", f"nothing tells where it is ({error})", "set KUBECONFIG, or run in a pod") from error


@contextmanager
def speaking(address: str, kind: str, error_type: type[IceGraphError], away: type[IceGraphError] | None = None) -> Iterator[None]:
    """Make an error with one sentence of what Kubernetes' client raises.

    Args:
        address: `NAMESPACE/NAME` of what is spoken of.
        kind: Its kind.
        error_type: The error to make.
        away: The error to make where the API server does not answer, or cannot now; default: the same.
    """
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    told = {
        401: "the API server does not know you",
        403: "the API server does not let you",
        404: f"there is no such {kind}",
        409: "somebody changed it meanwhile",
    }
    try:
        yield
    except ApiException as error:
        problem = told.get(error.status, f"the API server answered {error.status} {error.reason}")
        if error.status in (400, 403, 422) and (reason := _reason(error.body)):
            problem += f" ({reason})"
        made = away if away and error.status >= 500 else error_type
        raise made(address, problem, "check the name and your rights, then run the command again") from error
    except HTTPError as error:
        raise (away or error_type)(address, "the API server does not answer", "check KUBECONFIG and the cluster") from error


def _reason(body: str | bytes | None) -> str:
    """What the API server told of a refusal, or nothing."""
    try:
        return str(json.loads(body or "{}").get("message", "")).rstrip(".")
    except (ValueError, AttributeError):
        return ""
