"""Commands of `icegraph`, a module a topic."""
