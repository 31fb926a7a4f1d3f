"""Give a scene the AMSR2 brightness temperatures and ice concentration nearest to it in time, and the age of the sample."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from icegraph.fuse.collocate import AGE, SIC, PartnerEntry, collocate
from icegraph.fuse.l1r import TB_BANDS
from icegraph.fuse.partners import describe_partner
from icegraph.fuse.points import Float
from icegraph.fuse.resample import CoarseGrid
from icegraph.fuse.smooth import write_smooth
from icegraph.scene import Scene, extend, write_item
from icegraph.store import atomic_dir, lineage, sha256

__all__ = ["BANDS", "describe_partner", "fuse"]

BANDS: Final = (*TB_BANDS, SIC, AGE)
_UNITS: Final = {SIC: ("%", 0.0), AGE: ("h", -320.0)}  # and the least value that a file holds; the others: K, 0


def fuse(scene: Scene, partners: Sequence[PartnerEntry], out: Path, *, limit_h: float = 12) -> Scene:
    """Write a scene anew with the bands of the AMSR2 data nearest in time that covers it.

    The item's `icegraph:amsr2` says which files these were, or why there is none; without one, the scene goes on with the bands it had.

    Args:
        scene: A calibrated scene.
        partners: The AMSR2 entries of a manifest, swaths and daily maps; entries of other kinds are passed over.
        out: The new scene's folder; its rasters are linked to the old ones where the file system can.
        limit_h: What is further away in time is not used, hours.

    Returns:
        The scene in `out`: `tb_06h_k` … `tb_89v_k` (from swaths), `sic_percent`, and `amsr2_age_h`, hours from the sample to the pass
        (negative where the sample is the later one).
    """
    coarse = CoarseGrid.over(scene.grid)
    cells, said = collocate(scene, coarse, partners, limit_h)
    with atomic_dir(out) as folder:
        rasters = extend(scene, folder)
        new = [band for band in BANDS if band in cells]
        rasters |= {band: f"{band}.tif" for band in new}
        with ThreadPoolExecutor(2) as pool:  # one band is interpolated while another is packed
            list(pool.map(lambda band: _write(folder / rasters[band], coarse, band, cells[band]), new))
        write_item(
            folder,
            pass_id=scene.id,
            time=scene.time,
            sensor=scene.sensor,
            grid=scene.grid,
            rasters=rasters,
            properties=_properties(scene, said),
            kept={name: asset for name, asset in scene.item.assets.items() if name not in cells},
        )
    return Scene.open(out)


def _write(path: Path, coarse: CoarseGrid, band: str, cells: Float) -> None:
    unit, least = _UNITS.get(band, ("K", 0.0))
    write_smooth(path, coarse, cells, unit=unit, offset=least)


def _properties(scene: Scene, said: dict[str, Any]) -> dict[str, Any]:
    """The old item's properties, what is said of AMSR2, and the new parents."""
    parents = [
        (scene.id, sha256(scene.folder / "item.json")),
        *((part["name"], part["sha256"]) for part in said.get("icegraph:amsr2_parts", [])),
    ]
    kept = {name: value for name, value in scene.item.properties.items() if not name.startswith("icegraph:amsr2")}
    raw = {"icegraph:raw": scene.item.properties.get("icegraph:parents", [])}  # of the calibrated scene, which is not kept
    return kept | said | raw | lineage(parents)
