"""Train a segmenter: first without labels, by repainting hidden patches, then with known floes; last, tune how pixels become floes."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from icegraph.errors import InputError, ModelError
from icegraph.progress import Progress, silent
from icegraph.scene import Scene
from icegraph.segment.chips import Chip, Crop, crop_at_random, cut_chips
from icegraph.segment.losses import repaint_loss, segment_loss
from icegraph.segment.model import CONFIG, STRIDE, WEIGHTS, FloeRule, Segmenter, SegmenterConfig, load_segmenter
from icegraph.segment.normalise import INCIDENCE
from icegraph.segment.tune import score, tune_rule
from icegraph.store import atomic_dir, code_version, sha256

History = list[dict[str, float | str]]

_MOST_CHIPS = 192  # about 1 MB each at five bands
_HELD_OUT = 8  # one scene in so many is kept for validation
_TUNED_ON = 16  # chips
_RATE = 3e-3  # lower ones suit simulated scenes as well and real ones less
_EPOCH = 25  # steps


@dataclass(frozen=True)
class Budget:
    """How much training.

    Attributes:
        pretrain_steps: Steps of repainting hidden patches.
        steps: Steps with known floes.
        crop: Side of a training crop, pixels; a multiple of 16.
        batch: Crops a step.
    """

    pretrain_steps: int = 60
    steps: int = 400
    crop: int = 128
    batch: int = 4


def fit_segmenter(
    scenes: Sequence[Path],
    truth: Mapping[str, Path],
    out: Path,
    *,
    sensor: str,
    unlabelled: Sequence[Path] = (),
    start: Path | None = None,
    pretrain_steps: int = Budget.pretrain_steps,
    steps: int = Budget.steps,
    crop: int = Budget.crop,
    batch: int = Budget.batch,
    seed: int = 0,
    progress: Progress = silent,
    **settings: Any,
) -> None:
    """Train a segmenter and write its folder: `config.json`, `model.safetensors`, `history.json`, `README.md`.

    Trains on a GPU where there is one. On a CPU, the same scenes, seed, budget, version and number of threads give the same bytes.

    Args:
        scenes: Folders of scenes of one sensor.
        truth: Pass id → label raster (see `icegraph.truth`); `<stem>.classes.tif` beside it is used where it exists.
        out: The model's folder.
        sensor: `sar` or `optical`.
        unlabelled: Folders of further scenes, for pre-training only.
        start: Folder of a segmenter of the same sensor to go on from: its bands, its sizes and its weights. Without it, random weights.
        pretrain_steps: See `Budget`.
        steps: See `Budget`.
        crop: See `Budget`.
        batch: See `Budget`.
        seed: Of weights, crops and augmentation.
        progress: Told what is being done and the share done, 0..1.
        **settings: Fields of `SegmenterConfig` that differ from its defaults, or from those of `start`.

    Raises:
        InputError: No scene has truth or a pixel to learn from, or a budget that cannot be.
        ModelError: `start` cannot be read, or is of another sensor.
    """
    labelled = [path for path in scenes if Scene.open(path).id in truth]
    if not labelled:
        raise InputError(scenes[0] if scenes else "scenes", "no scene has known floes", "give the truth of at least one of the scenes")
    if crop % STRIDE or crop < 2 * STRIDE or min(steps, batch) < 1 or pretrain_steps < 0:
        raise InputError(
            "budget", f"crop {crop}, batch {batch}, steps {steps}", f"crop must be a multiple of {STRIDE}, the others positive"
        )
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    model = _new(scenes, sensor, settings) if start is None else _known(start, sensor, settings)
    config = model.config
    model.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a tenth faster than the usual layout
    side = -(-3 * crop // 2)
    chips = cut_chips(labelled, truth, config.bands, side, _MOST_CHIPS, rng)
    train, held_out = _split(chips)
    history: History = []
    total = pretrain_steps + steps

    if pretrain_steps:
        others = [path for path in dict.fromkeys([*scenes, *unlabelled]) if path not in labelled]
        bare = cut_chips(others, {}, config.bands, side, _MOST_CHIPS // 2, rng) if others else []
        batches = _batches([*train, *bare], crop, batch, config, rng)
        for epoch in _pretrain(model, batches, pretrain_steps, rng):
            history.append(epoch)
            progress("pre-train on hidden patches", float(epoch["step"]) / total)
    checks = list(_batches(held_out, crop, len(held_out), config, np.random.default_rng(seed)).__next__()) if held_out else []
    batches = _batches(train, crop, batch, config, rng)
    for epoch in _train(model, batches, steps, checks):
        history.append(epoch)
        progress("train on known floes", (pretrain_steps + float(epoch["step"])) / total)
    model.eval().cpu()
    rule = tune_rule(model, [*held_out, *train][:_TUNED_ON])
    scores = score(model, held_out, rule) if held_out else {}
    config = config.model_copy(update={"rule": rule})
    parents = {Scene.open(path).id: sha256(path / "item.json") for path in dict.fromkeys([*scenes, *unlabelled])}
    _save(out, model, config, history, scores, parents, seed, Budget(pretrain_steps, steps, crop, batch), start)


def _new(scenes: Sequence[Path], sensor: str, settings: Mapping[str, Any]) -> Segmenter:
    return Segmenter(SegmenterConfig.model_validate({"sensor": sensor, "bands": _all_bands(scenes), **settings}))


def _known(start: Path, sensor: str, settings: Mapping[str, Any]) -> Segmenter:
    model = load_segmenter(start)
    if model.config.sensor != sensor:
        raise ModelError(start, f"it reads {model.config.sensor} scenes, not {sensor}", f"name a model for {sensor}")
    config = SegmenterConfig.model_validate(model.config.model_dump() | dict(settings))
    further = Segmenter(config)
    further.load_state_dict(model.state_dict())
    return further


def _all_bands(scenes: Sequence[Path]) -> tuple[str, ...]:
    """Every band that some scene has, in the order first met; not the incidence angle, which is taken out of the others."""
    return tuple(dict.fromkeys(band for path in scenes for band in Scene.open(path).bands if band != INCIDENCE))


def _split(chips: list[Chip]) -> tuple[list[Chip], list[Chip]]:
    """Chips for training, and those of whole scenes held out: one scene in eight, and none of fewer than three."""
    scenes = list(dict.fromkeys(chip.source for chip in chips))
    held_out = set(scenes[2::_HELD_OUT])
    return [chip for chip in chips if chip.source not in held_out], [chip for chip in chips if chip.source in held_out]


def _batches(chips: list[Chip], size: int, batch: int, config: SegmenterConfig, rng: np.random.Generator) -> Iterator[list[Crop]]:
    """Crops without end: all chips in random order, then again."""
    queue: list[int] = []
    while True:
        crops = []
        for _ in range(batch):
            queue = queue or rng.permutation(len(chips)).tolist()
            crops.append(crop_at_random(chips[queue.pop()], size, config.local_px, config.distance_cap_px, rng))
        yield crops


def _pretrain(model: Segmenter, batches: Iterator[list[Crop]], steps: int, rng: np.random.Generator) -> Iterator[dict[str, float | str]]:
    """Masked image modelling (SimMIM, Xie et al. 2022, doi 10.48550/arXiv.2111.09886): hide patches, repaint them, judge only them."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=2e-3, total_steps=steps, pct_start=0.2)
    model.train()
    losses: list[float] = []
    for step in range(1, steps + 1):
        inputs = _stack([crop.inputs for crop in next(batches)], model)
        hidden = _hide(inputs.shape, rng).to(inputs.device)
        shown = inputs * ~hidden
        loss = repaint_loss(model.reconstruct(shown), inputs, hidden)
        _descend(model, optimiser, loss)
        schedule.step()
        losses.append(loss.item())
        if step % _EPOCH == 0 or step == steps:
            yield {"phase": "pretrain", "step": step, "loss": round(float(np.mean(losses)), 6)}
            losses = []


def _train(model: Segmenter, batches: Iterator[list[Crop]], steps: int, checks: list[Crop]) -> Iterator[dict[str, float | str]]:
    """Supervised training; the model ends with the moving average of its weights, which is steadier than the last ones."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=_RATE, total_steps=steps, pct_start=0.15)
    decay = min(0.98, 1 - 5 / (steps + 5))
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)  # type: ignore[no-untyped-call]
    losses: list[float] = []
    for step in range(1, steps + 1):
        model.train()
        loss = _loss(model, next(batches))
        _descend(model, optimiser, loss)
        schedule.step()
        average.update_parameters(model)
        losses.append(loss.item())
        if step % _EPOCH == 0 or step == steps:
            epoch: dict[str, float | str] = {"phase": "train", "step": step, "loss": round(float(np.mean(losses)), 6)}
            if checks:
                epoch["held_out_loss"] = round(_check(cast(Segmenter, average.module), checks), 6)
            yield epoch
            losses = []
    model.load_state_dict(average.module.state_dict())


def _loss(model: Segmenter, crops: list[Crop]) -> Tensor:
    logits, distance = model(_stack([crop.inputs for crop in crops], model))
    classes, true_distance, near = (_stack([getattr(crop, name) for crop in crops], model) for name in ("classes", "distance", "near"))
    return segment_loss(logits, distance, classes.long(), true_distance, near)


def _check(model: Segmenter, crops: list[Crop]) -> float:
    model.eval()
    with torch.inference_mode():
        return float(np.mean([_loss(model, [crop]).item() for crop in crops]))


def _descend(model: Segmenter, optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()


def _hide(shape: torch.Size, rng: np.random.Generator) -> Tensor:
    """Patches to hide [B, 1, H, W]: half of the image, in squares of 8 or 16 pixels."""
    batch, _, height, width = shape
    side = int(rng.choice([8, 16]))
    coarse = rng.random((batch, 1, -(-height // side), -(-width // side))) < 0.5
    return torch.from_numpy(coarse.repeat(side, 2).repeat(side, 3)[:, :, :height, :width].copy())


def _stack(arrays: Sequence[NDArray[np.generic]], model: Segmenter) -> Tensor:
    """One tensor, where the model is."""
    return torch.from_numpy(np.stack(arrays)).to(next(model.parameters()).device)


def _save(
    out: Path,
    model: Segmenter,
    config: SegmenterConfig,
    history: History,
    scores: dict[str, float],
    parents: dict[str, str],
    seed: int,
    budget: Budget,
    start: Path | None,
) -> None:
    origin = None if start is None else sha256(start / WEIGHTS)
    record = {
        "parents": parents,
        "goes_on_from": origin,
        "software": code_version(),
        "seed": seed,
        "budget": vars(budget),
        "held_out": scores,
        "epochs": history,
    }
    with atomic_dir(out) as folder:
        (folder / CONFIG).write_text(json.dumps(config.model_dump(mode="json"), indent=1) + "\n")
        (folder / WEIGHTS).write_bytes(save({name: tensor.contiguous() for name, tensor in model.state_dict().items()}))
        (folder / "history.json").write_text(json.dumps(record, indent=1) + "\n")
        (folder / "README.md").write_text(_card(model, config, scores, parents, budget, origin))


def _card(
    model: Segmenter, config: SegmenterConfig, scores: dict[str, float], parents: dict[str, str], budget: Budget, origin: str | None
) -> str:
    begin = "random weights" if origin is None else f"the weights of an earlier model (SHA-256 {origin[:12]}…)"
    rule: FloeRule = config.rule
    figures = "\n".join(["| figure | value |", "|---|---|", *(f"| {name} | {value:g} |" for name, value in scores.items())])
    return f"""---
license: apache-2.0
tags: [sea-ice, segmentation, {config.sensor}]
---
# Sea-ice floe segmenter ({config.sensor})

SegFormer with a full-resolution detail branch, {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters. For every pixel:
water, brash or floe, and the distance to the floe's boundary; floes are grown from these (probability > {rule.probability:g},
markers deeper than {rule.marker_px:g} px, at least {rule.min_area_px} px).

- **Reads**: {", ".join(config.bands)}. Bands that a scene lacks are taken as missing.
- **Trained on**: {len(parents)} scenes, from {begin}: {budget.pretrain_steps} steps of repainting hidden
  patches, {budget.steps} steps with known floes, {budget.batch} crops of {budget.crop} × {budget.crop} pixels a step. Names and
  SHA-256 of the scenes, the seed and the curves are in `history.json`.
- **Licence**: Apache-2.0.

## Figures on scenes held out

{figures if scores else "None: there were too few scenes to hold one out."}

They are scenes of the same kind as the training's, and the thresholds were chosen on them too: on scenes of another kind or season
expect less.

## Limits

- Floes under about 40 pixels are found incompletely, and floes under {rule.min_area_px} pixels are dropped.
- Cracks narrower than a pixel are seen only where they darken it.
- Thick cloud must be masked by the scene's `valid` mask; thin cloud lowers the contrast of cracks, so floes may come out joined.
"""
