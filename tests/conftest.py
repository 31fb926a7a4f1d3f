"""What the tests share."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real passes and labels, where they are at hand: ICEGRAPH_SHARED_DATA, or `shared/data` beside the checkout."""
    place = Path(os.environ.get("ICEGRAPH_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not place.is_dir():
        pytest.skip(f"real data is not at {place}: set ICEGRAPH_SHARED_DATA to run this test")
    return place
