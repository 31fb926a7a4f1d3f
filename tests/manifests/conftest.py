import pytest
from overlays import OVERLAYS, Thing, rendered


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def things(overlay: str) -> list[Thing]:
    """The objects of each overlay in turn."""
    return rendered(overlay)
