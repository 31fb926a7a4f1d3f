"""`icegraph tiles`: a raster tile by tile."""

from functools import partial
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

console = Console(highlight=False)


def tiles(
    raster: Annotated[str, typer.Argument(help="A raster, here or s3://….", metavar="RASTER")],
    out: Annotated[str, typer.Option("--out", help="Folder to write to; or s3://BUCKET/NAME.", metavar="DIR")],
    model: Annotated[
        str, typer.Option("--model", help="Name or folder of a segmenter, or `threshold`: what is bright is floe.", metavar="NAME_OR_PATH")
    ] = "threshold",
    threshold: Annotated[float | None, typer.Option(help="Of the threshold model, in the raster's unit; default: Otsu's.")] = None,
    size: Annotated[int, typer.Option(help="Side of a tile, pixels.", min=16, max=4096)] = 256,
) -> None:
    """Judge every tile of a raster: tiles.parquet, tiles.json, run.json with a health report."""
    from icegraph.laptop import open_raster, own_folder
    from icegraph.places import brought, delivered, inside
    from icegraph.tiles import THRESHOLD, predict_tiles

    with delivered(out, "tiles.json") as folder, brought([raster]) as (path,), console.status("reading"):
        chosen = None if model == THRESHOLD else partial(open_raster, path, model)
        said = predict_tiles(path, own_folder(folder, "tiles.json"), opened=chosen, threshold=threshold, size=size)
    health = said["health"]
    console.print(f"{health['tiles']} tiles, {health['padded']} padded, {health['valid_share']:.1%} of the pixels valid")
    for warning in health["warnings"]:
        console.print(f"[yellow]{escape(warning)}[/yellow]")
    console.print(f"[bold]{escape(inside(out, 'tiles.parquet'))}[/bold]", soft_wrap=True)
