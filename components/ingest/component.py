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
        passes: Places of SAFE folders or zips, STAC items, GeoTIFFs, AMSR2 files, or of folders that hold them: in S3, or where all tasks
            can read them.
        manifest: Folder with manifest.json.

    Returns:
        The ids of the passes to calibrate, in time order, and the kinds of sensor among them.
    """
    from pathlib import Path
    from typing import NamedTuple

    from icegraph.errors import told
    from icegraph.ingest import ingest
    from icegraph.places import brought, name_addresses

    class Outputs(NamedTuple):
        pass_ids: list
        sensors: list

    with told(), brought(passes) as shown:
        scenes = ingest(shown, Path(manifest.path)).require_scenes()
        name_addresses(*Path(manifest.path).glob("*.json"))
    sensors = {"optical" if entry.kind == "optical" else "sar" for entry in scenes}
    return Outputs([entry.id for entry in scenes], sorted(sensors))
