"""gnn-train: the graph neural network that matches floes."""

from kfp import dsl

from components import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def gnn_train(
    graph: dsl.Input[dsl.Dataset],
    floes: dsl.Input[dsl.Dataset],
    truth: list[str],
    holdout: list[str],
    steps: int,
    seed: int,
    model: dsl.Output[dsl.Model],
):
    """Train the matcher on the passes whose floes are known.

    Args:
        graph: What graph-build wrote.
        floes: The segmented passes.
        truth: Places of the label rasters to train on.
        holdout: Places of the label rasters that are for evaluation: their passes are not learned from.
        steps: Steps of training.
        seed: Same seed, same graph, same model.
        model: Model folder.
    """
    from pathlib import Path

    from icegraph.errors import InputError, told
    from icegraph.places import brought
    from icegraph.progress import print_progress
    from icegraph.track.fit import fit_matcher
    from icegraph.truth import find_truth, identities

    with told(), brought(holdout) as kept, brought(truth) as shown:
        held = find_truth(kept)
        known = {pass_id: path for pass_id, path in find_truth(shown).items() if pass_id not in held}
        taught = identities(Path(floes.path), known)
        if not taught:
            raise InputError("matcher", "no pass that is not held out has known floes", "give the truth of at least one")
        fit_matcher(Path(graph.path), taught, Path(model.path), steps=steps, seed=seed, progress=print_progress)
