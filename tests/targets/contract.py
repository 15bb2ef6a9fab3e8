"""What every target owes its callers: the suite that the tests of each target inherit.

::

    @pytest.fixture(scope="module")
    def place(tmp_path_factory) -> Iterator[Place]: ...

    class TestVertex(TargetContract):
        pass

A place runs for all tests of a file; each test has a service of its own, which is deleted afterwards.
"""

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

import pytest
from places import RIGHT, VALUES, WRONG, Place, Releases

from lading.errors import Conflict, InvalidInput, LadingError, NotFound, RevisionFailed, RolloutInProgress
from lading.promote import promote_candidate
from lading.releases import Candidate, TrafficTarget
from lading.targets.base import MOST_CHANGES, Phase, Rollout
from lading.targets.settings import Settings


class TargetContract:
    """Inherit it in a file that gives the fixture ``place``."""

    says_why = "out of order"
    """What the error about ``make_image("exit")`` must contain."""
    seconds = 60.0
    """For one call."""
    shares: ClassVar[tuple[int, ...]] = tuple(range(10, 11 + MOST_CHANGES))
    """Percents that a candidate can be given one after the other."""
    values: ClassVar[dict[str, Any]] = VALUES
    """A value for each setting, where the target knows others."""

    @pytest.fixture
    def at(self, place: Place) -> Iterator[Releases]:
        """A service of the test's own."""
        releases = Releases(place, seconds=self.seconds)
        yield releases
        releases.target.delete(releases.service, deadline=releases.deadline)

    def test_nothing_is_there_before_the_first_release_and_after_the_service_was_deleted(self, at: Releases) -> None:
        assert at.target.get(at.service, deadline=at.deadline) is None
        at.target.delete(at.service, deadline=at.deadline)
        at.release(at.image(), "r1")
        at.target.delete(at.service, deadline=at.deadline)
        at.target.delete(at.service, deadline=at.deadline)
        assert at.target.get(at.service, deadline=at.deadline) is None

    def test_a_first_release_and_the_next_one(self, at: Releases) -> None:
        image = at.image()
        first = at.deploy(image)
        assert first.first_release
        done = at.promote(first)
        assert [(line.revision, line.percent) for line in done.after] == [(first.revision, 100)]
        assert at.state.images == {first.revision: image[0]}
        second = at.deploy(at.image(RIGHT, "other"), "r2")
        assert not second.first_release
        assert at.traffic == {first.revision: 100}
        assert at.answering(first) == {first.revision}
        assert at.smoke(second).passed  # which sees that the candidate alone answers
        at.promote(second)
        assert at.traffic == {second.revision: 100}
        assert at.answering(first) == {second.revision}

    def test_a_repeated_step_changes_nothing(self, at: Releases) -> None:
        image = at.image()
        candidate = at.deploy(image)
        assert at.deploy(image) == candidate
        report = at.smoke(candidate)
        once = promote_candidate(candidate, report, target=at.target, deadline=at.deadline)
        assert promote_candidate(candidate, report, target=at.target, deadline=at.deadline) == once
        again = at.release(image, "r2")
        assert again.revision == candidate.revision
        assert at.state.revisions == (candidate.revision,)
        assert at.traffic == {candidate.revision: 100}

    def test_other_settings_are_another_revision(self, at: Releases) -> None:
        image = at.image()
        first = at.release(image, "r1")
        second = at.deploy(image, "r2", env={"LOG": "1"})
        assert second.revision != first.revision
        assert at.smoke(second).passed
        assert at.traffic == {first.revision: 100}

    def test_settings_of_the_service_make_no_other_revision(self, at: Releases) -> None:
        if "labels" not in at.target.capabilities.settings:
            pytest.skip("this target has no labels")
        image = at.image()
        first = at.release(image, "r1")
        assert at.release(image, "r2", labels={"team": "search"}).revision == first.revision

    def test_every_setting_that_it_claims_is_taken_and_every_other_is_refused(self, at: Releases) -> None:
        claimed = at.target.capabilities.settings
        assert claimed <= set(VALUES)
        at.deploy(at.image(), **{name: self.values[name] for name in claimed})
        for name in set(VALUES) - claimed:
            with pytest.raises(InvalidInput, match=f"has no {name}"):
                at.deploy(at.image(), **{name: VALUES[name]})

    def test_a_wrong_answer_is_noticed_and_the_release_undone(self, at: Releases) -> None:
        first = at.release(at.image(), "r1")
        second = at.deploy(at.image(WRONG), "r2")
        report = at.smoke(second)
        assert not report.passed
        (check,) = [check for check in report.checks if check.name == "answers"]
        assert re.search(r"expected 1.5 .* got 2.5", check.received), check.received
        at.settle("r2")
        assert [(line.revision, line.percent, line.tag) for line in at.state.traffic] == [(first.revision, 100, "")]
        assert at.state.rollout is not None
        assert at.state.rollout.phase is Phase.UNDONE
        assert at.answering(first) == {first.revision}
        with pytest.raises(RolloutInProgress, match=f"r2 no longer holds service {at.service}"):
            promote_candidate(second, replace(report, passed=True), target=at.target, deadline=at.deadline)

    def test_an_undone_first_release_leaves_no_service(self, at: Releases) -> None:
        at.deploy(at.image(WRONG))
        assert at.settle("r1") == f"deleted service {at.service}, which this release had created"
        assert at.target.get(at.service, deadline=at.deadline) is None
        assert at.settle("r1") == "nothing to undo"

    def test_a_promoted_release_is_not_undone(self, at: Releases) -> None:
        first = at.release(at.image(), "r1")
        assert at.settle("r1") == "nothing to undo"
        assert at.traffic == {first.revision: 100}

    def test_a_first_revision_that_will_not_start_says_why_and_leaves_no_service(self, at: Releases) -> None:
        with pytest.raises(RevisionFailed, match=self.says_why):
            at.deploy(at.image("exit"))
        assert at.target.get(at.service, deadline=at.deadline) is None

    def test_a_later_revision_that_will_not_start_says_why_and_changes_nothing(self, at: Releases) -> None:
        serving = at.release(at.image(), "r0")
        with pytest.raises(RevisionFailed, match=self.says_why):
            at.deploy(at.image("exit"))
        assert at.traffic == {serving.revision: 100}
        assert at.answering(serving) == {serving.revision}
        assert at.release(at.image(RIGHT, "next"), "r2").revision in at.traffic

    def test_two_releases_at_a_time_are_refused_and_an_abandoned_one_is_undone(self, at: Releases) -> None:
        first = at.release(at.image(), "r1")
        at.deploy(at.image(WRONG), "r2")
        with pytest.raises(RolloutInProgress, match="is being released by r2"):
            at.deploy(at.image(RIGHT, "third"), "r3")
        at.expire()
        third = at.deploy(at.image(RIGHT, "third"), "r3")
        assert at.traffic == {first.revision: 100}
        at.promote(third)
        assert at.traffic == {third.revision: 100}

    def test_a_promotion_that_was_cut_off_is_resumed(self, at: Releases) -> None:
        first = at.release(at.image(), "r1")
        second = at.deploy(at.image(RIGHT, "second"), "r2")
        report = at.smoke(second)
        cut_off(at, second, lease_seconds=60)
        done = promote_candidate(second, report, target=at.target, deadline=at.deadline)
        assert [line.revision for line in done.before] == [first.revision]
        assert at.state.rollout is not None
        assert at.state.rollout.phase is Phase.PROMOTED
        assert at.traffic == {second.revision: 100}

    def test_a_promotion_that_was_cut_off_and_is_not_resumed_is_undone_by_who_comes_next(self, at: Releases) -> None:
        first = at.release(at.image(), "r1")
        second = at.deploy(at.image(RIGHT, "second"), "r2")
        cut_off(at, second, lease_seconds=-1)
        assert at.traffic == {second.revision: 100}
        at.deploy(at.image(RIGHT, "third"), "r3")
        assert at.traffic == {first.revision: 100}

    def test_traffic_can_be_split_and_both_revisions_answer(self, at: Releases) -> None:
        first = at.release(at.image(), "r1")
        second = at.deploy(at.image(RIGHT, "second"), "r2")
        assert at.smoke(second).passed
        split = (TrafficTarget(first.revision, 50), TrafficTarget(second.revision, 50, tag="candidate"))
        state = at.shift(*split, phase=Phase.SHIFTING)
        assert {line.revision: line.percent for line in state.serving()} == {first.revision: 50, second.revision: 50}
        assert at.answering(first, times=40) == {first.revision, second.revision}
        assert state.rollout is not None
        assert state.rollout.phase is Phase.SHIFTING
        assert at.smoke(second).passed  # it can still be asked alone
        at.settle("r2")
        assert at.traffic == {first.revision: 100}

    def test_rollback_goes_back_and_forth(self, at: Releases) -> None:
        with pytest.raises(NotFound, match=f"no service {at.service}"):
            at.rollback()
        first = at.release(at.image(), "r1")
        with pytest.raises(InvalidInput, match="nothing to go back to"):
            at.rollback()
        second = at.release(at.image(RIGHT, "second"), "r2")
        done = at.rollback()
        assert at.traffic == {first.revision: 100}
        assert at.answering(first) == {first.revision}
        assert [line.revision for line in done.before] == [second.revision]
        at.rollback(second.revision)
        assert at.traffic == {second.revision: 100}
        assert at.answering(first) == {second.revision}
        with pytest.raises(NotFound, match=f"no revision {at.service}-nope"):
            at.rollback(f"{at.service}-nope")

    def test_changes_of_traffic_are_remembered_with_their_reasons(self, at: Releases) -> None:
        first = at.release(at.image(), "r1")
        second = at.deploy(at.image(RIGHT, "second"), "r2")
        splits = [
            (TrafficTarget(first.revision, 100 - share), TrafficTarget(second.revision, share)) for share in self.shares
        ]
        for number, split in enumerate(splits):
            at.shift(*split, phase=Phase.SHIFTING, reason=f"{number} of 10 answers, “right”")
        history = at.state.history
        assert [change.traffic for change in history] == splits[1:]
        assert history[-1].release_id == "r2"
        assert history[-1].reason == "10 of 10 answers, “right”"
        at.shift(*splits[-1], phase=Phase.PROMOTED)
        assert at.state.history == history  # the split is the same

    def test_a_write_on_an_outdated_state_is_a_conflict(self, at: Releases) -> None:
        first = at.release(at.image(), "r1")
        old = at.state
        second = at.release(at.image(RIGHT, "second"), "r2")
        with pytest.raises(Conflict):
            at.target.shift(old, (TrafficTarget(first.revision, 100),), old.rollout, deadline=at.deadline)
        rollout = Rollout("r3", old.serving(), (), Phase.CANDIDATE, time.time() + 60)
        with pytest.raises(Conflict):
            at.target.deploy(
                at.service, at.image()[0], settings=Settings(), rollout=rollout, known=old, deadline=at.deadline
            )
        assert at.traffic == {second.revision: 100}

    def test_it_is_opened_and_closed_again_or_says_that_it_cannot(self, at: Releases) -> None:
        at.release(at.image(), "r1")
        for public, possible in ((True, at.target.capabilities.public), (False, at.target.capabilities.private)):
            for _ in range(2):
                if possible:
                    at.target.set_public(at.service, public, deadline=at.deadline)
                else:
                    with pytest.raises(LadingError):
                        at.target.set_public(at.service, public, deadline=at.deadline)


def cut_off(at: Releases, candidate: Candidate, *, lease_seconds: float) -> None:
    """Leave behind what a promote does that was killed after its first write."""
    wanted = TrafficTarget(candidate.revision, 100)
    at.shift(wanted, after=(wanted,), phase=Phase.SHIFTING, expires=time.time() + lease_seconds)
