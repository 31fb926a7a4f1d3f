"""calibrate: one raw pass becomes one scene on a polar grid."""

from kfp import dsl

from components import PIPELINE_IMAGE


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def calibrate(manifest: dsl.Input[dsl.Dataset], pass_id: str, scene: dsl.Output[dsl.Dataset], radar: dict = {}):  # noqa: B006 - KFP's way
    """Calibrate one pass: sigma nought, or reflectance, on a polar grid.

    Args:
        manifest: What ingest wrote.
        pass_id: The pass to take from it.
        scene: A scene folder, or a refusal where the pass turns out unusable.
        radar: What to make of a Sentinel-1 product: settings of icegraph.calibrate.RadarSettings by name.
    """
    from pathlib import Path

    from icegraph.calibrate import RadarSettings, calibrate
    from icegraph.errors import PassError, told
    from icegraph.ingest import Manifest
    from icegraph.places import as_named, at_hand, name_addresses
    from icegraph.store import Refusal, write_refusal

    scene.metadata["pass_id"] = pass_id
    with told():
        settings = RadarSettings.parse(radar)
        entry = next(entry for entry in Manifest.read(Path(manifest.path) / "manifest.json").scenes if entry.id == pass_id)
        with at_hand([entry]) as (here,):
            try:
                calibrate(here, Path(scene.path), settings)
            except PassError as error:
                write_refusal(Path(scene.path), Refusal(as_named(str(here.href)), as_named(str(error))))
                print(f"refused: {as_named(str(error))}")
            name_addresses(*Path(scene.path).glob("*.json"))
