"""Run a pipeline on this machine: KFP's own local runner, each task a process, followed by whoever called.

The pipeline runs in a process of its own (`python -m pipelines.local`), so that its log can be kept whole and read for progress. With
ICEGRAPH_RUNNER=docker each task runs in a container of its image instead, as it would on a cluster.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from icegraph.errors import IceGraphError, InputError
from icegraph.orphans import end_with_parent
from icegraph.progress import parse_progress

_TASK = re.compile(r"(Executing task|Task) \S*'([\w-]+)'\S*( finished with status \S*(SUCCESS|FAILURE))?")

Listener = Callable[[str, str, float], None]
"""Takes a task's name, what it says and the share done: 0 when it starts, 1 when it has finished."""


def run_local(pipeline: str, arguments: dict[str, Any], root: Path, log: Path, listen: Listener) -> dict[str, list[Path]]:
    """Run a pipeline through `kfp.local` with a process, or a container, a task.

    Args:
        pipeline: A name in `pipelines.PIPELINES`.
        arguments: Its arguments.
        root: Folder for the artifacts.
        log: File that takes all that the tasks print.
        listen: Is told of each task's start, progress and end.

    Returns:
        Name of each output of the pipeline → its folder, or folders.

    Raises:
        IceGraphError: A task failed: its own sentence, where it left one.
    """
    command = [sys.executable, "-m", "pipelines.local", pipeline, str(root), json.dumps(arguments)]
    # One thread a task: tasks run two at once, and threads that fight over two cores lose more than they win.
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    environment["TMPDIR"] = str(_made(root / "tmp"))  # KFP leaves a folder a task
    task, failed, sentence = "", "", ""
    with log.open("w") as kept:
        process = subprocess.Popen(  # noqa: S603
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=environment, start_new_session=True
        )
        assert process.stdout is not None  # noqa: S101 - PIPE
        try:
            for line in process.stdout:
                kept.write(line)
                told, event = parse_progress(line), _TASK.search(line)
                if told:
                    listen(task, *told)
                elif event and event[1] == "Executing task":
                    task = event[2]
                    listen(task, "", 0.0)
                elif event and event[4] == "SUCCESS":
                    listen(event[2], "", 1.0)
                elif event and event[4] == "FAILURE":
                    failed = failed or event[2]
                elif line.strip().startswith("icegraph: "):
                    sentence = sentence or line.strip().removeprefix("icegraph: ")
            process.wait()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # all that its tasks wrote goes with `root`
                process.wait()
    if process.returncode != 0:
        problem = sentence.rstrip(".") or f"its process ended with status {process.returncode}"
        raise RunError(failed or task or pipeline, problem, f"the whole log is in {log}")
    return {name: [Path(path) for path in paths] for name, paths in json.loads((root / "outputs.json").read_text()).items()}


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class RunError(IceGraphError):
    """A task of a pipeline failed."""


def main() -> None:
    """Run the pipeline that the command line names, and write `outputs.json` beside its artifacts."""
    from kfp import local

    from pipelines import PIPELINES

    end_with_parent(lambda: os.killpg(0, signal.SIGKILL))
    # KFP puts the interpreter's path, unquoted, where a shell reads it: a name found on PATH has no spaces.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    sys.executable = "python3"
    name, root, arguments = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
    if name not in PIPELINES:
        raise InputError(name, "no such pipeline", f"choose one of {', '.join(PIPELINES)}")
    runner = _containers(root, arguments) if os.environ.get("ICEGRAPH_RUNNER") == "docker" else local.SubprocessRunner(use_venv=False)
    local.init(runner, pipeline_root=str(root))
    outputs = PIPELINES[name](**arguments).outputs
    paths = {key: [one.path for one in (value if isinstance(value, list) else [value])] for key, value in outputs.items()}
    (root / "outputs.json").write_text(json.dumps(paths))


def _containers(root: Path, arguments: dict[str, Any]) -> Any:
    """Containers with the rights of the owner of `root` and no more, that see the places they are told of."""
    from docker.types import Mount
    from kfp import local

    texts = [text for value in arguments.values() for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)]
    told = [Path(text) for text in texts if Path(text).is_absolute()]
    seen = {next(folder for folder in (place, *place.parents) if folder.is_dir()) for place in told}
    owner = root.stat()
    return local.DockerRunner(
        mounts=[Mount(str(folder), str(folder), type="bind") for folder in sorted(seen)],
        user=f"{owner.st_uid}:{owner.st_gid}",
        environment={"OMP_NUM_THREADS": os.environ["OMP_NUM_THREADS"]},
        read_only=True,
        tmpfs={"/tmp": "mode=1777"},  # noqa: S108 - the container's
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
    )


if __name__ == "__main__":
    main()
