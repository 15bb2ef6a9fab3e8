"""A rollout that the platform or somebody else disturbs: what served before serves afterwards, or is restored next."""

import os
import signal
from collections.abc import Callable, Iterator

import pytest
from cloudrun_place import NAME, CloudRunPlace, releases
from places import RIGHT, Releases

from lading.errors import AccessDenied, Conflict, LadingError, QuotaExceeded
from lading.http import Client
from lading.local.locks import holder
from lading.local.state import Layout
from lading.targets.base import Phase
from lading.targets.connect import connect

STEP = "25 % of the traffic"
"""What is said when the first step has been written and begins to be watched."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudRunPlace]:
    made = CloudRunPlace(tmp_path_factory.mktemp("cloud-run"))
    yield made
    made.stop()


@pytest.fixture
def at(place: CloudRunPlace) -> Iterator[Releases]:
    with releases(place) as made:
        yield made


def in_the_step(fault: Callable[[], object]) -> Callable[[str], None]:
    """Told what happens, lets the fault begin in the first step."""
    return lambda words: fault() if words.startswith(STEP) else None


@pytest.mark.parametrize(("code", "kind"), [(403, AccessDenied), (429, QuotaExceeded)])
def test_a_refusal_in_the_middle_restores_what_served(
    place: CloudRunPlace, at: Releases, code: int, kind: type[LadingError]
) -> None:
    first = at.release(at.image(), "r1")
    refuse = in_the_step(lambda: place.run.refuse_puts.append((code, "no", {})))
    with pytest.raises(kind):
        at.roll_out(at.image(RIGHT, "second"), "r2", say=refuse)
    assert place.run.refuse_puts == []
    assert at.traffic == {first.revision: 100}
    assert at.state.rollout is not None
    assert at.state.rollout.phase is Phase.UNDONE


@pytest.mark.parametrize(("code", "kind"), [(403, AccessDenied), (429, QuotaExceeded)])
def test_after_refusals_without_end_whoever_comes_next_restores_what_served(
    place: CloudRunPlace, at: Releases, code: int, kind: type[LadingError]
) -> None:
    first = at.release(at.image(), "r1")
    refuse = in_the_step(lambda: place.run.refuse_puts.extend([(code, "no", {})] * 50))
    with pytest.raises(kind) as caught:
        at.roll_out(at.image(RIGHT, "second"), "r2", say=refuse)
    assert f"`lading settle --service {at.service} --target {NAME}` does it again" in caught.value.__notes__[0]
    place.forgive()
    assert at.traffic[first.revision] == 75
    at.expire()
    at.deploy(at.image(RIGHT, "third"), "r3")
    assert at.traffic == {first.revision: 100}


def test_after_the_token_expired_whoever_comes_next_restores_what_served(place: CloudRunPlace, at: Releases) -> None:
    first = at.release(at.image(), "r1")
    token = place.iam.access_token("runner@demo-project.iam.gserviceaccount.com")
    at.target = connect(NAME, environ={**place.environ, "CLOUDSDK_AUTH_ACCESS_TOKEN": token})
    with pytest.raises(AccessDenied, match="a new CLOUDSDK_AUTH_ACCESS_TOKEN"):
        at.roll_out(at.image(RIGHT, "second"), "r2", say=in_the_step(place.iam.revoke_all))
    at.target = place.target
    assert at.settle() == "restored the traffic from before the release"
    assert at.traffic == {first.revision: 100}


def test_tokens_that_expire_are_renewed_and_the_rollout_goes_on(place: CloudRunPlace, at: Releases) -> None:
    at.release(at.image(), "r1")
    report = at.roll_out(at.image(RIGHT, "second"), "r2", say=in_the_step(place.iam.revoke_all))
    assert report.passed, report.checks
    assert at.traffic == {report.candidate.revision: 100}


def test_a_busy_platform_delays_a_rollout(place: CloudRunPlace, at: Releases) -> None:
    at.release(at.image(), "r1")
    faults = [(429, "Quota exceeded", {"Retry-After": "1"}), (503, "unavailable", {}), (409, "Conflict", {})]
    report = at.roll_out(at.image(RIGHT, "second"), "r2", say=in_the_step(lambda: place.run.refuse_puts.extend(faults)))
    assert report.passed
    assert place.run.refuse_puts == []
    assert at.traffic == {report.candidate.revision: 100}


def test_what_somebody_else_writes_in_the_middle_is_a_conflict_and_undone(place: CloudRunPlace, at: Releases) -> None:
    first = at.release(at.image(), "r1")
    path = f"/apis/serving.knative.dev/v1/namespaces/demo-project/services/{at.service}"
    other = Client(place.run.url, headers={"Authorization": f"Bearer {place.iam.access_token('other@example.com')}"})

    def shift_by_hand() -> None:
        body = other.request("GET", path, deadline=at.deadline).json()
        for line in body["spec"]["traffic"]:
            line["percent"] = 50
        other.request("PUT", path, json=body, deadline=at.deadline)

    with pytest.raises(Conflict, match="changed while it was being released"):
        at.roll_out(at.image(RIGHT, "second"), "r2", say=in_the_step(shift_by_hand))
    assert at.traffic == {first.revision: 100}


def test_a_service_is_opened_at_its_promotion_and_that_is_said(place: CloudRunPlace, at: Releases) -> None:
    said: list[str] = []
    open_at: list[bool] = []

    def say(words: str) -> None:
        said.append(words)
        open_at.append("allUsers" in place.run.members(at.service))

    report = at.roll_out(at.image(), "r1", public=True, say=say)
    assert report.passed
    opened = said.index(f"{at.service} is public now: everyone may ask it")
    assert open_at == [number >= opened for number in range(len(said))]
    assert any(words.startswith("100 % of the traffic") for words in said[:opened])


def test_a_target_that_is_killed_in_the_middle_serves_one_or_the_other(place: CloudRunPlace) -> None:
    at = Releases(place.local)
    first = at.release(at.image(), "r1")

    def kill() -> None:
        pid = holder(Layout(place.local.state).server_lock)
        assert pid
        os.kill(pid, signal.SIGKILL)

    report = at.roll_out(at.image(RIGHT, "second"), "r2", say=in_the_step(kill))
    assert at.traffic == {(report.candidate if report.passed else first).revision: 100}
    assert at.state.rollout is not None
    assert not at.state.rollout.open
    at.target.delete(at.service, deadline=at.deadline)
