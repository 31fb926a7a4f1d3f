"""Floes as a table, and as a graph of neighbours and of possible identities across passes."""

from icegraph.graph.build import Graph, GraphPair, GraphPass, build_graph, make_graph, read_graph
from icegraph.graph.floes import floe_table, read_floes, write_floes
from icegraph.graph.nodes import Nodes

__all__ = ["Graph", "GraphPair", "GraphPass", "Nodes", "build_graph", "floe_table", "make_graph", "read_floes", "read_graph", "write_floes"]
