"""Files that are whole or not there, and the lineage that they carry."""

from icegraph.store.atomic import atomic_dir, atomic_path
from icegraph.store.lineage import code_version, lineage, sha256

__all__ = ["atomic_dir", "atomic_path", "code_version", "lineage", "sha256"]
