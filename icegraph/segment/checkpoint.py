"""States of a training, kept beside its result while it runs, so that a training that was stopped goes on instead of beginning anew."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from icegraph.store import atomic_dir

_STATE, _TENSORS = "state.json", "state.safetensors"


class Checkpoint:
    """The last state of a training whose result will be `out`; as a context manager, it is removed when the training ends well.

    Args:
        out: Where the training's result will be; the state is in a hidden folder beside it.
        identity: What the training depends on: a state of another one is not used.

    Attributes:
        history: The epochs told before the state was kept.
    """

    def __init__(self, out: Path, identity: Mapping[str, Any]) -> None:
        self._folder = out.with_name(f".{out.name}.training")
        self._identity = json.loads(json.dumps(identity))
        self._state, self._tensors = self._read()
        self.history: list[dict[str, float | str]] = self._state.get("history", [])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            shutil.rmtree(self._folder, ignore_errors=True)

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
        for name, module in modules.items():
            if part := self._part(f"{name}."):
                module.load_state_dict(part)
        if self._state.get("phase") != phase:
            return 1
        known = optimiser.state_dict()
        count = sum(len(group["params"]) for group in known["param_groups"])
        known["state"] = {index: self._part(f"optimiser.{index}.") for index in range(count)}
        optimiser.load_state_dict(known)
        done = int(self._state["step"])
        for _ in range(done):
            schedule.step()
        return done + 1

    def keep(self, phase: str, step: int, steps: int, modules: Mapping[str, nn.Module], optimiser: torch.optim.Optimizer) -> None:
        """Replace the kept state by that after `step` of `steps`."""
        tensors = {f"{name}.{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}
        for index, state in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{key}": value for key, value in state.items()}
        with atomic_dir(self._folder) as folder:
            (folder / _TENSORS).write_bytes(save({key: value.detach().cpu().contiguous() for key, value in tensors.items()}))
            state = {"identity": self._identity, "phase": phase, "step": step, "steps": steps, "history": self.history}
            (folder / _STATE).write_text(json.dumps(state))

    def _read(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """The kept state, or nothing where there is none, or it is damaged or of another training."""
        try:
            state = json.loads((self._folder / _STATE).read_text())
            if state["identity"] == self._identity:
                return state, load_file(self._folder / _TENSORS)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError):
            return {}, {}
        return {}, {}

    def _part(self, prefix: str) -> dict[str, Tensor]:
        return {key.removeprefix(prefix): value for key, value in self._tensors.items() if key.startswith(prefix)}
