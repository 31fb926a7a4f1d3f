"""Files and items that are whole or not there, here and in S3, the lineage that they carry, and the passes that were refused."""

from icegraph.store.atomic import atomic_dir, atomic_path, folder_beside
from icegraph.store.items import Item, Store, open_store
from icegraph.store.lineage import code_version, lineage, sha256
from icegraph.store.patience import PATIENCE_S, patiently
from icegraph.store.refusal import Refusal, read_refusal, write_refusal

__all__ = [
    "PATIENCE_S",
    "Item",
    "Refusal",
    "Store",
    "atomic_dir",
    "atomic_path",
    "code_version",
    "folder_beside",
    "lineage",
    "open_store",
    "patiently",
    "read_refusal",
    "sha256",
    "write_refusal",
]
