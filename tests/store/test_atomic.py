import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from icegraph.store import atomic_dir, atomic_path


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
