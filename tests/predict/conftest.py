"""An engine that records what it is asked, and threads that ask it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from recorder import Recorder


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as made:
        yield made
