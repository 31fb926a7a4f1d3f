"""The floe table of what was outlined in memory."""

import tempfile
from pathlib import Path
from typing import Any

import geopandas as gpd

from icegraph.graph import floe_table
from icegraph.grid import Window
from icegraph.scene import write_tiles
from icegraph.segment import Outlines
from icegraph.serve.array_scene import ArrayScene


def measured(scene: ArrayScene, window: Window, outlines: Outlines) -> gpd.GeoDataFrame:
    """The floe table of a window: written out once, as its measures read files by windows."""
    with tempfile.TemporaryDirectory(prefix="icegraph-") as work:
        saved = scene.save(Path(work), window)
        height, width = window.shape
        profile: dict[str, Any] = {"height": height, "width": width, "count": 1, "crs": saved.grid.crs, "transform": saved.grid.transform}
        for name, pixels in (("labels", outlines.labels), ("floe_probability", outlines.probability)):
            with write_tiles(Path(work) / f"{name}.tif", 256, dtype=str(pixels.dtype), **profile) as writer:
                writer.write(Window(0, 0, height, width), pixels)
        return floe_table(Path(work), saved)
