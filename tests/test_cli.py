import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from icegraph.cli import _arguments, app
from icegraph.errors import InputError

ICEGRAPH = str(Path(sys.executable).with_name("icegraph"))


def icegraph(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ICEGRAPH, *map(str, words)], capture_output=True, text=True, check=False)


def test_help_names_every_command() -> None:
    said = CliRunner().invoke(app, ["--help"]).output
    for command in ("run", "segment", "track", "evaluate", "simulate", "submit"):
        assert command in said


def test_help_does_not_wait_for_heavy_libraries() -> None:
    code = "import sys, icegraph.cli; print(sorted({'torch', 'kfp', 'great_expectations', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.parametrize("command", [["segment"], ["run"]])
def test_a_missing_pass_is_one_sentence_and_a_status(command: list[str], tmp_path: Path) -> None:
    ended = icegraph(*command, tmp_path / "nowhere.SAFE", "--out", tmp_path / "out")
    assert ended.returncode == 1
    assert ended.stderr == f"icegraph: {tmp_path}/nowhere.SAFE: there is no such file or folder; check the path.\n"
    assert not (tmp_path / "out").exists()


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
