"""Many scenes, each with the model that fits it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from icegraph.errors import ModelError
from icegraph.progress import Progress, silent
from icegraph.scene import Scene
from icegraph.segment.model import read_config
from icegraph.segment.predict import segment
from icegraph.store import atomic_dir


def segment_all(scenes: Mapping[str, Path], models: Sequence[Path], out: Path, *, progress: Progress = silent) -> None:
    """Outline the floes of several scenes, each with the model that fits it; `out` gets a folder named after each pass.

    Args:
        scenes: Pass id → scene folder.
        models: Folders of segmenters, of any sensor.
        out: Appears, whole, at the end.
        progress: Told what is being done and the share done, 0..1.

    Raises:
        ModelError: A model cannot be read, or none fits a scene.
    """
    with atomic_dir(out) as folder:
        for index, (name, place) in enumerate(sorted(scenes.items())):
            scene = Scene.open(place)

            def tell(text: str, share: float, index: int = index, name: str = name) -> None:
                progress(f"{name}: {text}", (index + share) / len(scenes))

            segment(scene, model_for(scene, models), folder / name, progress=tell)


def model_for(scene: Scene, models: Sequence[Path]) -> Path:
    """The model that reads most of the scene's bands; of equals, the one with fewest bands that the scene lacks, then the first.

    Raises:
        ModelError: A model cannot be read, or none is for such scenes.
    """
    fits = []
    for index, model in enumerate(models):
        config = read_config(model)
        shared = len(set(config.bands) & set(scene.bands))
        if config.sensor == scene.sensor and shared:
            fits.append((-shared, len(config.bands) - shared, index))
    if not fits:
        problem = f"none of {len(models)} models reads {scene.sensor} scenes with {', '.join(scene.bands) or 'no bands'}"
        raise ModelError(scene.id, problem, f"train or name a segmenter for {scene.sensor} scenes")
    return models[min(fits)[2]]
