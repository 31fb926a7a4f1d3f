"""archive-plan: a backlog of passes becomes shards."""

from kfp import dsl

from components import PIPELINE_IMAGE


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def archive_plan(passes: list[str], shard_size: int, manifest: dsl.Output[dsl.Dataset]) -> list[str]:
    """Look at the passes, refuse by name those that cannot be used, and deal the others into shards.

    Args:
        passes: Places of passes, or of folders that hold them: where all tasks can read them, or in S3, each pass committed by itself.
        shard_size: Passes a shard.
        manifest: Folder with manifest.json.

    Returns:
        The shards, each the ids of its passes, joined by commas.
    """
    from pathlib import Path

    from icegraph.archive import shards
    from icegraph.errors import told
    from icegraph.ingest import Manifest, ingest_parts
    from icegraph.places import brought_in_parts, name_addresses, naming_addresses

    with told(), naming_addresses():
        ingest_parts(brought_in_parts(passes), Path(manifest.path)).require_scenes()
        listing = Path(manifest.path) / "manifest.json"
        name_addresses(listing)
        return shards(Manifest.read(listing), shard_size)
