"""A shard of the archive in a process of its own, for tests that kill it."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from icegraph.ingest import Manifest

# Forks of a process that has imported what a shard needs and has no threads: a fork of the tests' own could wait for a lock for ever.
_CONTEXT = get_context("forkserver")
_NEEDED = ["icegraph.archive", "icegraph.calibrate", "icegraph.fuse", "icegraph.graph", "icegraph.segment", "skimage.segmentation"]
_CONTEXT.set_forkserver_preload([*_NEEDED, __name__])


def start_shard(
    manifest: Manifest, models: list[Path], lake: str | Path, work: Path, told: Path, settings: Mapping[str, Any]
) -> BaseProcess:
    """Start it; what `run_shard` gives will be in `told`, as JSON."""
    process = _CONTEXT.Process(target=_run, args=(dict(os.environ), manifest, models, str(lake), work, told, settings))
    process.start()
    return process


def _run(
    environment: dict[str, str], manifest: Manifest, models: list[Path], lake: str, work: Path, told: Path, settings: Mapping[str, Any]
) -> None:
    import torch

    from icegraph.archive import run_shard

    os.environ.update(environment)
    torch.set_num_threads(1)
    work.mkdir(parents=True, exist_ok=True)
    outcomes = run_shard(manifest, [entry.id for entry in manifest.scenes], models, lake, work, **settings)
    told.write_text(json.dumps([asdict(outcome) for outcome in outcomes]))
