"""A local target of its own for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from release_world import World

from lading.local.lifecycle import stop


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    stop(made.state, deadline=made.deadline)
