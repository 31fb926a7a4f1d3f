"""States of a training, kept while it runs, here or in S3, so that a training that was stopped goes on instead of beginning anew."""

import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from icegraph.errors import StoreError
from icegraph.places import brought, delivered, is_address
from icegraph.store import atomic_dir, open_store, patiently

Epoch = dict[str, float | str]
"""What is told of some steps: their phase, the last step, the mean loss."""

_STATE, _TENSORS = "state.json", "state.safetensors"


def state_beside(out: str | Path) -> str | Path:
    """Where the state of a training is kept whose result will be `out`: a hidden folder beside it, or in S3 `<out>.training`."""
    return f"{str(out).rstrip('/')}.training" if is_address(out) else Path(out).with_name(f".{Path(out).name}.training")


def forget(place: str | Path) -> None:
    """Remove the state that is kept at a place, when its training's result is safe."""
    if is_address(place):
        store, key = open_store(place)
        patiently(lambda: store.remove(key))
    else:
        shutil.rmtree(place, ignore_errors=True)


class Checkpoint:
    """The last state of a training.

    Args:
        place: Where it is kept: a folder, or `s3://BUCKET/NAME`, which is waited for while it is away.
        identity: What the training depends on: a state of another one is not used.
        writes: Whether this process keeps states; of several, one does.

    Attributes:
        history: The epochs told before the state was kept.
    """

    def __init__(self, place: str | Path, identity: Mapping[str, Any], *, writes: bool = True) -> None:
        self._writes = writes
        self._place = place
        self._identity = json.loads(json.dumps(identity))
        self._state, self._tensors = patiently(self._read)
        self.history: list[Epoch] = self._state.get("history", [])

    def done(self, phase: str) -> bool:
        """Whether the kept state is of a later phase than this one, or of its end."""
        return bool(self._state) and (self._state["phase"] != phase or self._state["step"] == self._state["steps"])

    def resume(
        self,
        phase: str,
        modules: Mapping[str, nn.Module],
        optimiser: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
    ) -> int:
        """Put modules, optimiser and schedule into the kept state; gives the step to take next, 1 where there is none of this phase.

        A state of the end of an earlier phase gives the modules it knows.
        """
        state = self._state
        for name, module in modules.items():
            if part := self._part(f"{name}."):
                module.load_state_dict(part)
        done = 0
        if state.get("phase") == phase:
            done = int(state["step"])
            indexes = range(sum(len(group["params"]) for group in state["groups"]))
            moments = {index: self._part(f"optimiser.{index}.") for index in indexes}
            optimiser.load_state_dict({"param_groups": state["groups"], "state": moments})
            schedule.load_state_dict({"last_epoch": done, "_step_count": done + 1})
        self._state, self._tensors = {}, {}  # used once: what is learnt from here on is newer
        return done + 1

    def keep(self, epoch: Epoch, steps: int, modules: Mapping[str, nn.Module], optimiser: torch.optim.Optimizer) -> Epoch:
        """Add an epoch to the history and replace the kept state by that at its end; `steps` has its phase. Gives the epoch."""
        self.history.append(epoch)
        if not self._writes:
            return epoch
        tensors = {f"{name}.{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}
        known = optimiser.state_dict()
        for index, moments in known["state"].items():
            tensors |= {f"optimiser.{index}.{key}": value for key, value in moments.items()}
        where = {"phase": epoch["phase"], "step": epoch["step"], "steps": steps, "groups": known["param_groups"]}
        state = json.dumps(where | {"identity": self._identity, "history": self.history})
        content = save({key: value.detach().cpu().contiguous() for key, value in tensors.items()})
        patiently(lambda: self._write(state, content))
        return epoch

    def _write(self, state: str, content: bytes) -> None:
        with delivered(self._place, _STATE) as place, atomic_dir(place) as folder:
            (folder / _TENSORS).write_bytes(content)
            (folder / _STATE).write_text(state)
        if is_address(self._place):
            store, key = open_store(self._place)
            with suppress(StoreError):  # who may not remove may still train; nobody reads the states before
                store.sweep(key, datetime.max.replace(tzinfo=UTC))

    def _read(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """The kept state, or nothing where there is none, or it is damaged or of another training."""
        if is_address(self._place):
            store, key = open_store(self._place)
            if key not in store.list(key):
                return {}, {}
        with brought([self._place]) as (folder,):
            try:
                state = json.loads((folder / _STATE).read_text())
                if state["identity"] == self._identity:
                    return state, load_file(folder / _TENSORS)
            except (OSError, ValueError, KeyError, TypeError, SafetensorError):
                return {}, {}
        return {}, {}

    def _part(self, prefix: str) -> dict[str, Tensor]:
        return {key.removeprefix(prefix): value for key, value in self._tensors.items() if key.startswith(prefix)}
