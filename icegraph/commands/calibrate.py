"""`icegraph calibrate`: passes to scenes, and the settings of the radar that other commands take too."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from icegraph.commands import print_table
from icegraph.errors import InputError

console = Console(highlight=False)

Settings = Annotated[
    list[str],
    typer.Option(
        "--radar",
        help="What to make of Sentinel-1: quantity (sigma, beta, gamma), speckle (lee, refined-lee, gamma-map, non-local, boxcar, none), "
        "nesz and balance (true, false), area (west,south,east,north in degrees), pixel_m, "
        "normalise (none, first-year, multi-year, water). May be given again.",
        metavar="NAME=VALUE",
    ),
]


def radar_settings(pairs: Sequence[str]) -> dict[str, str]:
    """Settings by name, checked.

    Raises:
        InputError: One is not NAME=VALUE, or not a setting.
    """
    from icegraph.calibrate import RadarSettings

    for pair in pairs:
        if "=" not in pair:
            raise InputError(pair, "not a setting", "write NAME=VALUE, such as speckle=boxcar")
    given = dict(pair.split("=", 1) for pair in pairs)
    RadarSettings.parse(given)
    return given


def calibrate(
    passes: Annotated[
        list[str],
        typer.Argument(help="SAFE folders or zips, STAC items, GeoTIFFs, or folders of them, here or s3://…", metavar="PASS…"),
    ],
    out: Annotated[
        str, typer.Option("--out", help="Folder to write to, made where it does not exist; or s3://BUCKET/NAME.", metavar="DIR")
    ],
    radar: Settings = [],
) -> None:
    """Calibrate each PASS: DIR/<pass id>/item.json and a Cloud Optimized GeoTIFF a band."""
    from icegraph.evaluate.expectations import quality_rows
    from icegraph.laptop import calibrate_passes
    from icegraph.places import as_named, brought, delivered, inside

    settings = radar_settings(radar)
    table = Table("pass", "pixels", "m", "bands", "noise floor, dB", "steps, dB", "looks", box=None, header_style="dim")
    own = delivered(out, "valid.tif", each=True)
    with console.status("starting") as status, own as folder, brought(passes) as there:
        refused, scenes = calibrate_passes(there, folder, settings, lambda text, share: status.update(f"{escape(text)}  {share:.0%}"))
        for scene in scenes:
            told = quality_rows(scene)
            shown = [
                " ".join(f"{row['band']} {_shown(row, name)}" for row in told)
                for name in (("noise_floor_db",), ("step_before_db", "step_db"), ("looks", "looks_filtered"))
            ]
            height, width = scene.grid.shape
            size = (f"{height} × {width}", f"{scene.grid.pixel_m:g}", " ".join(scene.bands))
            table.add_row(inside(out, scene.id), *map(escape, (*size, *shown)))
    print_table(table)
    for refusal in refused:
        console.print(f"[yellow]refused[/yellow] {escape(as_named(refusal.reason))}", soft_wrap=True)


def _shown(row: Mapping[str, Any], names: Sequence[str]) -> str:
    """Figures before and after, and a dash where the pass does not tell one."""
    return "→".join("–" if row[name] is None else str(row[name]) for name in names)
