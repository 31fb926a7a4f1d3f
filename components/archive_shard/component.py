"""archive-shard: the floes of one shard's passes, into the lake."""

from kfp import dsl

from components import PIPELINE_IMAGE


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def archive_shard(
    manifest: dsl.Input[dsl.Dataset],
    models: dsl.Input[list[dsl.Model]],
    shard: str,
    lake: str,
    attempts: int,
    report: dsl.Output[dsl.Dataset],
):
    """Calibrate, fuse and segment the passes of a shard, each once, however often the task is run.

    Args:
        manifest: What archive-plan wrote.
        models: Segmenters.
        shard: Ids of its passes, joined by commas.
        lake: Folder or `s3://BUCKET/NAME` that the floes are committed to.
        attempts: How often a failing pass is tried.
        report: Folder with outcomes.json: what became of each pass.
    """
    import json
    from dataclasses import asdict
    from pathlib import Path

    from icegraph.archive import run_shard
    from icegraph.errors import told
    from icegraph.ingest import Manifest
    from icegraph.progress import print_progress

    out = Path(report.path)
    with told():
        out.mkdir(parents=True, exist_ok=True)
        outcomes = run_shard(
            Manifest.read(Path(manifest.path) / "manifest.json"),
            shard.split(","),
            [Path(model.path) for model in models],
            lake,
            out,
            attempts=attempts,
            progress=print_progress,
        )
        (out / "outcomes.json").write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1) + "\n")
        for outcome in outcomes:
            print(f"{outcome.pass_id}: {outcome.state} {outcome.reason}")
