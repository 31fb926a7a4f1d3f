"""Tests of icegraph.evaluate."""
