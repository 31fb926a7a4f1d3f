import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from icegraph.store import atomic_dir, atomic_path, folder_beside


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "x.json"
    with atomic_path(target) as path:
        path.write_text("one")
        assert not target.exists()
    with pytest.raises(ValueError, match="broken"), atomic_path(target) as path:
        path.write_text("half")
        raise ValueError("broken")
    assert target.read_text() == "one"
    assert os.listdir(target.parent) == ["x.json"]


def test_a_folder_replaces_the_former_one_only_when_it_is_whole(tmp_path: Path) -> None:
    for text in ("one", "two"):
        with atomic_dir(tmp_path / "d") as fresh:
            (fresh / "f").write_text(text)
    with pytest.raises(ValueError, match="broken"), atomic_dir(tmp_path / "d") as fresh:
        (fresh / "f").write_text("half")
        raise ValueError("broken")
    assert (tmp_path / "d" / "f").read_text() == "two"
    assert os.listdir(tmp_path) == ["d"]


def test_a_kill_leaves_the_former_file(tmp_path: Path) -> None:
    target = tmp_path / "x"
    target.write_text("whole")
    code = f"""
import os, signal
from pathlib import Path
from icegraph.store import atomic_path
with atomic_path(Path({str(target)!r})) as path:
    path.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", code], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert target.read_text() == "whole"


def test_a_kill_between_the_former_folder_and_the_new_one_loses_neither(tmp_path: Path) -> None:
    """The process dies when the former folder has left its place; the next writer, even one that fails, puts it back."""
    target = tmp_path / "d"
    with atomic_dir(target) as fresh:
        (fresh / "f").write_text("one")
    code = f"""
import os, signal
from pathlib import Path
from icegraph.store import atomic_dir
move = Path.replace
def move_and_die(source, place):
    move(source, place)
    os.kill(os.getpid(), signal.SIGKILL)
Path.replace = move_and_die
with atomic_dir(Path({str(target)!r})) as fresh:
    (fresh / "f").write_text("two")
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert not target.exists()
    with pytest.raises(ValueError, match="broken"), atomic_dir(target):
        raise ValueError("broken")
    assert (target / "f").read_text() == "one"
    assert os.listdir(tmp_path) == ["d"]


def test_an_interruption_between_the_two_loses_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "d"
    with atomic_dir(target) as fresh:
        (fresh / "f").write_text("one")
    move = Path.replace

    def move_and_stop(source: Path, place: Path) -> Path:
        monkeypatch.setattr(Path, "replace", move)
        move(source, place)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", move_and_stop)
    with pytest.raises(KeyboardInterrupt), atomic_dir(target) as fresh:
        (fresh / "f").write_text("two")
    assert (target / "f").read_text() == "one"
    assert os.listdir(tmp_path) == ["d"]


def test_a_folder_that_is_swept_before_it_is_locked_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = tempfile.mkdtemp

    def make_and_lose(**place: object) -> str:
        monkeypatch.setattr(tempfile, "mkdtemp", make)
        made = make(**place)
        with folder_beside(tmp_path / "d"):  # another process with the same target sweeps first
            assert not Path(made).exists()
        return made

    monkeypatch.setattr(tempfile, "mkdtemp", make_and_lose)
    with atomic_dir(tmp_path / "d") as fresh:
        (fresh / "f").write_text("whole")
    assert (tmp_path / "d" / "f").read_text() == "whole"
    assert os.listdir(tmp_path) == ["d"]
