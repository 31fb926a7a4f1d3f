"""The command line: `icegraph …`.

Each command imports what it needs when it runs: `icegraph --help` must not wait for torch.
"""

import json
import logging
import os
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from icegraph.commands import models, print_table, schedule
from icegraph.commands.calibrate import Settings, calibrate, radar_settings
from icegraph.commands.clean import clean
from icegraph.commands.search import search, trial
from icegraph.commands.serve import serve
from icegraph.commands.tiles import tiles
from icegraph.commands.trace import trace
from icegraph.errors import IceGraphError, InputError, disk_is_full, told
from icegraph.places import as_named, brought, delivered, inside, is_address, name_addresses, on_disk
from icegraph.store import read_refusal

app = typer.Typer(
    name="icegraph",
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(models.app)
app.add_typer(schedule.app)
app.command()(search)
app.command()(trial)
app.command()(tiles)
app.command()(trace)
app.command()(clean)
console = Console(highlight=False)
_INTERRUPTED = 130
_UsageError = typer.BadParameter.mro()[1]  # Typer keeps its name to itself


class Network(StrEnum):
    """The networks of `icegraph.segment`, by name, and that of `icegraph.track`."""

    unet = "unet"
    linknet = "linknet"
    segformer = "segformer"
    threshold = "threshold"
    matcher = "matcher"


Passes = Annotated[
    list[str],
    typer.Argument(help="SAFE folders or zips, STAC items, GeoTIFFs, AMSR2 files, or folders of them, here or s3://…", metavar="PASS…"),
]
Out = Annotated[str, typer.Option("--out", help="Folder to write to, made where it does not exist; or s3://BUCKET/NAME.", metavar="DIR")]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="Name, folder or address of a model or a set of models; default: for `run`, those trained into --out, else the shipped ones.",
        metavar="NAME_OR_PATH",
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Same seed, same bytes.")]
TruthOption = Annotated[
    list[str], typer.Option("--truth", help="Label rasters, or folders of them, here or s3://…. May be given again.", metavar="PATH")
]
MaxSpeed = Annotated[float, typer.Option("--max-speed", help="Fastest drift looked for, m/s.", min=0.01)]


def _tell_version(asked: bool) -> None:
    if asked:
        from icegraph.store import code_version

        print(code_version())
        raise typer.Exit


@app.callback()
def icegraph(
    _: Annotated[bool, typer.Option("--version", help="Tell the version and leave.", callback=_tell_version, is_eager=True)] = False,
) -> None:
    """Track sea-ice floes from satellite passes: floes, matches, tracks, drift and forecast."""


def main() -> None:
    """The entry point: errors become one sentence and an exit code."""
    _quieten_libraries()
    for number in (signal.SIGTERM, signal.SIGHUP):  # end as on Ctrl-C, with what is half-written removed
        signal.signal(number, signal.default_int_handler)
    with told():
        try:
            status = app(sys.argv[1:] or ["--help"], standalone_mode=False)
            if status == _INTERRUPTED:  # Typer makes this of an interruption
                raise KeyboardInterrupt
            raise SystemExit(status)
        except Exception as error:
            if isinstance(error, _UsageError):
                _end_misused(error)
            known = isinstance(error, IceGraphError | OSError | MemoryError) or disk_is_full(error)
            if known or os.environ.get("ICEGRAPH_TRACEBACK"):
                raise
            if isinstance(error, ModuleNotFoundError):  # the server's image has the server alone
                raise IceGraphError(
                    str(error.name), "is not installed here", "use the image `pipeline`, or install icegraph[stages]"
                ) from error
            problem = f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(".")
            raise IceGraphError("a defect of icegraph", problem, "please report it, with what ICEGRAPH_TRACEBACK=1 shows") from error


def _end_misused(error: Any) -> NoReturn:
    """End with one sentence for arguments that no command takes."""
    problem = " ".join(error.format_message().split()).rstrip(".")
    command = error.ctx.command_path if error.ctx else "icegraph"
    print(f"icegraph: {problem[:1].lower()}{problem[1:]}; see `{command} --help`.", file=sys.stderr)
    raise SystemExit(2)


def _quieten_libraries() -> None:
    """What they have to say reaches the user as our sentences."""
    logging.getLogger("rasterio").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore")
    if sys.stderr is sys.__stderr__ and "ICEGRAPH_TRACEBACK" not in os.environ:
        # libtiff writes to descriptor 2 without asking: ours moves to another.
        sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


@app.command()
def run(
    passes: Annotated[
        list[str] | None,
        typer.Argument(help="Passes to track. Without any: simulate, train and evaluate.", metavar="[PASS…]"),
    ] = None,
    out: Out = "out",
    model: ModelOption = None,
    truth: TruthOption = [],
    seed: Seed = 0,
    fields: Annotated[int, typer.Option(help="Fields to simulate and train on, for each sensor.", min=1)] = 8,
    steps: Annotated[int | None, typer.Option(help="Training steps of each segmenter; default: the pipeline's.", min=1)] = None,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Begin the radar segmenter with random weights too, not with the shipped model's.")
    ] = False,
    max_speed: MaxSpeed = 1.0,
    radar: Settings = [],
) -> None:
    """Run a whole pipeline here: track PASS…, or, without any, simulate an ice field, train on it and track it."""
    from icegraph.laptop import LOG, REGISTERED, known_segmenters, simulated_fields, track_passes, train_on_simulation
    from pipelines.local import run_local

    settings_of_radar = radar_settings(radar)
    if radar and not passes:
        raise InputError("--radar", "is for passes of your own", "name them, or leave it away")
    own = delivered(out, LOG, "*/simulation.json", "*/champion.json", "mlflow.db", each=True, brings="models")
    with _Follower() as follower, own as folder, brought(passes or []) as there, brought(truth) as known, _model(model) as named:

        def pipeline(name: str, arguments: dict[str, Any], root: Path, log: Path) -> dict[str, list[Path]]:
            return dict(run_local(name, arguments, root, log, follower.task))

        if passes:
            place = track_passes(_existing(there), folder, named, known, pipeline, max_speed, settings_of_radar)
        else:
            settings = {"max_speed_m_s": max_speed} | ({"steps": steps} if steps else {})
            start = [] if from_scratch else known_segmenters()
            place = train_on_simulation(folder, seed, pipeline, follower, simulated_fields(fields), start, **settings)
        name_addresses(place / "manifest.json", place / "report.html", place / LOG)
        _print_headline(place / "metrics.json")
        _print_refusals(place)
        _print_not_promoted(place / REGISTERED)
        gate = json.loads((place / "gate.json").read_text())
    results = inside(out, place.name)
    _print(f"\nReport: [bold]{escape(inside(results, 'report.html'))}[/bold]  ({follower.elapsed})")
    if not passes:
        _require_gate(gate, inside(results, "models"))


@app.command()
def simulate(
    out: Out,
    seed: Seed = 0,
    passes: Annotated[int, typer.Option(help="Passes over the field.", min=1)] = 4,
    size_km: Annotated[float, typer.Option("--size-km", help="Side of the field in km.", min=4.0)] = 25.0,
    interval_h: Annotated[float, typer.Option("--interval-h", help="Hours from pass to pass.", min=0.1)] = 24.0,
    view: Annotated[list[str], typer.Option("--view", help="What looks at it: sar, amsr2, optical. May be given again.")] = [
        "sar",
        "amsr2",
        "optical",
    ],
    regime: Annotated[str | None, typer.Option(help="Kind of ice: pack, marginal, brash or mixed; default: the seed's choice.")] = None,
) -> None:
    """Simulate an ice field with known floes, seen by Sentinel-1, AMSR2 and MODIS."""
    from icegraph.laptop import own_folder
    from icegraph.simulate import simulate

    with _Follower() as follower, delivered(out, "simulation.json") as folder:
        simulate(
            own_folder(folder, "simulation.json"),
            seed=seed,
            size_km=size_km,
            passes=passes,
            interval_h=interval_h,
            views=view,
            ice={"regime": regime} if regime else None,
            progress=follower,
        )
    _print(f"Passes: [bold]{escape(inside(out, 'passes'))}[/bold]   truth: [bold]{escape(inside(out, 'truth'))}[/bold]")


app.command()(calibrate)


@app.command()
def segment(
    passes: Passes,
    out: Out,
    model: ModelOption = None,
    min_confidence: Annotated[
        float | None,
        typer.Option(help="Drop floes whose mean floe probability is lower; default: what the model says.", min=0, max=1),
    ] = None,
    radar: Settings = [],
) -> None:
    """Find the floes of each PASS: DIR/<pass id>/labels.tif, floes.parquet, item.json."""
    from icegraph.laptop import segment_passes

    own = delivered(out, "labels.tif", each=True)
    with _Follower() as follower, own as folder, brought(passes) as there, _model(model) as named:
        refused, counts = segment_passes(_existing(there), folder, named, follower, radar_settings(radar), min_confidence)
    table = Table("pass", "floes", "folder", box=None, header_style="dim")
    for pass_id, number in counts.items():
        table.add_row(pass_id, str(number), escape(inside(out, pass_id)))
    print_table(table)
    for refusal in refused:
        _print_refused(refusal.reason)


@app.command()
def train(
    passes: Passes,
    truth: TruthOption,
    out: Out,
    network: Annotated[Network, typer.Option("--network", help="What learns.")] = Network.unet,
    start: Annotated[
        str | None, typer.Option("--start", help="Segmenter to go on from: its bands, network and weights.", metavar="NAME_OR_PATH")
    ] = None,
    pretrain_steps: Annotated[int, typer.Option("--pretrain-steps", help="Steps without labels, repainting hidden patches.", min=0)] = 0,
    steps: Annotated[int, typer.Option("--steps", help="Steps with known floes.", min=1)] = 1000,
    batch: Annotated[int, typer.Option("--batch", help="Crops a step.", min=1)] = 8,
    tile_px: Annotated[int, typer.Option("--tile", help="Side of the tiles it will predict, pixels; a multiple of 16.", min=16)] = 512,
    hold_out: Annotated[bool, typer.Option(help="Keep one labelled pass in eight for validation.")] = False,
    seed: Seed = 0,
    registry: models.Place = models.REGISTRY,
) -> None:
    """Train a segmenter on PASSes of which --truth knows floes, and track it; stopped and called again, it goes on.

    A matcher (--network matcher) learns from the floes of --truth themselves, and takes --steps and --seed alone.
    """
    from icegraph.laptop import train_matcher, train_segmenter
    from icegraph.progress import silent
    from icegraph.registry import model_name, model_set
    from icegraph.segment.checkpoint import forget, state_beside
    from icegraph.segment.team import leads
    from icegraph.trial import registry_at, require_registry

    require_registry(registry)
    settings: dict[str, Any] = {"pretrain_steps": pretrain_steps, "steps": steps, "batch": batch, "tile_px": tile_px, "seed": seed}
    settings |= {"hold_out": hold_out, "halo_px": min(64, tile_px), "state": state_beside(out)}
    with _Follower() as follower, _trained(out, leads()) as place, brought(passes) as there, brought(truth) as known:
        if network is Network.matcher and start is not None:
            raise InputError("--start", "is for segmenters: a matcher begins with random weights", "leave it out")
        if start is None:
            settings["network"] = {"arch": network.value}
        with _model(start) as named:
            if named is not None:
                settings["start"] = model_set(named).segmenters[0]
            tell = follower if leads() else silent
            if network is Network.matcher:
                refused = train_matcher(_existing(there), known, place, tell, steps=steps, seed=seed)
            else:
                refused = train_segmenter(_existing(there), known, place, tell, **settings)
        if not leads():
            return
        with registry_at(registry) as (runs, _):
            runs.track(place, model_name(place))
    forget(state_beside(out))
    _print(f"Model: [bold]{escape(out)}[/bold]")
    for refusal in refused:
        _print_refused(refusal.reason)


@app.command()
def track(
    folder: Annotated[str, typer.Argument(help="What `icegraph segment` wrote.", metavar="DIR")],
    out: Out,
    model: ModelOption = None,
    max_speed: MaxSpeed = 1.0,
) -> None:
    """Follow the floes of segmented passes: matches.parquet, tracks.parquet, drift.nc, forecast.parquet."""
    from icegraph.laptop import track_folder

    with delivered(out, "tracks.parquet") as place, brought([folder]) as (passes,), _model(model) as named:
        track_folder(passes, place, named, max_speed)
    for name in ("matches.parquet", "tracks.parquet", "drift.nc", "forecast.parquet"):
        _print(escape(inside(out, name)))


@app.command()
def evaluate(
    folder: Annotated[str, typer.Argument(help="What `icegraph segment` or `icegraph run` wrote.", metavar="DIR")],
    truth: TruthOption,
    out: Annotated[str | None, typer.Option("--out", help="Folder for the report; default: DIR/evaluation.", metavar="DIR")] = None,
    tracks: Annotated[str | None, typer.Option("--tracks", help="What `icegraph track` wrote.", metavar="DIR")] = None,
) -> None:
    """Hold segmented and tracked passes against known floes."""
    from icegraph.laptop import evaluate_folder

    out = out or inside(folder, "evaluation")
    own = delivered(out, "report.html")
    with own as place, brought([folder]) as (passes,), brought(truth) as known, brought([tracks] if tracks else []) as followed:
        evaluate_folder(passes, known, place, followed[0] if followed else None)
        _print_headline(place / "metrics.json")
    _print(f"\nReport: [bold]{escape(inside(out, 'report.html'))}[/bold]")


@app.command()
def copy(
    source: Annotated[str, typer.Argument(help="A folder here; or an item, a file or a folder in S3.", metavar="SOURCE")],
    out: Annotated[str, typer.Option("--out", help="Becomes the copy; not there yet.", metavar="PLACE")],
) -> None:
    """Copy to S3 or from it, each file held against its SHA-256: SOURCE or PLACE, or both, are s3://BUCKET/NAME."""
    from icegraph.store import open_store

    store, key = open_store(out)
    if Path(out).exists() or (is_address(out) and store.find(key)):
        raise InputError(out, "is there already", "name another place with --out")
    if is_address(out):
        with brought([source]) as (place,):
            store.commit(key, place)
    else:
        store, key = open_store(source)
        store.fetch(key, Path(out))
    _print(f"[bold]{escape(out)}[/bold]")


@app.command()
def find(
    catalogue: Annotated[
        str, typer.Argument(help="copernicus, asf, earthdata, gibs, a folder, or s3://bucket/prefix.", metavar="CATALOGUE")
    ],
    time: Annotated[str, typer.Option("--time", help="Days or times A/B, or one day; UTC.", metavar="A/B")],
    area: Annotated[
        str | None, typer.Option("--area", help="West,south,east,north in degrees, or a GeoJSON file; default: anywhere.", metavar="AREA")
    ] = None,
    mode: Annotated[str, typer.Option("--mode", help="EW or IW; for gibs truecolor or falsecolor; for earthdata a collection.")] = "",
    polarisation: Annotated[str, typer.Option("--polarisation", help="HH, HV, VV or VH.")] = "",
    platform: Annotated[str, typer.Option("--platform", help="A satellite, such as Sentinel-1B or Terra.")] = "",
    overlap: Annotated[
        float | None, typer.Option("--overlap", help="Only pairs that overlap by this share of the smaller or more.", min=0.0, max=1.0)
    ] = None,
    within_h: Annotated[float, typer.Option("--within-h", help="Hours between the two of a pair, at most.", min=0.0)] = 72.0,
    limit: Annotated[int, typer.Option("--limit", help="Products, at most.", min=1)] = 200,
    save: Annotated[
        Path | None, typer.Option("--save", help="GeoJSON file for what was found, for `icegraph fetch`.", metavar="FILE", parser=on_disk)
    ] = None,
) -> None:
    """Look for passes in a catalogue: by area, time, mode and polarisation, or pairs that overlap."""
    from icegraph.ingest.catalogue import Query, open_catalogue, overlapping_pairs, parse_area, parse_period, write_found

    start, end = parse_period(time)
    query = Query(start, end, parse_area(area) if area else None, mode, polarisation, platform)
    with console.status("searching"):
        found = list(islice(open_catalogue(catalogue).search(query), limit + 1))
    more, found = len(found) > limit, sorted(found[:limit], key=lambda product: (product.time, product.id))
    table = Table(box=None, header_style="dim")
    if overlap is not None:
        pairs = overlapping_pairs(found, least=overlap, within_h=within_h)
        chosen = {product.id for pair in pairs for product in (pair.first, pair.second)}
        found = [product for product in found if product.id in chosen]
        for name in ("first", "second", "overlap", "hours"):
            table.add_column(name, no_wrap=True)
        for pair in pairs:
            table.add_row(escape(pair.first.id), escape(pair.second.id), f"{pair.overlap:.0%}", f"{pair.hours:.1f}")
    else:
        for name in ("time (UTC)", "platform", "mode", "polarisations", "MB", "id"):
            table.add_column(name, no_wrap=True)
        for product in found:
            size = f"{product.size / 1e6:.0f}" if product.size else ""
            words = (product.platform, product.mode, " ".join(product.polarisations), size, product.id)
            table.add_row(f"{product.time:%Y-%m-%d %H:%M:%S}", *map(escape, words))
    print_table(table)
    _print(f"{len(found)} found" + (f"; there are more than {limit}: narrow the search, or raise --limit" if more else ""))
    if save:
        write_found(save, found)
        _print(f"Saved: [bold]{escape(str(save))}[/bold]")


@app.command()
def fetch(
    found: Annotated[Path, typer.Argument(help="What `icegraph find` saved.", metavar="FOUND", parser=on_disk)],
    out: Annotated[Path, typer.Option("--out", help="Folder to download to, on a disk.", metavar="DIR", parser=on_disk)],
    parallel: Annotated[int, typer.Option("--parallel", help="Downloads at once; the Copernicus Data Space allows 4.", min=1, max=16)] = 4,
) -> None:
    """Download found passes, verified; run again, it goes on where it stopped and fetches nothing twice."""
    from icegraph.ingest.catalogue import fetch as fetch_products
    from icegraph.ingest.catalogue import read_found

    products = read_found(found)
    with _Follower() as follower:
        paths, failed = fetch_products(products, out, follower, parallel)
    for path in paths:
        _print(escape(str(path)))
    for failure in failed:
        _print(f"[red]failed[/red] {escape(failure.reason)}")
    if failed:
        raise InputError(
            out, f"{len(failed)} of {len(products)} could not be fetched", "mend what is told above and run the same command again"
        )


@app.command()
def submit(
    pipeline: Annotated[str, typer.Argument(help="sea_ice_training, sea_ice_tracking, or a compiled YAML file.", metavar="PIPELINE")],
    endpoint: Annotated[str, typer.Option(help="URL of the KFP API.", metavar="URL")],
    argument: Annotated[list[str], typer.Option("--arg", help="NAME=VALUE, the value as JSON or text. May be given again.")] = [],
    run_name: Annotated[str | None, typer.Option("--run-name", help="Default: the pipeline's name and the time.")] = None,
    experiment: Annotated[str, typer.Option(help="KFP experiment.")] = "icegraph",
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the run and give its verdict as exit code.")] = False,
) -> None:
    """Submit a compiled pipeline to a Kubeflow Pipelines server (token, if it asks for one, in KFP_TOKEN)."""
    from icegraph.submit import submit_pipeline
    from pipelines import COMPILED

    package = Path(pipeline) if Path(pipeline).suffix in (".yaml", ".yml") else COMPILED / f"{pipeline}.yaml"
    link, state = submit_pipeline(package, endpoint, _arguments(argument), run_name, experiment, wait)
    console.print(f"Run: [bold]{link}[/bold]" + (f"  {state}" if state else ""), soft_wrap=True)
    if state and state != "SUCCEEDED":
        raise typer.Exit(1)


app.command()(serve)


@contextmanager
def _trained(out: str, leads: bool) -> Iterator[Path]:
    """Where a model is trained into; of several processes, the one that leads writes it."""
    if leads:
        with delivered(out, "config.json") as place:
            yield place
    else:
        with tempfile.TemporaryDirectory() as work:
            yield Path(work, "model")


@contextmanager
def _model(named: str | None) -> Iterator[str | None]:
    """A model may be given by a name in a set of models, so what is not an address stays text."""
    if named is None or not is_address(named):
        yield named
        return
    with brought([named]) as (folder,):
        yield str(folder)


def _existing(passes: Sequence[Path]) -> list[Path]:
    for path in passes:
        if not path.exists():
            raise InputError(path, "there is no such file or folder", "check the path")
    return [path.resolve() for path in passes]


def _arguments(pairs: Sequence[str]) -> dict[str, Any]:
    arguments = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InputError(pair, "not an argument", "write NAME=VALUE")
        try:
            arguments[name] = json.loads(value)
        except ValueError:
            arguments[name] = value
    return arguments


def _print(text: str) -> None:
    """Print a line as it is: paths are copied from it, so it is not folded."""
    console.print(text, soft_wrap=True)


def _print_refused(reason: str) -> None:
    _print(f"[yellow]refused[/yellow] {escape(as_named(reason))}")


def _print_refusals(place: Path) -> None:
    """What a run could not use, and why it tracked nothing, where it did not."""
    for refusal in json.loads((place / "manifest.json").read_text())["refused"]:
        _print_refused(refusal["reason"])
    untracked = read_refusal(place / "tracks")
    if untracked:
        _print(f"[yellow]not tracked[/yellow] {escape(untracked.reason)}")


def _print_not_promoted(path: Path) -> None:
    """Which models were registered and are not in use, where models were trained."""
    for outcome in json.loads(path.read_text()) if path.exists() else []:
        if outcome["version"] and not outcome["champion"]:
            _print(f"[yellow]not in use[/yellow] {outcome['name']}: {escape(outcome['told'])}")


def _require_gate(gate: dict[str, Any], models: str) -> None:
    """Tell the criteria that a trained set of models failed.

    Raises:
        InputError: There are such.
    """
    if gate["passed"]:
        return
    for one in gate["criteria"]:
        if not one["passed"]:
            value = "missing" if one["value"] is None else f"{one['value']:.3g}"
            bound = f"at least {one['at_least']:g}" if one["at_least"] is not None else f"at most {one['at_most']:g}"
            _print(f"[red]failed[/red]  {one['metric']}: {value}, {bound} is asked for")
    raise InputError(
        models, "these models did not pass the gate and were not registered", "train longer, or use them as they are with --model"
    )


def _print_headline(path: Path) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    for card in json.loads(path.read_text())["headline"]:
        table.add_row(card["name"], f"[bold]{card['value']}[/bold]", f"[dim]{card['meaning']}[/dim]")
    console.print(table)


class _Follower:
    """Shows where long work stands: a live line on a terminal, one line a finished step everywhere."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._status = console.status("starting")
        self._quarter: dict[str, int] = {}

    def __enter__(self) -> "_Follower":
        self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    @property
    def elapsed(self) -> str:
        """Minutes and seconds since the start."""
        seconds = round(time.monotonic() - self._start)
        return f"{seconds // 60}:{seconds % 60:02d}"

    def __call__(self, text: str, share: float) -> None:
        """Take progress; where nobody watches live, print a line at each quarter."""
        self._status.update(f"{self.elapsed}  {escape(text)}  {share:.0%}")
        quarter, head = int(share * 4), text.split(":")[0]
        if not console.is_terminal and quarter > self._quarter.get(head, -1):
            self._quarter[head] = quarter
            _print(f"[dim]{self.elapsed:>6}[/dim]  {escape(text)}  {share:.0%}")

    def task(self, name: str, text: str, share: float) -> None:
        """Take what a task of a pipeline tells."""
        if text:
            self(f"{name}: {text}", share)
        elif share >= 1:
            console.print(f"[dim]{self.elapsed:>6}[/dim]  {name} [green]done[/green]")
        else:
            self._status.update(f"{self.elapsed}  {name}")
