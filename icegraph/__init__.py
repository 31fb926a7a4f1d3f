"""IceGraph: from satellite passes to sea-ice floes, their graph, their tracks and their drift."""

import os
from importlib.metadata import version

__version__ = version("icegraph")

# What lies beside a raster (`.ovr`, `.aux.xml`) could have GDAL read any file or address: a raster is what its own bytes say.
os.environ["GDAL_DISABLE_READDIR_ON_OPEN"] = "EMPTY_DIR"
# MB of blocks of rasters kept; GDAL's own choice, a twentieth of the machine's memory, is more than a pass needs.
os.environ.setdefault("GDAL_CACHEMAX", "256")
