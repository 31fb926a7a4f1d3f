"""What is told of requests: metrics and log lines."""

import json
import logging

import pytest
import requests

from icegraph.serve.account import JsonLines

from .conftest import Address, image, image_request, post

INFER = "/v2/models/segmenter/infer"


def metrics(server: Address) -> dict[str, float]:
    lines = requests.get(f"{server.url}/metrics", timeout=30).text.splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def test_each_request_is_one_line_that_names_its_input_and_model(server: Address, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "icegraph.serve"):
        answers = [post(server, INFER, image_request(image((32, 32), seed)[None], id=f"request {seed}")).json() for seed in (1, 2, 1)]
    records = [record for record in caplog.records if record.getMessage() == "request"]
    lines = [json.loads(JsonLines().format(record)) for record in records]
    assert [line["request_id"] for line in lines] == ["request 1", "request 2", "request 1"] == [answer["id"] for answer in answers]
    for line, answer in zip(lines, answers, strict=True):
        assert line["status"] == "200"
        assert line["version"] == answer["model_version"]
        assert line["input_sha256"] == answer["parameters"]["input_sha256"]
        assert line["model_sha256"].startswith(line["version"])
        assert set(line["parts"]) == {"decode", "queue", "predict", "encode"}
        assert sum(line["parts"].values()) <= line["seconds"]
    assert lines[0]["input_sha256"] == lines[2]["input_sha256"] != lines[1]["input_sha256"]


def test_request_ids_come_back(server: Address) -> None:
    given = post(server, INFER, image_request(image((16, 16))[None]), **{"x-request-id": "abc"})
    assert given.headers["x-request-id"] == given.json()["id"] == "abc"
    made = {post(server, INFER, b"{").headers["x-request-id"] for _ in range(2)}
    assert len(made) == 2


def test_metrics_count_what_happens(server: Address) -> None:
    before = metrics(server)
    post(server, INFER, image_request(image((32, 32))[None]))
    post(server, INFER, b"{")
    post(server, "/v2/models/nobody/infer", b"{}")
    after = metrics(server)

    def more(name: str) -> float:
        return after.get(name, 0) - before.get(name, 0)

    assert more('icegraph_request_seconds_count{model="segmenter",protocol="v2",status="200"}') == 1
    assert more('icegraph_request_seconds_count{model="segmenter",protocol="v2",status="400"}') == 1
    assert more('icegraph_refused_requests_total{model="segmenter",reason="malformed"}') == 1
    # The name that was asked for is anybody's choice: it would make a new series each time.
    assert more('icegraph_refused_requests_total{model="",reason="unknown"}') == 1
    for part in ("decode", "queue", "predict", "encode"):
        assert more(f'icegraph_request_part_seconds_count{{model="segmenter",part="{part}"}}') >= 1
    assert more('icegraph_input_scaled_count{band="red"}') == 1
    assert more("icegraph_input_valid_share_count") == 1
    version = requests.get(f"{server.url}/v2/models/tracker", timeout=30).json()["versions"][0]
    assert after[f'icegraph_model_in_service{{name="matcher",version="{version}"}}'] == 1
