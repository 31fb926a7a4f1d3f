"""`icegraph trace`: back to the raw files, and forwards."""

import json
from typing import Annotated

import typer


def trace(
    thing: Annotated[
        str,
        typer.Argument(help="A track's number, PASS/FLOE, a pass id, a model's name, a request id, or digits of a SHA-256.", metavar="ID"),
    ],
    places: Annotated[
        list[str],
        typer.Option("--in", help="Folders of runs, lakes, models, request logs, here or s3://…. May be given again.", metavar="PLACE"),
    ] = ["out"],
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Tell what something was made from, back to the raw files, and what was made from it."""
    from icegraph.places import as_named, brought
    from icegraph.trace import read_history, shown

    with brought(places) as folders:
        found = read_history(folders).trace(thing)
    print(as_named(json.dumps(found, indent=1, ensure_ascii=False) if as_json else "\n".join(shown(found))))
