"""Which models a run takes."""

import json
from pathlib import Path

import pytest

from icegraph.errors import ModelError
from icegraph.registry import bring, judged_models, model_set, use


def model(folder: Path, kind: str, sensor: str | None = None, weights: bytes = b"weights") -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"kind": kind} | ({"sensor": sensor} if sensor else {})))
    (folder / "model.safetensors").write_bytes(weights)
    return folder


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    for sensor in ("sar", "optical"):
        model(tmp_path / "shipped" / f"segmenter-{sensor}", "icegraph-segmenter", sensor)
    model(tmp_path / "shipped" / "matcher", "matcher")
    return tmp_path / "shipped"


@pytest.fixture
def versions(tmp_path: Path) -> list[Path]:
    """Two versions of a segmenter; the second is the champion."""
    made = [model(tmp_path / name, "icegraph-segmenter", "sar", name.encode()) for name in ("old", "new")]
    found = [bring(one, tmp_path / "registry", "segmenter-sar") for one in made]
    use([found[1]])
    return found


def test_a_registrys_champion_goes_before_the_shipped_model(shipped: Path, versions: list[Path], tmp_path: Path) -> None:
    models = model_set(None, (tmp_path / "registry", shipped))
    assert models.segmenters == [shipped / "segmenter-optical", versions[1]]
    assert models.matcher == shipped / "matcher"


def test_a_model_is_named_by_its_name_or_its_version_in_a_registry(shipped: Path, versions: list[Path], tmp_path: Path) -> None:
    places = (tmp_path / "registry", shipped)
    assert model_set("segmenter-sar", places).places["segmenter-sar"] == versions[1]
    assert model_set(f"segmenter-sar/{versions[0].name}", places).places["segmenter-sar"] == versions[0]
    assert model_set(str(tmp_path / "registry" / "segmenter-sar"), (shipped,)).places["segmenter-sar"] == versions[1]


def test_the_first_place_that_has_a_name_gives_it(shipped: Path, versions: list[Path], tmp_path: Path) -> None:
    assert model_set("segmenter-optical", (tmp_path / "registry", shipped)).places["segmenter-optical"] == shipped / "segmenter-optical"
    assert model_set("segmenter-sar", (shipped, tmp_path / "registry")).places["segmenter-sar"] == shipped / "segmenter-sar"


def test_a_folder_of_a_model_or_a_set_is_taken_as_named(shipped: Path, tmp_path: Path) -> None:
    assert model_set(str(shipped), (tmp_path,)).places.keys() == {"segmenter-sar", "segmenter-optical", "matcher"}
    assert model_set(str(shipped / "matcher"), ()).places == {"matcher": shipped / "matcher"}


def test_a_name_that_nothing_has_is_told(shipped: Path) -> None:
    with pytest.raises(ModelError, match="nobody: neither a model folder, a name in a registry nor a set of models"):
        model_set("nobody", (shipped,))


def test_a_verdict_speaks_of_the_sensors_that_have_figures(shipped: Path) -> None:
    criteria = [{"metric": "sar.segmentation.f1", "value": 0.8}, {"metric": "optical.segmentation.f1", "value": None}]
    models = [shipped / name for name in ("segmenter-optical", "segmenter-sar", "matcher")]
    assert judged_models(models, {"criteria": criteria}) == [shipped / "segmenter-sar", shipped / "matcher"]
