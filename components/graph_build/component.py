"""graph-build: labelled floes become a table and a graph."""

from kfp import dsl

from components import PIPELINE_IMAGE


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def graph_build(
    scenes: dsl.Input[list[dsl.Dataset]],
    segments: dsl.Input[dsl.Dataset],
    max_speed_m_s: float,
    floes: dsl.Output[dsl.Dataset],
    graph: dsl.Output[dsl.Dataset],
):
    """Describe every floe, join the floes of a pass, see how the ice moved, and join floes of different passes that may be one.

    Args:
        scenes: Scene folders.
        segments: What segment wrote.
        max_speed_m_s: No floe is looked for farther away than it can drift at this speed.
        floes: One folder a pass: what segment wrote, with floes.parquet.
        graph: Graph folder: nodes, edges, candidate edges.
    """
    import shutil
    from pathlib import Path

    from icegraph.errors import told
    from icegraph.graph import build_graph, write_floes
    from icegraph.progress import print_progress
    from icegraph.scene import Scene, link_or_copy, scene_folders

    with told():
        folders = scene_folders([Path(scene.path) for scene in scenes])
        shutil.copytree(segments.path, floes.path, copy_function=link_or_copy, dirs_exist_ok=True)
        tables = []
        for number, (pass_id, folder) in enumerate(folders.items()):
            print_progress(f"describing the floes of {pass_id}", number / len(folders))
            tables.append(write_floes(Path(floes.path) / pass_id, Scene.open(folder)))
        build_graph(tables, Path(graph.path), scenes=folders, max_speed_m_s=max_speed_m_s)
