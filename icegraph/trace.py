"""Where something came from, and what was made of it: from a track, a floe, a pass, a model or a served answer to the raw files, and back.

The answer is put together from what each artifact tells of itself: manifests, STAC items, the attributes of tables, models' histories, the
`made.json` of archived passes and the request log of a server. Things are known by their SHA-256, wherever they lie.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from icegraph.errors import InputError
from icegraph.graph.floes import ABOUT
from icegraph.places import as_named, is_address
from icegraph.registry.content import DESCRIPTION, NEEDED, model_sha256
from icegraph.store import sha256

_LEAST_DIGITS = 6
_SHOWN = 12  # digits
_SEGMENTED = "labels"  # asset that only segmented passes have
_LOGS = ("*.jsonl", "*.log")


@dataclass(frozen=True)
class Node:
    """One thing that has a history.

    Args:
        key: What it is known by: its SHA-256, or its kind and id where it is no file.
        kind: `file`, `pass`, `scene`, `floes`, `tracks`, `model`, `request`, `floe`, `track`; `unseen`: others name it, and it is not
            here.
        name: How a person names it.
        path: Where it was found.
        code_version: What made it, where it tells.
    """

    key: str
    kind: str = "unseen"
    name: str = ""
    path: str = ""
    code_version: str = ""


class History:
    """What lies in some places, and what was made from what."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self._parents: dict[str, dict[str, None]] = {}
        self._children: dict[str, dict[str, None]] = {}

    def add(self, node: Node, parents: Iterable[Node] = ()) -> None:
        """Add a thing with what it was made from; what was only named by others so far becomes it."""
        known = self.nodes.get(node.key)
        if known is None or known.kind == "unseen":
            self.nodes[node.key] = node
        for parent in parents:
            self.nodes.setdefault(parent.key, parent)
            self._parents.setdefault(node.key, {})[parent.key] = None
            self._children.setdefault(parent.key, {})[node.key] = None

    def parents(self, key: str) -> list[Node]:
        """What a thing was made from."""
        return [self.nodes[one] for one in self._parents.get(key, ())]

    def children(self, key: str) -> list[Node]:
        """What was made from a thing."""
        return [self.nodes[one] for one in self._children.get(key, ())]

    def find(self, text: str) -> Node:
        """The thing that a text names: `PASS/FLOE`, a track's number, a pass id, a model's name, a request id, or digits of a SHA-256.

        Raises:
            InputError: Nothing here is it, or several things are.
        """
        found = [self._floe(text), *self._tracks(text)]
        found += [node for node in self.nodes.values() if text == node.name]
        if not any(found) and len(text) >= _LEAST_DIGITS:
            found += [node for node in self.nodes.values() if node.key.startswith(text.lower())]
        there = list(dict.fromkeys(node for node in found if node is not None))
        # A pass id names the pass, its scene and its floes: the pass stands for all.
        there = [node for node in there if node.kind == "pass"] or there
        if not there:
            raise InputError(text, "nothing here is known by that", "name the folders where it may lie, with --in")
        if len(there) > 1:
            several = ", ".join(f"{node.kind} {node.key[:_SHOWN]} ({node.path})" for node in there[:5])
            raise InputError(text, f"names several: {several}", "give the digits of one, or fewer folders")
        return there[0]

    def trace(self, text: str) -> dict[str, Any]:
        """The thing that a text names (`find`), and the trees of all that it came from and all that came from it."""
        node = self.find(text)
        return {
            **asdict(node),
            "from": self._tree(node.key, self.parents, {node.key}),
            "into": self._tree(node.key, self.children, {node.key}),
        }

    def _tree(self, key: str, step: Any, above: set[str]) -> list[dict[str, Any]]:
        name = "from" if step == self.parents else "into"
        return [{**asdict(node), name: self._tree(node.key, step, above | {node.key})} for node in step(key) if node.key not in above]

    def _floe(self, text: str) -> Node | None:
        """A floe of a segmented pass, joined to its tracks."""
        pass_id, _, number = text.rpartition("/")
        segmented = [node for node in self.nodes.values() if node.kind == "floes" and node.name == pass_id]
        if not segmented or not number.isdigit():
            return None
        table = _column(Path(segmented[-1].path) / "floes.parquet", "floe_id")
        if int(number) not in table:
            raise InputError(text, f"the pass has no floe {number}", f"it has {min(table, default=0)} to {max(table, default=0)}")
        node = Node(f"floe {text}", "floe", text, segmented[-1].path)
        self.add(node, segmented)
        for tracks in [node for node in self.nodes.values() if node.kind == "tracks"]:
            for track, where, floe in _sightings(Path(tracks.path)):
                if (where, floe) == (pass_id, int(number)):
                    self.add(Node(f"track {tracks.key[:_SHOWN]}:{track}", "track", str(track), tracks.path), [node, tracks])
        return node

    def _tracks(self, text: str) -> list[Node]:
        """The tracks of a number, joined to their floes."""
        found = []
        number = text.rpartition(":")[2].removeprefix("track").strip()
        for tracks in [node for node in self.nodes.values() if node.kind == "tracks"]:
            own = [(where, floe) for track, where, floe in _sightings(Path(tracks.path)) if str(track) == number]
            if own and text in (number, f"track {number}", f"track {tracks.key[:_SHOWN]}:{number}"):
                node = Node(f"track {tracks.key[:_SHOWN]}:{number}", "track", number, tracks.path)
                floes = [Node(f"floe {where}/{floe}", "floe", f"{where}/{floe}", tracks.path) for where, floe in own]
                for floe in floes:
                    pass_id = floe.name.rpartition("/")[0]
                    self.add(floe, [one for one in self.nodes.values() if one.kind == "floes" and one.name == pass_id])
                self.add(node, [*floes, tracks])
                found.append(node)
        return found


def read_history(places: Sequence[Path]) -> History:
    """Read what lies below some places.

    Raises:
        InputError: A place is not there.
    """
    history = History()
    for place in places:
        if not place.exists():
            raise InputError(place, "there is no such file or folder", "check the path")
        for file in sorted(place.rglob("manifest.json")):
            _add_manifest(history, file)
        for file in sorted([*place.rglob("item.json"), *place.rglob("scene.json")]):
            _add_item(history, file)
        for file in sorted(place.rglob("made.json")):
            _add_made(history, file)
        # MLflow's copies, which all lie in folders named `model`, come last: a model is known by the first name that is found.
        for folder in sorted((file.parent for file in place.rglob(NEEDED[0])), key=lambda one: ((one / DESCRIPTION).exists(), one)):
            _add_model(history, folder)
        for file in sorted(place.rglob("tracks.parquet")):
            _add_tracks(history, file)
        for pattern in _LOGS:
            for file in sorted([place] if place.is_file() else place.rglob(pattern)):
                _add_requests(history, file)
    return history


def shown(trace: Mapping[str, Any]) -> Iterator[str]:
    """A trace as lines of text."""
    yield _line(trace)
    for way in ("from", "into"):
        if trace[way]:
            yield f"{way}:"
            yield from _branches(trace[way], way, "  ", set())


def _branches(nodes: Sequence[Mapping[str, Any]], way: str, indent: str, told: set[str]) -> Iterator[str]:
    """Lines of a tree; what was told above is named, and not told again."""
    for node in nodes:
        again = node["key"] in told and bool(node[way])
        yield f"{indent}{_line(node)}{'  …' if again else ''}"
        told.add(node["key"])
        if not again:
            yield from _branches(node[way], way, f"{indent}  ", told)


def _line(node: Mapping[str, Any]) -> str:
    digits = str(node["key"])
    what = f"{node['kind']} {node['name']}".strip()
    more = [] if " " in digits else [f"sha256 {digits}"]
    more += [f"icegraph {node['code_version']}"] if node["code_version"] else []
    return f"{what}  {'  '.join(more)}".rstrip()


def _add_manifest(history: History, file: Path) -> None:
    said = _read(file)
    for entry in said.get("passes", []) if isinstance(said.get("passes"), list) else []:
        files = [Node(raw["sha256"], "file", Path(raw["path"]).name, raw["path"]) for raw in entry["files"]]
        history.add(_pass(entry["id"], str(file), str(said.get("created_by", ""))), files)


def _add_item(history: History, file: Path) -> None:
    said = _read(file)
    properties = said.get("properties", {})
    kind = "floes" if _SEGMENTED in said.get("assets", {}) else "scene"
    parents = [Node(parent["sha256"], "unseen", parent["name"]) for parent in properties.get("icegraph:parents", [])]
    for parent in parents:
        if parent.name == said.get("id"):  # the scene before AMSR2 was added, which is not kept
            files = [Node(raw["sha256"], "file", raw["name"]) for raw in properties.get("icegraph:raw", [])]
            history.add(_pass(parent.name), files)
            history.add(replace(parent, kind="scene"), [_pass(parent.name)])
    made_by = str(properties.get("processing:software", {}).get("icegraph", ""))
    history.add(Node(sha256(file), kind, str(said.get("id", "")), str(file.parent), made_by), parents)


def _add_made(history: History, file: Path) -> None:
    said = _read(file)
    item = file.with_name("item.json")
    files = [Node(digest, "file", name) for name, digest in said.get("files", {}).items()]
    if item.is_file():
        history.add(_pass(str(_read(item).get("id", "")), str(file)), files)


def _add_model(history: History, folder: Path) -> None:
    if not all((folder / name).is_file() for name in NEEDED):
        return
    parents = _read(folder / "history.json").get("parents", {}) if (folder / "history.json").is_file() else {}
    learned = [Node(digest, "unseen", name) for name, digest in parents.items()] if isinstance(parents, dict) else []
    name = folder.parent.name if (folder.parent / "champion.json").is_file() else folder.name
    model = Node(model_sha256(folder), "model", name, str(folder), str(_read(folder / NEEDED[0]).get("software", "")))
    history.add(model, learned)
    for file in NEEDED:  # what was made with the model names these
        history.add(Node(sha256(folder / file), "part", f"{name} {file}", str(folder / file)), [model])


def _add_tracks(history: History, file: Path) -> None:
    about = _about(file)
    parents = [Node(parent["sha256"], "unseen", parent["name"]) for parent in about.get("icegraph:parents", [])]
    passes = {where for _, where, _ in _sightings(file)}
    segmented = [node for node in history.nodes.values() if node.kind == "floes" and node.name in passes]
    made_by = str(about.get("processing:software", {}).get("icegraph", ""))
    history.add(Node(sha256(file), "tracks", file.parent.name, str(file), made_by), [*segmented, *parents])


def _add_requests(history: History, file: Path) -> None:
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        if not line.startswith("{"):
            continue
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if said.get("event") == "request" and said.get("request_id"):
            parents = [Node(str(said["model_sha256"]), "model", str(said.get("model_name", "")))] if said.get("model_sha256") else []
            parents += [Node(str(said["input_sha256"]), "input", "what was sent")] if said.get("input_sha256") else []
            asked = [one for one in said.get("inputs") or [] if is_address(one)]
            parents += [node for node in history.nodes.values() if node.kind == "scene" and as_named(node.path) in asked]
            request = Node(
                f"request {said['request_id']}", "request", str(said["request_id"]), str(file), str(said.get("code_version", ""))
            )
            history.add(request, parents)


def _pass(pass_id: str, path: str = "", code_version: str = "") -> Node:
    return Node(f"pass {pass_id}", "pass", pass_id, path, code_version)


def _sightings(file: Path) -> list[tuple[int, str, int]]:
    import pyarrow.parquet as pq

    table = pq.read_table(file, columns=["track_id", "pass_id", "floe_id"])
    return list(zip(*(table[name].to_pylist() for name in ("track_id", "pass_id", "floe_id")), strict=True))


def _column(file: Path, name: str) -> set[int]:
    import pyarrow.parquet as pq

    return set(pq.read_table(file, columns=[name])[name].to_pylist()) if file.is_file() else set()


def _about(file: Path) -> dict[str, Any]:
    """What a table says of itself, as pandas keeps it."""
    import pyarrow.parquet as pq

    kept = json.loads((pq.read_metadata(file).metadata or {}).get(b"PANDAS_ATTRS", b"{}"))
    return dict(kept.get(ABOUT, {}))


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(file, f"cannot be read ({error})", "remove it, or name other folders") from error
    return content if isinstance(content, dict) else {}
