"""``local:`` keeps the contract of a target, and a step of the Knative API can be killed between any two writes."""

from collections.abc import Iterator

import pytest
from contract import TargetContract
from dying import DyingSession, Killed
from local_place import LocalPlace
from places import RIGHT, Releases

from lading.http import Client
from lading.promote import promote_candidate
from lading.targets.base import Phase
from lading.targets.knative.local import LocalTarget


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPlace]:
    made = LocalPlace(tmp_path_factory.mktemp("local"))
    yield made
    made.stop()


class TestLocal(TargetContract):
    pass


@pytest.fixture
def at(place: LocalPlace) -> Iterator[Releases]:
    releases = Releases(place)
    yield releases
    releases.target = place.target
    releases.target.delete(releases.service, deadline=releases.deadline)


def dying(place: LocalPlace, writes: int) -> LocalTarget:
    headers = {"Authorization": f"Bearer {place.endpoint.token}"}
    return LocalTarget(Client(place.endpoint.url, session=DyingSession(writes), headers=headers))


def release_in_steps(at: Releases, image: tuple[str, str], release: str) -> str:
    """The revision that is promoted."""
    candidate = at.deploy(image, release)
    report = at.smoke(candidate)
    promote_candidate(candidate, report, target=at.target, steps=(20, 60, 100), deadline=at.deadline)
    return candidate.revision


def test_a_release_that_is_killed_after_any_write_ends_the_same_when_it_is_run_again(
    place: LocalPlace, at: Releases
) -> None:
    previous = at.release(at.image(), "r").revision
    seen = set()
    for writes in range(10):
        image, release = at.image(RIGHT, str(writes)), f"r{writes}"
        at.target, died = dying(place, writes), False
        try:
            release_in_steps(at, image, release)
        except Killed:
            died = True
        at.target = place.target
        state = at.state
        assert state.rollout is not None
        assert sum(line.percent for line in state.serving()) == 100
        assert previous in at.traffic or at.traffic == {line.revision: 100 for line in state.rollout.after}
        seen.add((state.rollout.phase, max(at.traffic.values())))
        now = release_in_steps(at, image, release)
        assert at.traffic == {now: 100}
        assert at.state.rollout is not None
        assert (at.state.rollout.id, at.state.rollout.phase) == (release, Phase.PROMOTED)
        if not died:
            break
        previous = now
    shifting = {(Phase.SHIFTING, most) for most in (80, 60, 100)}
    assert seen == {(Phase.CANDIDATE, 100), *shifting, (Phase.PROMOTED, 100)}


def test_a_release_that_is_killed_after_any_write_is_undone_by_who_comes_next(place: LocalPlace, at: Releases) -> None:
    first = at.release(at.image(), "r")
    for writes in range(4):  # the fifth write ends the release
        at.target = dying(place, writes)
        with pytest.raises(Killed):
            release_in_steps(at, at.image(RIGHT, str(writes)), f"r{writes}")
        at.target = place.target
        at.expire()
        at.deploy(at.image(RIGHT, "next"), f"next{writes}")
        assert at.traffic == {first.revision: 100}
        assert at.settle() == "restored the traffic from before the release"


def test_a_first_release_that_is_killed_is_continued_or_leaves_no_service(place: LocalPlace, at: Releases) -> None:
    at.target = dying(place, 0)
    with pytest.raises(Killed):
        at.deploy(at.image())
    at.target = place.target
    assert at.deploy(at.image()).first_release
    assert at.settle() == f"deleted service {at.service}, which this release had created"
    assert at.target.get(at.service, deadline=at.deadline) is None
