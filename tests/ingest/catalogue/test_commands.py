import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from icegraph.ingest.catalogue import Product, read_found, write_found

from .conftest import SECRETS, Provider, Remote, md5, nothing_of

ICEGRAPH = str(Path(sys.executable).with_name("icegraph"))
START = datetime(2020, 1, 23, 12, tzinfo=UTC)


def icegraph(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ICEGRAPH, *map(str, words)], capture_output=True, text=True, check=False)


def scene(name: str, hours: float, west: float, **changes: Any) -> dict[str, Any]:
    """A STAC item of a scene ten degrees wide, with its raster's name."""
    box = [[west, 70], [west + 10, 70], [west + 10, 75], [west, 75], [west, 70]]
    return {
        "type": "Feature",
        "id": name,
        "geometry": {"type": "Polygon", "coordinates": [box]},
        "properties": {"datetime": (START + timedelta(hours=hours)).isoformat(), "platform": "sentinel-1b", "sar:instrument_mode": "EW"},
        "assets": {"hh": {"href": "hh.tif"}},
    } | changes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "passes"
    place.mkdir()
    (place / "hh.tif").write_bytes(b"II*\0")
    for one in (scene("a", 0, 0), scene("b", 24, 5), scene("c", 48, 40)):
        (place / f"{one['id']}.json").write_text(json.dumps(one))
    return place


def test_what_is_found_is_shown_and_saved(folder: Path, tmp_path: Path) -> None:
    ended = icegraph("find", folder, "--time", "2020-01-01/2020-02-01", "--area", "1,71,2,72", "--save", tmp_path / "found.json")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "2020-01-23 12:00:00" in ended.stdout
    assert "1 found\n" in ended.stdout
    assert [product.id for product in read_found(tmp_path / "found.json")] == ["a"]


def test_long_names_are_not_shortened(folder: Path) -> None:
    name = "S1B_EW_GRDM_1SDH_20200123T120618_20200123T120718_019944_025B8C_5A1F_COG"
    for hours, one in enumerate((name, f"{name}2")):
        (folder / f"{one}.json").write_text(json.dumps(scene(one, hours, 0)))
    words = ("find", folder, "--time", "2020-01-01/2020-02-01")
    assert f"{name}\n" in icegraph(*words).stdout.replace(" ", "")
    assert f"{name}{name}2" in icegraph(*words, "--overlap", 1).stdout.replace(" ", "")


def test_pairs_are_found(folder: Path, tmp_path: Path) -> None:
    words = ("--time", "2020-01-01/2020-02-01", "--overlap", 0.4, "--within-h", 30, "--save", tmp_path / "found.json")
    ended = icegraph("find", folder, *words)
    assert "50%" in ended.stdout
    assert "24.0" in ended.stdout
    assert [product.id for product in read_found(tmp_path / "found.json")] == ["a", "b"]


def test_that_there_is_more_is_said(folder: Path) -> None:
    said = icegraph("find", folder, "--time", "2020-01-01/2020-02-01", "--limit", 2).stdout
    assert "2 found; there are more than 2: narrow the search, or raise --limit\n" in said


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere", "--time", "2020-01-01"], "nowhere: is no folder, and no catalogue known here; "),
        (["gibs", "--time", "2020-01-01"], "gibs: needs an area; "),
        (["gibs", "--time", "soon"], "soon: is no period of time; "),
        (["gibs", "--time", "2020-01-01", "--area", "-1,2,3"], "-1,2,3: is neither west,south,east,north nor a GeoJSON file; "),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(words: list[str], told: str) -> None:
    ended = icegraph("find", *words)
    assert (ended.returncode, ended.stdout.strip()) == (1, "")
    assert ended.stderr.startswith(f"icegraph: {told}")
    assert ended.stderr.count("\n") == 1


@pytest.fixture
def asf(provider: Provider, payload: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three products of ASF's, found before; the provider serves them with a token."""
    for name in ("CMR", "EARTHDATA_LOGIN", "EARTHDATA_DATA"):
        monkeypatch.setenv(f"ICEGRAPH_{name}", provider.url)
    monkeypatch.setenv("EARTHDATA_TOKEN", "token-given")
    provider.tokens["token-given"] = 1000
    products = []
    for number in range(3):
        provider.files[f"/data/S1B_{number}.zip"] = Remote(payload[number:], etag='"1"', private=True)
        products.append(
            Product(
                catalogue="asf",
                id=f"S1B_{number}",
                time=START,
                platform="Sentinel-1B",
                size=len(payload) - number,
                checksum=md5(payload[number:]),
                href=f"{provider.url}/data/S1B_{number}.zip",
                licence="free",
            )
        )
    write_found(tmp_path / "found.json", products)
    return tmp_path / "found.json"


def test_what_was_found_is_fetched_and_nothing_twice(asf: Path, provider: Provider, payload: bytes, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first, second = (icegraph("fetch", asf, "--out", out) for _ in range(2))
    for ended in (first, second):
        assert (ended.returncode, ended.stderr) == (0, "")
        assert ended.stdout.splitlines()[-3:] == [str(out / f"S1B_{number}.zip") for number in range(3)]
    assert [(out / f"S1B_{number}.zip").read_bytes() for number in range(3)] == [payload[number:] for number in range(3)]
    assert len(provider.asked) == 3
    nothing_of(SECRETS, out)


def test_what_fails_is_told_by_name_and_the_rest_comes(
    asf: Path, provider: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICEGRAPH_TRACEBACK", "1")
    provider.files["/data/S1B_1.zip"].content = b"spoilt"
    ended = icegraph("fetch", asf, "--out", tmp_path / "out")
    assert ended.returncode == 1
    assert "failed S1B_1.zip: has the MD5" in ended.stdout
    assert "1 of 3 could not be fetched" in ended.stderr
    assert sorted(path.name for path in (tmp_path / "out").glob("*.zip")) == ["S1B_0.zip", "S1B_2.zip"]
    assert not any(secret in ended.stdout + ended.stderr for secret in SECRETS)


def test_a_killed_run_goes_on(asf: Path, provider: Provider, payload: bytes, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for remote in provider.files.values():
        remote.stall_at = 1 << 20
    process = subprocess.Popen([ICEGRAPH, "fetch", str(asf), "--out", str(out)], stdout=subprocess.DEVNULL)
    while sum(path.stat().st_size for path in out.glob(".*.part")) < 3 << 20:
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert list(out.glob("[!.]*")) == []
    for remote in provider.files.values():
        remote.stall_at = None
    provider.asked.clear()
    assert icegraph("fetch", asf, "--out", out).returncode == 0
    assert {asked.headers["range"] for asked in provider.asked} == {f"bytes={1 << 20}-"}
    assert [(out / f"S1B_{number}.zip").read_bytes() for number in range(3)] == [payload[number:] for number in range(3)]


def test_an_interruption_does_not_wait_for_a_busy_server(asf: Path, provider: Provider, tmp_path: Path) -> None:
    for remote in provider.files.values():
        remote.busy = [(429, "500")]
    # Whoever runs the tests in the background has interruptions ignored.
    command = ["env", "--default-signal=INT", ICEGRAPH, "fetch", str(asf), "--out", str(tmp_path / "out")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while len(provider.asked) < 3:
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.startswith("icegraph: interrupted")


def test_a_file_that_is_no_list_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    ended = icegraph("fetch", tmp_path / "x.json", "--out", tmp_path / "out")
    assert ended.returncode == 1
    assert "name what `icegraph find` saved" in ended.stderr
