"""The images: what they hold, how little they may do, and that what runs in them gives what it gives outside."""

import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

ROOT = Path(__file__).parents[2]
LOCKED = ("--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges")
USER = 10001

pytestmark = pytest.mark.timeout(2400)


def docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def inside(image: str, *command: str, options: tuple[str, ...] = LOCKED) -> str:
    return docker("run", "--rm", *options, "--entrypoint", command[0], image, *command[1:])


@pytest.mark.parametrize("name", ["pipeline", "train", "serve"])
def test_an_image_is_nobodys_and_says_what_it_is(images: dict[str, str], name: str) -> None:
    (told,) = json.loads(docker("image", "inspect", images[name]))
    assert told["Config"]["User"] == f"{USER}:{USER}"
    commit = subprocess.run(["git", "describe", "--always", "--dirty=+dirty", "--abbrev=12"], cwd=ROOT, capture_output=True, text=True)
    labels = {name.rpartition(".")[2]: text for name, text in told["Config"]["Labels"].items()}
    assert (labels["revision"], labels["version"]) == (commit.stdout.strip(), images[name].rpartition(":")[2])
    assert inside(images[name], "icegraph", "--version").strip() == f"{labels['version']} ({labels['revision']})"
    assert inside(images[name], "id", "-u").strip() == str(USER)
    assert not inside(
        images[name], "find", "/", "-xdev", "-type", "f", "-perm", "/6000", options=("--user=0",)
    )  # no way to another's rights


@pytest.mark.parametrize("name", ["pipeline", "serve"])
def test_no_compiler_and_no_pip_is_in_an_image_and_its_bill_lists_what_is_there(images: dict[str, str], name: str) -> None:
    found = inside(images[name], "sh", "-c", "for one in gcc cc c++ ld make pip pip3 uv git; do command -v $one; done || true")
    assert not found
    place = "/opt/venv/lib/python3.11/site-packages"
    code = f"import importlib.metadata as m, json; print(json.dumps([d.name.lower() for d in m.distributions(path=['{place}'])]))"
    bill = json.loads(inside(images[name], "cat", "/opt/sbom.cdx.json"))
    listed = {part["name"].lower().replace("_", "-") for part in bill["components"]}
    assert listed == {one.replace("_", "-") for one in json.loads(inside(images[name], "python", "-c", code))}


@pytest.mark.parametrize(("name", "most"), [("pipeline", 1.8e9), ("serve", 1.2e9)])
def test_an_image_is_no_larger_than_said(images: dict[str, str], name: str, most: float) -> None:
    (told,) = json.loads(docker("image", "inspect", images[name]))
    assert told["Size"] < most


def test_the_server_holds_nothing_that_trains(images: dict[str, str]) -> None:
    names = ["icegraph.segment.train", "icegraph.track.fit", "icegraph.simulate", "pipelines", "kfp"]
    code = f"import importlib.util as u; print([name for name in {names} if u.find_spec(name)])"
    assert inside(images["serve"], "python", "-c", code).strip() == "[]"


@pytest.mark.parametrize("network", ["unet", "linknet", "segformer"])
def test_the_server_builds_every_network(images: dict[str, str], network: str) -> None:
    code = f"""
import json, numpy
from icegraph.segment.engine import Engine
from icegraph.segment.model import Segmenter, SegmenterConfig
told = json.load(open("/opt/icegraph/models/segmenter-optical/config.json")) | {{"network": {{"arch": "{network}"}}}}
print(Engine(Segmenter(SegmenterConfig.model_validate(told)))(numpy.zeros((11, 256, 256), numpy.float32)).shape)
"""
    assert inside(images["serve"], "python", "-c", code).strip() == "(4, 136, 136)"


def ask(url: str, body: bytes | None = None) -> bytes:
    with urlopen(Request(url, data=body, headers={"Content-Type": "application/json"}), timeout=120) as answer:
        return bytes(answer.read())


def tracks_of(url: str) -> tuple[Any, Any]:
    """What the README's two commands give, once the server is ready."""
    end = time.monotonic() + 300
    while True:
        try:
            ask(f"{url}/v2/health/ready")
            break
        except (URLError, ConnectionError):
            assert time.monotonic() < end
            time.sleep(0.5)
    floes = ask(f"{url}/v1/models/segmenter:predict", (ROOT / "docs" / "passes.json").read_bytes())
    return json.loads(floes)["predictions"], json.loads(ask(f"{url}/v1/models/tracker:predict", floes))["predictions"]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_the_server_answers_in_its_image_as_outside(images: dict[str, str]) -> None:
    port, outside = free_port(), free_port()
    # On the host's own network: a machine may keep its containers' networks from itself.
    container = docker("run", "--detach", *LOCKED, "--network=host", images["serve"], f"--port={port}", "--grpc-port=0").strip()
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("icegraph")), "serve", f"--port={outside}", "--grpc-port=0"],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        answered = tracks_of(f"http://127.0.0.1:{port}")
        assert len(answered[0]) == 2
        assert answered == tracks_of(f"http://127.0.0.1:{outside}")
    finally:
        process.terminate()
        process.wait()
        print(docker("logs", container))
        docker("rm", "--force", container)
