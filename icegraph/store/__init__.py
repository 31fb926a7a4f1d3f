"""Files that are whole or not there, the lineage that they carry, and the passes that were refused."""

from icegraph.store.atomic import atomic_dir, atomic_path, folder_beside
from icegraph.store.lineage import code_version, lineage, sha256
from icegraph.store.refusal import Refusal, read_refusal, write_refusal

__all__ = ["Refusal", "atomic_dir", "atomic_path", "code_version", "folder_beside", "lineage", "read_refusal", "sha256", "write_refusal"]
