"""The segmenter as a model of KServe's: images, or references to scenes, in; class maps, floe labels and floes as GeoJSON out."""

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
from affine import Affine
from kserve.model import Model
from kserve.protocol.infer_type import InferInput, InferRequest, InferResponse, to_http_parameters
from numpy.typing import NDArray

from icegraph.grid import Window
from icegraph.scene import Scene
from icegraph.segment import Outlines, model_for, segment_window
from icegraph.segment.normalise import INCIDENCE, read_scaled
from icegraph.serve.account import IMAGES, VALID, account, observe_input
from icegraph.serve.array_scene import ArrayScene, Place
from icegraph.serve.gate import Gate
from icegraph.serve.geojson import moment, projected, to_geojson
from icegraph.serve.measure import measured
from icegraph.serve.models import Served, ServedModels
from icegraph.serve.protocol import Limits, array_of, numbers, output_tensor, parse_json
from icegraph.serve.references import AllowList
from icegraph.serve.refusal import malformed, unusable, within
from icegraph.store import code_version, lineage
from icegraph.tiles import judged, tile_row

NAME = "segmenter"
OUTPUTS = ("classes", "labels", "probability", "floes", "tile")
_TEXTS = ("floes", "tile")
_DEFAULT = ("classes", "labels")
_READERS = 8
_PIXEL_M = (0.01, 1e5)
_FURTHEST_M = 1e8
_TAKES = {"image": {"bands", "valid", "statistics", "crs", "transform", "time", "id"}, "scene": {"window"}}


@dataclass(frozen=True)
class Ask:
    """One image or reference of a request.

    Args:
        image: Values [C, H, W] in each band's unit, NaN where there is nothing; None for a reference.
        bands: Names of the image's bands.
        valid: Sea surface seen [H, W].
        statistics: Band → `p02` and `p98` of the scene that the image is cut from.
        place: Where the image lies; None where the request does not say.
        address: `s3://…` of a scene.
        window: Part of that scene; None for all of it.
    """

    image: NDArray[np.float32] | None = None
    bands: tuple[str, ...] = ()
    valid: NDArray[np.bool_] | None = None
    statistics: dict[str, dict[str, float]] | None = None
    place: Place | None = None
    address: str = ""
    window: Window | None = None


@dataclass(frozen=True)
class Found:
    """What was found in one image: its outlines, and where they were asked for its floes as GeoJSON, and its row of `icegraph tiles`."""

    outlines: Outlines
    floes: dict[str, Any] | None
    tile: dict[str, Any] | None


class SegmenterModel(Model):  # type: ignore[misc] # KServe has no types
    """Finds floes.

    Args:
        models: The segmenters in service; each image takes the one that reads its bands.
        allowed: Where scenes may be referred to.
        limits: What one request may ask.
        gate: Lets requests run.
    """

    def __init__(self, models: ServedModels, allowed: AllowList, limits: Limits, gate: Gate) -> None:
        super().__init__(NAME)
        self._models, self._allowed, self._limits, self._gate = models, allowed, limits, gate
        self._readers = Gate(f"{NAME}-reader", _READERS, 2 * _READERS)  # so that places stay for images while S3 hangs

    @property
    def versions(self) -> list[str]:
        """The versions in service."""
        return [model.version for model in self._models.segmenters]

    async def healthy(self) -> bool:  # noqa: D102
        return bool(self._models.segmenters)

    def get_input_types(self) -> list[dict[str, Any]]:  # noqa: D102
        return [{"name": "image", "datatype": "FP32", "shape": [-1, -1, -1, -1]}, {"name": "scene", "datatype": "BYTES", "shape": [-1]}]

    def get_output_types(self) -> list[dict[str, Any]]:  # noqa: D102
        maps = {"classes": "UINT8", "labels": "UINT32", "probability": "FP32"}
        texts = [{"name": name, "datatype": "BYTES", "shape": [-1]} for name in _TEXTS]
        return [{"name": name, "datatype": kind, "shape": [-1, -1, -1]} for name, kind in maps.items()] + texts

    async def predict(
        self,
        payload: InferRequest | dict[str, Any],
        headers: Mapping[str, str] | None = None,  # noqa: ARG002 - KServe gives them
    ) -> InferResponse | dict[str, Any]:
        """Answer a v2 request, or one of v1 as a dict."""
        if isinstance(payload, InferRequest):
            return await self._predict_v2(payload)
        return await self._predict_v1(payload)

    async def _predict_v2(self, request: InferRequest) -> InferResponse:
        known = account()
        with known.part("decode"):
            wanted = [output.name for output in request.request_outputs or []] or list(_DEFAULT)
            _check_outputs(wanted)
            asks = self._asks_v2({tensor.name: tensor for tensor in request.inputs}, plain(request.parameters))
        model, found = await self._find(asks, wanted)
        outputs = []
        for name in wanted:
            if name in _TEXTS:
                texts = [json.dumps(getattr(one, name), ensure_ascii=False, allow_nan=False).encode() for one in found]
                outputs.append(output_tensor(name, np.array(texts, object)))
                continue
            maps = [getattr(one.outlines, name) for one in found]
            if len({one.shape for one in maps}) > 1:
                raise unusable("scenes of different sizes do not fit into one tensor; ask for windows of one size, or for one at a time.")
            outputs.append(output_tensor(name, np.stack(maps)))
        return InferResponse(known.request_id, NAME, outputs, model_version=model.version, parameters=self._said(model))

    async def _predict_v1(self, payload: dict[str, Any]) -> dict[str, Any]:
        known = account()
        with known.part("decode"):
            instances = payload.get("instances") if isinstance(payload, dict) else None
            if not isinstance(instances, list) or not instances:
                raise malformed('a v1 request is {"instances": [{"image": …, "bands": …} or {"scene": "s3://…"}, …]}.')
            self._limits.check_images(len(instances), 1, 1)
            asks, wanted = [], []
            for number, entry in enumerate(instances):
                with within(f"instances[{number}]"):
                    wanted.append(_v1_outputs(entry))
                    asks.append(self._ask_v1(entry))
            self._check_sizes(asks)
        model, found = await self._find(asks, {name for names in wanted for name in names})
        with known.part("encode"):
            predictions = [_prediction(one, names) for one, names in zip(found, wanted, strict=True)]
        return {"predictions": predictions, "model_version": model.version, "id": known.request_id} | {"parameters": self._said(model)}

    def _said(self, model: Served) -> dict[str, Any]:
        known = account()
        return {"model": model.name, "model_sha256": model.sha256, "input_sha256": known.about["input_sha256"]}

    def _asks_v2(self, inputs: dict[str, InferInput], parameters: dict[str, Any]) -> list[Ask]:
        unknown = set(inputs) - {"image", "valid", "scene"}
        if unknown or ("image" in inputs) == ("scene" in inputs) or ("valid" in inputs and "scene" in inputs):
            raise malformed(f"the inputs are {', '.join(sorted(inputs))}; give image (and valid, if need be), or scene.")
        if "scene" in inputs:
            tensor = inputs["scene"]
            _require(tensor, ("BYTES",), 1)
            said = parameters | plain(tensor.parameters)
            _check_surplus(set(said) & _TAKES["image"], "scene")
            self._limits.check_images(tensor.shape[0], 1, 1)
            window = _window([_integer(part) for part in str(said["window"]).split(",")]) if "window" in said else None
            return [Ask(address=address, window=window) for address in (_text_of(value) for value in array_of(tensor))]
        tensor = inputs["image"]
        _require(tensor, ("FP32", "FP64", "FP16", "INT16", "UINT16", "UINT8"), 4)
        count, channels, height, width = tensor.shape
        self._limits.check_images(count, height, width)
        said = parameters | plain(tensor.parameters)
        _check_surplus(set(said) & _TAKES["scene"], "image")
        bands = _bands(str(said.get("bands", "")).split(","), channels)
        statistics = _statistics(_json(said["statistics"], "statistics"), bands) if "statistics" in said else None
        place = _place(said | ({"transform": str(said["transform"]).split(",")} if "transform" in said else {}))
        values = np.asarray(array_of(tensor), np.float32)
        valid: NDArray[np.bool_] | list[None] = [None] * count
        if "valid" in inputs:
            _require(inputs["valid"], ("BOOL", "UINT8"), 3)
            if list(inputs["valid"].shape) != [count, height, width]:
                raise malformed(
                    f"input valid has the shape {list(inputs['valid'].shape)}, the image's pixels are {[count, height, width]}."
                )
            valid = array_of(inputs["valid"]) > 0
        return [Ask(image, bands, mask, statistics, place) for image, mask in zip(values, valid, strict=True)]

    def _ask_v1(self, entry: dict[str, Any]) -> Ask:
        if ("image" in entry) == ("scene" in entry):
            raise malformed("give image and bands, or scene.")
        kind = "scene" if "scene" in entry else "image"
        _check_surplus(set(entry) - _TAKES[kind] - {kind, "outputs"}, kind)
        if kind == "scene":
            window = entry.get("window")
            if window is not None and not (isinstance(window, list) and all(type(part) is int for part in window)):
                raise malformed("window must be [row, column, height, width].")
            return Ask(address=_text_of(entry["scene"]), window=_window(window) if window is not None else None)
        image = _array(entry["image"], 3, "image")
        self._limits.check_images(1, *image.shape[1:])
        names = entry.get("bands")
        bands = _bands(names if isinstance(names, list) else [], image.shape[0])
        valid = None
        if "valid" in entry:
            valid = _array(entry["valid"], 2, "valid") > 0
            if valid.shape != image.shape[1:]:
                raise malformed(f"valid has the shape {list(valid.shape)}, the image's pixels are {list(image.shape[1:])}.")
        statistics = _statistics(entry["statistics"], bands) if "statistics" in entry else None
        return Ask(image, bands, valid, statistics, _place(entry))

    def _check_sizes(self, asks: Sequence[Ask]) -> None:
        """All images of a request together."""
        self._limits.check_images(1, sum(ask.image.shape[1] * ask.image.shape[2] for ask in asks if ask.image is not None), 1)

    async def _find(self, asks: Sequence[Ask], wanted: Collection[str]) -> tuple[Served, list[Found]]:
        """Work on all images of a request, which one model must fit; `wanted` are the outputs."""
        known = account()
        models = self._models.segmenters  # of one moment, whatever comes into service meanwhile
        IMAGES.labels(NAME).observe(len(asks))
        if len({ask.image is None for ask in asks}) > 1:
            raise malformed("images and references do not go together; ask for one kind at a time.")
        passes: list[Pass] = []
        if asks[0].image is None:
            with self._readers.let_in():
                passes = await self._readers.run(lambda check: self._opened(asks, models, wanted, check), "read")

        def work(check: Callable[[], None]) -> tuple[Served, list[Found]]:
            asked = passes or [_image(ask, models, "floes" in wanted) for ask in asks]
            model = _one_model(asked)
            known.about |= {"input_sha256": _content_of(asked), "model_name": model.name, "version": model.version}
            known.about |= {"model_sha256": model.sha256, "code_version": code_version()}
            known.about["inputs"] = [
                ask.address or f"image {'×'.join(map(str, one.window.shape))}" for ask, one in zip(asks, asked, strict=True)
            ]
            if passes:
                known.about["windows"] = [astuple(one.window) for one in passes]
            return model, [_found(one, wanted, known.about, check) for one in asked]

        return await self._gate.run(work)

    def _opened(self, asks: Sequence[Ask], models: Sequence[Served], wanted: Collection[str], check: Callable[[], None]) -> list["Pass"]:
        """The scenes that references name: what they bring into memory counts as if the request had held it."""
        opened, pixels, size = [], 0, 0
        for ask in asks:
            check()
            scene = self._allowed.open(ask.address)
            height, width = scene.grid.shape
            asked = ask.window or Window(0, 0, height, width)
            rows, cols = min(asked.height, height - asked.row), min(asked.width, width - asked.col)
            padded = (rows, cols) != (asked.height, asked.width)
            if min(rows, cols) < 1 or (padded and "tile" not in wanted):  # tiles at the edge reach beyond
                raise unusable(f"the window reaches beyond the scene, which has {height} rows and {width} columns.")
            window = Window(asked.row, asked.col, rows, cols)
            model = _model_for(scene, models)
            config = model.engine.config
            bands = scene.bands if "floes" in wanted else [band for band in scene.bands if band in (*config.bands, INCIDENCE)]
            # What the tiles that the window touches look at.
            around = window.padded(config.tile_px + config.halo_px + config.local_px, scene.grid.shape)
            pixels += window.height * window.width
            size += (4 * len(bands) + len(scene.masks)) * around.height * around.width
            self._limits.check_images(1, pixels, 1)
            self._limits.check_body(size)
            opened.append(Pass(ArrayScene.of_part(scene, around, bands), window, model, padded))
        return opened


@dataclass(frozen=True)
class Pass:
    """An image or a part of a scene, in memory, and the model that reads it; `padded` where more was asked for than the scene has."""

    scene: ArrayScene
    window: Window
    model: Served
    padded: bool = False


def _image(ask: Ask, models: Sequence[Served], with_floes: bool) -> Pass:
    assert ask.image is not None  # noqa: S101 - it has no address
    if with_floes and ask.place is None:
        raise unusable("floes need to know where the image lies: give crs, transform (a, b, c, d, e, f) and time.")
    scene = ArrayScene.of_image(ask.image, ask.bands, ask.valid, ask.statistics, ask.place or Place())
    model = _model_for(scene, models)
    surplus = [band for band in ask.bands if band not in (*model.engine.config.bands, INCIDENCE)]
    if surplus:
        raise unusable(f"{model.name} does not read {', '.join(surplus)}; it reads {', '.join(model.engine.config.bands)}.")
    if not any(scene.statistics(band) for band in ask.bands):
        raise unusable("the image has no pixel with a value; send one with at least some.")
    return Pass(scene, scene.held, model)


def _model_for(scene: Scene, models: Sequence[Served]) -> Served:
    folder = model_for(scene, [model.folder for model in models])
    return next(model for model in models if model.folder == folder)


def _one_model(passes: Sequence[Pass]) -> Served:
    chosen = {one.model.name: one.model for one in passes}
    if len(chosen) > 1:
        raise unusable(f"the scenes need different models ({', '.join(chosen)}); ask for those of one sensor at a time.")
    return passes[0].model


def plain(parameters: Any) -> dict[str, Any]:
    """Parameters of REST or gRPC as plain values."""
    return dict(to_http_parameters(parameters)) if parameters else {}


def _found(one: Pass, wanted: Collection[str], about: Mapping[str, Any], check: Callable[[], None]) -> Found:
    check()
    _observe(one)
    outlines = segment_window(one.model.engine, one.scene, one.window, progress=lambda _text, _share: check())
    return Found(outlines, _floes(one, outlines, about) if "floes" in wanted else None, _tile(one, outlines) if "tile" in wanted else None)


def _tile(one: Pass, outlines: Outlines) -> dict[str, Any]:
    """A window as a tile of `icegraph tiles`."""
    grid = one.scene.grid
    return tile_row(one.window, one.padded, grid.crs, grid.transform, f"{one.model.name} {one.model.version}", *judged(outlines))


def _observe(one: Pass) -> None:
    """Count what the input is like, from every so many rows and columns."""
    step = max(1, max(one.window.shape) // 128)
    bands = [band for band in one.model.engine.config.bands if band in one.scene.bands]
    values, valid = read_scaled(one.scene, bands, one.window)
    VALID.observe(float(valid.mean()))
    for band, pixels in zip(bands, values, strict=True):
        observe_input(band, pixels[::step, ::step], one.scene.statistics(band))


def _floes(one: Pass, outlines: Outlines, about: Mapping[str, Any]) -> dict[str, Any]:
    """The floe table of a window as GeoJSON."""
    table = measured(one.scene, one.window, outlines)
    table.attrs["icegraph"] |= lineage([("request", str(about["input_sha256"])), (one.model.name, one.model.sha256)])
    return to_geojson(table)


def _content_of(passes: Sequence[Pass]) -> str:
    """SHA-256 of the pixels that a request is about, by name."""
    digest = hashlib.sha256()
    for one in passes:
        for name in sorted(one.scene.rasters):
            pixels = one.scene.rasters[name]
            digest.update(f"{name}\0{pixels.dtype.str}\0{pixels.shape}\0".encode())
            digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def _prediction(found: Found, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(found if name in _TEXTS else found.outlines, name) for name in names}


def _v1_outputs(entry: Any) -> list[str]:
    if not isinstance(entry, dict):
        raise malformed("it must be a JSON object.")
    names = entry.get("outputs", list(_DEFAULT))
    if not isinstance(names, list) or not names:
        raise malformed("outputs must be a list of names.")
    _check_outputs(names)
    return names


def _check_outputs(names: Sequence[Any]) -> None:
    unknown = [str(name)[:40] for name in names if name not in OUTPUTS]
    if unknown or len(set(names)) < len(names):
        raise malformed(
            f"the outputs asked for are {', '.join(str(name)[:40] for name in names)}; those there are: {', '.join(OUTPUTS)}, each once."
        )


def _check_surplus(surplus: Collection[str], kind: str) -> None:
    if surplus:
        raise malformed(f"{', '.join(sorted(surplus))[:200]} does not go with {kind}, which takes {', '.join(sorted(_TAKES[kind]))}.")


def _require(tensor: InferInput, datatypes: tuple[str, ...], dimensions: int) -> None:
    if tensor.datatype not in datatypes:
        raise unusable(f"input {tensor.name} is {tensor.datatype}; send {' or '.join(datatypes)}.")
    if len(tensor.shape) != dimensions or any(size < 1 for size in tensor.shape):
        raise unusable(f"input {tensor.name} has the shape {list(tensor.shape)}; it takes {dimensions} dimensions, none of them empty.")


def _bands(names: Sequence[Any], channels: int) -> tuple[str, ...]:
    bands = tuple(name.strip() if isinstance(name, str) else "" for name in names)
    if len(bands) != channels or len(set(bands)) < channels or not all(band.isidentifier() and len(band) <= 40 for band in bands):
        raise unusable(f"bands must name the image's {channels} bands, each once, such as red,green,blue.")
    return bands


def _statistics(said: Any, bands: Sequence[str]) -> dict[str, dict[str, float]]:
    good = isinstance(said, dict) and set(said) == set(bands)
    good = good and all(isinstance(one, dict) and {"p02", "p98"} <= set(one) for one in said.values())
    if not good:
        raise unusable(f"statistics must give p02 and p98 of each of {', '.join(bands)}.")
    found = {band: {name: _number(said[band][name], f"statistics: {name} of {band}") for name in ("p02", "p98")} for band in bands}
    if not all(np.isfinite([*one.values()]).all() and one["p02"] <= one["p98"] for one in found.values()):
        raise unusable("statistics: each p02 must be a finite number and at most its p98.")
    return found


def _place(said: Mapping[str, Any]) -> Place | None:
    if not {"crs", "transform", "time"} & set(said):
        return None
    if not {"crs", "transform", "time"} <= set(said):
        raise unusable("crs, transform and time go together: give all three, or none.")
    transform = said["transform"]
    if not isinstance(transform, list) or len(transform) != 6:
        raise unusable("transform must be six numbers a, b, c, d, e, f: x = a·column + b·row + c, y = d·column + e·row + f.")
    affine = Affine(*(_number(part, "transform") for part in transform))
    if not np.isfinite(affine[:6]).all() or affine.determinant == 0:
        raise unusable("transform cannot be inverted; give the image's own.")
    if max(map(abs, (affine.a, affine.b, affine.d, affine.e))) > _PIXEL_M[1] or abs(affine.determinant) < _PIXEL_M[0] ** 2:
        raise unusable(f"transform must be in metres, with pixels of {_PIXEL_M[0]:g} to {_PIXEL_M[1]:g} m.")
    if max(abs(affine.c), abs(affine.f)) > _FURTHEST_M:
        raise unusable(f"transform puts the image more than {_FURTHEST_M:g} m from the projection's origin; give the image's own.")
    crs = projected(said["crs"])
    time = moment(said["time"])
    pass_id = str(said.get("id", "request"))
    if not pass_id.isprintable() or not 0 < len(pass_id) <= 200:
        raise unusable("id must be a text of 1 to 200 printable characters.")
    return Place(pass_id, time, crs, affine)


def _window(parts: Sequence[int]) -> Window:
    if len(parts) != 4 or min(parts[:2]) < 0 or min(parts[2:]) < 1 or max(parts) > 1 << 30:
        raise unusable("window must be row, column, height, width: whole numbers, within the scene.")
    return Window(*parts)


def _array(value: Any, dimensions: int, what: str) -> NDArray[np.float32]:
    try:
        array = numbers(value, np.dtype(np.float32))
    except (ValueError, TypeError, OverflowError) as error:
        raise malformed(f"{what} must be numbers in rows of one length.") from error
    if array.ndim != dimensions or 0 in array.shape:
        raise unusable(f"{what} has {array.ndim} dimensions; it takes {dimensions}, none of them empty.")
    return array


def _text_of(value: Any) -> str:
    try:
        text = value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError as error:
        raise malformed("a reference must be text.") from error
    if not isinstance(text, str) or not 0 < len(text) <= 1200:
        raise malformed("a reference must be a text, s3://BUCKET/KEY.")
    return text


def _json(text: Any, what: str) -> Any:
    if not isinstance(text, str):
        raise malformed(f"{what} must be JSON in a text.")
    return parse_json(text.encode(), what)


def _integer(text: str) -> int:
    if not text.strip().isdecimal() or len(text) > 12:
        raise unusable("window must be row,column,height,width: whole numbers.")
    return int(text)


def _number(value: Any, what: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise unusable(f"{what}: {str(value)[:40]!r} is not a number.") from error
