"""Runs as the tests of every backend follow them."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from soon import soon

from lading.backends.base import Backend
from lading.flows.follow import Followed, Follower
from lading.wait import poll


def follow(backend: Backend, run_id: str, watch: Callable[[dict[str, Any]], None] = lambda event: None) -> Followed:
    return Follower(backend, run_id, watch).follow(soon(60))


def until_working(backend: Backend, run_id: str) -> None:
    """Wait until the second step of ``tiny_pipeline.py`` runs."""

    def working() -> bool | None:
        view = backend.read(run_id, deadline=soon())
        return any(step.name == "work" and step.status == "running" for step in view.steps) or None

    poll(working, deadline=soon(60), what="work to run")


def least_gap(times: Sequence[tuple[float, Any]]) -> float:
    """The shortest time between two requests to a server, in seconds."""
    return min(after - before for (before, _), (after, _) in itertools.pairwise(times))
