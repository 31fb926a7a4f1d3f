"""fuse: AMSR2 brightness temperature and ice concentration onto a scene's grid."""

from kfp import dsl

from components import PIPELINE_IMAGE


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def fuse(manifest: dsl.Input[dsl.Dataset], scene: dsl.Input[dsl.Dataset], fused: dsl.Output[dsl.Dataset]):
    """Add the AMSR2 data nearest in time to a scene; one that has none goes on without.

    Args:
        manifest: What ingest wrote: it names the swaths and daily maps.
        scene: A scene folder, or a refusal, which is handed on.
        fused: The scene with the bands that AMSR2 adds.
    """
    from pathlib import Path

    from icegraph.errors import told
    from icegraph.fuse import fuse
    from icegraph.ingest import Manifest
    from icegraph.places import at_hand
    from icegraph.scene import Scene
    from icegraph.store import read_refusal, write_refusal

    fused.metadata.update(scene.metadata)
    with told():
        refusal = read_refusal(Path(scene.path))
        if refusal is not None:
            write_refusal(Path(fused.path), refusal)
        else:
            partners = Manifest.read(Path(manifest.path) / "manifest.json").partners
            with at_hand(partners) as here:
                fuse(Scene.open(Path(scene.path)), here, Path(fused.path))
