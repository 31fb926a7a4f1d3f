"""`icegraph schedule …`: recurring runs on a Kubeflow Pipelines server."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from icegraph.commands import print_table

app = typer.Typer(
    name="schedule",
    help="Recurring runs on a Kubeflow Pipelines server: archive, tracking, evaluation (token, if it asks for one, in KFP_TOKEN).",
    no_args_is_help=True,
)
console = Console(highlight=False)

Endpoint = Annotated[str, typer.Option(help="URL of the KFP API.", metavar="URL")]
Experiment = Annotated[str, typer.Option(help="KFP experiment.")]


@app.command()
def apply(
    endpoint: Endpoint,
    file: Annotated[Path | None, typer.Argument(help="TOML; default: pipelines/schedules.toml.", metavar="[FILE]")] = None,
    experiment: Experiment = "icegraph",
) -> None:
    """Make the recurring runs be as FILE tells; run again, it changes nothing. Those that FILE does not name stay."""
    from icegraph.schedule import apply, read_schedules
    from pipelines import COMPILED

    for name, change in apply(read_schedules(file or COMPILED.parent / "schedules.toml"), COMPILED, endpoint, experiment).items():
        console.print(f"{escape(name)}  {change}", soft_wrap=True)


@app.command("list")
def list_runs(endpoint: Endpoint, experiment: Experiment = "icegraph") -> None:
    """List the recurring runs of the experiment."""
    from icegraph.schedule import recurring_runs

    table = Table("name", "cron (UTC)", "runs", "made", "id", box=None, header_style="dim")
    for run in recurring_runs(endpoint, experiment):
        made = f"{run.created:%Y-%m-%d %H:%M}" if run.created else ""
        table.add_row(escape(run.name), run.cron, "yes" if run.enabled else "no", made, run.run_id)
    print_table(table)


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="Its name.", metavar="NAME")], endpoint: Endpoint, experiment: Experiment = "icegraph"
) -> None:
    """Remove a recurring run; the runs that it made stay."""
    from icegraph.schedule import remove

    remove(name, endpoint, experiment)
