"""Train a segmenter: first without labels, by repainting hidden patches, then with known floes; last, tune how pixels become floes.

Every example is a function of the seed, the phase and the step alone, so that a training that was stopped goes on to the same weights,
whoever prepares the examples.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from icegraph.errors import InputError, ModelError
from icegraph.progress import Progress, silent
from icegraph.scene import Scene
from icegraph.segment.checkpoint import Checkpoint, Epoch, forget, state_beside
from icegraph.segment.chips import Chip, Crop, crop_at_random, cut_chips
from icegraph.segment.losses import repaint_loss, segment_loss
from icegraph.segment.model import CONFIG, WEIGHTS, FloeRule, Segmenter, SegmenterConfig, load_segmenter
from icegraph.segment.networks import STRIDE, ThresholdSizes
from icegraph.segment.normalise import INPUTS
from icegraph.segment.team import Team, team
from icegraph.segment.tune import fit_sharpness, score, tune_rule, tune_threshold
from icegraph.store import atomic_dir, code_version, sha256

_MOST_CHIPS = 64  # about 4 MB each at five bands
_CHIP = 3  # side of a chip, crops
_HELD_OUT = 8  # one scene in so many is kept for validation
_TUNED_ON = 6  # chips
_RATE = 1e-3
_WARM_UP = 0.1  # share of the steps in which the rate rises to that
_AVERAGED = 0.25  # share of the steps that the average of the weights reaches back
_EPOCH = 25  # steps
_CAVEAT = """They are scenes of the same kind as the training's, and the thresholds were chosen on them too: on scenes of another
kind or season expect less."""
_NO_FIGURES = """None: all scenes were learnt from. How optical models trained alike do on regions that they have not seen is told by
`python benchmarks/regions.py IMAGERY`, and in `docs/results.md`."""
_NAMES = {
    "threshold": "threshold on local brightness",
    "unet": "U-Net",
    "linknet": "LinkNet",
    "segformer": "SegFormer with a branch at full resolution",
}


@dataclass(frozen=True)
class Budget:
    """How much training.

    Attributes:
        pretrain_steps: Steps of repainting hidden patches.
        steps: Steps with known floes.
        crop: Side of a training crop, pixels; a multiple of 16.
        batch: Crops a step, by all processes together.
    """

    pretrain_steps: int = 40
    steps: int = 280
    crop: int = 128
    batch: int = 4

    def __post_init__(self) -> None:
        if self.crop % STRIDE or self.crop < 2 * STRIDE or min(self.steps, self.batch) < 1 or self.pretrain_steps < 0:
            told = f"crop {self.crop}, batch {self.batch}, steps {self.steps}, pretrain_steps {self.pretrain_steps}"
            raise InputError("budget", told, f"crop must be a multiple of {STRIDE}, the others positive")


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
    hold_out: bool = True,
    seed: int = 0,
    state: str | Path | None = None,
    progress: Progress = silent,
    **settings: Any,
) -> None:
    """Train a segmenter and write its folder: `config.json`, `model.safetensors`, `history.json`, `README.md`.

    Trains on a GPU where there is one. On a CPU, the same scenes, seed, budget, version and number of threads give the same bytes, also if
    the training is stopped and called again: it goes on from the last of the states that it keeps while it trains. Started by torchrun, the
    processes share each batch; the first writes `out`, and all read `state`, which must be where all see it.

    Args:
        scenes: Folders of scenes of one sensor.
        truth: Pass id → label raster (see `icegraph.truth`); `<stem>.classes.tif` and `<stem>.negatives.tif` beside it are used where they
            exist.
        out: The model's folder.
        sensor: `sar` or `optical`.
        unlabelled: Folders of further scenes, for pre-training only.
        start: Folder of a segmenter of the same sensor to go on from: its bands, its sizes and its weights. Without it, random weights.
        pretrain_steps: See `Budget`.
        steps: See `Budget`.
        crop: See `Budget`.
        batch: See `Budget`.
        hold_out: Keep one labelled scene in eight for validation. Where they overlap in place and time they tell little.
        seed: Of weights, crops and augmentation.
        state: Folder or `s3://BUCKET/NAME` that states are kept at; the caller removes the last (`icegraph.segment.checkpoint.forget`)
            when the model is safe. Default: a hidden folder beside `out`, which is gone when the training ends well.
        progress: Told what is being done and the share done, 0..1.
        **settings: Fields of `SegmenterConfig` that differ from its defaults, or from those of `start`.

    Raises:
        InputError: No scene has truth or a pixel to learn from, or a budget that cannot be.
        ModelError: `start` cannot be read, or is of another sensor.
        StoreError: `state` is in S3, and the store fails or is away for long.
    """
    budget = Budget(pretrain_steps, steps, crop, batch)
    labelled = [path for path in scenes if Scene.open(path).id in truth]
    if not labelled:
        raise InputError(scenes[0] if scenes else "scenes", "no scene has known floes", "give the truth of at least one of the scenes")
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    model = _new(scenes, sensor, settings) if start is None else _known(start, sensor, settings)
    config = model.config
    chips = cut_chips(labelled, truth, config.bands, _CHIP * crop, _MOST_CHIPS, rng)
    train, held_out = _split(chips) if hold_out else (chips, [])
    parents = {Scene.open(path).id: sha256(path / "item.json") for path in dict.fromkeys([*scenes, *unlabelled])}
    record: dict[str, Any] = {
        "parents": parents,
        "labels": {name: sha256(truth[name]) for name in sorted(parents.keys() & truth.keys())},
        "goes_on_from": None if start is None else sha256(start / WEIGHTS),
        "software": code_version(),
        "seed": seed,
        "budget": asdict(budget),
    }
    if isinstance(config.network, ThresholdSizes):
        config = tune_threshold(config, (held_out or train)[:_TUNED_ON])
        _save(out, Segmenter(config).eval(), held_out, record | {"epochs": []}, budget)
        return
    others = [path for path in dict.fromkeys([*scenes, *unlabelled]) if path not in labelled]
    with team() as our:
        identity = record | {"config": config.model_dump(mode="json")}
        checkpoint = Checkpoint(state or state_beside(out), identity, writes=our.leads)
        model.to(our.device)
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a tenth faster than the usual layout
        if pretrain_steps and not checkpoint.done("pretrain"):
            bare = cut_chips(others, {}, config.bands, _CHIP * crop, _MOST_CHIPS, rng) if others else []
            for epoch in _pretrain(model, [*train, *bare], budget, seed, checkpoint, our):
                progress("pre-train on hidden patches", float(epoch["step"]) / (pretrain_steps + steps))
        for epoch in _train(model, train, held_out, budget, seed, checkpoint, our):
            progress("train on known floes", (pretrain_steps + float(epoch["step"])) / (pretrain_steps + steps))
        if our.leads:
            model.eval().cpu()
            model.config = config.model_copy(update={"sharpness": 1.0})
            sharpness = fit_sharpness(model, train[:: -(-len(train) // _TUNED_ON)])
            model.config = config.model_copy(update={"sharpness": round(sharpness, 3)})
            if held_out:
                model.config = model.config.model_copy(update={"rule": tune_rule(model, held_out[:_TUNED_ON])})
            _save(out, model, held_out, record | {"epochs": checkpoint.history}, budget)
            if state is None:
                forget(state_beside(out))
        our.wait()


def _new(scenes: Sequence[Path], sensor: str, settings: Mapping[str, Any]) -> Segmenter:
    return Segmenter(SegmenterConfig.model_validate({"sensor": sensor, "bands": _inputs(scenes), **settings}))


def _known(start: Path, sensor: str, settings: Mapping[str, Any]) -> Segmenter:
    model = load_segmenter(start)
    if model.config.sensor != sensor:
        raise ModelError(start, f"it reads {model.config.sensor} scenes, not {sensor}", f"name a model for {sensor}")
    config = SegmenterConfig.model_validate(model.config.model_dump() | dict(settings))
    further = Segmenter(config)
    further.load_state_dict(model.state_dict())
    return further


def _inputs(scenes: Sequence[Path]) -> tuple[str, ...]:
    """Every band that some scene has and that networks read, in the order first met."""
    return tuple(dict.fromkeys(band for path in scenes for band in Scene.open(path).bands if band in INPUTS))


def _split(chips: list[Chip]) -> tuple[list[Chip], list[Chip]]:
    """Chips for training, and those of whole scenes held out: one scene in eight, and none of fewer than three."""
    scenes = list(dict.fromkeys(chip.source for chip in chips))
    held_out = set(scenes[2::_HELD_OUT])
    return [chip for chip in chips if chip.source not in held_out], [chip for chip in chips if chip.source in held_out]


class _Examples(Dataset[tuple[NDArray[np.generic], ...]]):
    """Batch `step` of a phase: inputs, classes, distance and near (see `Crop`), each [B, …]."""

    def __init__(self, chips: Sequence[Chip], budget: Budget, config: SegmenterConfig, seed: Sequence[int], our: Team) -> None:
        self._chips, self._budget, self._config, self._seed, self._our = chips, budget, config, seed, our
        # A chip with many floes has more to tell, and yet no region may drown the others.
        weights = np.sqrt([1.0 + chip.floes for chip in chips])
        self._weights = weights / weights.sum()

    def __getitem__(self, step: int) -> tuple[NDArray[np.generic], ...]:
        rng = np.random.default_rng([*self._seed, step])
        chips = rng.choice(len(self._chips), self._budget.batch, p=self._weights)
        size, reach, cap = self._budget.crop, self._config.local_px, self._config.distance_cap_px
        return _stack(
            [
                crop_at_random(self._chips[chips[index]], size, reach, cap, np.random.default_rng([*self._seed, step, index]))
                for index in self._our.share(self._budget.batch)
            ]
        )

    def from_step(self, first: int, last: int) -> Iterator[tuple[Tensor, ...]]:
        """The batches of the steps first … last, prepared in another process while the network learns, where there is a core for it.

        They come as arrays, through a pipe: tensors would come through a socket in TMPDIR, whose path may be too long for one.
        """
        workers = min(1, (os.cpu_count() or 1) - 1)
        steps = cast(Any, range(first, last + 1))
        context = "fork" if workers else None
        loader = DataLoader(self, batch_size=None, sampler=steps, num_workers=workers, multiprocessing_context=context, collate_fn=tuple)
        return map(_tensors, loader)


def _stack(crops: Sequence[Crop]) -> tuple[NDArray[np.generic], ...]:
    return tuple(np.stack([getattr(crop, name) for crop in crops]) for name in ("inputs", "classes", "distance", "near"))


def _tensors(arrays: Sequence[NDArray[np.generic]]) -> tuple[Tensor, ...]:
    return tuple(map(torch.from_numpy, arrays))


def _pretrain(model: Segmenter, chips: Sequence[Chip], budget: Budget, seed: int, checkpoint: Checkpoint, our: Team) -> Iterator[Epoch]:
    """Masked image modelling (SimMIM, Xie et al. 2022, doi 10.48550/arXiv.2111.09886): hide patches, repaint them, judge only them."""
    steps = budget.pretrain_steps
    optimiser, schedule = _descent(model, steps)
    first = checkpoint.resume("pretrain", {"model": model}, optimiser, schedule)
    model.train()
    losses: list[float] = []
    batches = _Examples(chips, budget, model.config, (seed, 0), our).from_step(first, steps)
    for step, (inputs, *_) in enumerate(batches, first):
        inputs = _to(inputs, model)
        hidden = _hide(inputs.shape, np.random.default_rng([seed, 0, step, 1])).to(inputs.device)
        with _half(inputs.device):
            repainted = model.reconstruct(inputs * ~hidden)
        _descend(model, optimiser, repaint_loss(repainted.float(), inputs, hidden), losses, our)
        schedule.step()
        if step % _EPOCH == 0 or step == steps:
            epoch: Epoch = {"phase": "pretrain", "step": step, "loss": round(float(np.mean(losses)), 6)}
            losses.clear()
            yield checkpoint.keep(epoch, steps, {"model": model}, optimiser)


def _train(
    model: Segmenter, chips: Sequence[Chip], held_out: Sequence[Chip], budget: Budget, seed: int, checkpoint: Checkpoint, our: Team
) -> Iterator[Epoch]:
    """Supervised training at an even rate; the model ends with the moving average of its weights.

    Weights averaged along such a path err less on scenes of another kind than those that a falling rate ends in, and differ less from one
    seed to the next (Izmailov et al. 2018, doi 10.48550/arXiv.1803.05407; Cha et al. 2021, doi 10.48550/arXiv.2102.08604).
    """
    steps = budget.steps
    optimiser, schedule = _descent(model, steps)
    reach = 1 + _AVERAGED * steps
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(1 - 1 / reach), use_buffers=True)  # type: ignore[no-untyped-call]
    first = checkpoint.resume("train", {"model": model, "average": average}, optimiser, schedule)
    checks = _checks(held_out, budget, model.config, seed)
    losses: list[float] = []
    for step, batch in enumerate(_Examples(chips, budget, model.config, (seed, 1), our).from_step(first, steps), first):
        model.train()
        _descend(model, optimiser, _loss(model, batch), losses, our)
        schedule.step()
        average.update_parameters(model)
        if step % _EPOCH == 0 or step == steps:
            epoch: Epoch = {"phase": "train", "step": step, "loss": round(float(np.mean(losses)), 6)}
            if checks:
                average.eval()
                with torch.inference_mode():
                    epoch["held_out_loss"] = round(
                        float(np.mean([_loss(cast(Segmenter, average.module), check).item() for check in checks])), 6
                    )
            losses.clear()
            yield checkpoint.keep(epoch, steps, {"model": model, "average": average}, optimiser)
    model.load_state_dict(average.module.state_dict())


def _checks(held_out: Sequence[Chip], budget: Budget, config: SegmenterConfig, seed: int) -> list[tuple[Tensor, ...]]:
    """A crop of each held-out chip, the same throughout the training."""
    crops = (
        crop_at_random(chip, budget.crop, config.local_px, config.distance_cap_px, np.random.default_rng([seed, 2, index]))
        for index, chip in enumerate(held_out)
    )
    return [_tensors(_stack([crop])) for crop in crops]


def _descent(model: Segmenter, steps: int) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    optimiser = torch.optim.AdamW(model.parameters(), lr=_RATE, weight_decay=0.01)
    return optimiser, torch.optim.lr_scheduler.LinearLR(optimiser, start_factor=0.04, total_iters=max(1, round(_WARM_UP * steps)))


def _half(device: torch.device) -> torch.autocast:
    """Convolutions in bfloat16 where the device has instructions for it: there it takes half the time, elsewhere many times as long."""
    able = device.type == "cuda" or bool(torch.cpu.get_capabilities().get("avx512_bf16"))
    return torch.autocast(device.type, torch.bfloat16, enabled=able)


def _to(array: Tensor, model: Segmenter) -> Tensor:
    """Where the model is, and in its layout."""
    array = array.to(next(model.parameters()).device)
    return array.to(memory_format=torch.channels_last) if array.ndim == 4 else array


def _loss(model: Segmenter, batch: tuple[Tensor, ...]) -> Tensor:
    inputs, classes, distance, near = (_to(part, model) for part in batch)
    with _half(inputs.device):
        logits, depth = model(inputs)
    return segment_loss(logits.float(), depth.float(), classes.long(), distance, near)


def _descend(model: Segmenter, optimiser: torch.optim.Optimizer, loss: Tensor, losses: list[float], our: Team) -> None:
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    our.average(model.parameters())
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    losses.append(loss.item())


def _hide(shape: torch.Size, rng: np.random.Generator) -> Tensor:
    """Patches to hide [B, 1, H, W]: half of the image, in squares of 8 or 16 pixels."""
    batch, _, height, width = shape
    side = int(rng.choice([8, 16]))
    coarse = rng.random((batch, 1, -(-height // side), -(-width // side))) < 0.5
    return torch.from_numpy(coarse.repeat(side, 2).repeat(side, 3)[:, :, :height, :width].copy())


def _save(out: Path, model: Segmenter, held_out: Sequence[Chip], record: dict[str, Any], budget: Budget) -> None:
    config = model.config
    record = record | {"held_out": score(model, held_out, config.rule) if held_out else {}}
    with atomic_dir(out) as folder:
        (folder / CONFIG).write_text(json.dumps(config.model_dump(mode="json"), indent=1) + "\n")
        (folder / WEIGHTS).write_bytes(save({name: tensor.contiguous() for name, tensor in model.state_dict().items()}))
        (folder / "history.json").write_text(json.dumps(record, indent=1) + "\n")
        (folder / "README.md").write_text(_card(model, record, budget))


def _card(model: Segmenter, record: dict[str, Any], budget: Budget) -> str:
    config = model.config
    origin, scores = record["goes_on_from"], record["held_out"]
    begin = "random weights" if origin is None else f"the weights of an earlier model (SHA-256 {origin[:12]}…)"
    rule: FloeRule = config.rule
    figures = "\n".join(["| figure | value |", "|---|---|", *(f"| {name} | {value:g} |" for name, value in scores.items()), "", _CAVEAT])
    return f"""---
license: apache-2.0
tags: [sea-ice, segmentation, {config.sensor}]
---
# Sea-ice floe segmenter ({config.sensor})

A {_NAMES[config.network.arch]}, {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters. For every pixel:
water, brash or floe, and the distance to the floe's boundary; floes are grown from these (probability > {rule.probability:g},
of large ones > {max(rule.edge, rule.probability):g}; markers deeper than {rule.marker_px:g} px, at least {rule.min_area_px} px).
The probability is calibrated: the odds of floe are taken to the power {config.sharpness:g}.

- **Reads**: {", ".join(config.bands)}. Bands that a scene lacks are taken as missing.
- **Trained on**: {len(record["parents"])} scenes, from {begin}: {budget.pretrain_steps} steps of repainting hidden
  patches, {budget.steps} steps with known floes, {budget.batch} crops of {budget.crop} × {budget.crop} pixels a step. Names and
  SHA-256 of the scenes, the seed and the curves are in `history.json`.
- **Licence**: Apache-2.0.

## Figures on scenes held out

{figures if scores else _NO_FIGURES}

## Limits

- Floes under about 40 pixels are found incompletely, and floes under {rule.min_area_px} pixels are dropped.
- Cracks narrower than a pixel are seen only where they darken it.
- Thick cloud must be masked by the scene's `valid` mask; thin cloud lowers the contrast of cracks, so floes may come out joined, or
  are dropped: where red is told, what is hardly brighter than what lies around it is taken for slush.
"""
