"""`icegraph models …`: what was registered, what is in use, and the steps between."""

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from icegraph.commands import print_table
from icegraph.errors import InputError, RegistryError

if TYPE_CHECKING:
    from icegraph.registry import Registry, Version
    from icegraph.registry.trail import Step

app = typer.Typer(name="models", help="Registered models: look at them, compare, promote, roll back, verify.", no_args_is_help=True)
console = Console(highlight=False)

Place = Annotated[
    str,
    typer.Option(
        "--registry",
        help="The registry: a folder, s3://BUCKET/NAME, or the http(s)://… of an MLflow server.",
        envvar="ICEGRAPH_REGISTRY",
        metavar="PLACE",
    ),
]
InUse = Annotated[
    Path | None,
    typer.Option("--models", help="Folder of the models in use, as `icegraph serve` reads it; default: the registry's.", metavar="DIR"),
]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]
Name = Annotated[str, typer.Argument(help="Name of the models, such as segmenter-sar.", metavar="NAME")]
Because = Annotated[str, typer.Option("--because", help="Why; kept in the trail.", metavar="TEXT")]
Services = Annotated[
    list[str],
    typer.Option("--service", help="InferenceService that is to serve the champions. May be given again.", metavar="NAMESPACE/NAME"),
]
Store = Annotated[
    str, typer.Option("--store", help="Where services read sets of models from.", envvar="ICEGRAPH_MODEL_STORE", metavar="s3://…")
]
Canary = Annotated[list[int], typer.Option("--canary", help="Percent of the traffic to begin with. May be given again.", min=1, max=99)]
REGISTRY = "out/models"


@app.command("list")
def list_models(registry: Place = REGISTRY, as_json: AsJson = False) -> None:
    """List every version, with what it is and its score."""
    from icegraph.registry.lifecycle import score

    with opened(registry) as (open_registry, _):
        versions = [version for name in open_registry.names() for version in open_registry.versions(name)]
    if as_json:
        _print_json([_as_dict(version) for version in versions])
        return
    table = Table("name", "version", "SHA-256", "is", "gate", "score", "registered", box=None, header_style="dim")
    for version in versions:
        value = score(version.name, version.figures)
        row = (version.name, str(version.number), version.digits, " ".join(version.aliases), _gate(version))
        table.add_row(*row, "" if value is None else f"{value:.3f}", f"{version.registered:%Y-%m-%d %H:%M}")
    print_table(table)


@app.command()
def show(
    name: Name, version: Annotated[str, typer.Argument(metavar="[VERSION]")] = "", registry: Place = REGISTRY, as_json: AsJson = False
) -> None:
    """Show a version's figures and card, or without VERSION a name's versions and its audit trail."""
    with opened(registry) as (open_registry, _):
        if version:
            _show_version(open_registry.version(name, version), as_json)
            return
        versions, trail = open_registry.versions(name), open_registry.trail(name)
    if not versions:
        raise RegistryError(name, "is not registered", "see `icegraph models list`")
    if as_json:
        _print_json({"versions": [_as_dict(one) for one in versions], "trail": [asdict(step) for step in trail.steps]})
        return
    for step in trail.steps:
        became = f" → {step.alias}" if step.alias else ""
        because = f"  because {step.because}" if step.because else ""
        console.print(
            f"{step.at}  {step.kind:8} {step.version}{became}  {step.sha256[:12]}  by {escape(step.by)}{escape(because)}", soft_wrap=True
        )


@app.command()
def compare(
    first: Annotated[str, typer.Argument(help="NAME/VERSION; the version a number, digits or an alias.", metavar="A")],
    second: Annotated[str, typer.Argument(metavar="B")],
    registry: Place = REGISTRY,
    as_json: AsJson = False,
) -> None:
    """Compare the figures and parameters of two versions: those that differ."""
    with opened(registry) as (open_registry, _):
        pair = [_named(open_registry, text) for text in (first, second)]
        runs = {run["run_id"]: run for run in open_registry.runs("training")}
    rows: dict[str, list[Any]] = {}
    for number, version in enumerate(pair):
        run = runs.get(version.run_id, {"parameters": {}, "figures": {}})
        for key, value in {**run["parameters"], **run["figures"], **version.figures}.items():
            rows.setdefault(key, [None, None])[number] = value
    if as_json:
        _print_json({"versions": [_as_dict(one) for one in pair], "values": rows})
        return
    table = Table("", *(f"{one.name} {one.number}" for one in pair), "difference", box=None, header_style="dim")
    for key, (one, other) in sorted(rows.items()):
        if one != other:
            numbers = isinstance(one, float) and isinstance(other, float)
            table.add_row(key, _shown(one), _shown(other), f"{other - one:+.4g}" if numbers else "")
    if table.rows:
        print_table(table)
    else:
        console.print("no figure or parameter differs")


@app.command()
def promote(
    name: Name,
    version: Annotated[str, typer.Argument(help="Its number, the first digits of its SHA-256, or its alias.", metavar="VERSION")],
    to: Annotated[str, typer.Option("--to", help="challenger or champion.", metavar="ALIAS")],
    because: Because = "",
    registry: Place = REGISTRY,
    models: InUse = None,
    service: Services = [],
    store: Store = "",
    canary: Canary = [10],
) -> None:
    """Try a version on the pinned evaluation set beside the champion and, if it is no worse, promote it.

    Services are led to the champions step by step; where one does not become ready, the promotion is rolled back.
    """
    from icegraph.registry.lifecycle import promote, roll_back
    from icegraph.registry.model_set import SHIPPED
    from icegraph.registry.trail import CHAMPION
    from icegraph.trial import judge_with

    with (
        opened(registry, write=True) as (open_registry, folder),
        tempfile.TemporaryDirectory() as work,
        console.status("trying") as status,
    ):
        found = open_registry.version(name, version)
        in_use = models or folder

        def tell(text: str, share: float) -> None:
            status.update(f"{escape(text)}  {share:.0%}")

        step = promote(open_registry, found, to, in_use, judge_with(open_registry, [in_use, SHIPPED], Path(work), tell), because)
        try:
            _roll_out(open_registry, in_use, service if to == CHAMPION else [], store, canary)
        except RegistryError as error:
            if step.before:
                roll_back(open_registry, name, in_use, because=str(error))
            raise
    _print_step(step)


@app.command()
def rollback(
    name: Name, because: Because = "", registry: Place = REGISTRY, models: InUse = None, service: Services = [], store: Store = ""
) -> None:
    """Put the champion before the present one into use again, byte for byte; services are led back to it at once."""
    from icegraph.registry.lifecycle import roll_back

    with opened(registry, write=True) as (open_registry, folder):
        step = roll_back(open_registry, name, models or folder, because)
        _roll_out(open_registry, models or folder, service, store, [])
    _print_step(step)


@app.command()
def deploy(registry: Place = REGISTRY, models: InUse = None, service: Services = [], store: Store = "", canary: Canary = [10]) -> None:
    """Bring the champions into use, as for a server that is new, or after a step that was cut off."""
    from icegraph.registry.lifecycle import bring_champion

    with opened(registry, write=True) as (open_registry, folder):
        for name in open_registry.names():
            if "champion" in open_registry.settle(name):
                print(bring_champion(open_registry, name, models or folder))
        _roll_out(open_registry, models or folder, service, store, canary)


@app.command()
def pin(
    folder: Annotated[Path, typer.Argument(help="What `icegraph segment` or `icegraph run` wrote.", metavar="DIR")],
    truth: Annotated[list[Path], typer.Option("--truth", help="Label rasters, or folders of them.", metavar="PATH")],
    registry: Place = REGISTRY,
) -> None:
    """Pin the evaluation set that promotions are decided on: scenes of DIR and their known floes."""
    from icegraph.scene import scene_folders
    from icegraph.trial import write_evaluation_set
    from icegraph.truth import find_truth

    root = folder / "passes" if (folder / "passes").is_dir() else folder
    scenes = {pass_id: place / "scene" for pass_id, place in scene_folders([root]).items()}
    with opened(registry, write=True) as (open_registry, _), tempfile.TemporaryDirectory() as work:
        write_evaluation_set(scenes, find_truth(truth), Path(work, "evaluation-set"))
        print(open_registry.pin(Path(work, "evaluation-set")))


@app.command()
def verify(registry: Place = REGISTRY, models: InUse = None) -> None:
    """Hold every version against its SHA-256, the aliases against the trail, and what is in use against the champions."""
    with opened(registry) as (open_registry, folder), console.status("verifying") as status:
        wrong = open_registry.verify(models or folder, lambda text, _: status.update(escape(text)))
        names = open_registry.names()
    for sentence in wrong:
        console.print(f"[red]wrong[/red] {escape(sentence)}", soft_wrap=True)
    if wrong:
        raise RegistryError(registry, "not all is as it was registered", "mend what is told above")
    console.print(f"{len(names)} names: every version, alias and trail is as it was registered")


@contextmanager
def opened(place: str, write: bool = False) -> "Iterator[tuple[Registry, Path]]":
    """The registry at a place and its models in use.

    Raises:
        RegistryError: There is none.
    """
    from icegraph.places import brought, is_address
    from icegraph.registry import Registry, registered_in
    from icegraph.trial import registry_at

    if place.startswith("s3://") and not write:
        with brought([place]) as (folder,):
            yield Registry(folder), folder
        return
    if not is_address(place) and not registered_in(place):
        raise RegistryError(place, "is no registry", "train with `icegraph run`, or name one with --registry")
    with registry_at(place) as found:
        yield found


def _roll_out(registry: "Registry", in_use: Path, services: Sequence[str], store: str, canary: Sequence[int]) -> None:
    """Lead services to the champions, where there are services."""
    from icegraph.registry.kserve import InferenceService, publish, roll_out

    if services and not store:
        raise InputError("--service", "says nothing of where services read models from", "name it with --store s3://BUCKET/NAME")
    if services:
        roll_out([InferenceService(address) for address in services], publish(registry, in_use, store), canary)


def _named(registry: "Registry", text: str) -> "Version":
    name, slash, version = text.partition("/")
    if not slash:
        raise InputError(text, "names no version", "write NAME/VERSION, such as segmenter-sar/champion")
    return registry.version(name, version)


def _show_version(version: "Version", as_json: bool) -> None:
    if as_json:
        _print_json(_as_dict(version) | {"card": version.card})
        return
    console.print(f"[bold]{version.name} {version.number}[/bold]  {' '.join(version.aliases)}  {version.sha256}", soft_wrap=True)
    console.print(f"registered {version.registered:%Y-%m-%d %H:%M} by {version.code_version}; gate {_gate(version)}; run {version.run_id}")
    table = Table(box=None, show_header=False)
    for key, value in version.figures.items():
        table.add_row(key, _shown(value))
    print_table(table)
    console.print(escape(version.card))


def _print_step(step: "Step") -> None:
    before = f", before it {step.before}" if step.before else ""
    console.print(f"{step.name}: version [bold]{step.version}[/bold] ({step.sha256[:12]}) is the {step.alias}{before}", soft_wrap=True)


def _as_dict(version: "Version") -> dict[str, Any]:
    told = asdict(version) | {"registered": version.registered.isoformat(timespec="seconds")}
    del told["card"]
    return told


def _gate(version: "Version") -> str:
    return {True: "passed", False: "failed", None: "not judged"}[version.passed]


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)


def _print_json(content: Sequence[Any] | dict[str, Any]) -> None:
    print(json.dumps(content, indent=1, ensure_ascii=False))
