"""Kubeflow Pipelines through its real client, against a local server that runs what it is sent."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.kfp_server import KfpServer
from followed_runs import follow, least_gap, until_working
from soon import soon

from lading.backends.base import Submission
from lading.backends.kfp import KfpBackend, to_robfig
from lading.errors import AccessDenied, InvalidInput, NotFound, QuotaExceeded, RemoteError, ServiceUnreachable
from lading.flows.follow import Follower
from lading.spec.ir import Pipeline
from lading.wait import Deadline


@pytest.fixture
def server(tmp_path: Path) -> Iterator[KfpServer]:
    made = KfpServer(tmp_path / "kfp", os.environ)
    yield made
    made.close()


def connect(server: KfpServer, **environ: str) -> KfpBackend:
    return KfpBackend.connect(server.url, environ=environ)


def submission(tiny: Pipeline, **parameters: Any) -> Submission:
    return Submission(name="tiny-1", spec=tiny.spec, parameters={"words": "again and ", **parameters}, experiment="e")


def test_a_run_is_followed_to_its_end(server: KfpServer, tiny: Pipeline) -> None:
    backend = connect(server)
    run = backend.submit(submission(tiny, factor=1.0), deadline=soon())
    assert run.url == f"{server.url}/#/runs/details/{run.id}"
    done = follow(backend, run.id)
    assert (done.outcome, done.problem) == ("succeeded", "")
    assert [(step.name, step.status) for step in done.steps] == [("prepare", "succeeded"), ("work", "succeeded")]
    assert all(step.seconds > 0 for step in done.steps)
    (sent,) = server.runs.values()
    assert sent["runtime_config"]["parameters"] == {"words": "again and ", "factor": 1.0}
    assert [e["display_name"] for e in server.experiments.values()] == ["e"]
    assert "preparing again and  1.0" in server.jobs[run.id].log("prepare")


def test_a_failure_comes_with_the_end_of_the_steps_log(server: KfpServer, tiny: Pipeline) -> None:
    backend = connect(server)
    run = backend.submit(submission(tiny, fail=True), deadline=soon())
    done = follow(backend, run.id)
    assert done.outcome == "failed"
    assert done.problem == "step work: ValueError: cannot work on again and again and"
    assert any("ValueError" in line for line in done.log)
    assert {step.name: step.status for step in done.steps} == {"prepare": "succeeded", "work": "failed"}


def test_a_run_can_be_cancelled(server: KfpServer, tiny: Pipeline) -> None:
    backend = connect(server)
    run = backend.submit(submission(tiny, seconds=60), deadline=soon())
    until_working(backend, run.id)
    backend.cancel(run.id, deadline=soon())
    done = follow(backend, run.id)
    assert done.outcome == "cancelled"
    assert ("work", "cancelled") in [(step.name, step.status) for step in done.steps]


def test_following_survives_a_restart_and_asks_at_most_once_a_second(server: KfpServer, tiny: Pipeline) -> None:
    backend = connect(server)
    run = backend.submit(submission(tiny, seconds=5), deadline=soon())
    events: list[dict[str, Any]] = []

    def watch(event: dict[str, Any]) -> None:
        events.append(event)
        if event["event"] == "tick" and len(events) < 6 and not any(e["event"] == "back" for e in events):
            server.stop()
        elif event["event"] == "lost":
            server.start()
            server.failures += [(503, "not yet")]

    server.times.clear()
    done = Follower(backend, run.id, watch).follow(Deadline.after(60))
    assert done.outcome == "succeeded"
    kinds = [event["event"] for event in events]
    assert "lost" in kinds
    assert kinds.index("back") > kinds.index("lost")
    assert least_gap(server.times) > 0.9, server.times


def test_a_server_that_stays_away_ends_the_following_not_the_run(server: KfpServer, tiny: Pipeline) -> None:
    backend = connect(server)
    run = backend.submit(submission(tiny), deadline=soon())
    server.stop()
    with pytest.raises(ServiceUnreachable, match="may go on"):
        Follower(backend, run.id, lambda event: None, patience_seconds=1.5).follow(Deadline.after(60))
    server.start()


def test_a_token_that_expires_in_the_middle_says_what_to_do(server: KfpServer, tiny: Pipeline) -> None:
    server.token = "first"
    backend = connect(server, LADING_KFP_TOKEN="first")
    run = backend.submit(submission(tiny, seconds=60), deadline=soon())

    def expire(event: dict[str, Any]) -> None:
        server.token = "second"

    with pytest.raises(AccessDenied, match=r"expired.*LADING_KFP_TOKEN"):
        Follower(backend, run.id, expire).follow(Deadline.after(30))
    assert connect(server, LADING_KFP_TOKEN="second").read(run.id, deadline=soon()).state == "running"


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (401, AccessDenied, "LADING_KFP_TOKEN"),
        (403, AccessDenied, "kubeflow-edit"),
        (404, NotFound, "run abc"),
        (429, QuotaExceeded, "Too many requests"),
        (400, InvalidInput, "the server's words"),
        (500, RemoteError, "500"),
    ],
)
def test_every_refusal_is_a_paragraph_of_its_own(
    server: KfpServer, code: int, kind: type[Exception], words: str
) -> None:
    backend = connect(server)
    server.failures.append((code, "the server's words"))
    with pytest.raises(kind, match=words):
        backend.read("abc", deadline=soon())


def test_a_server_that_is_not_there_is_told_at_once() -> None:
    begin = time.monotonic()
    with pytest.raises(ServiceUnreachable, match="port-forward"):
        KfpBackend.connect("http://127.0.0.1:9", environ={})
    assert time.monotonic() - begin < 20


def test_parameters_that_the_server_refuses_are_named(server: KfpServer, tiny: Pipeline) -> None:
    with pytest.raises(InvalidInput, match="nope"):
        connect(server).submit(submission(tiny, nope=1), deadline=soon())


def test_schedules_are_made_listed_paused_fired_and_deleted(server: KfpServer, tiny: Pipeline) -> None:
    backend = connect(server)
    made = backend.create_schedule(submission(tiny), cron="30 6 * * 1", max_parallel=2, deadline=soon())
    assert (made.name, made.cron, made.active) == ("tiny-1", "30 6 * * 1", True)
    assert server.recurring[made.id]["trigger"]["cron_schedule"]["cron"] == "0 30 6 * * 1"
    assert server.recurring[made.id]["max_concurrency"] == 2
    fired = server.runs[server.fire(made.id)]
    assert fired["runtime_config"]["parameters"] == {"words": "again and "}
    assert fired["pipeline_spec"] == server.recurring[made.id]["pipeline_spec"]

    backend.set_schedule(made.id, active=False, deadline=soon())
    assert [(s.id, s.active) for s in backend.schedules(deadline=soon())] == [(made.id, False)]
    backend.set_schedule(made.id, active=True, deadline=soon())
    assert [s.active for s in backend.schedules(deadline=soon())] == [True]
    backend.delete_schedule(made.id, deadline=soon())
    assert backend.schedules(deadline=soon()) == []
    with pytest.raises(NotFound, match=made.id):
        backend.delete_schedule(made.id, deadline=soon())


def test_cron_becomes_the_six_fields_of_kfp() -> None:
    assert to_robfig("0 6 * * 1-5") == "0 0 6 * * 1-5"
    assert to_robfig("0 6 * * 5-7") == "0 0 6 * * 5-6,0"
    assert to_robfig("0 6 * * 7") == "0 0 6 * * 0"
    with pytest.raises(InvalidInput, match="time zone"):
        to_robfig("TZ=Europe/Vienna 0 6 * * 1")
