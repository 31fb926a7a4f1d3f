"""evaluate: figures, the gate's verdict and the report."""

from kfp import dsl

from components import PIPELINE_IMAGE


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def evaluate(
    manifest: dsl.Input[dsl.Dataset],
    scenes: dsl.Input[list[dsl.Dataset]],
    floes: dsl.Input[dsl.Dataset],
    tracks: dsl.Input[dsl.Dataset],
    segmenters: dsl.Input[list[dsl.Model]],
    matcher: dsl.Input[dsl.Model],
    truth: list[str],
    only_known: bool,
    report: dsl.Output[dsl.HTML],
    results: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    classes: dsl.Output[dsl.ClassificationMetrics],
) -> str:
    """Hold the results against what is known, where it is known, and write the report.

    Args:
        manifest: What ingest wrote.
        scenes: Scene folders and refusals.
        floes: The segmented passes, with their floe tables.
        tracks: What track wrote, or its refusal.
        segmenters: The models that found the floes.
        matcher: The model that matched them.
        truth: Places of the label rasters to evaluate on; may be empty.
        only_known: Leave the passes without truth out of the report.
        report: A page that opens offline.
        results: Folder with metrics.json, gate.json and report.html.
        metrics: The headline figures.
        classes: Confusion of water, brash and floe, where class truth is known.

    Returns:
        `pass` or `fail`: the gate's verdict.
    """
    import shutil
    from pathlib import Path

    from icegraph.errors import InputError, told
    from icegraph.evaluate import confusion, evaluate, flat_metrics
    from icegraph.ingest import Manifest
    from icegraph.places import brought
    from icegraph.scene import scene_folders
    from icegraph.store import read_refusal
    from icegraph.truth import find_truth

    with told(), brought(truth) as labelled:
        places = [Path(scene.path) for scene in scenes]
        found, known = scene_folders(places), find_truth(labelled)
        judged = {name: path for name, path in known.items() if name in found}
        if known and not judged:
            raise InputError(
                ", ".join(truth),
                f"has labels of {', '.join(known)}, none of the passes {', '.join(found)}",
                "name each <pass id>.labels.tif",
            )
        shown = {name: folder for name, folder in found.items() if name in judged or not only_known}
        late = [refusal for refusal in map(read_refusal, places) if refusal is not None]
        out = Path(results.path)
        listed = Manifest.read(Path(manifest.path) / "manifest.json").refusing(late)
        untracked = read_refusal(Path(tracks.path))
        listed.notes.extend([untracked.reason] if untracked else [])
        listed.write(out / "manifest.json")
        figures = evaluate(
            out,
            scenes=shown,
            segments={name: Path(floes.path) / name for name in shown},
            tracks=Path(tracks.path),
            truth=judged,
            models=[*(Path(model.path) for model in segmenters), Path(matcher.path)],
            manifest=out / "manifest.json",
        )
    shutil.copyfile(out / "report.html", report.path)
    for name, value in flat_metrics(figures).items():
        metrics.log_metric(name, value)
    table = confusion(figures)
    if table is not None:
        classes.log_confusion_matrix(*table)
    return "pass" if figures["gate_passed"] else "fail"
