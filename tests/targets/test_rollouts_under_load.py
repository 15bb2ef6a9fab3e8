"""Promotions and rollbacks while people ask: nobody gets an error."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from places import Releases
from under_load import PLACES, moves


# By default pods are shifted in test_kubernetes_target, while people ask.
@pytest.fixture(params=[pytest.param(name, marks=[pytest.mark.slow] * (name == "kubernetes")) for name in PLACES])
def at(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Releases]:
    place = PLACES[request.param](tmp_path)
    made = Releases(place, seconds=120)
    try:
        yield made
        made.target.delete(made.service, deadline=made.deadline)
    finally:
        place.stop()


def test_nobody_notices_promotions_and_rollbacks(at: Releases) -> None:
    load = moves(at, 2)
    assert load.errors == []
    assert load.answers > 50


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_nobody_notices_fifty_promotions_and_fifty_rollbacks(at: Releases) -> None:
    load = moves(at, 50)
    assert load.errors == []
    assert load.answers > 1000
