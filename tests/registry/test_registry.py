"""Registering, promoting and resolving models."""

import fcntl
import json
import os
import threading
from pathlib import Path

import pytest

from icegraph.errors import InputError, ModelError
from icegraph.registry import promote, register, resolve
from icegraph.store import sha256


def model(folder: Path, weights: bytes = b"weights") -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"sensor": "sar"}')
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "README.md").write_text("card")
    return folder


def test_a_version_is_named_by_the_content_of_the_model(tmp_path):
    made = model(tmp_path / "segmenter-sar")
    version = register(made, tmp_path / "registry", metrics={"sar.segmentation.f1": 0.8})
    assert version == tmp_path / "registry" / "segmenter-sar" / sha256(made)[:12]
    assert (version / "model.safetensors").read_bytes() == b"weights"
    registration = json.loads((version / "registration.json").read_text())
    assert registration["metrics"] == {"sar.segmentation.f1": 0.8}
    assert registration["sha256"] == sha256(made)


def test_registering_the_same_model_again_changes_nothing(tmp_path):
    made = model(tmp_path / "m")
    first = register(made, tmp_path / "registry", metrics={"f1": 0.8})
    before = sha256(first)
    assert register(made, tmp_path / "registry", metrics={"f1": 0.1}) == first
    assert sha256(first) == before
    assert register(first, tmp_path / "registry", metrics={}, name="m").parent == first.parent


def test_resolve_gives_the_champion_or_the_folder_that_is_a_model(tmp_path):
    a, b = model(tmp_path / "a" / "m"), model(tmp_path / "b" / "m", b"better")
    registry = tmp_path / "registry"
    first, second = (register(folder, registry, metrics={}) for folder in (a, b))
    promote([first])
    assert resolve(registry, "m") == first
    (pointer,) = promote([second])
    assert resolve(registry, "m") == second
    assert json.loads(pointer.read_text())["previous"] == first.name
    assert resolve(a, "m") == a


def test_a_version_whose_bytes_changed_is_refused(tmp_path):
    version = register(model(tmp_path / "m"), tmp_path / "registry", metrics={})
    promote([version])
    (version / "model.safetensors").write_bytes(b"other")
    with pytest.raises(ModelError, match="not those that were registered"):
        resolve(tmp_path / "registry", "m")
    with pytest.raises(ModelError, match="not those that were registered"):
        promote([version])


def test_models_are_promoted_together_or_not_at_all(tmp_path):
    registry = tmp_path / "registry"
    before = [register(model(tmp_path / "1" / name), registry, metrics={}) for name in ("a", "b", "c")]
    promote(before)
    after = [register(model(tmp_path / "2" / name, b"better"), registry, metrics={}) for name in ("a", "b", "c")]
    (after[2] / "model.safetensors").write_bytes(b"other")
    with pytest.raises(ModelError, match="not those that were registered"):
        promote(after)
    (registry / "b" / "champion.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
        promote(after[:2])
    assert resolve(registry, "a") == before[0]


def test_promotions_take_turns(tmp_path):
    version = register(model(tmp_path / "m"), tmp_path / "registry", metrics={})
    held = os.open(tmp_path / "registry", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    waiting = threading.Thread(target=promote, args=([version],))
    waiting.start()
    waiting.join(0.2)
    assert not (version.parent / "champion.json").exists()
    os.close(held)
    waiting.join()
    assert resolve(tmp_path / "registry", "m") == version


def test_a_champion_pointer_cannot_lead_out_of_the_registry(tmp_path):
    version = register(model(tmp_path / "m"), tmp_path / "registry", metrics={})
    (pointer,) = promote([version])
    pointer.write_text(json.dumps({"version": "../../m", "sha256": "0" * 64}))
    with pytest.raises(InputError, match="not a name"):
        resolve(tmp_path / "registry", "m")


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_folder_without_config_or_weights_is_not_a_model(tmp_path, missing):
    made = model(tmp_path / "m")
    (made / missing).unlink()
    with pytest.raises(ModelError, match=missing):
        register(made, tmp_path / "registry", metrics={})
    assert not (tmp_path / "registry").exists()


def test_a_figure_that_is_not_finite_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"sar\.f1"):
        register(model(tmp_path / "m"), tmp_path / "registry", metrics={"sar.f1": float("nan")})


def test_resolve_names_what_is_missing(tmp_path):
    with pytest.raises(ModelError, match="neither a model folder nor a registry with a champion for m"):
        resolve(tmp_path, "m")


def test_nothing_is_left_behind_when_the_copy_fails(tmp_path, monkeypatch):
    made = model(tmp_path / "m")
    (made / "extra").symlink_to(tmp_path / "nowhere")
    with pytest.raises((OSError, ModelError)):
        register(made, tmp_path / "registry", metrics={})
    assert list((tmp_path / "registry").rglob("*.safetensors")) == []
