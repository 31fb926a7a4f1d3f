"""States of a training that are kept in S3, and a training that is killed and goes on elsewhere."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from s3_relay import Relay

from icegraph.errors import StoreError
from icegraph.registry import Registry
from icegraph.segment.checkpoint import Checkpoint, forget, state_beside
from icegraph.simulate import simulate
from icegraph.store import open_store


class Small:
    """A training of a single layer."""

    def __init__(self) -> None:
        self.model = torch.nn.Linear(3, 2)
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=0.1)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimiser, max_lr=0.1, total_steps=10)

    def step(self) -> None:
        self.model(torch.ones(1, 3)).sum().backward()
        self.optimiser.step()

    def keep(self, checkpoint: Checkpoint, step: int) -> None:
        checkpoint.keep({"phase": "train", "step": step, "loss": 0.5}, 10, {"model": self.model}, self.optimiser)

    def resume(self, checkpoint: Checkpoint) -> int:
        return checkpoint.resume("train", {"model": self.model}, self.optimiser, self.schedule)


def objects(bucket: str) -> list[str]:
    import boto3

    return [one.key for one in boto3.resource("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"]).Bucket(bucket).objects.all()]


def test_a_state_in_s3_is_gone_on_from_elsewhere_and_only_the_last_takes_room(bucket: str) -> None:
    place = str(state_beside(f"s3://{bucket}/models/mine/"))
    assert place == f"s3://{bucket}/models/mine.training"
    first = Small()
    checkpoint = Checkpoint(place, {"seed": 1})
    assert first.resume(checkpoint) == 1
    for step in (1, 2, 3):
        first.step()
        first.keep(checkpoint, step)
    assert len(objects(bucket)) == 3  # the commit and its two files
    second = Small()
    assert second.resume(Checkpoint(place, {"seed": 1})) == 4
    for one, other in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert Small().resume(Checkpoint(place, {"seed": 2})) == 1
    forget(place)
    assert objects(bucket) == []


def test_a_store_that_is_away_for_a_while_is_waited_for(bucket: str, relay: Relay) -> None:
    training, checkpoint = Small(), Checkpoint(f"s3://{bucket}/state", {})
    training.step()
    relay.busy = 7  # more than the client itself asks again
    training.keep(checkpoint, 1)
    assert Small().resume(Checkpoint(f"s3://{bucket}/state", {})) == 2


def test_a_process_that_does_not_lead_keeps_nothing(bucket: str) -> None:
    training = Small()
    training.step()
    training.keep(Checkpoint(f"s3://{bucket}/state", {}, writes=False), 1)
    assert objects(bucket) == []


def command(field: Path, out: str, place: Path) -> list[str]:
    words = [str(field / "passes"), "--truth", str(field / "truth"), "--out", out]
    sizes = ["--steps", "60", "--batch", "1", "--tile", "64", "--network", "linknet"]
    return [sys.executable, "-c", "from icegraph.cli import main; main()", "train", *words, *sizes, "--registry", str(place / "registry")]


def surroundings(place: Path) -> dict[str, str]:
    """What a pod of its own would have: its own disk."""
    (place / "tmp").mkdir(parents=True)
    return os.environ | {"TMPDIR": str(place / "tmp"), "OMP_NUM_THREADS": "1"}


def test_a_training_that_is_killed_goes_on_elsewhere_to_the_same_weights(bucket: str, tmp_path: Path) -> None:
    simulate(tmp_path / "field", seed=6, size_km=36.0, passes=1, views=("optical",))
    out = f"s3://{bucket}/models/mine"
    store, _ = open_store(out)
    killed = subprocess.Popen(command(tmp_path / "field", out, tmp_path), env=surroundings(tmp_path / "node-1"), stdout=subprocess.DEVNULL)
    while "models/mine.training" not in store.list("models"):
        assert killed.poll() is None, "it ended before it kept a state"
        time.sleep(0.1)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert "models/mine" not in store.list("models")

    def run(where: str, node: str) -> Any:
        words = command(tmp_path / "field", where, tmp_path)
        return subprocess.run(words, env=surroundings(tmp_path / node), check=True, capture_output=True, text=True)

    went_on = run(out, "node-2")
    whole = run(str(tmp_path / "whole"), "node-3")
    assert "42%" in whole.stdout  # the first epoch of 25 steps
    assert "42%" not in went_on.stdout
    assert store.list("models") == ["models/mine"]
    for name in ("model.safetensors", "config.json"):
        assert store.read(store.item("models/mine"), name) == (tmp_path / "whole" / name).read_bytes(), name
    with pytest.raises(StoreError):
        store.item("models/mine.training")


def test_two_processes_that_torchrun_starts_make_one_model(bucket: str, tmp_path: Path) -> None:
    """As a TrainJob's pods do: each has a disk of its own, the first puts the model and the states into S3, and tells the registry."""
    simulate(tmp_path / "field", seed=6, size_km=36.0, passes=1, views=("optical",))
    out = f"s3://{bucket}/models/mine"
    _, _, _, *words = command(tmp_path / "field", out, tmp_path)
    program = tmp_path / "icegraph"
    program.write_text(f"#!{sys.executable}\nfrom icegraph.cli import main\nmain()\n")
    program.chmod(0o755)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python", str(program)]
    words[words.index("60")], words[words.index("1")] = "26", "2"
    done = subprocess.run([*torchrun, *words], env=surroundings(tmp_path / "node"), check=True, capture_output=True, text=True)
    assert done.stdout.count("Model: ") == 1
    store, _ = open_store(out)
    assert store.list() == ["models/mine"]
    assert store.item("models/mine").number == 1
    [run] = Registry(tmp_path / "registry").runs("training")
    assert run["parameters"]["steps"] == "26"
    assert list((tmp_path / "node" / "tmp").glob(".icegraph*")) == []
