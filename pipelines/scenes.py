"""Raw passes to fused scenes: the part that both pipelines begin with, pass beside pass."""

from kfp import dsl

from components.calibrate.component import calibrate
from components.fuse.component import fuse
from pipelines.resources import medium


@dsl.pipeline(name="scenes", description="Calibrate each pass and add AMSR2 to it.")
def passes_to_scenes(manifest: dsl.Input[dsl.Dataset], pass_ids: list[str], radar: dict = {}) -> list[dsl.Dataset]:  # noqa: B006 - KFP's way
    """One fused scene, or refusal, for each pass.

    Args:
        manifest: What ingest wrote.
        pass_ids: The passes to take from it.
        radar: What to make of Sentinel-1 products; see calibrate.
    """
    with dsl.ParallelFor(pass_ids) as pass_id:
        scene = medium(calibrate(manifest=manifest, pass_id=pass_id, radar=radar))
        fused = medium(fuse(manifest=manifest, scene=scene.outputs["scene"]))
    return dsl.Collected(fused.outputs["fused"])
