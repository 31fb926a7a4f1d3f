"""`icegraph search` and `icegraph trial`: better training settings."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from icegraph.commands.models import REGISTRY, Place
from icegraph.errors import InputError

console = Console(highlight=False)

Kind = Annotated[str, typer.Argument(help="segmenter or matcher.", metavar="KIND")]
Folder = Annotated[Path, typer.Argument(help="What `icegraph segment` or `icegraph run` wrote.", metavar="DIR")]
Truth = Annotated[list[Path], typer.Option("--truth", help="Label rasters, or folders of them.", metavar="PATH")]
Sensor = Annotated[str, typer.Option("--sensor", help="sar or optical, for a segmenter.")]
Steps = Annotated[int, typer.Option("--steps", help="Supervised steps of a segmenter.", min=1)]
Seed = Annotated[int, typer.Option("--seed", help="Of every trial.")]


def search(
    kind: Kind,
    folder: Folder,
    truth: Truth,
    out: Annotated[Path, typer.Option("--out", help="Folder of the study; run again, it goes on.", metavar="DIR")],
    trials: Annotated[int, typer.Option("--trials", help="How many, with those that were made before.", min=1)] = 20,
    sensor: Sensor = "optical",
    steps: Steps = 200,
    seed: Seed = 0,
    registry: Place = REGISTRY,
) -> None:
    """Look for better settings of a trainer; every trial is tracked."""
    from icegraph.registry import Registry
    from icegraph.search import Lessons, search

    with console.status("searching") as status:

        def tell(text: str, share: float) -> None:
            status.update(f"{escape(text)}  {share:.0%}")

        best, score = search(kind, Lessons(folder, tuple(truth), sensor, steps, seed), trials, Registry(registry), out, tell)
    console.print(f"score={score:.4f}  {'  '.join(f'{name}={value}' for name, value in best.items())}", soft_wrap=True)


def trial(
    kind: Kind,
    folder: Folder,
    truth: Truth,
    settings: Annotated[list[str], typer.Option("--set", help="A setting; may be given again.", metavar="NAME=VALUE")] = [],
    sensor: Sensor = "optical",
    steps: Steps = 200,
    seed: Seed = 0,
    registry: Place = REGISTRY,
) -> None:
    """Train once with some settings and print `score=…`, as Katib's trials do; the trial is tracked."""
    from icegraph.registry import Registry
    from icegraph.search import Lessons, run_trial

    chosen: dict[str, int | str] = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        if not (name and value):
            raise InputError(setting, "is not a setting", "write NAME=VALUE")
        chosen[name] = int(value) if value.isdigit() else value
    with tempfile.TemporaryDirectory() as work:
        score = run_trial(kind, Lessons(folder, tuple(truth), sensor, steps, seed), chosen, Registry(registry), Path(work))
    print(f"score={score:.6f}")
