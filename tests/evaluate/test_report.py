"""The page is whole, self-contained and safe, with everything and with next to nothing."""

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from affine import Affine

from icegraph.errors import InputError
from icegraph.evaluate import evaluate
from icegraph.evaluate.gate import flat_metrics
from icegraph.evaluate.report import show_number

from .conftest import MadeRun, drifting_discs, write_manifest, write_model

VOID = {"meta", "link", "input", "br", "hr", "img"}


class Page(HTMLParser):
    """Collects what a page refers to, and whether its tags match."""

    def __init__(self, text):
        super().__init__()
        self.open, self.addresses, self.tags, self.text, self.ids = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == [], self.open

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        self.addresses += [v for k, v in attrs.items() if k in ("src", "href", "action", "data", "poster", "srcset", "xlink:href")]
        self.ids += [attrs["id"]] if "id" in attrs else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def run_evaluate(run: MadeRun, out, **changes):
    arguments = {"scenes": run.scenes, "segments": run.segments, "tracks": run.root / "tracks", "truth": run.truth}
    metrics = evaluate(out, **(arguments | changes))
    text = (out / "report.html").read_text()
    return metrics, text, Page(text)


def assert_self_contained(text, page):
    outside = [a for a in page.addresses if not a.startswith(("#", "data:"))]
    assert outside == []
    assert re.findall(r"url\((?!\s*['\"]?(?:data:|#))", text) == []
    assert "@import" not in text
    assert not any(tag in ("script", "iframe", "object", "embed", "base") for tag, _ in page.tags)
    assert len(set(page.ids)) == len(page.ids)
    assert {a[1:] for a in page.addresses if a.startswith("#")} <= set(page.ids)


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    root = tmp_path_factory.mktemp("full")
    run = drifting_discs(root)
    model = write_model(root / "models" / "segmenter-sar")
    return run, *run_evaluate(run, root / "out", models=[model], manifest=write_manifest(run, root / "manifest.json"))


def test_a_perfect_run_scores_one_and_passes_the_gate(full):
    _, metrics, _, _ = full
    sar = metrics["sensors"]["sar"]
    for group, name in [("segmentation", "f1"), ("segmentation", "pq"), ("matching", "precision"), ("matching", "recall")]:
        assert sar[group][name] == 1
    assert sar["segmentation"]["classical_f1"] == pytest.approx(1, abs=0.1)
    assert sar["segmentation"]["f1_over_classical"] == 1 - sar["segmentation"]["classical_f1"]
    assert sar["tracking"]["hota"] == sar["tracking"]["idf1"] == pytest.approx(1)
    assert sar["drift"]["rmse_m"] == pytest.approx(0, abs=1e-6)
    assert sar["forecast"]["floes"] > 10
    assert metrics["gate_passed"]


def test_the_files_say_what_evaluate_gave(full):
    run, metrics, _, _ = full
    out = run.root / "out"
    assert json.loads((out / "metrics.json").read_text()) == metrics
    gate = json.loads((out / "gate.json").read_text())
    assert gate["passed"] and gate["judged"]
    assert sorted(p.name for p in out.iterdir()) == ["gate.json", "metrics.json", "report.html"]


def test_the_gate_is_told_in_words(full):
    _, metrics, _, page = full
    assert not {metric.partition(".")[2] for metric in flat_metrics(metrics)} & {text.strip() for text in page.text}


def test_the_forecast_is_shown_where_its_floes_can_be_told_apart(tmp_path):
    run = drifting_discs(tmp_path)
    run.grid = replace(run.grid, transform=Affine.translation(500_000, 0) @ run.grid.transform)
    run.add_pass("sar-elsewhere", [(1, 128, 128, 20)])  # the latest, and whoever it shows may be anywhere
    x, y = run.grid.xy(128, 128)
    seen, ahead = {"pass_id": "sar-elsewhere", "floe_id": 1}, {"sigma_major_m": 1e6, "sigma_minor_m": 1e6}
    for name, changes in (("tracks", seen), ("forecast", ahead)):
        path = run.root / "tracks" / f"{name}.parquet"
        table = gpd.read_parquet(path)
        row = table.iloc[[-1]].assign(track_id=99, geometry=gpd.points_from_xy([x], [y]), **changes)
        pd.concat([table, row.assign(time=row["time"] + pd.Timedelta(days=1))], ignore_index=True).to_parquet(path)
    _, text, _ = run_evaluate(run, tmp_path / "out")
    assert int(re.search(r"Where (\d+) of 25 floes are expected", text)[1]) > 10


def test_the_page_fetches_nothing(full):
    _, _, text, page = full
    assert_self_contained(text, page)
    assert len(text) < 2_000_000


def test_the_page_names_every_pass_file_and_model(full):
    run, _, _, page = full
    words = " ".join(page.text)
    for expected in [*run.scenes, "cd" * 32, "ab" * 32, "SAR segmenter", "The polarisation was taken from the file name."]:
        assert expected in words


def test_the_page_is_the_same_wherever_the_models_lay(made_run, tmp_path):
    pages = [run_evaluate(made_run, tmp_path / "out", models=[write_model(tmp_path / place / "model")])[1] for place in ("work", "kept")]
    assert pages[0] == pages[1]


def test_a_hostile_file_name_stays_text(full):
    _, _, text, page = full
    assert "<script>" not in text
    assert "<img src=http" not in text
    assert "/data/<script>alert(1)</script>.tif" in " ".join(page.text)


def test_every_picture_is_described(full):
    _, _, _, page = full
    for tag, attrs in page.tags:
        if tag == "svg":
            assert attrs.get("aria-label") or attrs.get("aria-hidden") == "true"
    headings = [tag for tag, _ in page.tags if tag in ("h1", "h2", "h3")]
    assert headings.count("h1") == 1
    assert headings[0] == "h1"


def test_a_floe_has_the_same_colour_in_all_passes(full):
    _, _, text, _ = full
    colours = {}
    for colour, name in re.findall(r'class="floe" style="--c:(#\w+)"[^>]*><title>floe \d+, track (\d+)<', text):
        colours.setdefault(name, []).append(colour)
    assert len(colours) == 24
    assert all(len(seen) == 3 and len(set(seen)) == 1 for seen in colours.values())


def test_a_run_without_truth_or_tracks_is_described_and_not_judged(made_run, tmp_path):
    metrics, text, page = run_evaluate(made_run, tmp_path / "out", tracks=None, truth={})
    assert_self_contained(text, page)
    assert metrics["sensors"] == {"sar": {"counts": {"passes": 3, "floes": 72, "tracks": 0, "longest_track": 0}}}
    assert not metrics["gate_passed"]
    assert "Not judged" in text


def test_a_pass_without_floes_is_no_error(tmp_path):
    run = MadeRun(tmp_path)
    run.add_pass("empty", [])
    metrics, text, page = run_evaluate(run, tmp_path / "out", tracks=None)
    assert_self_contained(text, page)
    assert metrics["sensors"]["sar"]["segmentation"]["known"] == 0
    assert "0 floes" in text


def test_no_pass_at_all_still_tells_what_was_refused(made_run, tmp_path):
    manifest = write_manifest(made_run, tmp_path / "manifest.json")
    metrics, text, page = run_evaluate(made_run, tmp_path / "out", scenes={}, segments={}, tracks=None, truth={}, manifest=manifest)
    assert_self_contained(text, page)
    assert metrics["passes"] == {}
    assert "alert(1)" in text


def test_two_sensors_are_told_apart(tmp_path):
    sar, optical = drifting_discs(tmp_path / "a"), drifting_discs(tmp_path / "b", "optical")
    both = {name: getattr(sar, name) | getattr(optical, name) for name in ("scenes", "segments", "truth")}
    metrics, text, page = run_evaluate(sar, tmp_path / "out", **both)
    assert_self_contained(text, page)
    assert set(metrics["sensors"]) == {"sar", "optical"}
    assert "true colour" in text
    assert metrics["sensors"]["optical"]["matching"]["recall"] == 0  # its tracks were not given


def test_what_was_never_matched_between_two_sensors_lowers_their_recall(tmp_path):
    sar, optical = drifting_discs(tmp_path / "a", passes=1), drifting_discs(tmp_path / "b", "optical", passes=1)
    table = pd.concat([pd.read_parquet(run.root / "truth" / "floes.parquet") for run in (sar, optical)])
    for name, place in optical.truth.items():
        for raster in (place, place.with_name(f"{name}.classes.tif")):
            shutil.copyfile(raster, sar.root / "truth" / raster.name)
    table.to_parquet(sar.root / "truth" / "floes.parquet")
    truth = sar.truth | {name: sar.root / "truth" / place.name for name, place in optical.truth.items()}
    metrics, _, _ = run_evaluate(
        sar, tmp_path / "out", scenes=sar.scenes | optical.scenes, segments=sar.segments | optical.segments, truth=truth
    )
    assert metrics["sensors"]["mixed"]["matching"]["recall"] == 0
    assert metrics["sensors"]["mixed"]["matching"]["true"] == 24


def test_outlines_moved_aside_score_less(tmp_path):
    run = MadeRun(tmp_path)
    discs = [(1, 60, 60, 12), (2, 150, 150, 12)]
    run.add_pass("moved", discs, found=np.roll(run.draw(discs), 6, axis=1))
    metrics, _, _ = run_evaluate(run, tmp_path / "out", tracks=None)
    figures = metrics["sensors"]["sar"]["segmentation"]
    assert figures["f1"] == 1
    assert 0.5 < figures["mean_iou"] < 0.6


def test_many_passes_get_a_sensible_number_of_pictures(tmp_path):
    run = MadeRun(tmp_path, size=64)
    for number in range(15):
        run.add_pass(f"pass-{number}", [(1, 30, 20 + number, 9)])
    _, text, page = run_evaluate(run, tmp_path / "out", tracks=None)
    assert text.count("data:image/webp") == 12
    assert "3 more passes" in text
    assert all(f"pass-{n}" in " ".join(page.text) for n in range(15))


def test_a_segment_without_its_scene_is_refused_by_name(made_run, tmp_path):
    with pytest.raises(InputError, match="sar-pass-1"):
        run_evaluate(made_run, tmp_path / "out", scenes={"sar-pass-0": made_run.scenes["sar-pass-0"]})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (12345, "12\u202f345"),
        (0.8734, "0.873"),
        (1.0, "1.00"),
        (-3.14159, "\u22123.14"),
        (56.78, "56.8"),
        (0.00012, "0.00012"),
        (0.000012, "1.2e\u221205"),
        (0.0, "0"),
    ],
)
def test_numbers_are_told_as_people_read_them(value, text):
    assert show_number(value) == text
