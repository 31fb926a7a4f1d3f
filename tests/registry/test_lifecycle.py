"""Promotion, rollback, and what is in use afterwards."""

import multiprocessing
from collections.abc import Mapping
from pathlib import Path

import pytest

from icegraph.errors import InputError, ModelError, RegistryError, WorseModelError
from icegraph.registry import Registry, Version, resolve
from icegraph.registry.lifecycle import Verdict, bring_champion, promote, roll_back, score
from icegraph.store import sha256

NAME = "segmenter-sar"
QUALITY = {b"poor": 0.5, b"good": 0.6, b"best": 0.7}


def judge(models: Mapping[str, Path]) -> Verdict:
    """Tells a model's quality by its weights."""
    quality = QUALITY[(models[NAME] / "model.safetensors").read_bytes()]
    return Verdict({"sar.segmentation.pq": quality}, ("sar.segmentation.pq",) if quality < 0.55 else ())


@pytest.fixture
def versions(registry: Registry, make_model) -> dict[str, Version]:
    return {quality: registry.register(make_model(quality), NAME, {}) for quality in ("poor", "good", "best")}


def test_a_promoted_version_is_in_use_with_the_bytes_that_were_registered(registry, place, versions) -> None:
    promote(registry, versions["good"], "challenger", place, judge)
    assert registry.version(NAME, "challenger") == registry.version(NAME, "2")
    promote(registry, registry.version(NAME, "2"), "champion", place, judge)
    assert sha256(resolve(place, NAME)) == versions["good"].sha256
    assert registry.version(NAME, "2").aliases == ("champion",)
    assert registry.verify(place) == []


def test_a_worse_model_is_refused_unless_a_reason_is_given(registry, place, versions) -> None:
    promote(registry, versions["best"], "champion", place, judge)
    with pytest.raises(WorseModelError, match=r"^segmenter-sar 2: its score is 0\.6000, that of the champion 3 is 0\.7000; .*--because"):
        promote(registry, versions["good"], "champion", place, judge)
    with pytest.raises(WorseModelError, match=r"^segmenter-sar 1: it fails the gate \(sar.segmentation.pq\) and its score is 0.5000"):
        promote(registry, versions["poor"], "champion", place, judge)
    assert resolve(place, NAME).name == versions["best"].digits
    promote(registry, versions["poor"], "champion", place, judge, because="the other one sees ice on land")
    assert resolve(place, NAME).name == versions["poor"].digits
    step = registry.trail(NAME).steps[-1]
    assert (step.because, step.before) == ("the other one sees ice on land", 3)
    assert step.figures["score"] == 0.5
    assert step.figures["champion.score"] == 0.7


def test_a_model_that_fails_the_gate_is_not_even_a_challenger(registry, place, versions) -> None:
    with pytest.raises(WorseModelError, match="fails the gate"):
        promote(registry, versions["poor"], "challenger", place, judge)
    with pytest.raises(InputError, match="is nothing to promote to"):
        promote(registry, versions["poor"], "candidate", place, judge)


def test_rollback_restores_the_champion_before_byte_for_byte(registry, place, versions, tmp_path) -> None:
    for quality in ("good", "best"):
        promote(registry, versions[quality], "champion", place, judge)
    before = sha256(resolve(place, NAME))
    roll_back(registry, NAME, place, because="blurs leads")
    assert sha256(resolve(place, NAME)) == versions["good"].sha256 != before
    assert registry.champion(NAME).number == 2
    with pytest.raises(RegistryError, match="had no champion before"):
        roll_back(registry, NAME, place)
    elsewhere = bring_champion(registry, NAME, tmp_path / "another server")
    assert sha256(elsewhere) == versions["good"].sha256
    assert [step.kind for step in registry.trail(NAME).steps[-3:]] == ["promote", "promote", "rollback"]


def test_what_is_damaged_does_not_come_into_use(registry, place, versions) -> None:
    for quality in ("good", "best"):
        promote(registry, versions[quality], "champion", place, judge)
    (place / NAME / versions["good"].digits / "model.safetensors").write_bytes(b"cut o")
    with pytest.raises(ModelError, match="not those that were registered"):
        roll_back(registry, NAME, place)
    assert registry.champion(NAME).number == 3
    assert sha256(resolve(place, NAME)) == versions["best"].sha256


def test_with_the_registry_gone_the_last_champion_goes_on(registry, place, versions, tmp_path) -> None:
    serving = tmp_path / "serving"
    promote(registry, versions["good"], "champion", serving, judge)
    place.rename(tmp_path / "gone")
    assert sha256(resolve(serving, NAME)) == versions["good"].sha256


def _promote_at_once(place: Path, number: str, together: object, told: object) -> None:
    registry = Registry(place)
    version = registry.version(NAME, number)

    def slow(models: Mapping[str, Path]) -> Verdict:
        together.wait()  # both have read the trail
        return Verdict({"sar.segmentation.pq": 0.6})

    try:
        promote(registry, version, "champion", place, slow)
        told.put((number, ""))
    except RegistryError as error:
        told.put((number, str(error)))


def test_of_two_promotions_at_once_one_wins_and_the_other_is_told(registry, place, versions) -> None:
    context = multiprocessing.get_context("spawn")
    together, told = context.Barrier(2), context.Queue()
    both = [context.Process(target=_promote_at_once, args=(place, number, together, told)) for number in ("2", "3")]
    for one in both:
        one.start()
    results = dict(told.get(timeout=300) for _ in both)
    for one in both:
        one.join()
    (winner,) = [number for number, problem in results.items() if not problem]
    (problem,) = [problem for problem in results.values() if problem]
    assert f"took the step promote of version {winner}, so that yours does not count" in problem
    assert registry.champion(NAME).number == int(winner)
    assert resolve(place, NAME).name == registry.champion(NAME).digits
    assert registry.trail(NAME).lost == 1
    assert registry.verify(place) == []


def test_models_are_compared_by_what_they_are_for() -> None:
    figures = {"sar.segmentation.pq": 0.6, "sar.tracking.hota": 0.4, "optical.tracking.hota": 0.8, "mixed.tracking.hota": 0.1}
    assert score("segmenter-sar", figures) == 0.6
    assert score("segmenter-optical", figures) is None
    assert score("matcher", figures) == pytest.approx(0.6)
