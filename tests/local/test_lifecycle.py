"""Start, stop, and kill -9 of any part."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from tiny_target import ROOT, Local, ask, gone

from lading.local import lifecycle
from lading.local.locks import FileLock, holder
from lading.local.state import Layout, read_endpoint
from lading.wait import Deadline, poll


def new_holder(lock: Path, old: int) -> int:
    return poll(
        lambda: pid if (pid := holder(lock)) and pid != old else None,
        deadline=Deadline.after(15),
        what="a new holder of the lock",
    )


def test_starting_twice_is_one_target(local: Local) -> None:
    assert lifecycle.start(local.state, deadline=Deadline.after(10)) == local.endpoint


def test_a_killed_server_comes_back_and_adopts_what_runs(local: Local) -> None:
    url = local.apply(local.service("shop"))["status"]["url"]
    revision = ask(url)["pid"]
    os.kill(local.endpoint.pid, signal.SIGKILL)
    new_holder(Layout(local.state).server_lock, local.endpoint.pid)
    endpoint = lifecycle.start(local.state, deadline=Deadline.after(15))

    assert (endpoint.url, endpoint.token) == (local.endpoint.url, local.endpoint.token)
    local.settled("shop")
    assert ask(url)["pid"] == revision


def test_an_adopted_process_that_dies_is_replaced(local: Local) -> None:
    url = local.apply(local.service("shop"))["status"]["url"]
    revision = ask(url)["pid"]
    os.kill(local.endpoint.pid, signal.SIGKILL)
    new_holder(Layout(local.state).server_lock, local.endpoint.pid)
    lifecycle.start(local.state, deadline=Deadline.after(15))
    local.settled("shop")
    os.kill(revision, signal.SIGKILL)

    poll(lambda: gone(revision) or None, deadline=Deadline.after(5), what="the process to die")
    assert ask(url)["pid"] != revision


def test_a_killed_supervisor_is_replaced_and_the_target_can_be_stopped(local: Local) -> None:
    layout = Layout(local.state)
    supervisor = holder(layout.supervisor_lock)
    assert supervisor
    os.kill(supervisor, signal.SIGKILL)

    new = new_holder(layout.supervisor_lock, supervisor)
    assert holder(layout.server_lock) == local.endpoint.pid
    assert lifecycle.stop(local.state, deadline=Deadline.after(30))
    assert gone(new)
    assert gone(local.endpoint.pid)


def test_stopping_ends_every_process_and_starting_serves_the_same_again(
    local: Local, begin: Callable[[], Local]
) -> None:
    local.apply(local.service("shop", "a"))
    split = [{"revisionName": "shop-a", "percent": 50}, {"revisionName": "shop-b", "percent": 50, "tag": "b"}]
    before = local.apply(local.service("shop", "b", traffic=split))["status"]
    pids = {ask(before["url"])["pid"] for _ in range(4)}
    assert len(pids) == 2
    assert lifecycle.stop(local.state, deadline=Deadline.after(30))
    assert all(gone(pid) for pid in pids)
    assert lifecycle.status(local.state, deadline=Deadline.after(5)) == []
    assert not lifecycle.stop(local.state, deadline=Deadline.after(5))

    after = begin().settled("shop")["status"]
    assert (after["url"], after["traffic"]) == (before["url"], before["traffic"])
    assert {ask(before["url"])["revision"] for _ in range(4)} == {"shop-a", "shop-b"}


def test_when_both_are_killed_stop_ends_the_processes_they_left(local: Local) -> None:
    revision = ask(local.apply(local.service("shop"))["status"]["url"])["pid"]
    supervisor = holder(Layout(local.state).supervisor_lock)
    assert supervisor
    for pid in (supervisor, local.endpoint.pid):
        os.kill(pid, signal.SIGKILL)
    poll(lambda: gone(local.endpoint.pid) or None, deadline=Deadline.after(5), what="the server to die")
    assert read_endpoint(Layout(local.state)) is not None
    assert lifecycle.status(local.state, deadline=Deadline.after(5)) == []

    assert lifecycle.stop(local.state, deadline=Deadline.after(30))
    assert gone(revision)


def test_status_lists_what_serves(local: Local) -> None:
    service = local.apply(local.service("shop", "a"))

    (listed,) = lifecycle.status(local.state, deadline=Deadline.after(5))
    assert (listed["name"], listed["url"], listed["ready"]) == ("shop", service["status"]["url"], True)
    assert listed["traffic"] == [{"revision": "shop-a", "percent": 100, "tag": "", "url": ""}]
    assert [(r["name"], r["image"], r["running"]) for r in listed["revisions"]] == [("shop-a", local.image, True)]


def test_a_revision_left_without_its_service_is_cleaned_up_by_the_next_server(
    local: Local, begin: Callable[[], Local]
) -> None:
    pid = ask(local.apply(local.service("shop", "a"))["status"]["url"])["pid"]
    supervisor = holder(Layout(local.state).supervisor_lock)
    assert supervisor
    for victim in (supervisor, local.endpoint.pid):
        os.kill(victim, signal.SIGKILL)
    poll(lambda: gone(local.endpoint.pid) or None, deadline=Deadline.after(5), what="the server to die")
    # As a kill in the middle of a deletion leaves it.
    (local.state / "objects" / "default" / "services" / "shop.json").unlink()

    again = begin()
    poll(lambda: gone(pid) or None, deadline=Deadline.after(10), what="the process to be ended")
    assert again.call("GET", f"{ROOT}/revisions")[1]["items"] == []


def test_starting_waits_for_a_dying_supervisor_to_give_its_lock_back(state: Path) -> None:
    Layout(state).create()
    lock = FileLock(Layout(state).supervisor_lock)
    assert lock.acquire(Deadline.after(1))
    threading.Timer(0.5, lock.release).start()

    endpoint = lifecycle.start(state, deadline=Deadline.after(30))
    assert lifecycle.running(state) == endpoint


def test_an_unreadable_object_is_reported_and_others_serve(local: Local, begin: Callable[[], Local]) -> None:
    local.apply(local.service("shop"))
    local.apply(local.service("other"))
    lifecycle.stop(local.state, deadline=Deadline.after(30))
    (local.state / "objects" / "default" / "services" / "shop.json").write_text("{")

    again = begin()
    assert again.settled("other")
    code, body = again.call("GET", f"{ROOT}/services/shop")
    assert code == 507
    assert "shop.json" in body["message"]


def test_a_starter_is_not_held_open_by_what_it_starts(state: Path) -> None:
    program = (
        "import sys, pathlib; from lading.local.lifecycle import start; from lading.wait import Deadline; "
        "print(start(pathlib.Path(sys.argv[1]), deadline=Deadline.after(30)).pid)"
    )
    # Reading to the end of the pipes would never return if a background process held them.
    done = subprocess.run(
        [sys.executable, "-c", program, str(state)], capture_output=True, text=True, timeout=40, check=True
    )
    assert not gone(int(done.stdout))
