"""Give a scene the AMSR2 brightness temperatures and ice concentration nearest to it in time."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from icegraph.errors import PassError
from icegraph.fuse.amsr2 import describe_swath, read_swath
from icegraph.fuse.concentration import asi_percent
from icegraph.fuse.resample import CoarseGrid, Float
from icegraph.grid import tiles
from icegraph.scene import Scene, extend, write_band, write_item
from icegraph.store import atomic_dir, lineage, sha256
from icegraph.tai93 import from_tai93

__all__ = ["BANDS", "describe_swath", "fuse"]

BANDS: Final = ("tb_18h_k", "tb_18v_k", "tb_36h_k", "tb_36v_k", "tb_89h_k", "tb_89v_k", "sic_percent")
_COVERED: Final = 0.95  # of the scene's cells, or the next swath is tried
_WINDOW: Final = 1024


class SwathEntry(Protocol):
    """What a manifest says of an AMSR2 granule."""

    @property
    def href(self) -> str | Path:
        """Path of the granule."""

    @property
    def time(self) -> datetime:
        """Its middle time, UTC."""

    @property
    def bounds(self) -> Sequence[float]:
        """West, south, east, north, degrees."""

    @property
    def kind(self) -> str:
        """`amsr2`."""


def fuse(scene: Scene, amsr2: Sequence[SwathEntry], out: Path, *, limit_h: float = 12) -> Scene:
    """Write a scene anew with the bands of the AMSR2 swath nearest in time that covers it.

    The item's `icegraph:amsr2` says which swath that was, or why there is none; without one, the scene goes on with the bands it had.
    A swath that cannot be read is noted in `icegraph:amsr2_notes` and the next one is tried.

    Args:
        scene: A calibrated scene.
        amsr2: The AMSR2 entries of a manifest; entries of other kinds are passed over.
        out: The new scene's folder; its rasters are linked to the old ones where the file system can.
        limit_h: Swaths further away in time are not used, hours.

    Returns:
        The scene in `out`.
    """
    coarse = CoarseGrid.over(scene.grid)
    cells, said = _nearest(scene, coarse, amsr2, limit_h)
    with atomic_dir(out) as folder:
        rasters = extend(scene, folder)
        for band, values in cells.items():
            rasters[band] = f"{band}.tif"
            with write_band(folder / rasters[band], scene.grid, "float32", unit="%" if band == "sic_percent" else "K") as writer:
                for window in tiles(scene.grid.shape, _WINDOW):
                    writer.write(window, coarse.window(values, window))
        write_item(
            folder,
            pass_id=scene.id,
            time=scene.time,
            sensor=scene.sensor,
            grid=scene.grid,
            rasters=rasters,
            properties=_properties(scene, said),
        )
    return Scene.open(out)


def _nearest(scene: Scene, coarse: CoarseGrid, amsr2: Sequence[SwathEntry], limit_h: float) -> tuple[dict[str, Float], dict[str, Any]]:
    """Cells of each band from the best swath, and what the item is to say; no cells where no swath will do."""
    entries = [entry for entry in amsr2 if entry.kind == "amsr2"]
    over = [entry for entry in entries if _meets(entry.bounds, _bbox(scene))]
    notes: list[str] = []
    for entry in sorted(over, key=lambda entry: (abs(_hours(entry, scene)), str(entry.href))):
        path = Path(entry.href)
        if abs(_hours(entry, scene)) > limit_h:
            notes.append(f"{path.name}: {abs(_hours(entry, scene)):.1f} h away, the limit is {limit_h:g} h")
            continue
        try:
            cells, time, covered, land_told = _cells(path, coarse)
        except PassError as error:
            notes.append(f"{path.name}: {error.problem}; {error.mend}")
            continue
        if covered < _COVERED:
            notes.append(f"{path.name}: covers {100 * covered:.0f} % of the scene, {100 * _COVERED:.0f} % wanted")
            continue
        if not land_told:
            notes.append(f"{path.name}: does not tell land from sea: concentration over land means nothing")
        return cells, _found(scene, path, time, notes)
    if not entries:
        reason = "no AMSR2 swath was given"
    elif not over:
        reason = f"none of {len(entries)} AMSR2 swaths lies over the scene"
    else:
        reason = "no usable AMSR2 swath"
    return {}, {"icegraph:amsr2": f"none: {'; '.join([reason, *notes])}"} | ({"icegraph:amsr2_notes": notes} if notes else {})


def _cells(path: Path, coarse: CoarseGrid) -> tuple[dict[str, Float], datetime, float, bool]:
    """Bands on the coarse grid, NaN on land; the time at which the swath saw the scene; the share of it seen; whether land is known.

    Points lie 10 km × 7 km apart, at 89 GHz 5 km × 4 km: the radii reach one and a half times as far, the weights half.
    """
    swath = read_swath(path)
    low = coarse.resample(swath.low, radius_m=15_000, sigma_m=5_000)
    high = coarse.resample(swath.high, radius_m=8_000, sigma_m=3_000)
    concentration = asi_percent(low["tb_18v_k"], low["tb_23v_k"], low["tb_36v_k"], high["tb_89h_k"], high["tb_89v_k"])
    all_bands = low | high | {"sic_percent": concentration}
    seen = np.isfinite(concentration)
    if swath.land is not None:
        seen |= np.isfinite(coarse.resample(swath.land, radius_m=8_000, sigma_m=3_000)["tb_89h_k"])
    times = [coarse.mean_time_s(points) for points in (swath.high, swath.land) if points is not None]
    time = from_tai93(next((seconds for seconds in times if np.isfinite(seconds)), 0.0))
    return {band: all_bands[band] for band in BANDS}, time, float(seen.mean()), swath.land is not None


def _found(scene: Scene, path: Path, time: datetime, notes: list[str]) -> dict[str, Any]:
    age_s = (scene.time - time).total_seconds()
    when = f"{abs(age_s) / 60:.0f} min {'before' if age_s >= 0 else 'after'} the pass"
    said: dict[str, Any] = {
        "icegraph:amsr2": f"{path.name}, {when}",
        "icegraph:amsr2_swath": path.name,
        "icegraph:amsr2_sha256": sha256(path),
        "icegraph:amsr2_time": time.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "icegraph:amsr2_age_s": round(age_s, 1),
    }
    return said | ({"icegraph:amsr2_notes": notes} if notes else {})


def _properties(scene: Scene, said: dict[str, Any]) -> dict[str, Any]:
    """The old item's properties, what is said of AMSR2, and the new parents."""
    parents = [(scene.id, sha256(scene.folder / "item.json"))]
    if "icegraph:amsr2_swath" in said:
        parents.append((said["icegraph:amsr2_swath"], said["icegraph:amsr2_sha256"]))
    kept = {name: value for name, value in scene.item.properties.items() if not name.startswith("icegraph:amsr2")}
    return kept | said | lineage(parents)


def _hours(entry: SwathEntry, scene: Scene) -> float:
    return (scene.time - entry.time).total_seconds() / 3600


def _bbox(scene: Scene) -> Sequence[float]:
    return scene.item.bbox or (-180.0, -90.0, 180.0, 90.0)


def _meets(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two boxes of longitude and latitude touch; one whose west is past its east crosses the date line."""
    if one[1] > other[3] or other[1] > one[3]:
        return False
    spans = [[(box[0], box[2])] if box[0] <= box[2] else [(box[0], 180.0), (-180.0, box[2])] for box in (one, other)]
    return any(a[0] <= b[1] and b[0] <= a[1] for a in spans[0] for b in spans[1])
