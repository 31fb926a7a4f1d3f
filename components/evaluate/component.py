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
        report: A page that opens offline.
        results: Folder with metrics.json, gate.json and report.html.
        metrics: The headline figures.
        classes: Confusion of water, brash and floe, where class truth is known.

    Returns:
        `pass` or `fail`: the gate's verdict.
    """
    import shutil
    from pathlib import Path

    from icegraph.errors import told
    from icegraph.evaluate import confusion, evaluate, flat_metrics
    from icegraph.ingest import Manifest
    from icegraph.scene import scene_folders
    from icegraph.store import read_refusal
    from icegraph.truth import find_truth

    with told():
        places = [Path(scene.path) for scene in scenes]
        known = find_truth(Path(place) for place in truth)
        shown = {name: folder for name, folder in scene_folders(places).items() if not known or name in known}
        late = [refusal for refusal in map(read_refusal, places) if refusal is not None]
        out = Path(results.path)
        listed = Manifest.read(Path(manifest.path) / "manifest.json").refusing(late)
        untracked = read_refusal(Path(tracks.path))
        listed.notes.extend([untracked.reason] if untracked else [])
        listed.write(out / "manifest.json")
        found = evaluate(
            out,
            scenes=shown,
            segments={name: Path(floes.path) / name for name in shown},
            tracks=Path(tracks.path),
            truth={name: path for name, path in known.items() if name in shown},
            models=[*(Path(model.path) for model in segmenters), Path(matcher.path)],
            manifest=out / "manifest.json",
        )
    shutil.copyfile(out / "report.html", report.path)
    for name, value in flat_metrics(found).items():
        metrics.log_metric(name, value)
    table = confusion(found)
    if table is not None:
        classes.log_confusion_matrix(*table)
    return "pass" if found["gate_passed"] else "fail"
