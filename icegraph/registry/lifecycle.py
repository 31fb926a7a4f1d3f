"""The steps in the life of a version: promoted, rolled back, brought into use. The trail tells what was decided; what serves follows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from icegraph.errors import InputError, RegistryError, WorseModelError
from icegraph.registry.in_use import use
from icegraph.registry.registry import Registry, Version
from icegraph.registry.trail import CHALLENGER, CHAMPION, PROMOTE, ROLL_BACK, Step


@dataclass(frozen=True)
class Verdict:
    """What a model did on the pinned evaluation set.

    Args:
        figures: Name → number, as `icegraph.evaluate.flat_metrics` gives them.
        failed: The metrics that the gate found wanting.
    """

    figures: Mapping[str, float]
    failed: tuple[str, ...] = ()


Judge = Callable[[Mapping[str, Path]], Verdict]
"""Tries models, name → folder, on the pinned evaluation set; for the names that are not given it takes the models in use."""


def score(name: str, figures: Mapping[str, float]) -> float | None:
    """The one figure that two models of a name are compared by, more is better; None where it could not be computed.

    A segmenter's is the panoptic quality (Kirillov et al. 2019, doi 10.1109/CVPR.2019.00963) on scenes of its sensor, a matcher's the mean
    over sensors of HOTA (Luiten et al. 2021, doi 10.1007/s11263-020-01375-2).
    """
    if name.startswith("segmenter-"):
        return figures.get(f"{name.removeprefix('segmenter-')}.segmentation.pq")
    found = [value for key, value in figures.items() if key.endswith(".tracking.hota") and not key.startswith("mixed.")]
    return fmean(found) if found else None


def promote(registry: Registry, version: Version, alias: str, in_use: Path, judge: Judge, because: str = "") -> Step:
    """Make a version the challenger, or the champion: the one in use.

    It is tried on the pinned evaluation set, to be champion beside the present one.

    Args:
        registry: Where it is registered.
        version: The version.
        alias: `challenger` or `champion`.
        in_use: Folder of the models in use.
        judge: Tries models.
        because: Why it is promoted even if it is worse; empty: it is not.

    Raises:
        WorseModelError: It fails the gate or is worse than the champion, and nobody told why it is to be promoted.
        RegistryError: Another step was taken meanwhile, or the registry fails.
        InputError: It has the alias already, or there is no such alias.
    """
    name = version.name
    if alias not in (CHALLENGER, CHAMPION):
        raise InputError(alias, "is nothing to promote to", f"promote to {CHALLENGER} or {CHAMPION}")
    if alias in version.aliases:
        raise InputError(f"{name} {version.number}", f"is the {alias} already", "promote another version")
    trail = registry.trail(name)
    champion = registry.champion(name)
    folder = registry.fetch(version, in_use)
    verdict = judge({name: folder})
    figures = {"score": score(name, verdict.figures), **verdict.figures}
    reasons = [f"it fails the gate ({', '.join(verdict.failed)})"] if verdict.failed else []
    if champion and alias == CHAMPION:
        present = judge({name: registry.fetch(champion, in_use)})
        figures["champion.score"] = score(name, present.figures)
        reasons += _worse(figures["score"], figures["champion.score"], champion)
    if reasons and not because:
        raise WorseModelError(f"{name} {version.number}", " and ".join(reasons), "tell why it is to be promoted with --because")
    kept = {key: value for key, value in figures.items() if value is not None}
    before = champion.number if champion else 0
    step = Step(PROMOTE, name, version.number, version.sha256, alias, before, because, kept)
    registry.append(step, on=trail)
    if alias == CHAMPION:
        bring_champion(registry, name, in_use)
    return step


def roll_back(registry: Registry, name: str, in_use: Path, because: str = "") -> Step:
    """Take the champion back: the one before it is in use again, byte for byte.

    Raises:
        RegistryError: There was none before it, or another step was taken meanwhile.
        ModelError: Its files are not those that were registered.
    """
    trail = registry.trail(name)
    if not trail.steps:
        raise RegistryError(name, "is not registered", "see `icegraph models list`")
    if len(trail.champions) < 2:
        raise RegistryError(name, "had no champion before the present one", f"promote a version; `icegraph models show {name}` lists them")
    version = registry.version(name, str(trail.champions[-2]))
    registry.fetch(version, in_use)
    step = Step(ROLL_BACK, name, version.number, version.sha256, CHAMPION, trail.champions[-1], because)
    registry.append(step, on=trail)
    bring_champion(registry, name, in_use)
    return step


def bring_champion(registry: Registry, name: str, in_use: Path) -> Path:
    """Make the champion of a name the one in use in a folder; gives its folder.

    Raises:
        RegistryError: There is no champion, or the registry fails.
        ModelError: Its files are not those that were registered.
    """
    before = None
    while (champion := registry.champion(name)) != before:  # another's step may come between
        if champion is None:
            raise RegistryError(name, "has no champion", "promote a version")
        before, folder = champion, registry.fetch(champion, in_use)
        use([folder])
    return folder


def _worse(new: float | None, old: float | None, champion: Version) -> list[str]:
    if old is None or (new is not None and new >= old):
        return []
    shown = "could not be computed" if new is None else f"is {new:.4f}"
    return [f"its score {shown}, that of the champion {champion.number} is {old:.4f}"]
