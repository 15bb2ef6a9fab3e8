import pytest

from lading.errors import DeadlineExceeded, RevisionFailed
from lading.wait import Deadline, poll


def test_poll_returns_the_first_thing_that_is_not_none() -> None:
    answers = iter([None, None, "ready"])
    assert poll(lambda: next(answers), deadline=Deadline.after(5), what="it") == "ready"


def test_poll_asks_at_least_once_and_says_what_it_waited_for() -> None:
    asked = []
    with pytest.raises(DeadlineExceeded, match="gave up waiting for revision r1 to be ready"):
        poll(lambda: asked.append(1), deadline=Deadline.after(0), what="revision r1 to be ready")
    assert asked == [1]


def test_never_ends_the_wait_at_once() -> None:
    def probe() -> None:
        raise RevisionFailed("it exited with code 1")

    with pytest.raises(RevisionFailed):
        poll(probe, deadline=Deadline.after(60), what="it")


def test_nested_waits_share_one_budget() -> None:
    deadline = Deadline.after(0.05)
    deadline.sleep(60)
    assert deadline.passed
    assert deadline.remaining() == 0
