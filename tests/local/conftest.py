"""A local target: one of a test's own, or one for all tests of a file."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_target import ROOT, Local, make_image

from lading.local import lifecycle
from lading.local.state import Layout
from lading.wait import Deadline, poll


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


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """A running target for all tests of a file."""
    root = tmp_path_factory.mktemp("target")
    state = root / "local"
    try:
        endpoint = lifecycle.start(state, deadline=Deadline.after(30))
        yield Local(state, endpoint, make_image(Layout(state), root / "image"))
    finally:
        lifecycle.stop(state, deadline=Deadline.after(40))


@pytest.fixture
def shared(target: Local) -> Iterator[Local]:
    """The target of the file, empty."""
    yield replace(target)
    for service in target.call("GET", f"{ROOT}/services")[1]["items"]:
        target.call("DELETE", f"{ROOT}/services/{service['metadata']['name']}")
    poll(
        lambda: not target.call("GET", f"{ROOT}/revisions")[1]["items"] or None,
        deadline=Deadline.after(20),
        what="the target to be empty",
    )
