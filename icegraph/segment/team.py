"""Training by several processes at once, as torchrun starts them: each takes a part of every batch, and their gradients are averaged."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed, nn


@dataclass(frozen=True)
class Team:
    """The processes of a training.

    Attributes:
        rank: Which of them this is.
        size: How many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes what all have learnt."""
        return self.rank == 0

    @property
    def device(self) -> torch.device:
        """The GPU of this process, where there is one."""
        return torch.device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu")

    def share(self, count: int) -> Iterable[int]:
        """Which of `count` examples are this process's."""
        return range(self.rank, count, self.size)

    def average(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace the gradients by their mean over the processes."""
        if self.size > 1:
            gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            distributed.all_reduce(flat)
            means = torch.split(flat / self.size, [gradient.numel() for gradient in gradients])
            for gradient, mean in zip(gradients, means, strict=True):
                gradient.copy_(mean.view_as(gradient))

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            distributed.barrier()


def leads() -> bool:
    """Whether this process is alone, or the first of those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def team() -> Iterator[Team]:
    """Join the processes that torchrun started, or be alone."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Team()
        return
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield Team(distributed.get_rank(), size)
    finally:
        distributed.destroy_process_group()
