"""Training by several machines of a cluster: a TrainJob of Kubeflow Trainer that runs `icegraph train`, followed to its end.

A TrainJob (trainer.kubeflow.org/v1alpha1) names a TrainingRuntime, which says how pods look, and adds arguments and the number of nodes;
Trainer makes a JobSet of it, of the same name, and tells torchrun by PET_… variables who takes part
(https://www.kubeflow.org/docs/components/trainer). The training keeps its states in S3, so that pods that are lost are started again and
go on.
"""

import json
import re
import time
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from icegraph.cluster import connect, parse_address, speaking
from icegraph.errors import IceGraphError, InputError
from icegraph.progress import Progress, silent

GROUP, VERSION, PLURAL, KIND = "trainer.kubeflow.org", "v1alpha1", "trainjobs", "TrainJob"
RUNTIME = "icegraph-train"
_ASKED = "icegraph/asked-sha256"  # annotation
_JOBSET = "jobset.sigs.k8s.io/jobset-name"  # labels
_INDEX = "batch.kubernetes.io/job-completion-index"
_LINES = 200
_PATIENCE_S = 900.0


class TrainJobError(IceGraphError):
    """A training in a cluster that failed, or an API server that does not answer or refuses."""


class _AwayError(TrainJobError):
    """An API server that does not answer now, and may later."""


class TrainJob:
    """A TrainJob of the cluster that kubeconfig or the pod's service account names.

    Args:
        address: `NAMESPACE/NAME`.

    Raises:
        InputError: It is no such address, or nothing tells of a cluster.
    """

    def __init__(self, address: str) -> None:
        self._namespace, self._name = parse_address(address, KIND)
        from kubernetes import client

        connect()
        self.address = address
        self._objects = client.CustomObjectsApi()
        self._pods = client.CoreV1Api()

    def submit(self, words: Sequence[str], nodes: int, processes: int = 1) -> bool:
        """Start it, where it is not there already.

        Args:
            words: Arguments of `icegraph train`.
            nodes: Pods.
            processes: Processes a pod: one a GPU.

        Returns:
            Whether it was started now.

        Raises:
            TrainJobError: The API server does not answer, or refuses.
            InputError: There is one of that name which does something else.
        """
        from kubernetes.client import ApiException

        body = manifest(self._name, words, nodes, processes)
        with speaking(self.address, f"{KIND}, nor is Kubeflow Trainer there", TrainJobError):
            try:
                self._objects.create_namespaced_custom_object(GROUP, VERSION, self._namespace, PLURAL, body)
            except ApiException as error:
                if error.status != 409:
                    raise
            else:
                return True
        if self._found()["metadata"].get("annotations", {}).get(_ASKED) != body["metadata"]["annotations"][_ASKED]:
            raise InputError(self.address, "is there already and trains something else", "choose another name")
        return False

    def follow(self, progress: Progress = silent, *, patience_s: float = _PATIENCE_S, poll_s: float = 5.0) -> None:
        """Wait for its end.

        Args:
            progress: Is told what the first pod tells, and of pods that failed and are started again.
            patience_s: How long the API server may be away, seconds.
            poll_s: How often it is asked, seconds.

        Raises:
            TrainJobError: The training failed, or the API server refuses or is away for long.
        """
        end, trouble = time.monotonic() + patience_s, ""
        while True:
            try:
                found = self._found()
                share, text, failed = self._told()
            except _AwayError:
                if time.monotonic() > end:
                    raise
            else:
                end = time.monotonic() + patience_s
                if failed and failed != trouble:
                    trouble = failed
                    progress(f"a pod failed: {trouble}", share)
                if text:
                    progress(text, share)
                state, message = _state(found)
                if state == "Complete":
                    return
                if state == "Failed":
                    problem = "; ".join(part for part in (f"the training failed ({message})".replace(" ()", ""), trouble) if part)
                    mend = "mend that and start it under another name; it goes on from its last state"
                    raise TrainJobError(self.address, problem.rstrip("."), mend)
            time.sleep(poll_s)

    def _found(self) -> dict[str, Any]:
        with self._asking():
            return dict(self._objects.get_namespaced_custom_object(GROUP, VERSION, self._namespace, PLURAL, self._name))

    def _told(self) -> tuple[float, str, str]:
        """How far it is and what the first pod tells, and what a failed pod told."""
        share, text, failed = 0.0, "", ""
        with self._asking():
            pods = self._pods.list_namespaced_pod(self._namespace, label_selector=f"{_JOBSET}={self._name}").items
        for pod in pods:
            if pod.status.phase == "Failed":
                failed = _trouble(self._log(pod.metadata.name)) or failed
            elif (pod.metadata.labels or {}).get(_INDEX, "0") == "0" and pod.status.phase != "Pending":
                for line in self._log(pod.metadata.name):
                    if match := re.fullmatch(r"\s*\d+:\d\d\s+(.*?)\s+(\d+)%\s*", line):
                        text, share = match[1], int(match[2]) / 100
        return share, text, failed

    def _log(self, pod: str) -> list[str]:
        from kubernetes.client import ApiException

        with self._asking():
            try:
                text = self._pods.read_namespaced_pod_log(pod, self._namespace, tail_lines=_LINES)
            except ApiException as error:
                if error.status not in (400, 404):  # its container does not run yet, or it is gone
                    raise
                return []
        return str(text).splitlines()

    def _asking(self) -> Any:
        return speaking(self.address, KIND, TrainJobError, away=_AwayError)


def manifest(name: str, words: Sequence[str], nodes: int, processes: int) -> dict[str, Any]:
    """The TrainJob that runs `icegraph train` with some arguments on some nodes."""
    spec = {
        "runtimeRef": {"apiGroup": GROUP, "kind": "TrainingRuntime", "name": RUNTIME},
        "trainer": {"args": list(words), "numNodes": nodes, "numProcPerNode": processes},
    }
    asked = sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()
    metadata = {"name": name, "labels": {"app.kubernetes.io/part-of": "icegraph"}, "annotations": {_ASKED: asked}}
    return {"apiVersion": f"{GROUP}/{VERSION}", "kind": KIND, "metadata": metadata, "spec": spec}


def _state(found: dict[str, Any]) -> tuple[str, str]:
    """`Complete`, `Failed` or nothing, and what is told of it."""
    for one in found.get("status", {}).get("conditions", []):
        if one["type"] in ("Complete", "Failed") and one["status"] == "True":
            return str(one["type"]), str(one.get("message", ""))
    return "", ""


def _trouble(lines: Sequence[str]) -> str:
    """The sentence that `icegraph` ended with; else the last line."""
    ours = [line for line in lines if line.startswith("icegraph: ")]
    return (ours or [line for line in lines if line.strip()] or [""])[-1].strip()
