"""Years of passes, shard by shard, into a lake: every pass once, whatever is killed, lost or run twice on the way.

    <lake>/floes/<pass id>    one item (`icegraph.store.items`) a pass: what `icegraph segment` writes, of the scene its item alone
                              (scene.json), and made.json

An item is there as a whole or not at all, and `made.json` says what it was made from. A pass whose item was made from the same files with
the same models and release is done; so a shard that is run again goes on where it ended, and changes nothing where it had finished.
"""

import json
import shutil
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import timedelta
from hashlib import sha256 as sha256_of
from pathlib import Path
from typing import Literal

from icegraph import __version__
from icegraph.errors import PassError
from icegraph.ingest import Manifest
from icegraph.ingest.manifest import Pass
from icegraph.laptop import segment_pass
from icegraph.places import at_hand, name_addresses
from icegraph.progress import Progress, silent
from icegraph.store import PATIENCE_S, Store, folder_beside, open_store, patiently, sha256

MADE = "made.json"
_PARTNERS = timedelta(hours=12)  # as fuse looks for them

State = Literal["done", "already there", "refused", "failed"]


@dataclass(frozen=True)
class Outcome:
    """What became of a pass.

    Args:
        pass_id: The pass.
        state: `refused`: it cannot be used; `failed`: it may be, another time.
        reason: Why it was refused or failed: one sentence.
        attempts: How often it was tried.
        floes: Floes found, where it was done now.
        item: SHA-256 of its item in the lake.
    """

    pass_id: str
    state: State
    reason: str = ""
    attempts: int = 1
    floes: int | None = None
    item: str = ""


def shards(manifest: Manifest, size: int) -> list[str]:
    """The shards of a manifest: pass ids, joined by commas, `size` each, in time order."""
    ids = [entry.id for entry in manifest.scenes]
    return [",".join(ids[start : start + size]) for start in range(0, len(ids), size)]


def run_shard(
    manifest: Manifest,
    pass_ids: Sequence[str],
    models: Sequence[Path],
    lake: str,
    work: Path,
    *,
    attempts: int = 3,
    patience_s: float = PATIENCE_S,
    progress: Progress = silent,
) -> list[Outcome]:
    """Bring the floes of some passes into the lake.

    A pass that fails is tried again after the others; while the store is away, the work waits.

    Args:
        manifest: What ingest wrote.
        pass_ids: Which of its passes.
        models: Segmenters.
        lake: Its folder or `s3://BUCKET/NAME`.
        work: A folder; what is written there is gone at the end.
        attempts: How often a failing pass is tried.
        patience_s: How long a store may be away, seconds.
        progress: Is told where it stands.

    Returns:
        What became of each pass, in the order given.
    """
    entries = {entry.id: entry for entry in manifest.scenes}
    outcomes: dict[str, Outcome] = {}
    waiting = list(dict.fromkeys(pass_ids))
    for attempt in range(1, attempts + 1):
        for pass_id in list(waiting):
            progress(f"archive: {pass_id}", (len(pass_ids) - len(waiting)) / max(len(pass_ids), 1))
            outcome = _archive(entries[pass_id], manifest.partners, models, lake, work, attempt, patience_s)
            outcomes[pass_id] = outcome
            if outcome.state != "failed":
                waiting.remove(pass_id)
    return [outcomes[pass_id] for pass_id in dict.fromkeys(pass_ids)]


def summary(manifest: Manifest, outcomes: Sequence[Outcome]) -> dict[str, object]:
    """The report of an archive run: how many passes ended how, and each that was refused or failed with its reason."""
    states = [outcome.state for outcome in outcomes]
    wrong = [asdict(outcome) for outcome in outcomes if outcome.state in ("refused", "failed")]
    return {
        "passes": len(outcomes),
        "states": {state: states.count(state) for state in sorted(set(states))},
        "floes": sum(outcome.floes or 0 for outcome in outcomes),
        "refused_on_sight": [asdict(refusal) for refusal in manifest.refused],
        "not_archived": wrong,
        "items": {outcome.pass_id: outcome.item for outcome in outcomes if outcome.item},
    }


def _archive(
    entry: Pass, partners: Sequence[Pass], models: Sequence[Path], lake: str, work: Path, attempt: int, patience_s: float
) -> Outcome:
    near = [partner for partner in partners if abs(partner.time - entry.time) <= _PARTNERS]
    made = _made_from(entry, near, models)
    try:
        store, root = open_store(lake)
        key = f"{root}/floes/{entry.id}".lstrip("/")
        there = patiently(lambda: _item_of(store, key, made), patience_s)
        if there:
            return Outcome(entry.id, "already there", attempts=attempt, item=there)
        with folder_beside(work / entry.id) as folder, ExitStack() as stack:
            here, *beside = patiently(lambda: stack.enter_context(at_hand([entry, *near])), patience_s)
            fresh = folder / "item"
            floes = segment_pass(here, beside, models, folder / "work", fresh)
            (fresh / "scene" / "item.json").replace(fresh / "scene.json")
            shutil.rmtree(fresh / "scene")
            (fresh / MADE).write_text(made)
            name_addresses(*fresh.glob("*.json"))
            item = patiently(lambda: store.commit(key, fresh), patience_s)
        return Outcome(entry.id, "done", attempts=attempt, floes=floes, item=item.sha256)
    except PassError as error:
        return Outcome(entry.id, "refused", str(error), attempt)
    except Exception as error:  # noqa: BLE001 - the rest of the shard goes on; the report tells
        traceback.print_exc()
        return Outcome(entry.id, "failed", " ".join(str(error).split()) or type(error).__name__, attempt)


def _made_from(entry: Pass, partners: Sequence[Pass], models: Sequence[Path]) -> str:
    said = {
        "files": {file.path.name: file.sha256 for one in (entry, *partners) for file in one.files},
        "models": {model.name: sha256(model) for model in models},
        "release": __version__,
    }
    text = json.dumps(said, indent=1, sort_keys=True)
    return json.dumps({"key": sha256_of(text.encode()).hexdigest(), **said}, indent=1, sort_keys=True) + "\n"


def _item_of(store: Store, key: str, made: str) -> str:
    """SHA-256 of the item that was made so; empty where there is none."""
    found = store.find(key)
    if found is None or found[0].key != key or MADE not in found[0].files:
        return ""
    return found[0].sha256 if store.read(found[0], MADE).decode() == made else ""
