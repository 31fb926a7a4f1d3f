"""Real models on trial: pinned, promoted and refused by the commands."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from icegraph.cli import app
from icegraph.errors import RegistryError, WorseModelError
from icegraph.laptop import segment_passes
from icegraph.progress import silent
from icegraph.registry import SHIPPED, Registry, resolve
from icegraph.simulate import simulate
from icegraph.store import sha256

NAME = "segmenter-optical"


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two optical passes with known floes, segmented."""
    out = tmp_path_factory.mktemp("field")
    simulate(out / "field", seed=8, size_km=32.0, passes=2, interval_h=3.0, views=("optical",))
    segment_passes([out / "field" / "passes"], out / "segmented", None, silent)
    return out


def icegraph(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_model_that_finds_less_on_the_pinned_set_is_refused_and_one_can_go_back(field: Path, tmp_path: Path) -> None:
    place = tmp_path / "registry"
    for name in (NAME, "matcher"):
        Registry(place).register(SHIPPED / name, name, {})
    blind = Path(shutil.copytree(SHIPPED / NAME, tmp_path / NAME))
    config = json.loads((blind / "config.json").read_text())
    config["rule"] |= {"probability": 0.999, "min_area_px": 200}
    (blind / "config.json").write_text(json.dumps(config))
    Registry(place).register(blind, NAME, {})

    pinned = icegraph("models", "pin", field / "segmented", "--truth", field / "field" / "truth", "--registry", place).strip()
    assert Registry(place).pinned() == pinned
    icegraph("models", "promote", NAME, 1, "--to", "champion", "--because", "the first one", "--registry", place)
    with pytest.raises(WorseModelError, match=rf"^{NAME} 2: .*its score is 0\.\d+, that of the champion 1 is 0\.\d+; .*--because"):
        icegraph("models", "promote", NAME, "candidate", "--to", "champion", "--registry", place)
    assert sha256(resolve(place, NAME)) == sha256(SHIPPED / NAME)

    icegraph("models", "promote", NAME, 2, "--to", "champion", "--because", "only giants matter", "--registry", place)
    assert sha256(resolve(place, NAME)) == sha256(blind)
    icegraph("models", "rollback", NAME, "--registry", place)
    assert sha256(resolve(place, NAME)) == sha256(SHIPPED / NAME)
    assert "every version, alias and trail is as it was registered" in icegraph("models", "verify", "--registry", place)

    trail = json.loads(icegraph("models", "show", NAME, "--json", "--registry", place))["trail"]
    assert [(step["kind"], step["version"]) for step in trail] == [
        ("register", 1),
        ("register", 2),
        ("promote", 1),
        ("promote", 2),
        ("rollback", 1),
    ]
    assert trail[3]["figures"]["score"] < trail[3]["figures"]["champion.score"]
    listed = json.loads(icegraph("models", "list", "--json", "--registry", place))
    assert {(one["name"], one["number"]): one["aliases"] for one in listed} == {
        ("matcher", 1): ["candidate"],
        (NAME, 1): ["champion"],
        (NAME, 2): ["candidate"],
    }
    compared = json.loads(icegraph("models", "compare", f"{NAME}/1", f"{NAME}/2", "--json", "--registry", place))
    assert '"min_area_px": 200' in compared["values"]["config.rule"][1]


def test_a_registry_that_does_not_answer_is_told_before_the_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    words = ["train", str(tmp_path), "--truth", str(tmp_path), "--out", str(tmp_path / "model"), "--registry", "http://127.0.0.1:9"]
    with pytest.raises(RegistryError, match=r"^http://127.0.0.1:9: does not answer; see that it runs"):
        CliRunner().invoke(app, words, catch_exceptions=False)
    assert list(tmp_path.iterdir()) == []
