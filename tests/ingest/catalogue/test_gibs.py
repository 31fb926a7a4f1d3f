import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
from PIL import Image
from pyproj import Transformer

from icegraph.calibrate import calibrate
from icegraph.errors import InputError
from icegraph.ingest import ingest
from icegraph.ingest.catalogue import CatalogueError, Product, Query, fetch, open_catalogue, read_found
from icegraph.ingest.catalogue.area import box_area
from icegraph.progress import silent
from icegraph.truth import find_truth

from .conftest import Asked, Handler, Provider

DAY = datetime(2006, 5, 13, tzinfo=UTC)
AREA = box_area((-85.9, 60.2, -83.4, 61.4))  # Hudson Bay
DAY_QUERY = Query(DAY, DAY + timedelta(days=1, microseconds=-1), AREA)


def colours(x: np.ndarray, y: np.ndarray, layer: str) -> np.ndarray:
    """What the server shows at a place: colours that tell the place, within the day's imagery."""
    column, row = ((x // 250) % 251).astype(np.uint8), ((y // 250) % 241).astype(np.uint8)
    return np.stack([column, row, column // 2 + np.uint8(len(layer)), np.full_like(row, 255)], -1)


@pytest.fixture
def gibs(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Provider:
    """GIBS's WMS, which draws `colours`; `provider.mode` is the kind of PNG."""
    provider.mode = "RGBA"  # type: ignore[attr-defined]

    def draw(handler: Handler, asked: Asked) -> None:
        told = {name: values[0] for name, values in asked.query.items()}
        left, bottom, right, top = map(float, told["BBOX"].split(","))
        width, height = int(told["WIDTH"]), int(told["HEIGHT"])
        x, y = np.meshgrid(
            left + (np.arange(width) + 0.5) * (right - left) / width, top - (np.arange(height) + 0.5) * (top - bottom) / height
        )
        pixels = colours(x, y, told["LAYERS"])
        if told["LAYERS"] == "OSM_Land_Mask":
            assert "TIME" not in told
            pixels = np.where((x > left + 2500)[..., None], 0, np.array([75, 75, 75, 255])).astype(np.uint8)
        elif told["TIME"] != "2006-05-13":
            pixels = np.zeros_like(pixels)  # as GIBS answers for a day without imagery
        picture = Image.fromarray(pixels, "RGBA").convert(provider.mode)  # type: ignore[attr-defined]
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        handler.answer(200, buffer.getvalue(), Content_Type="image/png")

    provider.routes["/wms"] = draw
    monkeypatch.setenv("ICEGRAPH_GIBS_WMS", f"{provider.url}/wms")
    return provider


def found(query: Query = DAY_QUERY) -> list[Product]:
    return list(open_catalogue("gibs").search(query))


def test_there_is_a_pass_for_each_day_and_satellite(gibs: Provider) -> None:
    products = found(Query(DAY, DAY + timedelta(days=3, microseconds=-1), AREA))
    assert [(product.platform, product.time.date().isoformat()) for product in products] == [
        (satellite, f"2006-05-{day}") for day in (13, 14, 15) for satellite in ("Terra", "Aqua")
    ]
    assert [product.platform for product in found(Query(DAY, DAY_QUERY.end, AREA, platform="aqua"))] == ["Aqua"]
    assert gibs.asked == []


def test_near_180_degrees_the_layer_of_the_day_is_taken_whatever_its_time(gibs: Provider) -> None:
    terra, aqua = found(Query(DAY, DAY_QUERY.end, box_area((170.7, 71.6, 174.8, 72.8))))
    assert "time=2006-05-13" in terra.href
    assert "time=2006-05-13" in aqua.href
    assert aqua.time - terra.time == timedelta(hours=3)


def test_the_time_is_the_nominal_crossing_in_utc(gibs: Provider) -> None:
    """The shared scenes of that bay and day say 16:08 and 19:08 for 10:30 and 13:30 local solar time at 84.67 W."""
    terra, aqua = found()
    assert abs(terra.time - datetime(2006, 5, 13, 16, 8, tzinfo=UTC)) < timedelta(minutes=2)
    assert aqua.time - terra.time == timedelta(hours=3)


def test_a_pass_is_on_the_grid_where_the_server_drew_it(gibs: Provider, tmp_path: Path) -> None:
    [item, _], failed = fetch(found(), tmp_path, silent)
    assert failed == []
    assert sorted(path.name for path in item.parent.iterdir()) == [
        "landmask.tif",
        "terra.falsecolor.tif",
        "terra.json",
        "terra.truecolor.tif",
    ]
    for colour, layer in (("truecolor", "TrueColor"), ("falsecolor", "Bands721")):
        with rasterio.open(item.parent / f"terra.{colour}.tif") as dataset:
            assert (dataset.crs.to_epsg(), dataset.transform.a, dataset.transform.e) == (3413, 250, -250)
            assert dataset.transform.c % 250 == dataset.transform.f % 250 == 0
            assert [one.name for one in dataset.colorinterp] == ["red", "green", "blue", "alpha"]
            rows, cols = np.mgrid[0 : dataset.height, 0 : dataset.width] + 0.5
            x, y = dataset.transform.c + cols * 250, dataset.transform.f - rows * 250
            expected = colours(x, y, f"MODIS_Terra_CorrectedReflectance_{layer}")
            assert (dataset.read().transpose(1, 2, 0) == expected).all()
            bounds = dataset.bounds
    corners = Transformer.from_crs("EPSG:4326", "EPSG:3413", always_xy=True).transform(
        [-85.9, -83.4, -83.4, -85.9], [60.2, 60.2, 61.4, 61.4]
    )
    for x, y in zip(*corners, strict=True):
        assert bounds.left <= x <= bounds.right
        assert bounds.bottom <= y <= bounds.top
    assert bounds.right - bounds.left < max(corners[0]) - min(corners[0]) + 2 * 250 + 3000  # and the box's bent sides


@pytest.mark.parametrize("mode", ["RGB", "P", "L", "LA"])
def test_every_kind_of_png_is_read(mode: str, gibs: Provider, tmp_path: Path) -> None:
    gibs.mode = mode
    [item], _ = fetch(found()[:1], tmp_path, silent)
    with rasterio.open(item.parent / "terra.truecolor.tif") as dataset:
        pixels = dataset.read()
    assert pixels.shape[0] == 4
    assert pixels[:3].max() > 0
    assert (pixels[3] == 255).all()
    if mode == "RGB":
        assert (pixels[2] == pixels[0] // 2 + len("MODIS_Terra_CorrectedReflectance_TrueColor")).all()


def test_a_large_area_is_asked_for_in_blocks_without_seams(gibs: Provider, tmp_path: Path) -> None:
    query = Query(DAY, DAY_QUERY.end, box_area((-60, 68, -45, 73)), mode="falsecolor", platform="Terra")
    [item], _ = fetch(found(query), tmp_path, silent)
    asked = [one.query for one in gibs.asked if one.query["LAYERS"] != ["OSM_Land_Mask"]]
    assert len(asked) > 1
    assert max(int(one[side][0]) for one in asked for side in ("WIDTH", "HEIGHT")) <= 2048
    with rasterio.open(item.parent / "terra.falsecolor.tif") as dataset:
        rows, cols = np.mgrid[0 : dataset.height : 7, 0 : dataset.width : 7]
        x, y = dataset.transform.c + (cols + 0.5) * 250, dataset.transform.f - (rows + 0.5) * 250
        assert (dataset.read()[:, ::7, ::7].transpose(1, 2, 0) == colours(x, y, "MODIS_Terra_CorrectedReflectance_Bands721")).all()


def test_the_pole_is_within_an_area_around_it(gibs: Provider) -> None:
    [product] = found(Query(DAY, DAY_QUERY.end, box_area((-180, 89, 180, 90)), platform="Terra"))
    _, _, left, bottom, right, top = product.id.replace("modis-terra-", "x_").split("_")
    assert int(left) < 0 < int(right)
    assert int(bottom) < 0 < int(top)
    _, south = Transformer.from_crs("EPSG:4326", "EPSG:3413", always_xy=True).transform(-45, 89)
    assert int(bottom) * 250 == pytest.approx(south, abs=250)
    assert int(top) * 250 == pytest.approx(-south, abs=250)


def test_what_is_fetched_is_ingested_with_its_source_and_licence(gibs: Provider, tmp_path: Path) -> None:
    paths, _ = fetch(found(), tmp_path / "out", silent)
    manifest = ingest([tmp_path / "out"], tmp_path / "manifest")
    assert manifest.refused == []
    assert [entry.href for entry in manifest.passes] == paths
    for entry in manifest.passes:
        assert entry.kind == "optical"
        assert set(entry.bands) == {"red", "green", "blue", "swir22", "nir"}
        assert entry.source == f"{gibs.url}/wms"
        assert "GIBS" in entry.licence
        assert len(entry.files) == 4
    assert [entry.platform for entry in manifest.passes] == ["terra", "aqua"]


def test_the_item_is_valid_and_of_the_same_form_as_the_shared_scenes(gibs: Provider, tmp_path: Path, shared_data: Path) -> None:
    [path, _], _ = fetch(found(), tmp_path, silent)
    ours, theirs = json.loads(path.read_text()), json.loads((shared_data / "modis_floes/hudson_bay-100km-20060513/terra.json").read_text())
    assert set(theirs) <= set(ours)
    assert set(theirs["properties"]) <= set(ours["properties"])
    for key, asset in theirs["assets"].items():
        assert ours["assets"][key].get("eo:bands") == asset.get("eo:bands")
        assert ours["assets"][key]["type"] == asset["type"]
    assert ours["bbox"] == pytest.approx(theirs["bbox"], abs=1.5)  # the same box in degrees needs a larger square
    pystac.Item.from_dict(ours)


def test_a_real_scene_comes_back_pixel_for_pixel(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shared_data: Path
) -> None:
    """The server cuts its answers out of a scene that GIBS once gave."""
    case = shared_data / "modis_floes" / "hudson_bay-100km-20060513"

    def cut(handler: Handler, asked: Asked) -> None:
        told = {name: values[0] for name, values in asked.query.items()}
        name = {"TrueColor": "aqua.truecolor", "Bands721": "aqua.falsecolor"}.get(told["LAYERS"].rpartition("_")[2], "landmask")
        left, _, _, top = map(float, told["BBOX"].split(","))
        with rasterio.open(case / f"{name}.tif") as dataset:
            row, col = dataset.index(left + 125, top - 125)
            window = rasterio.windows.Window(col, row, int(told["WIDTH"]), int(told["HEIGHT"]))
            pixels = dataset.read(window=window, boundless=True, fill_value=0)
        buffer = io.BytesIO()
        Image.fromarray(pixels.transpose(1, 2, 0), "RGBA").save(buffer, "PNG")
        handler.answer(200, buffer.getvalue(), Content_Type="image/png")

    provider.routes["/wms"] = cut
    monkeypatch.setenv("ICEGRAPH_GIBS_WMS", f"{provider.url}/wms")
    [item], _ = fetch(found(Query(DAY, DAY_QUERY.end, box_area((-85, 60.6, -84.4, 60.9)), platform="Aqua")), tmp_path, silent)
    with rasterio.open(item.parent / "aqua.falsecolor.tif") as ours, rasterio.open(case / "aqua.falsecolor.tif") as theirs:
        row, col = theirs.index(ours.transform.c + 125, ours.transform.f - 125)
        window = rasterio.windows.Window(col, row, ours.width, ours.height)
        assert (ours.read() == theirs.read(window=window)).all()
    assert ingest([item], tmp_path / "manifest").refused == []


def test_a_day_without_imagery_is_refused_by_name_and_leaves_nothing(gibs: Provider, tmp_path: Path) -> None:
    later = Query(DAY + timedelta(days=1), DAY + timedelta(days=2, microseconds=-1), AREA)
    paths, failed = fetch([*found(later), *found()], tmp_path, silent)
    assert len(paths) == 2
    assert [failure.reason.split(": ", 1)[1] for failure in failed] == [
        f"MODIS_{satellite}_CorrectedReflectance_TrueColor shows nothing there on 2006-05-14; choose another day or area."
        for satellite in ("Terra", "Aqua")
    ]
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == sorted(path.parent.name for path in paths)


def test_what_a_wms_complains_of_is_told(gibs: Provider, tmp_path: Path) -> None:
    complaint = b"<ServiceExceptionReport><ServiceException>LayerNotDefined: no such layer</ServiceException></ServiceExceptionReport>"
    gibs.routes["/wms"] = lambda handler, asked: handler.answer(200, complaint, Content_Type="text/xml")
    _, [failure, _] = fetch(found(), tmp_path, silent)
    assert "is not given as a picture (LayerNotDefined: no such layer)" in failure.reason
    assert list(tmp_path.iterdir()) == []


def test_a_picture_of_another_size_or_a_damaged_one_is_refused(gibs: Provider, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGBA", (9, 9)).save(buffer, "PNG")
    for content, told in ((buffer.getvalue(), "9 × 9 pixels"), (buffer.getvalue()[:40], "cannot be read"), (b"", "cannot be read")):
        gibs.routes["/wms"] = lambda handler, asked, content=content: handler.answer(200, content, Content_Type="image/png")
        _, [failure, _] = fetch(found(), tmp_path, silent)
        assert told in failure.reason


def test_a_second_run_asks_for_nothing(gibs: Provider, tmp_path: Path) -> None:
    first = fetch(found(), tmp_path, silent)
    gibs.asked.clear()
    assert fetch(found(), tmp_path, silent) == first
    assert gibs.asked == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"area": None}, "needs an area"),
        ({"area": box_area((0, 30, 10, 40))}, "stay north of about 52 degrees"),
        ({"area": box_area((0, -80, 10, -70))}, "stay north of about 52 degrees"),
        ({"area": AREA, "mode": "infrared"}, "name truecolor or falsecolor"),
    ],
)
def test_what_gibs_does_not_have_is_one_sentence(changes: dict[str, Any], told: str, gibs: Provider) -> None:
    with pytest.raises(InputError, match=told):
        found(Query(DAY, DAY_QUERY.end, **changes))


def test_the_imagery_of_the_labelled_floes_comes_on_the_labels_grid(gibs: Provider, tmp_path: Path) -> None:
    place = Path(__file__).parents[3] / "data" / "floes"
    products = [product for product in read_found(place / "imagery.json") if product.id.startswith("hudson")]
    assert {product.id for product in read_found(place / "imagery.json")} == set(find_truth([place]))
    items, failed = fetch(products, tmp_path / "imagery", silent)
    assert failed == []
    assert sorted(item.name for item in items) == ["aqua.json", "terra.json"]
    truth = find_truth([place])
    for entry in ingest([tmp_path / "imagery"], tmp_path / "manifest").passes:
        scene = calibrate(entry, tmp_path / entry.id)
        with rasterio.open(truth[entry.id]) as labels:
            assert (labels.transform, labels.shape) == (scene.grid.transform, scene.grid.shape)
            assert rasterio.crs.CRS.from_user_input(scene.grid.crs) == labels.crs


@pytest.mark.parametrize(
    "change",
    [
        lambda href: href.replace("Terra", "..%2F..%2Fx"),
        lambda href: href.replace("2006-05-13", "../x"),
        lambda href: href.replace("truecolor", "..%2Fx"),
        lambda href: href.split("bbox")[0] + "bbox=0,0,250000000,250",
        lambda href: href.split("?")[0],
    ],
)
def test_an_address_that_was_tampered_with_is_refused(change: Callable[[str], str], gibs: Provider, tmp_path: Path) -> None:
    product = found()[0]
    with pytest.raises(CatalogueError, match="asks for nothing GIBS has"):
        open_catalogue("gibs").fetch(product.model_copy(update={"href": change(product.href)}), tmp_path, lambda more: None)
    assert list(tmp_path.iterdir()) == []
