"""track: floes become matches, tracks, drift and a forecast."""

from kfp import dsl

from components import PIPELINE_IMAGE


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def track(graph: dsl.Input[dsl.Dataset], model: dsl.Input[dsl.Model], tracks: dsl.Output[dsl.Dataset]):
    """Match the floes from pass to pass and follow them.

    Args:
        graph: What graph-build wrote.
        model: The matcher.
        tracks: Folder with matches.parquet, tracks.parquet, drift.nc and forecast.parquet; a refusal where no two passes show one place.
    """
    from pathlib import Path

    from icegraph.errors import told
    from icegraph.store import Refusal, write_refusal
    from icegraph.track.follow import NothingToTrackError, track

    with told():
        try:
            track(Path(graph.path), Path(model.path), Path(tracks.path))
        except NothingToTrackError as error:
            write_refusal(Path(tracks.path), Refusal(error.subject, str(error)))
            print(f"refused: {error}")
