"""Alerts and what they are made of."""

import re
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import REGISTRY

import icegraph.serve.account  # noqa: F401 - registers the metrics
from icegraph.serve.refusal import Why

ROOT = Path(__file__).parents[2]
PLACE = ROOT / "manifests" / "base" / "monitoring"


def rules() -> list[dict[str, Any]]:
    [group] = yaml.safe_load((PLACE / "alerts.yaml").read_text())["spec"]["groups"]
    return list(group["rules"])


def test_every_metric_and_label_of_an_alert_is_one_of_the_servers() -> None:
    known: dict[str, set[str]] = {}
    bounds: dict[str, tuple[float, ...]] = {}
    for family in REGISTRY.collect():
        if family.name.startswith("icegraph"):
            collector = REGISTRY._names_to_collectors[family.name]
            labels = set(collector._labelnames)  # a sample has them only once there is one
            ends = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",)}.get(family.type, ("",))
            if family.type == "histogram":
                bounds[f"{family.name}_bucket"] = collector._upper_bounds
                ends = ends if collector._upper_bounds[0] >= 0 else ("_bucket", "_count")  # of numbers below 0 there is no sum
            known |= {f"{family.name}{end}": labels | ({"le"} if end == "_bucket" else set()) for end in ends}
    for rule in rules():
        named = re.findall(r"\b(icegraph_\w+)(?:\{(.*?)\})?", rule["expr"])
        assert named
        for metric, chosen in named:
            assert metric in known, rule["alert"]
            assert set(re.findall(r"(\w+)[!=~]+\"", chosen)) <= known[metric], rule["alert"]
            assert {float(bound) for bound in re.findall(r'\ble="(.*?)"', chosen)} <= set(bounds.get(metric, ())), rule["alert"]
        by = {label.strip() for labels in re.findall(r"\bby \((.*?)\)", rule["expr"]) for label in labels.split(",")}
        assert by <= set.union(*(known[metric] for metric, _ in named)) | {"pod"}, rule["alert"]
        shown = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        assert shown <= by, rule["alert"]


def test_the_reasons_that_alerts_name_are_reasons_of_the_server() -> None:
    reasons = {why.label for why in Why}
    named = {one for rule in rules() for text in re.findall(r'reason[!=~]+"(.*?)"', rule["expr"]) for one in text.split("|")}
    assert named
    assert named <= reasons


def test_every_alert_is_explained_to_whoever_is_on_call() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    for rule in rules():
        assert f"| `{rule['alert']}` |" in page
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["for"]


def test_the_pods_are_scraped_where_the_server_listens() -> None:
    monitor = yaml.safe_load((PLACE / "scrape.yaml").read_text())["spec"]
    [container] = yaml.safe_load((ROOT / "kserve" / "servingruntime.yaml").read_text())["spec"]["containers"]
    [endpoint] = monitor["podMetricsEndpoints"]
    assert endpoint["port"] in {port["name"] for port in container["ports"]}
    [choice] = monitor["selector"]["matchExpressions"]
    assert set(choice["values"]) == {
        yaml.safe_load((ROOT / "kserve" / f"{name}.yaml").read_text())["metadata"]["name"] for name in choice["values"]
    }
