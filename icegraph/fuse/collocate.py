"""Choose what AMSR2 saw of a scene nearest in time: swaths before daily maps, each filling the cells that those before it did not see."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from icegraph.errors import PassError
from icegraph.fuse.concentration import asi_percent
from icegraph.fuse.l1r import read_swath
from icegraph.fuse.partners import is_day_map, read_day_map
from icegraph.fuse.points import Bools, Float
from icegraph.fuse.resample import CoarseGrid
from icegraph.scene import Scene
from icegraph.store import sha256
from icegraph.tai93 import from_tai93, to_tai93

AGE: Final = "amsr2_age_h"
SIC: Final = "sic_percent"
_LAND: Final = 50.0  # % of a 89 GHz footprint: the middle of it is land


class PartnerEntry(Protocol):
    """What a manifest says of a file of AMSR2 data."""

    @property
    def href(self) -> str | Path:
        """Its path."""

    @property
    def time(self) -> datetime:
        """Its middle time, UTC."""

    @property
    def bounds(self) -> Sequence[float]:
        """West, south, east, north, degrees."""

    @property
    def kind(self) -> str:
        """`amsr2`."""


@dataclass(frozen=True)
class _Sample:
    """What one file gives: bands and the time (TAI93 seconds) on the coarse cells, where it saw them, and a note."""

    cells: dict[str, Float]
    tai93_s: Float
    seen: Bools
    note: str = ""


def collocate(scene: Scene, coarse: CoarseGrid, entries: Sequence[PartnerEntry], limit_h: float) -> tuple[dict[str, Float], dict[str, Any]]:
    """Bands on the coarse cells, NaN over land and where nothing was seen, and what the scene's item is to say.

    A swath shows one instant and a map the mean of a day, so a map is taken only where no swath within the limit saw. A file that cannot
    be read is noted, and the next is tried.

    Args:
        scene: The scene.
        coarse: Its coarse cells.
        entries: What a manifest lists; entries of other kinds than AMSR2 are passed over.
        limit_h: What is further away in time is not used, hours; a map counts as of its day's noon.

    Returns:
        Band → [R, C], among them the age of the sample (hours from it to the pass), and empty where there is none; properties
        `icegraph:amsr2` (a sentence), `icegraph:amsr2_parts` (name, SHA-256, time, age and share of the cells of each file used),
        `icegraph:amsr2_notes`.
    """
    known = [entry for entry in entries if entry.kind == "amsr2"]
    over = [entry for entry in known if _meets(entry.bounds, scene.item.bbox or (-180.0, -90.0, 180.0, 90.0))]
    cells: dict[str, Float] = {}
    seen = np.zeros(coarse.lon.shape, bool)
    parts: list[dict[str, Any]] = []
    notes: list[str] = []
    for entry in sorted(over, key=lambda entry: (is_day_map(Path(entry.href)), abs(_hours(scene, entry.time)), str(entry.href))):
        path = Path(entry.href)
        if seen.all():
            break
        if abs(_hours(scene, entry.time)) > limit_h:
            notes.append(f"{path.name}: {abs(_hours(scene, entry.time)):.1f} h away, the limit is {limit_h:g} h")
            continue
        try:
            sample = _sample(path, coarse)
        except PassError as error:
            notes.append(f"{path.name}: {error.problem}; {error.mend}")
            continue
        new = sample.seen & ~seen
        if not new.any():
            notes.append(f"{path.name}: sees no part of the scene that is not seen already")
            continue
        age_h = (to_tai93(scene.time) - sample.tai93_s) / 3600
        for band, values in (sample.cells | {AGE: np.where(np.isfinite(sample.cells[SIC]), age_h, np.nan)}).items():
            cells.setdefault(band, np.full(seen.shape, np.nan))[new] = values[new]
        seen |= new
        parts.append(_part(path, from_tai93(float(sample.tai93_s[new].mean())), scene, float(new.mean())))
        notes += [f"{path.name}: {sample.note}"] if sample.note else []
    said: dict[str, Any] = {"icegraph:amsr2_notes": notes} if notes else {}
    if parts:
        return cells, {"icegraph:amsr2": "; ".join(map(_told, parts)), "icegraph:amsr2_parts": parts} | said
    if not known:
        reason = "no AMSR2 file was given"
    elif not over:
        reason = f"none of {len(known)} AMSR2 files lies over the scene"
    else:
        reason = "no usable AMSR2 file"
    return {}, {"icegraph:amsr2": f"none: {'; '.join([reason, *notes])}"} | said


def _sample(path: Path, coarse: CoarseGrid) -> _Sample:
    return _map_sample(path, coarse) if is_day_map(path) else _swath_sample(path, coarse)


def _swath_sample(path: Path, coarse: CoarseGrid) -> _Sample:
    """Brightness temperatures and their concentration. Points over land are left out, and land itself stays empty.

    A coast thus takes its values from the sea beside it, out to where the footprints that hold no land reach.
    """
    swath = read_swath(path)
    ground = coarse.resample(swath.ground)
    seen = np.isfinite(ground["land_percent"])
    sea = seen & (ground["land_percent"] <= _LAND)
    kelvin = {band: np.where(sea, values, np.nan) for points in swath.channels for band, values in coarse.resample(points).items()}
    percent = asi_percent(kelvin["tb_18v_k"], kelvin["tb_23v_k"], kelvin["tb_36v_k"], kelvin["tb_89h_k"], kelvin["tb_89v_k"])
    note = "" if swath.tells_land else "does not tell land from sea: concentration over land means nothing"
    return _Sample(kelvin | {SIC: percent}, ground["tai93_s"], seen, note)


def _map_sample(path: Path, coarse: CoarseGrid) -> _Sample:
    day = read_day_map(path, south=bool(coarse.lat.mean() < 0))
    points, known = day.about(coarse.lon, coarse.lat)
    values = coarse.resample(points)
    seen = known & np.isfinite(values[SIC])
    return _Sample({SIC: np.clip(values[SIC], 0, 100)}, values["tai93_s"], seen)


def _part(path: Path, time: datetime, scene: Scene, share: float) -> dict[str, Any]:
    return {
        "name": path.name,
        "sha256": sha256(path),
        "time": time.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "age_s": round((scene.time - time).total_seconds(), 1),
        "share": round(share, 4),
    }


def _told(part: dict[str, Any]) -> str:
    side = "before" if part["age_s"] >= 0 else "after"
    return f"{part['name']}, {abs(part['age_s']) / 60:.0f} min {side} the pass, {100 * part['share']:.0f} % of the scene"


def _hours(scene: Scene, time: datetime) -> float:
    return (scene.time - time).total_seconds() / 3600


def _meets(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two boxes of longitude and latitude touch; one whose west is past its east crosses the date line."""
    if one[1] > other[3] or other[1] > one[3]:
        return False
    spans = [[(box[0], box[2])] if box[0] <= box[2] else [(box[0], 180.0), (-180.0, box[2])] for box in (one, other)]
    return any(a[0] <= b[1] and b[0] <= a[1] for a in spans[0] for b in spans[1])
