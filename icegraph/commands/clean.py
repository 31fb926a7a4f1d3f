"""`icegraph clean`: what nobody needs any more."""

import re
from datetime import timedelta
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from icegraph.commands.models import REGISTRY, Place
from icegraph.errors import InputError

console = Console(highlight=False)
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}


def parse_age(text: str) -> timedelta:
    """An age such as `30d`, `12h`, `4w`.

    Raises:
        InputError: It is none.
    """
    found = re.fullmatch(r"(\d{1,5})([hdw])", text)
    if not found:
        raise InputError(text, "is no age", "write a number of hours, days or weeks: 12h, 30d, 4w")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def clean(
    places: Annotated[
        list[str], typer.Argument(help="Folders of runs, scenes, models and request logs, here or s3://….", metavar="PLACE…")
    ],
    older_than: Annotated[str, typer.Option("--older-than", help="What is younger stays: 12h, 30d, 4w.", metavar="AGE")],
    keep: Annotated[list[str], typer.Option("--keep", help="Places below PLACE that stay. May be given again.", metavar="PLACE")] = [],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would be removed, and remove nothing.")] = False,
    registry: Place = REGISTRY,
) -> None:
    """Remove old artifacts that no registered model, lake or kept artifact was made from; what stays can still be traced."""
    from icegraph.clean import clean
    from icegraph.commands.models import opened

    age = parse_age(older_than)
    with opened(registry) as (known, _), console.status("reading") as status:
        gone = clean(places, known, age, keep=keep, dry_run=dry_run, progress=lambda text, _: status.update(escape(text)))
    for one in gone:
        console.print(f"{one.changed:%Y-%m-%d}  {one.bytes / 1e6:8.1f} MB  {escape(one.place)}", soft_wrap=True)
    done = "would be removed" if dry_run else "removed"
    console.print(f"{len(gone)} {done}, {sum(one.bytes for one in gone) / 1e6:.1f} MB")
