"""What tests of several files share."""

from collections.abc import Iterator

import httpx
import pytest
from doors import FakeEngine, opened, wait_for_strategy


@pytest.fixture(scope="module")
def shared() -> Iterator[httpx.Client]:
    """A server whose engine stays well, for tests that change nothing but plan OTHER."""
    with opened(FakeEngine()) as client:
        wait_for_strategy(client)
        yield client
