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
    from icegraph.store import Refusal, write_refusal

    scene.metadata["pass_id"] = pass_id
    with told():
        settings = RadarSettings.parse(radar)
        entry = next(entry for entry in Manifest.read(Path(manifest.path) / "manifest.json").scenes if entry.id == pass_id)
        try:
            calibrate(entry, Path(scene.path), settings)
        except PassError as error:
            write_refusal(Path(scene.path), Refusal(str(entry.href), str(error)))
            print(f"refused: {error}")
