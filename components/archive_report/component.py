"""archive-report: what became of every pass of an archive run."""

from kfp import dsl

from components import PIPELINE_IMAGE


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def archive_report(
    manifest: dsl.Input[dsl.Dataset],
    reports: dsl.Input[list[dsl.Dataset]],
    summary: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Gather the shards' reports.

    Args:
        manifest: What archive-plan wrote.
        reports: What the shards reported.
        summary: Folder with summary.json: counts, and each pass that is not in the lake with its reason.
        metrics: The counts.

    Returns:
        `complete`, or `incomplete` where a pass failed: run the pipeline again for these.
    """
    import json
    from pathlib import Path

    from icegraph.archive import Outcome
    from icegraph.archive import summary as summed
    from icegraph.errors import told
    from icegraph.ingest import Manifest

    with told():
        rows = [row for report in reports for row in json.loads((Path(report.path) / "outcomes.json").read_text())]
        outcomes = [Outcome(**row) for row in rows]
        said = summed(Manifest.read(Path(manifest.path) / "manifest.json"), outcomes)
        out = Path(summary.path)
        out.mkdir(parents=True, exist_ok=True)
        (out / "summary.json").write_text(json.dumps(said, indent=1) + "\n")
    for state, number in said["states"].items():
        metrics.log_metric(state, number)
    for row in said["not_archived"]:
        print(f"{row['state']}: {row['reason']}")
    return "incomplete" if "failed" in said["states"] else "complete"
