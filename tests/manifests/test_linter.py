"""What kube-linter's default checks refuse, beside what test_objects asks of pods. Names of its checks stand in brackets.

https://github.com/stackrox/kube-linter/blob/main/docs/generated/checks.md
"""

from overlays import Thing, containers, of_kind, pods


def selected(things: list[Thing], selector: dict[str, str]) -> list[Thing]:
    return [pod for pod in pods(things).values() if selector.items() <= pod["metadata"].get("labels", {}).items()]


def ports_of(container: Thing) -> set[str | int]:
    return {port[key] for port in container.get("ports", []) for key in ("name", "containerPort") if key in port}


def test_a_service_leads_to_pods_and_to_ports_that_they_have(things: list[Thing]) -> None:
    """[dangling-service, invalid-target-ports]."""
    for service in of_kind(things, "Service"):
        found = selected(things, service["spec"]["selector"])
        assert found, service["metadata"]["name"]
        ports = set().union(*(ports_of(one) for pod in found for one in containers(pod["spec"])))
        assert {port.get("targetPort", port["port"]) for port in service["spec"]["ports"]} <= ports, service["metadata"]["name"]


def test_a_probe_asks_a_port_that_its_container_has(things: list[Thing]) -> None:
    """[liveness-port, readiness-port, startup-port]."""
    for name, pod in pods(things).items():
        for one in containers(pod["spec"]):
            probes = [one[kind] for kind in ("livenessProbe", "readinessProbe", "startupProbe") if kind in one]
            asked = {probe[way]["port"] for probe in probes for way in ("httpGet", "tcpSocket", "grpc") if way in probe}
            assert asked <= ports_of(one), name


def test_an_image_has_a_version_and_a_variable_one_value_that_is_no_secret(things: list[Thing]) -> None:
    """[latest-tag, duplicate-env-var, env-var-secret]."""
    for name, pod in pods(things).items():
        for one in containers(pod["spec"]):
            tag = one["image"].rpartition("/")[2].partition(":")[2]
            assert tag and not tag.startswith("latest"), one["image"]
            variables = [variable["name"] for variable in one.get("env", [])]
            assert len(variables) == len(set(variables)), name
            for variable in one.get("env", []):
                told = variable.get("value", "")
                assert not told or told.startswith("/") or not {"SECRET", "PASSWORD", "KEY"} & set(variable["name"].split("_")), name


def test_a_disruption_budget_lets_nodes_be_drained(things: list[Thing]) -> None:
    """[pdb-max-unavailable, pdb-min-available, pdb-unhealthy-pod-eviction-policy]."""
    for budget in of_kind(things, "PodDisruptionBudget"):
        assert budget["spec"].get("maxUnavailable") != 0
        assert "minAvailable" not in budget["spec"]
        assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
        assert selected(things, budget["spec"]["selector"]["matchLabels"]), budget["metadata"]["name"]


def test_replicas_do_not_share_a_node_where_there_are_others(things: list[Thing]) -> None:
    """[no-anti-affinity]: of predictors, whose replicas KServe makes, by spread."""
    for workload in of_kind(things, "Deployment", "StatefulSet"):
        pod = workload["spec"]["template"]["spec"]
        assert workload["spec"].get("replicas", 1) == 1 or "podAntiAffinity" in pod["affinity"], workload["metadata"]["name"]
    for service in of_kind(things, "InferenceService"):
        spread = {one["topologyKey"] for one in service["spec"]["predictor"].get("topologySpreadConstraints", [])}
        assert service["spec"]["predictor"]["minReplicas"] == 1 or "kubernetes.io/hostname" in spread


def test_a_job_goes_away_after_its_end(things: list[Thing]) -> None:
    """[job-ttl-seconds-after-finished]."""
    for job in of_kind(things, "Job"):
        assert job["spec"]["ttlSecondsAfterFinished"] > 0, job["metadata"]["name"]
