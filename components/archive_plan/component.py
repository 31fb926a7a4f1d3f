"""archive-plan: a backlog of passes becomes shards."""

from kfp import dsl

from components import PIPELINE_IMAGE


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def archive_plan(passes: list[str], shard_size: int, manifest: dsl.Output[dsl.Dataset]) -> list[str]:
    """Look at the passes, refuse by name those that cannot be used, and deal the others into shards.

    Args:
        passes: Paths of passes, or of folders that hold them.
        shard_size: Passes a shard.
        manifest: Folder with manifest.json.

    Returns:
        The shards, each the ids of its passes, joined by commas.
    """
    from pathlib import Path

    from icegraph.archive import shards
    from icegraph.errors import told
    from icegraph.ingest import ingest
    from icegraph.places import on_disk

    with told():
        listed = ingest([on_disk(place) for place in passes], Path(manifest.path))
        listed.require_scenes()
        return shards(listed, shard_size)
