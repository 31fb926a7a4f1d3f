"""Recurring runs, through KFP's own client and a server that answers as its API does."""

import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from typer.testing import CliRunner

from icegraph.cli import app
from icegraph.errors import InputError
from icegraph.schedule import apply, read_schedules, recurring_runs, remove
from icegraph.submit import SubmitError
from pipelines import COMPILED

SHIPPED = COMPILED.parent / "schedules.toml"
API = "/apis/v2beta1"


class Kfp:
    """A server with one experiment, which gives lists two entries a page."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.made = 0
        self.refuse = 0
        kfp = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None: ...

            def answer(self, status: int, content: dict[str, Any]) -> None:
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
                if parts.path == f"{API}/healthz":
                    self.answer(200, {"multi_user": False})
                elif parts.path == f"{API}/experiments":
                    self.answer(200, {"experiments": [{"experiment_id": "e1", "display_name": "icegraph"}], "total_size": 1})
                elif parts.path == f"{API}/recurringruns" and asked["experiment_id"] == "e1":
                    first = int(asked.get("page_token") or 0)
                    there = list(kfp.runs.values())
                    more = {"next_page_token": str(first + 2)} if first + 2 < len(there) else {}
                    self.answer(200, {"recurringRuns": there[first : first + 2], "total_size": len(there), **more})
                else:
                    self.answer(404, {"error": f"no {self.path}", "code": 5})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path.startswith(f"{API}/experiments"):
                    self.answer(200, {"experiment_id": "e1", "display_name": body["display_name"]})
                elif kfp.refuse:
                    self.answer(kfp.refuse, {"error": "no"})
                else:
                    kfp.made += 1
                    kfp.runs[f"id-{kfp.made}"] = body | {"recurring_run_id": f"id-{kfp.made}", "created_at": "2026-11-21T04:00:00Z"}
                    self.answer(200, kfp.runs[f"id-{kfp.made}"])

            def do_DELETE(self) -> None:
                found = re.fullmatch(f"{API}/recurringruns/([\\w-]+)", self.path)
                if found and kfp.runs.pop(found[1], None):
                    self.answer(200, {})
                else:
                    self.answer(404, {"error": "no"})

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.http.server_port}"
        Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def kfp(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Kfp]:
    monkeypatch.setenv("HOME", str(tmp_path))
    server = Kfp()
    yield server
    server.http.shutdown()


def test_the_shipped_runs_are_made_once(kfp: Kfp) -> None:
    shipped = read_schedules(SHIPPED)
    assert set(shipped) == {"archive-backlog", "daily-tracking", "weekly-evaluation"}
    assert set(apply(shipped, COMPILED, kfp.endpoint, "icegraph").values()) == {"created"}
    before = dict(kfp.runs)
    assert set(apply(shipped, COMPILED, kfp.endpoint, "icegraph").values()) == {"unchanged"}
    assert kfp.runs == before
    run = next(one for one in kfp.runs.values() if one["display_name"] == "daily-tracking")
    assert run["trigger"]["cron_schedule"]["cron"] == "0 0 4 * * *"
    assert (run["mode"], run["max_concurrency"], run["no_catchup"], run["experiment_id"]) == ("ENABLE", 1, True, "e1")
    assert run["runtime_config"]["parameters"] == shipped["daily-tracking"].arguments
    assert run["pipeline_spec"]["pipeline_spec"]["pipelineInfo"]["name"] == "sea-ice-tracking"
    assert run["pipeline_spec"]["platform_spec"]["platforms"]["kubernetes"]["pipelineConfig"] == {"resourceTtlOnCompletion": 604800}


def test_a_run_that_is_told_otherwise_is_replaced_and_others_runs_stay(kfp: Kfp) -> None:
    shipped = read_schedules(SHIPPED)
    kfp.runs["theirs"] = {"display_name": "theirs", "recurring_run_id": "theirs", "mode": "ENABLE", "description": "by hand"}
    apply(shipped, COMPILED, kfp.endpoint, "icegraph")
    changed = shipped | {"daily-tracking": shipped["daily-tracking"].model_copy(update={"cron": "0 30 4 * * *"})}
    done = apply(changed, COMPILED, kfp.endpoint, "icegraph")
    assert done == {"archive-backlog": "unchanged", "daily-tracking": "replaced", "weekly-evaluation": "unchanged"}
    crons = {run.name: run.cron for run in recurring_runs(kfp.endpoint, "icegraph")}
    assert crons == {"archive-backlog": "0 0 1 * * *", "daily-tracking": "0 30 4 * * *", "weekly-evaluation": "0 0 6 * * 1", "theirs": ""}


def test_what_a_cut_off_change_left_twice_is_made_one_and_what_was_disabled_runs_again(kfp: Kfp) -> None:
    shipped = read_schedules(SHIPPED)
    apply(shipped, COMPILED, kfp.endpoint, "icegraph")
    kfp.runs["id-1"]["mode"] = "DISABLE"
    kfp.runs["old"] = kfp.runs["id-2"] | {"recurring_run_id": "old", "description": "made by icegraph schedule from sha256 00"}
    apply(shipped, COMPILED, kfp.endpoint, "icegraph")
    assert sorted(run.name for run in recurring_runs(kfp.endpoint, "icegraph")) == sorted(shipped)
    assert all(run["mode"] == "ENABLE" for run in kfp.runs.values())


def test_the_commands_make_list_and_remove(kfp: Kfp) -> None:
    def icegraph(*words: str) -> str:
        result = CliRunner().invoke(app, ["schedule", *words, "--endpoint", kfp.endpoint], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    assert "daily-tracking  created" in icegraph("apply")
    assert "0 0 4 * * *" in icegraph("list")
    icegraph("remove", "daily-tracking")
    assert "daily-tracking" not in icegraph("list")
    with pytest.raises(InputError, match=r"^daily-tracking: there is no recurring run of that name"):
        remove("daily-tracking", kfp.endpoint, "icegraph")


def test_a_server_that_refuses_or_is_not_there_is_told(kfp: Kfp) -> None:
    kfp.refuse = 403
    with pytest.raises(SubmitError, match="answered 403"):
        apply(read_schedules(SHIPPED), COMPILED, kfp.endpoint, "icegraph")
    with pytest.raises(SubmitError, match="no KFP API answers there"):
        recurring_runs("http://127.0.0.1:9", "icegraph")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[a]\npipeline = 'sea_ice_archive'\ncron = '0 1 * * *'", "cron"),
        ("[a]\ncron = '0 0 1 * * *'", "pipeline"),
        ("[a\n", "is no TOML"),
        ("[a]\npipeline = 'sea_ice_archive'\ncron = '0 0 1 * * *'\narguments = {speed = 1}", "has no speed and is not given lake"),
        ("[a]\npipeline = 'nothing'\ncron = '0 0 1 * * *'", "no such compiled pipeline"),
    ],
)
def test_a_wrong_file_is_told_before_anything_is_changed(text: str, told: str, kfp: Kfp, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(InputError, match=told):
        apply(read_schedules(tmp_path / "s.toml"), COMPILED, kfp.endpoint, "icegraph")
    assert kfp.runs == {}
