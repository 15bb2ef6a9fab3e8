"""A local target in a state directory of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tiny_target import Local, make_image

from lading.local import lifecycle
from lading.local.state import Layout
from lading.wait import Deadline


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A state directory; whatever was started in it is stopped afterwards."""
    directory = tmp_path / "local"
    yield directory
    lifecycle.stop(directory, deadline=Deadline.after(40))


@pytest.fixture
def begin(state: Path, tmp_path: Path) -> Callable[[], Local]:
    """Start the target (again)."""

    def begin() -> Local:
        endpoint = lifecycle.start(state, deadline=Deadline.after(30))
        return Local(state, endpoint, make_image(Layout(state), tmp_path / "image"))

    return begin


@pytest.fixture
def local(begin: Callable[[], Local]) -> Local:
    """A running target."""
    return begin()
