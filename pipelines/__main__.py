"""Compile every pipeline: `python -m pipelines [FOLDER]`."""

import sys
from pathlib import Path

from kfp.compiler import Compiler

from pipelines import COMPILED, PIPELINES

folder = Path(sys.argv[1]) if len(sys.argv) > 1 else COMPILED
folder.mkdir(parents=True, exist_ok=True)
for name, pipeline in PIPELINES.items():
    Compiler().compile(pipeline, str(folder / f"{name}.yaml"))
    print(folder / f"{name}.yaml")
