"""What an API server, its admission and a careful operator would refuse."""

import math
import os
import re
import shutil
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft7Validator
from kubeflow_trainer_api import models
from overlays import OVERLAYS, ROOT, Thing, containers, katib_trial, kustomized, name_of, of_kind, pods, rendered

VERSIONS = ("1.31", "1.32", "1.33", "1.34", "1.35", "1.36")
OTHERS = (
    "serving.kserve.io",
    "trainer.kubeflow.org",
    "monitoring.coreos.com",
    "cert-manager.io",
    "trust.cert-manager.io",
    "external-secrets.io",
    "gateway.networking.k8s.io",
)
CLUSTER_WIDE = {"Namespace", "PriorityClass", "ClusterIssuer", "Bundle"}
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def group(thing: Thing) -> str:
    return str(thing["apiVersion"]).rpartition("/")[0]


def test_each_object_is_there_once_and_knows_its_namespace(things: list[Thing]) -> None:
    names = [name_of(thing) for thing in things]
    assert len(names) == len(set(names))
    for thing in things:
        assert ("namespace" in thing["metadata"]) == (thing["kind"] not in CLUSTER_WIDE), name_of(thing)


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_it(version: str) -> None:
    things = [thing for overlay in OVERLAYS for thing in rendered(overlay)]
    ours = [thing for thing in things if group(thing) not in OTHERS]
    ours += [  # of a runtime Trainer and JobSet make jobs
        {"apiVersion": "batch/v1", "kind": "Job"} | one["template"] | {"metadata": {"name": one["name"]}}
        for runtime in of_kind(things, "TrainingRuntime")
        for one in runtime["spec"]["template"]["spec"]["replicatedJobs"]
    ]
    distinct = {yaml.safe_dump(thing): thing for thing in [*ours, katib_trial() | {"metadata": {"name": "trial"}}]}
    assert {"Deployment", "StatefulSet", "NetworkPolicy", "Role", "Job"} <= {thing["kind"] for thing in ours}
    for thing in distinct.values():
        try:
            kubernetes_validate.validate(thing, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            pytest.fail(f"{thing['kind']} {thing['metadata']['name']}: {error.message}", pytrace=False)


@pytest.fixture(scope="module")
def schemas() -> dict[tuple[str, str], Any]:
    """(apiVersion, kind) → schema."""
    place = os.environ.get("ICEGRAPH_KSERVE_SCHEMAS")
    if not place:
        pytest.skip("set ICEGRAPH_KSERVE_SCHEMAS to the folder of KServe's CRDs (kserve/kserve, config/crd) to run this test")
    found = {}
    for path in Path(place).glob("serving.kserve.io_*.yaml"):
        spec = yaml.safe_load(path.read_text())["spec"]
        for version in spec["versions"]:
            schema = _closed(version["schema"]["openAPIV3Schema"])
            schema["properties"]["metadata"] = {"type": "object"}
            found[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = schema
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


def test_kserve_takes_it(things: list[Thing], schemas: dict[tuple[str, str], Any]) -> None:
    theirs = [thing for thing in things if group(thing) == "serving.kserve.io"]
    assert sorted(thing["kind"] for thing in theirs) == ["InferenceGraph", "InferenceService", "InferenceService", "ServingRuntime"]
    for thing in theirs:
        errors = Draft7Validator(schemas[thing["apiVersion"], thing["kind"]]).iter_errors(thing)
        assert [f"{name_of(thing)} {'/'.join(map(str, error.path))}: {error.message}" for error in errors] == []


def test_kserve_takes_a_canary_as_promotions_make_it(schemas: dict[tuple[str, str], Any]) -> None:
    from icegraph.registry.kserve import with_canary

    for service in of_kind(rendered("gpu"), "InferenceService"):
        led = service | {"spec": service["spec"] | with_canary(service["spec"], "s3://icegraph/models/sets/1/content-2", 10)}
        assert list(Draft7Validator(schemas[service["apiVersion"], service["kind"]]).iter_errors(led)) == []


def test_trainer_takes_it(things: list[Thing]) -> None:
    (runtime,) = of_kind(things, "TrainingRuntime")
    assert runtime["metadata"]["namespace"] == "icegraph"
    assert models.TrainerV1alpha1TrainingRuntime.from_dict(runtime).to_dict() == runtime


def test_predictors_are_watched_where_work_is_done(overlay: str, things: list[Thing]) -> None:
    watching = sorted(thing["kind"] for thing in things if group(thing) == "monitoring.coreos.com")
    assert watching == ([] if overlay == "kind" else ["PodMonitor", "PrometheusRule"])
    pod_labels = [template["metadata"]["labels"] for template in pods(things).values()]
    for monitor in of_kind(things, "PodMonitor"):
        (choice,) = monitor["spec"]["selector"]["matchExpressions"]
        named = {one["metadata"]["name"] for one in of_kind(things, "InferenceService")}
        assert {labels.get(choice["key"]) for labels in pod_labels} & set(choice["values"]) == named


def test_namespaces_enforce_restricted(things: list[Thing]) -> None:
    enforced = {one["metadata"]["name"]: one["metadata"]["labels"] for one in of_kind(things, "Namespace")}
    assert enforced["icegraph"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {labels["pod-security.kubernetes.io/warn"] for labels in enforced.values()} == {"restricted"}
    at_home = {thing["metadata"]["namespace"] for thing in things if "namespace" in thing["metadata"]}
    assert at_home <= {*enforced, "kubeflow", "kserve", "cert-manager"}


def test_every_pod_passes_restricted(things: list[Thing]) -> None:
    """Rule by rule as in https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted."""
    for name, template in pods(things).items():
        spec = template["spec"]
        pod = spec["securityContext"]
        assert not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")), name
        assert "sysctls" not in pod, name
        for volume in spec.get("volumes", []):
            assert set(volume) - {"name"} <= VOLUMES, name
        for one in containers(spec):
            own = one["securityContext"]
            joined = pod | own
            assert own["allowPrivilegeEscalation"] is False, name
            assert own["capabilities"] == {"drop": ["ALL"]}, name
            assert joined["runAsNonRoot"] is True, name
            assert joined["runAsUser"] > 0, name
            assert joined["seccompProfile"]["type"] == "RuntimeDefault", name
            assert not own.get("privileged"), name
            assert not any("hostPort" in port for port in one.get("ports", [])), name


def test_every_container_is_bounded_and_writes_only_to_volumes(things: list[Thing]) -> None:
    for name, template in pods(things).items():
        for one in containers(template["spec"]):
            assert set(one["resources"]) == {"requests", "limits"}, name
            assert {"cpu", "memory"} <= set(one["resources"]["requests"]) & set(one["resources"]["limits"]), name
            assert one["securityContext"]["readOnlyRootFilesystem"] is True, name
            if template["spec"].get("restartPolicy") != "Never":  # what ends by itself answers nobody
                assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(one), name
        for volume in template["spec"].get("volumes", []):
            assert "emptyDir" not in volume or volume["emptyDir"].get("sizeLimit"), name


def test_each_workload_has_an_account_of_its_own_without_a_token(things: list[Thing]) -> None:
    accounts = {one["metadata"]["name"]: one for one in of_kind(things, "ServiceAccount") if one["metadata"]["namespace"] == "icegraph"}
    assert all(one["automountServiceAccountToken"] is False for one in of_kind(things, "ServiceAccount"))
    priorities = {one["metadata"]["name"] for one in of_kind(things, "PriorityClass")}
    used = []
    for name, template in pods(things).items():
        assert template["spec"]["automountServiceAccountToken"] is False, name
        if name != "Job/kubeflow/trial":
            assert template["spec"]["priorityClassName"] in priorities, name
            assert template["spec"]["serviceAccountName"] in accounts, name
            used.append(template["spec"]["serviceAccountName"])
    assert sorted(set(used)) == sorted(used)


def test_rights_are_those_of_two_components_alone(things: list[Thing]) -> None:
    assert not of_kind(things, "ClusterRole", "ClusterRoleBinding")
    roles = {role["metadata"]["name"]: role for role in of_kind(things, "Role")}
    rights = {
        name: {
            (group, resource, verb)
            for rule in role["rules"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }
        for name, role in roles.items()
    }
    assert rights == {
        "icegraph-deploy": {("serving.kserve.io", "inferenceservices", verb) for verb in ("get", "patch")},
        "icegraph-train-job": {
            ("trainer.kubeflow.org", "trainjobs", "create"),
            ("trainer.kubeflow.org", "trainjobs", "get"),
            ("", "pods", "list"),
            ("", "pods/log", "get"),
        },
    }
    (rule,) = roles["icegraph-deploy"]["rules"]
    assert sorted(rule["resourceNames"]) == sorted(one["metadata"]["name"] for one in of_kind(things, "InferenceService"))
    bindings = of_kind(things, "RoleBinding")
    assert sorted(one["roleRef"]["name"] for one in bindings) == sorted(rights)
    for one in [*roles.values(), *bindings]:
        assert one["metadata"]["namespace"] == "icegraph"
    for binding in bindings:
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "pipeline-runner", "namespace": "kubeflow"}]


def amount(text: str) -> float:
    """A quantity of Kubernetes: 250m, 2, 768Mi, 64Gi."""
    number, unit = re.fullmatch(r"([\d.]+)(m|[KMGT]i|)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"": 1, "m": 0.001, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}[unit]


def test_the_quota_has_room_for_all_that_may_run_at_once(things: list[Thing]) -> None:
    """All predictors and those that take their place in an upgrade (a quarter more), and a training on every GPU, or of two machines."""
    quotas = {
        one["metadata"]["name"]: one["spec"]["hard"]
        for one in of_kind(things, "ResourceQuota")
        if one["metadata"]["namespace"] == "icegraph"
    }
    most = {name_of(one): one["spec"]["replicas"] for one in of_kind(things, "Deployment", "StatefulSet")}
    for service in of_kind(things, "InferenceService"):
        most[name_of(service)] = math.ceil(1.25 * service["spec"]["predictor"]["maxReplicas"])
    for runtime in of_kind(things, "TrainingRuntime"):
        gpus = quotas.get("icegraph-gpus", {}).get("requests.nvidia.com/gpu")
        most[name_of(runtime)] = int(gpus or runtime["spec"]["mlPolicy"]["numNodes"])
    templates = pods(things)
    asked = {"pods": float(sum(most.values()))}
    for name, count in most.items():
        for one in containers(templates[name]["spec"]):
            for part in ("requests", "limits"):
                for resource in ("cpu", "memory"):
                    key = f"{part}.{resource}"
                    asked[key] = asked.get(key, 0) + count * amount(one["resources"][part][resource])
    for key, wanted in asked.items():
        assert wanted <= amount(quotas["icegraph"][key]), key


def test_an_overlay_whose_predictors_promotions_lead_names_no_models(things: list[Thing], tmp_path: Path) -> None:
    shutil.copytree(ROOT / "kserve", tmp_path / "overlay" / "kserve")
    (tmp_path / "overlay" / "kustomization.yaml").write_text("resources: [kserve]\ncomponents: [kserve/promoted]\n")
    promoted = {name_of(one).rpartition("/")[2]: one for one in of_kind(kustomized(tmp_path / "overlay"), "InferenceService")}
    for service in of_kind(things, "InferenceService"):
        model = dict(service["spec"]["predictor"]["model"])
        assert model.pop("storageUri") == "s3://icegraph/models/in-use"  # without one KServe takes it for a server of many models
        assert promoted[service["metadata"]["name"]]["spec"]["predictor"]["model"] == model


def test_every_image_is_pinned(things: list[Thing]) -> None:
    for name, template in pods(things).items():
        for one in containers(template["spec"]):
            assert re.fullmatch(r"[a-z0-9.]+/[\w./-]+:v?[\w.-]*\d[\w.-]*(@sha256:[0-9a-f]{64})?", one["image"]), (name, one["image"])
            assert "latest" not in one["image"]


def test_no_secret_is_in_git(things: list[Thing]) -> None:
    assert not of_kind(things, "Secret")
    for settings in of_kind(things, "ConfigMap"):
        for variable, told in settings.get("data", {}).items():  # the place of a mounted secret may be told
            assert told.startswith("/") or not re.search("(?i)password|secret|token", variable), settings["metadata"]["name"]
    for path in (ROOT / "manifests").rglob("*.yaml"):
        assert not re.search(
            r"(?i)(password|secret_?key|token)\w*\W+(value: )?[\"']?[\w/+]{8,}[\"']?\s*$", path.read_text(), re.MULTILINE
        ), path


def test_what_pods_refer_to_is_there(things: list[Thing]) -> None:
    made = {"icegraph-s3", "icegraph-postgres", *(one["spec"]["secretName"] for one in of_kind(things, "Certificate"))}
    maps = {"icegraph-ca"} if of_kind(things, "Bundle") else set()
    for name, template in pods(things).items():
        volumes = {volume["name"]: volume for volume in template["spec"].get("volumes", [])}
        for volume in volumes.values():
            assert "secret" not in volume or volume["secret"]["secretName"] in made, name
            assert "configMap" not in volume or volume["configMap"]["name"] in maps, name
        for one in containers(template["spec"]):
            claims = {"data"} if name.startswith("StatefulSet") else set()
            assert {mount["name"] for mount in one["volumeMounts"]} <= set(volumes) | claims, name


@pytest.mark.parametrize("overlay", [name for name in OVERLAYS if name != "kind"])
def test_work_survives_a_drained_node(overlay: str) -> None:
    things = rendered(overlay)
    templates = pods(things).values()
    for budget in of_kind(things, "PodDisruptionBudget"):
        wanted = budget["spec"]["selector"]["matchLabels"].items()
        assert any(wanted <= template["metadata"]["labels"].items() for template in templates)
    for service in of_kind(things, "InferenceService"):
        predictor = service["spec"]["predictor"]
        assert predictor["minReplicas"] >= 2
        for spread in predictor["topologySpreadConstraints"]:
            assert spread["labelSelector"]["matchLabels"].items() <= predictor["labels"].items()


@pytest.mark.parametrize("overlay", [name for name in OVERLAYS if name != "kind"])
def test_storage_database_and_registry_speak_tls(overlay: str) -> None:
    things = rendered(overlay)
    text = yaml.safe_dump([thing for thing in things if thing["kind"] != "InferenceGraph"])
    assert "http://minio" not in text
    assert "http://mlflow" not in text
    for name, template in pods(things).items():
        for one in containers(template["spec"]):
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                if "/mlflow" in name or "/minio" in name:
                    assert one[probe]["httpGet"]["scheme"] == "HTTPS"


def test_on_aws_s3_is_not_held_against_the_authority_of_the_registry() -> None:
    """botocore takes REQUESTS_CA_BUNDLE where there is no AWS_CA_BUNDLE."""
    things = rendered("eks")
    (settings,) = of_kind(things, "ConfigMap")
    (training,) = (template["spec"]["containers"][0] for name, template in pods(things).items() if name.startswith("TrainingRuntime"))
    for asking in (settings["data"], {one["name"]: one["value"] for one in training["env"]}):
        assert asking["REQUESTS_CA_BUNDLE"].startswith("/etc/icegraph/")
        assert asking["AWS_CA_BUNDLE"].startswith("/etc/ssl/")
        assert not {"AWS_ENDPOINT_URL", "ICEGRAPH_S3_SECRET"} & set(asking)
