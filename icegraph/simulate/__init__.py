"""An ice field with known truth, seen by a simulated Sentinel-1, AMSR2 and MODIS.

<out>/
  passes/          what the satellites would have sent: SAFE folders, AMSR2 .h5, MODIS STAC items with GeoTIFFs
  truth/           <pass id>.labels.tif, <pass id>.classes.tif, floes.parquet
  simulation.json  the seed and all parameters
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from icegraph.errors import InputError
from icegraph.progress import Progress, silent

VIEWS = ("sar", "amsr2", "optical")
RADAR: Mapping[str, Any] = MappingProxyType({"smallest_px": 12.0, "gap_px": 1.6, "rubble": 0.5})
"""Settings of the ice where a radar looks: under speckle, 90 m sharp on pixels of 40 m, smaller or closer floes have no outlines."""
_PLATFORMS = ("terra", "aqua")


def simulate(
    out: Path,
    *,
    seed: int,
    size_km: float,
    passes: int,
    interval_h: float = 24.0,
    views: Sequence[str] = VIEWS,
    start: datetime | None = None,
    sar_pixel_m: float = 40.0,
    optical_pixel_m: float = 250.0,
    ice: Mapping[str, Any] | None = None,
    progress: Progress = silent,
) -> None:
    """Simulate an ice field over several passes; write what satellites see of it, and the truth.

    Args:
        out: The folder to write: it appears, whole, at the end, and replaces one that is there.
        seed: Every random number follows from it: the same arguments give the same bytes.
        size_km: Side of the square that is seen.
        passes: How many times it is seen.
        interval_h: Hours between two passes.
        views: What sees it: any of `VIEWS`.
        start: Time of the first pass, aware; default: from the seed, a minute between April and August of 2017 to 2021.
        sar_pixel_m: Pixel of the radar's truth.
        optical_pixel_m: Pixel of the optical images.
        ice: Settings of the field to fix instead of drawing them from the seed; see `icegraph.simulate.field.Settings`.
        progress: Is told each product and the share done.

    Raises:
        InputError: No passes, an unknown view, or a field too small or too large.
    """
    # Views import their file formats' libraries, which a light command must not wait for.
    from icegraph.simulate import truth
    from icegraph.simulate.field import Field, Settings
    from icegraph.store import atomic_dir

    _check(passes, views, interval_h)
    start = _start(seed) if start is None else start.astimezone(UTC)
    pixels = {"sar": sar_pixel_m, "optical": optical_pixel_m}
    finest = min((pixels[view] for view in views if view in pixels), default=sar_pixel_m)
    span_s = interval_h * 3600 * (passes - 1)
    settings = _settings(Settings(seed, size_km, finest, span_s, interval_h * 3600), {**(RADAR if "sar" in views else {}), **(ice or {})})
    field = Field(settings)
    progress(f"{len(field.floes)} floes, {field.regime_name}", 0.0)
    table: list[dict[str, Any]] = []
    with atomic_dir(out) as folder:
        for part in ("passes", "truth"):
            (folder / part).mkdir()
        for index in range(passes):
            time = start + timedelta(hours=interval_h * index)

            def say(product: str, index: int = index) -> None:
                progress(product, (index + 1) / passes)

            seen = _look(field, folder, index, time, views, pixels, say)
            velocity = field.step(interval_h * 3600)
            table += truth.with_velocity(seen, velocity)
        truth.write_floes(table, folder / "truth" / "floes.parquet")
        parameters = {
            "size_km": size_km,
            "passes": passes,
            "interval_h": interval_h,
            "views": list(views),
            "start": f"{start:%Y-%m-%dT%H:%M:%SZ}",
        }
        parameters |= {"sar_pixel_m": sar_pixel_m, "optical_pixel_m": optical_pixel_m, "regime_drawn": field.regime_name}
        text = json.dumps({"seed": seed} | parameters | {"field": asdict(settings)}, indent=1, sort_keys=True)
        (folder / "simulation.json").write_text(text + "\n")


def _start(seed: int) -> datetime:
    """Fields of different seeds are seen at different times, so that their passes have different names."""
    rng = np.random.default_rng([seed, 11])
    return datetime(int(rng.integers(2017, 2022)), 4, 1, tzinfo=UTC) + timedelta(minutes=int(rng.integers(0, 150 * 24 * 60)))


def _check(passes: int, views: Sequence[str], interval_h: float) -> None:
    if passes < 1 or interval_h <= 0:
        raise InputError(
            f"{passes} passes every {interval_h:g} h", "nothing to simulate", "ask for at least one pass and a positive interval"
        )
    for view in views:
        if view not in VIEWS:
            raise InputError(f"view {view}", "not known", f"name some of {', '.join(VIEWS)}")


def _settings(settings: Any, ice: Mapping[str, Any]) -> Any:
    free = {field.name for field in fields(settings)} - {"seed", "size_km", "pixel_m", "span_s", "interval_s"}
    for name in ice:
        if name not in free:
            raise InputError(f"setting {name} of the ice", "not known", f"name some of {', '.join(sorted(free))}")
    return replace(settings, **ice)


def _look(
    field: Any, folder: Path, index: int, time: datetime, views: Sequence[str], pixels: Mapping[str, float], say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Write all views of one pass and their truth; gives the rows of the truth."""
    from icegraph.simulate import truth
    from icegraph.simulate.view import Sheet, View

    seed = field.settings.seed
    table: list[dict[str, Any]] = []
    if "sar" in views or "amsr2" in views:
        with _scratch(folder) as scratch:
            sheet = Sheet(View(field, time, pixels["sar"], index=index, cloudy=False), scratch)
            if "sar" in views:
                from icegraph.simulate import sentinel1
                from icegraph.simulate.ew_geometry import ImageGeometry

                pass_id = sentinel1.write_safe(sheet, folder / "passes", rng=np.random.default_rng([seed, 7, index]))
                geometry = ImageGeometry.inside(sheet.grid)
                known = truth.Known(sheet, optical=False, covered=partial(sentinel1.covered, geometry))
                truth.write_truth(known, sheet.grid, folder / "truth", pass_id)
                table += truth.rows(field, known, pass_id, time)
                say(pass_id)
            if "amsr2" in views:
                from icegraph.simulate.amsr2 import write_amsr2

                say(write_amsr2(sheet, folder / "passes", rng=np.random.default_rng([seed, 8, index])).stem)
    if "optical" in views:
        from icegraph.simulate.optical import Look, write_optical

        with _scratch(folder) as scratch:
            sheet = Sheet(View(field, time, pixels["optical"], index=index, cloudy=True), scratch)
            look = Look.random(np.random.default_rng([seed, 9]))
            rng = np.random.default_rng([seed, 10, index])
            pass_id = write_optical(sheet, folder / "passes", rng=rng, platform=_PLATFORMS[index % 2], look=look)
            known = truth.Known(sheet, optical=True)
            truth.write_truth(known, sheet.grid, folder / "truth", pass_id)
            table += truth.rows(field, known, pass_id, time)
            say(pass_id)
    return table


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A folder that is gone when the block ends."""
    scratch = folder / "drawn"
    scratch.mkdir()
    yield scratch
    shutil.rmtree(scratch)
