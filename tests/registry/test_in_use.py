"""The models in use: brought, put into use, resolved."""

import json
from pathlib import Path

import pytest

from icegraph.errors import InputError, ModelError
from icegraph.registry import bring, resolve, use
from icegraph.store import sha256


def model(folder: Path, weights: bytes = b"weights") -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"sensor": "sar"}')
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "README.md").write_text("card")
    return folder


def test_a_version_is_named_by_the_content_of_the_model(tmp_path):
    made = model(tmp_path / "segmenter-sar")
    version = bring(made, tmp_path / "in-use", "segmenter-sar")
    assert version == tmp_path / "in-use" / "segmenter-sar" / sha256(made)[:12]
    assert sha256(version) == sha256(made)
    assert bring(made, tmp_path / "in-use", "segmenter-sar") == version


def test_resolve_gives_the_champion_or_the_folder_that_is_a_model(tmp_path):
    a, b = model(tmp_path / "a" / "m"), model(tmp_path / "b" / "m", b"better")
    place = tmp_path / "in-use"
    first, second = (bring(folder, place, "m") for folder in (a, b))
    use([first])
    assert resolve(place, "m") == first
    (pointer,) = use([second])
    assert resolve(place, "m") == second
    assert json.loads(pointer.read_text())["previous"] == first.name
    assert resolve(a, "m") == a


def test_a_version_whose_bytes_changed_is_refused(tmp_path):
    version = bring(model(tmp_path / "m"), tmp_path / "in-use", "m")
    use([version])
    (version / "model.safetensors").write_bytes(b"other")
    with pytest.raises(ModelError, match="not those that were registered"):
        resolve(tmp_path / "in-use", "m")
    with pytest.raises(ModelError, match="not those that were registered"):
        use([version])


def test_models_come_into_use_together_or_not_at_all(tmp_path):
    place = tmp_path / "in-use"
    before = [bring(model(tmp_path / "1" / name), place, name) for name in ("a", "b", "c")]
    use(before)
    after = [bring(model(tmp_path / "2" / name, b"better"), place, name) for name in ("a", "b", "c")]
    (after[2] / "model.safetensors").write_bytes(b"other")
    with pytest.raises(ModelError, match="not those that were registered"):
        use(after)
    (place / "b" / "champion.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
        use(after[:2])
    assert resolve(place, "a") == before[0]


def test_a_champion_pointer_cannot_lead_out_of_the_folder(tmp_path):
    version = bring(model(tmp_path / "m"), tmp_path / "in-use", "m")
    (pointer,) = use([version])
    pointer.write_text(json.dumps({"version": "../../m", "sha256": "0" * 64}))
    with pytest.raises(InputError, match="not a name"):
        resolve(tmp_path / "in-use", "m")


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_folder_without_config_or_weights_is_not_a_model(tmp_path, missing):
    made = model(tmp_path / "m")
    (made / missing).unlink()
    with pytest.raises(ModelError, match=missing):
        bring(made, tmp_path / "in-use", "m")
    assert not (tmp_path / "in-use").exists()


def test_resolve_names_what_is_missing(tmp_path):
    with pytest.raises(ModelError, match="neither a model folder nor a registry with a champion for m"):
        resolve(tmp_path, "m")


def test_nothing_is_left_behind_when_the_copy_fails(tmp_path):
    made = model(tmp_path / "m")
    (made / "extra").symlink_to(tmp_path / "nowhere")
    with pytest.raises((OSError, ModelError)):
        bring(made, tmp_path / "in-use", "m")
    assert list((tmp_path / "in-use").rglob("*.safetensors")) == []
