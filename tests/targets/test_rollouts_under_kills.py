"""Rollouts while revisions and the target itself are killed: who asks once more after a second notices nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from local_place import LocalPlace
from places import Releases
from under_kills import Killer, moves_under_kills


@pytest.fixture
def place(tmp_path: Path) -> Iterator[LocalPlace]:
    made = LocalPlace(tmp_path)
    yield made
    made.stop()


@pytest.mark.slow
def test_who_asks_once_more_notices_nothing_of_kills(place: LocalPlace) -> None:
    load = moves_under_kills(Releases(place), Killer(place, seed=1), 2)
    assert load.errors == []
    assert load.answers > 100


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_who_asks_once_more_notices_nothing_of_fifty_promotions_under_kills(place: LocalPlace) -> None:
    killer = Killer(place, seed=2)
    load = moves_under_kills(Releases(place, seconds=120), killer, 50)
    assert load.errors == []
    assert load.answers > 1000
    assert sum(killer.killed.values()) >= 10
