"""The champions in a cluster: a set of models in S3, and InferenceServices of KServe that are led to it, some of the traffic first.

KServe reads a set from the place that `spec.predictor.model.storageUri` names. In its Standard mode a canary is a predictor beside it, in
`spec.canary`, with a share of the traffic (https://github.com/kserve/kserve/pull/5672); `canaryTrafficPercent` is for Knative alone.
"""

import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icegraph.cluster import connect, parse_address, speaking
from icegraph.errors import RegistryError
from icegraph.registry.lifecycle import bring_champion
from icegraph.registry.registry import Registry
from icegraph.store import open_store, sha256

_GROUP, _VERSION, _PLURAL = "serving.kserve.io", "v1beta1", "inferenceservices"
_CANARY = "next"  # name of the predictor
_KIND = "InferenceService"
_SET = "icegraph/models-sha256"  # annotation
_MERGE = "application/merge-patch+json"  # a custom resource takes no strategic merge
_DIGITS = 12


def publish(registry: Registry, in_use: Path, place: str) -> str:
    """Put the champions of all names into S3 as one set, named by its content; the same set is put once.

    Args:
        registry: The registry.
        in_use: Folder of models in use, which the champions are brought to.
        place: `s3://BUCKET/NAME`.

    Returns:
        The address that KServe reads the set from.

    Raises:
        RegistryError: There is no champion.
        StoreError: S3 fails.
    """
    names = [name for name in registry.names() if registry.champion(name)]
    if not names:
        raise RegistryError(registry.place, "has no champion to serve", "promote a version")
    store, key = open_store(place)
    with tempfile.TemporaryDirectory() as work:
        for name in names:
            shutil.copytree(bring_champion(registry, name, in_use), Path(work, "set", name))
        digits = sha256(Path(work, "set"))[:_DIGITS]
        item = store.commit(f"{key}/{digits}".lstrip("/"), Path(work, "set"))
    bucket = place.removeprefix("s3://").partition("/")[0]
    return f"s3://{bucket}/{item.key}/content-{item.sha256}"


@dataclass(frozen=True)
class State:
    """How an InferenceService stands.

    Args:
        uri: The set that it was led to last.
        canary: Percent of the traffic that has; None: all.
        ready: Whether it is ready, as of what was asked for last.
        edition: The API server's version of the resource.
        spec: What it was told.
    """

    uri: str
    canary: int | None
    ready: bool
    edition: str
    spec: Mapping[str, Any]


class InferenceService:
    """An InferenceService of the cluster that kubeconfig or the pod's service account names.

    Args:
        address: `NAMESPACE/NAME`.

    Raises:
        InputError: It is no such address, or nothing tells of a cluster.
    """

    def __init__(self, address: str) -> None:
        namespace, name = parse_address(address, _KIND)
        from kubernetes import client

        connect()
        self.address = address
        self._api = client.CustomObjectsApi()
        self._where = (_GROUP, _VERSION, namespace, _PLURAL, name)

    def state(self) -> State:
        """How it stands now.

        Raises:
            RegistryError: The API server does not answer, or refuses.
        """
        with self._speaking():
            found = self._api.get_namespaced_custom_object(*self._where)
        spec, status = found["spec"], found.get("status", {})
        seen = status.get("observedGeneration", 0) >= found["metadata"].get("generation", 0)
        canary = (spec.get("canary") or [None])[0]
        ready = any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions", []))
        if canary:
            ready = ready and any(one["name"] == canary["predictor"]["name"] and one["ready"] for one in status.get("canaryStatuses", []))
        uri = (canary or spec)["predictor"].get("model", {}).get("storageUri", "")
        return State(uri, canary["trafficPercent"] if canary else None, seen and ready, found["metadata"]["resourceVersion"], spec)

    def lead(self, uri: str, canary: int | None, on: State) -> None:
        """Lead it to a set.

        Args:
            uri: The set's address.
            canary: Percent of the traffic; None: all.
            on: The state that this was decided on; another's change since then is told, and not overwritten.

        Raises:
            RegistryError: The API server does not answer, or refuses.
        """
        spec = {"canary": None, "predictor": {"model": {"storageUri": uri}}} if canary is None else with_canary(on.spec, uri, canary)
        self._patch(uri, spec, on)

    def lead_back(self, before: State, on: State) -> None:
        """Let it serve what it served before.

        Raises:
            RegistryError: The API server does not answer, or refuses.
        """
        served = before.spec["predictor"]["model"]["storageUri"]
        self._patch(before.uri, {"canary": before.spec.get("canary"), "predictor": {"model": {"storageUri": served}}}, on)

    def _patch(self, uri: str, spec: Mapping[str, Any], on: State) -> None:
        metadata = {"annotations": {_SET: uri.rpartition("content-")[2][:63]}, "resourceVersion": on.edition}
        with self._speaking():
            self._api.api_client.call_api(  # the method made for it sends a strategic merge
                "/apis/{}/{}/namespaces/{}/{}/{}".format(*self._where),
                "PATCH",
                header_params={"Accept": "application/json", "Content-Type": _MERGE},
                body={"metadata": metadata, "spec": spec},
                response_type="object",
                auth_settings=["BearerToken"],
            )

    def _speaking(self) -> AbstractContextManager[None]:
        return speaking(self.address, _KIND, RegistryError)


def with_canary(spec: Mapping[str, Any], uri: str, percent: int) -> dict[str, Any]:
    """What to add to an InferenceService's spec for a canary that reads `uri`, and is otherwise as its predictor."""
    model = {"name": "", **spec["predictor"]["model"], "storageUri": uri}  # a name, be it empty, is asked for here alone
    return {"canary": [{"trafficPercent": percent, "predictor": {"name": _CANARY, "model": model}}]}


def roll_out(
    services: Sequence[InferenceService], uri: str, canary: Sequence[int] = (10,), *, patience_s: float = 600.0, poll_s: float = 2.0
) -> None:
    """Lead services to a set: first the shares of the traffic in `canary`, one after the other, then all.

    Between two steps every service must become ready; where one does not, all are led back to what they served.

    Args:
        services: The services.
        uri: The set's address.
        canary: Percents.
        patience_s: How long a service may take to become ready, seconds.
        poll_s: How often it is looked at, seconds.

    Raises:
        RegistryError: A service did not become ready, was changed by somebody, or the API server fails; all serve what they served.
    """
    before = {service: service.state() for service in services}
    led: list[InferenceService] = []
    try:
        for number, share in enumerate([*canary, None]):
            for service in services:
                service.lead(uri, share, before[service] if number == 0 else service.state())
                led.append(service)
            for service in services:
                _await_ready(service, patience_s, poll_s)
    except RegistryError:
        for service in dict.fromkeys(led):
            now = service.state()
            if now.uri == uri:  # not what somebody else led it to
                service.lead_back(before[service], now)
        raise


def _await_ready(service: InferenceService, patience_s: float, poll_s: float) -> None:
    end = time.monotonic() + patience_s
    while not service.state().ready:
        if time.monotonic() > end:
            raise RegistryError(
                service.address, f"did not become ready within {patience_s:g} s and was led back", "see its events and its pods' logs"
            )
        time.sleep(poll_s)
