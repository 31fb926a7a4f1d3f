"""IceGraph: from satellite passes to sea-ice floes, their graph, their tracks and their drift."""

from importlib.metadata import version

__version__ = version("icegraph")
