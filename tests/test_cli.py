import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from icegraph.cli import _arguments, app
from icegraph.errors import InputError
from icegraph.simulate.field import REGIMES
from icegraph.store import code_version

ICEGRAPH = str(Path(sys.executable).with_name("icegraph"))


def icegraph(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ICEGRAPH, *map(str, words)], capture_output=True, text=True, check=False)


def test_help_names_every_command() -> None:
    said = CliRunner().invoke(app, ["--help"]).output
    for command in ("run", "segment", "track", "evaluate", "copy", "simulate", "find", "fetch", "submit"):
        assert command in said


def test_help_does_not_wait_for_heavy_libraries() -> None:
    heavy = "{'torch', 'kfp', 'great_expectations', 'transformers', 'requests', 'pystac_client'}"
    code = f"import sys, icegraph.cli; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_it_tells_its_version() -> None:
    assert icegraph("--version").stdout.strip() == code_version()


def test_a_part_that_an_image_does_not_have_is_no_defect() -> None:
    code = (
        "import sys, icegraph.cli; sys.modules['icegraph.simulate'] = None; sys.argv[1:] = ['simulate', '--out', 'x']; icegraph.cli.main()"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (
        1,
        "icegraph: icegraph.simulate: is not installed here; use the image `pipeline`, or install icegraph[stages].\n",
    )


@pytest.mark.parametrize("command", [["segment"], ["run"]])
def test_a_missing_pass_is_one_sentence_and_a_status(command: list[str], tmp_path: Path) -> None:
    ended = icegraph(*command, tmp_path / "nowhere.SAFE", "--out", tmp_path / "out")
    assert ended.returncode == 1
    assert ended.stderr == f"icegraph: {tmp_path}/nowhere.SAFE: there is no such file or folder; check the path.\n"
    assert not (tmp_path / "out").exists()


def test_the_default_folder_needs_not_be_named() -> None:
    ended = icegraph("run", "nowhere.SAFE")
    assert (ended.returncode, ended.stderr) == (1, "icegraph: nowhere.SAFE: there is no such file or folder; check the path.\n")


@pytest.mark.parametrize(
    ("words", "problem", "command"),
    [
        (["segment"], "missing argument 'PASS…'", "icegraph segment"),
        (["segment", "x"], "missing option '--out'", "icegraph segment"),
        (["run", "--fields", "0"], "invalid value for '--fields': ", "icegraph run"),
        (["run", "--colour"], "no such option: --colour", "icegraph run"),
        (["trakc"], "no such command 'trakc'", "icegraph"),
    ],
)
def test_a_misused_command_is_one_sentence_and_status_2(words: list[str], problem: str, command: str) -> None:
    ended = icegraph(*words)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"icegraph: {problem}")
    assert ended.stderr.endswith(f"; see `{command} --help`.\n")
    assert ended.stderr.count("\n") == 1


def test_without_a_command_the_help_is_shown() -> None:
    ended = icegraph()
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "Usage: icegraph" in ended.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["segment", "gs://ice/a.SAFE", "--out", "o"],
        ["segment", ".", "--out", "gs://ice/a.SAFE"],
        ["run", ".", "--model", "gs://ice/a.SAFE"],
        ["run", "gs://ice/a.SAFE"],
        ["track", "gs://ice/a.SAFE", "--out", "o"],
        ["evaluate", ".", "--truth", "gs://ice/a.SAFE"],
        ["evaluate", ".", "--truth", ".", "--tracks", "gs://ice/a.SAFE"],
        ["copy", "gs://ice/a.SAFE", "--out", "o"],
        ["copy", ".", "--out", "gs://ice/a.SAFE"],
    ],
)
def test_an_address_is_not_taken_for_a_folder(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ended = icegraph(*words)
    said = "icegraph: gs://…: is not an address that can be read here; write s3://BUCKET/KEY, and no user or password in it.\n"
    assert (ended.returncode, ended.stderr) == (1, said)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("regime", ["brash", "pack"])
def test_the_kind_of_ice_can_be_chosen(regime: str, tmp_path: Path) -> None:
    words = ("--size-km", 12, "--passes", 1, "--view", "optical", "--regime", regime)
    assert icegraph("simulate", "--out", tmp_path / "s", *words).returncode == 0
    assert json.loads((tmp_path / "s" / "simulation.json").read_text())["regime_drawn"] == regime


def test_the_kinds_of_ice_are_told() -> None:
    said = CliRunner().invoke(app, ["simulate", "--help"]).output
    assert all(regime in said for regime in REGIMES)


def test_tracking_an_empty_folder_is_one_sentence(tmp_path: Path) -> None:
    ended = icegraph("track", tmp_path, "--out", tmp_path / "out")
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"icegraph: {tmp_path}: holds no segmented pass; ")
    assert ended.stderr.count("\n") == 1


def test_arguments_are_json_or_text() -> None:
    assert _arguments(["steps=3", 'passes=["a", "b"]', "registry=/ice/models", "x="]) == {
        "steps": 3,
        "passes": ["a", "b"],
        "registry": "/ice/models",
        "x": "",
    }
    with pytest.raises(InputError, match="write NAME=VALUE"):
        _arguments(["steps"])
