"""The table of docs/security.md against the policies: each pair may talk on its ports, and no other pair on any.

The policies are read as Kubernetes does (https://kubernetes.io/docs/concepts/services-networking/network-policies/): policies add up, and
a pod that none selects for a direction is open in it.
"""

import ipaddress
import itertools
import re
from typing import Any

import pytest
from overlays import ROOT, Thing, of_kind, pods

_NAMES = "app.kubernetes.io/name"
# Who the words of the table are: namespace and labels, or an address. Those of ours are checked against the rendered pods below.
PARTIES: dict[str, tuple[str, dict[str, str]] | str] = {
    "minio": ("icegraph", {_NAMES: "minio"}),
    "postgres": ("icegraph", {_NAMES: "postgres"}),
    "mlflow": ("icegraph", {_NAMES: "mlflow"}),
    "predictor": ("icegraph", {_NAMES: "predictor"}),
    "router": ("icegraph-graph", {"app": "passes-to-tracks"}),
    "run": ("kubeflow", {"pipeline/runid": "0", "workflows.argoproj.io/workflow": "w"}),
    "training": ("icegraph", {_NAMES: "training"}),
    "trial": ("kubeflow", {_NAMES: "trial"}),
    "kubeflow": ("kubeflow", {"app": "ml-pipeline"}),
    "gateway": ("envoy-gateway-system", {}),
    "monitoring": ("monitoring", {}),
    "dns": ("kube-system", {"k8s-app": "kube-dns"}),
    "api-server": "172.18.0.2",
    "another pod of icegraph": ("icegraph", {_NAMES: "other"}),
    "another namespace": ("other", {_NAMES: "minio"}),
    "the internet": "93.184.215.14",
}
OURS = ("minio", "postgres", "mlflow", "predictor", "training", "router")
PORTS = (53, 80, 443, 5000, 5432, 6443, 6789, 8080, 8081, 8443, 8888, 9000, 9001, 29500)


def table() -> set[tuple[str, str, int]]:
    """The pairs of the table with their ports."""
    text = (ROOT / "docs" / "security.md").read_text().split("## Who may talk to whom")[1].split("\n## ")[0]
    pairs = set()
    for row in re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \|", text, re.MULTILINE):
        sources, target, ports = row
        if sources != "from":
            several = PORTS if ports == "any" else tuple(map(int, ports.split(", ")))
            pairs |= {(source, target, port) for source in sources.split(", ") for port in several}
    return pairs


def selects(selector: Thing, labels: dict[str, str]) -> bool:
    for one in selector.get("matchExpressions", []):
        there, value = one["key"] in labels, labels.get(one["key"])
        if not {"Exists": there, "In": value in one.get("values", [])}[one["operator"]]:
            return False
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def is_peer(peer: Thing, party: Any, home: str) -> bool:
    if "ipBlock" in peer:
        block = peer["ipBlock"]
        return isinstance(party, str) and ipaddress.ip_address(party) in ipaddress.ip_network(block["cidr"]) and not block.get("except")
    if isinstance(party, str):
        return False
    namespace, labels = party
    here = (
        selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": namespace}) if "namespaceSelector" in peer else namespace == home
    )
    return here and selects(peer.get("podSelector", {}), labels)


def lets(policies: list[Thing], party: Any, other: Any, port: int, direction: str) -> bool:
    if isinstance(party, str):
        return True
    namespace, labels = party
    protocol = "UDP" if port == 53 else "TCP"
    bound = [
        policy["spec"]
        for policy in policies
        if policy["metadata"]["namespace"] == namespace
        and direction in policy["spec"]["policyTypes"]
        and selects(policy["spec"]["podSelector"], labels)
    ]
    side = {"Ingress": "from", "Egress": "to"}[direction]
    return not bound or any(
        any(is_peer(peer, other, namespace) for peer in rule[side])
        and ("ports" not in rule or any((one["protocol"], one["port"]) == (protocol, port) for one in rule["ports"]))
        for spec in bound
        for rule in spec.get(direction.lower(), [])
    )


def test_each_pair_of_the_table_has_its_rules_at_both_ends_and_no_other_pair_has_any(overlay: str, things: list[Thing]) -> None:
    policies = of_kind(things, "NetworkPolicy")
    parties, expected = dict(PARTIES), table() | {("another pod of icegraph", "dns", 53)}
    if overlay == "eks":  # where the table's MinIO is S3, at any address
        del parties["minio"]
        to_storage = {source for source, target, _ in expected if target == "minio"}
        expected = {pair for pair in expected if "minio" not in pair[:2]}
        expected |= {(source, target, 443) for source in to_storage for target in ("the internet", "api-server")}
    expected |= {(source, target, port) for source, there, port in expected if there == "kubeflow" for target in ("run", "trial")}
    entered = {*OURS, "trial", "another pod of icegraph"} & set(parties)  # who may reach a run is Kubeflow Pipelines' to say
    left = {*entered, "run"}
    pairs = [(source, target, port) for source, target in itertools.product(parties, repeat=2) for port in PORTS]
    leaving = {pair for pair in pairs if pair[0] in left and lets(policies, parties[pair[0]], parties[pair[1]], pair[2], "Egress")}
    entering = {pair for pair in pairs if pair[1] in entered and lets(policies, parties[pair[1]], parties[pair[0]], pair[2], "Ingress")}
    assert leaving == {pair for pair in expected if pair[0] in left}
    assert entering == {pair for pair in expected if pair[1] in entered and pair[:2] not in {("run", "trial"), ("trial", "trial")}}


def test_the_parties_are_the_rendered_pods(things: list[Thing]) -> None:
    names = set()
    for template in pods(things).values():
        names.add(template["metadata"]["labels"][_NAMES])
    assert names <= {"minio", "postgres", "mlflow", "predictor", "training", "trial"}
    assert {"postgres", "mlflow", "predictor", "training", "trial"} <= names
    graphs = {(graph["metadata"]["namespace"], graph["metadata"]["name"]) for graph in of_kind(things, "InferenceGraph")}
    assert graphs == {("icegraph-graph", "passes-to-tracks")}


@pytest.mark.parametrize("namespace", ["icegraph", "icegraph-graph"])
def test_all_else_is_denied(namespace: str, things: list[Thing]) -> None:
    denying = {
        policy["metadata"]["namespace"]
        for policy in of_kind(things, "NetworkPolicy")
        if policy["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    }
    assert namespace in denying


def test_services_send_to_the_ports_of_the_policies(things: list[Thing]) -> None:
    """Policies see the pod's port, not the service's."""
    templates = {template["metadata"]["labels"][_NAMES]: template["spec"] for template in pods(things).values()}
    for service in of_kind(things, "Service"):
        party = service["spec"]["selector"][_NAMES]
        named = {port["name"]: port["containerPort"] for one in templates[party]["containers"] for port in one["ports"]}
        for port in service["spec"]["ports"]:
            assert any((target, named[port["targetPort"]]) == pair[1:] for pair in table() for target in (party,))
