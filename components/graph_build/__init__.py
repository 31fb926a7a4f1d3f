"""The graph_build stage as a KFP component."""
