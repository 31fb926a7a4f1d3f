"""ingest: look at the passes, refuse what cannot be used, write the manifest."""

from typing import NamedTuple

from kfp import dsl

from components import PIPELINE_IMAGE


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def ingest(passes: list[str], manifest: dsl.Output[dsl.Dataset]) -> NamedTuple(
    "Outputs", [("pass_ids", list[str]), ("sensors", list[str])]
):  # type: ignore[valid-type]
    """Look at the passes, refuse by name those that cannot be used, and write the manifest.

    Args:
        passes: Paths of SAFE folders or zips, STAC items, GeoTIFFs, AMSR2 files, or of folders that hold them.
        manifest: Folder with manifest.json.

    Returns:
        The ids of the passes to calibrate, in time order, and the kinds of sensor among them.
    """
    from pathlib import Path
    from typing import NamedTuple

    from icegraph.errors import told
    from icegraph.ingest import ingest
    from icegraph.places import on_disk

    class Outputs(NamedTuple):
        pass_ids: list
        sensors: list

    with told():
        scenes = ingest([on_disk(place) for place in passes], Path(manifest.path)).require_scenes()
    sensors = {"optical" if entry.kind == "optical" else "sar" for entry in scenes}
    return Outputs([entry.id for entry in scenes], sorted(sensors))
