"""What the tests share."""

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_relay import Relay

from components import IMAGES, TAG

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
# The workers share the cores: threads that spin while they wait for one another cost the tests that train more than twice the time.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real passes and labels, where they are at hand: ICEGRAPH_SHARED_DATA, or `shared/data` beside the checkout."""
    place = Path(os.environ.get("ICEGRAPH_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not place.is_dir():
        pytest.skip(f"real data is not at {place}: set ICEGRAPH_SHARED_DATA to run this test")
    return place


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket of its own on a real S3 server, gone after the test."""
    endpoint = os.environ.get("ICEGRAPH_TEST_S3_ENDPOINT")
    if not endpoint:
        pytest.skip("no S3 server: set ICEGRAPH_TEST_S3_ENDPOINT, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (`make s3` starts one)")
    import boto3

    for name in ("AWS_ENDPOINT_URL_S3", "AWS_S3_ENDPOINT", "AWS_PROFILE", "ICEGRAPH_S3_SECRET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    # A client of its own keeps the server's address and its credentials, whatever a test sets.
    made = boto3.resource("s3", endpoint_url=endpoint, region_name="us-east-1").Bucket(f"icegraph-{uuid.uuid4().hex[:12]}")
    made.create()
    yield made.name
    for upload in made.multipart_uploads.all():
        upload.abort()
    made.objects.delete()
    made.delete()


@pytest.fixture
def relay(bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    """A relay before the server of `bucket`, which everything in the test, and what it starts, goes through."""
    relay = Relay(os.environ["AWS_ENDPOINT_URL"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", relay.endpoint)
    yield relay
    relay.close()


@pytest.fixture(scope="session")
def images() -> dict[str, str]:
    """The images, by their short names; built where they are not."""
    if not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        pytest.skip("no Docker: install it and start its daemon")
    base = "python:3.11-slim-bookworm"
    if subprocess.run(["docker", "image", "inspect", base], capture_output=True, check=False).returncode:
        pulled = subprocess.run(["docker", "pull", "--quiet", base], capture_output=True, text=True, check=False)
        if pulled.returncode:
            pytest.skip(f"Docker has no {base} and gets none: {pulled.stderr.strip()[:200]}")
    made = subprocess.run(["make", "images", "TORCH=cpu"], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    assert made.returncode == 0, (made.stdout + made.stderr)[-4000:]
    return {name: f"{IMAGES}/icegraph-{name}:{TAG}" for name in ("pipeline", "train", "serve")}
