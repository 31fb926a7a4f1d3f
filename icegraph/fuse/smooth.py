"""Write a smooth band: a Cloud Optimized GeoTIFF on a scene's grid from values known on its coarse cells alone.

The cells become a small raster, and a GDAL virtual raster in front of it shows them on the scene's grid, bilinear, with its overviews. The
COG driver copies that in one pass, so that no pixel is ever in an array here, and none is written twice. Values are kept as 16-bit whole
numbers with a scale and an offset (a third of the bytes of float32, and a tenth of the time); `Scene.read` gives them in their unit.
"""

from html import escape
from pathlib import Path
from typing import Final

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine

from icegraph.fuse.points import Float
from icegraph.fuse.resample import CoarseGrid
from icegraph.grid import Grid
from icegraph.scene import BLOCK, writing
from icegraph.store import atomic_path

SCALE: Final = 0.01  # of the unit: AMSR2's own step in kelvin
_NOTHING: Final = 65535
_LAYOUT: Final = {
    "COMPRESS": "ZSTD",
    "LEVEL": 1,
    "PREDICTOR": "STANDARD",
    "BLOCKSIZE": BLOCK,
    "BIGTIFF": "IF_SAFER",
    "NUM_THREADS": "ALL_CPUS",
}


def write_smooth(path: Path, coarse: CoarseGrid, cells: Float, *, unit: str, offset: float = 0.0) -> None:
    """Write one band; the file appears whole.

    A pixel is the bilinear mean of the cells about it that are known, and NaN where none is.

    Args:
        path: The file.
        coarse: The cells' grid.
        cells: Values [R, C], NaN where there is nothing.
        unit: Of the values.
        offset: The least value that is to be kept; the greatest is 655.34 above it.
    """
    numbers = np.clip(np.rint((cells - offset) / SCALE), 0, _NOTHING - 1)
    numbers = np.where(np.isfinite(cells), numbers, _NOTHING).astype(np.uint16)
    with atomic_path(path) as final, writing(path):
        small, virtual = final.with_suffix(".cells.tif"), final.with_suffix(".vrt")
        rows, cols = numbers.shape
        place = coarse.grid.transform @ Affine.scale(coarse.step) @ Affine.translation(-1, -1)
        nodata = None if np.isfinite(cells).all() else _NOTHING  # told only where needed: GDAL then looks at each pixel twice
        profile = {"driver": "GTiff", "height": rows, "width": cols, "count": 1, "dtype": "uint16", "nodata": nodata}
        with rasterio.open(small, "w", crs=coarse.grid.crs, transform=place, **profile) as dataset:
            dataset.write(numbers, 1)
        virtual.write_text(_enlarged(coarse.grid, coarse.step, small.name, unit, offset, nodata))
        rasterio.shutil.copy(virtual, final, driver="COG", **_LAYOUT)


def _enlarged(grid: Grid, step: int, source: str, unit: str, offset: float, nodata: int | None) -> str:
    """GDAL's virtual raster of the cells on the scene's grid; the cells have one ring more than the scene."""
    transform = ", ".join(repr(float(value)) for value in grid.transform.to_gdal())
    factors: list[str] = []
    while max(grid.shape) > BLOCK * 4 ** len(factors):  # every second of the usual ones: between them a smooth band tells nothing new
        factors.append(str(4 ** (len(factors) + 1)))
    overviews = f'<OverviewList resampling="bilinear">{" ".join(factors)}</OverviewList>' if factors else ""
    return f"""<VRTDataset rasterXSize="{grid.width}" rasterYSize="{grid.height}">
  <SRS>{escape(grid.crs)}</SRS>
  <GeoTransform>{transform}</GeoTransform>
  <VRTRasterBand dataType="UInt16" band="1" blockXSize="{BLOCK}" blockYSize="{BLOCK}">
    {"" if nodata is None else f"<NoDataValue>{nodata}</NoDataValue>"}
    <UnitType>{unit}</UnitType>
    <Offset>{offset}</Offset>
    <Scale>{SCALE}</Scale>
    <SimpleSource resampling="bilinear">
      <SourceFilename relativeToVRT="1">{source}</SourceFilename>
      <SourceBand>1</SourceBand>
      <SrcRect xOff="1" yOff="1" xSize="{grid.width / step!r}" ySize="{grid.height / step!r}"/>
      <DstRect xOff="0" yOff="0" xSize="{grid.width}" ySize="{grid.height}"/>
    </SimpleSource>
  </VRTRasterBand>
  {overviews}
</VRTDataset>
"""
