"""From an applied service to what answers at its URL."""

import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from tiny_target import ROOT, Local, ask, condition, gone, send

from lading.wait import Deadline, poll


@pytest.fixture
def local(shared: Local) -> Local:
    return shared


def pinned(revision: str, percent: int, tag: str = "") -> dict[str, object]:
    return {"revisionName": revision, "percent": percent, **({"tag": tag} if tag else {})}


def test_a_service_answers_at_its_url(local: Local) -> None:
    service = local.apply(local.service("shop", GREETING="hi"))

    answer = ask(service["status"]["url"])
    assert answer["revision"] == "shop-00001"
    assert answer["value"] == "image"
    assert "GREETING" in answer["names"]
    assert condition(service, "ConfigurationsReady")["status"] == condition(service, "RoutesReady")["status"] == "True"
    assert service["status"]["latestReadyRevisionName"] == "shop-00001"
    assert (local.state / "logs" / "shop-00001.log").read_text().startswith("starting shop-00001")


def test_the_callers_environment_does_not_reach_a_revision(begin, monkeypatch) -> None:
    monkeypatch.setenv("A_SECRET_OF_THE_CALLER", "x")
    local = begin()

    names = ask(local.apply(local.service("shop"))["status"]["url"])["names"]
    assert "PATH" in names
    assert "A_SECRET_OF_THE_CALLER" not in names


def test_the_same_template_is_the_same_revision(local: Local) -> None:
    local.apply(local.service("shop", "a"))
    pid = ask(local.apply(local.service("shop", "a"))["status"]["url"])["pid"]

    local.apply(local.service("shop", "a"))
    _, revisions = local.call("GET", f"{ROOT}/revisions?labelSelector=serving.knative.dev/service%20%3D%20shop")
    assert [r["metadata"]["name"] for r in revisions["items"]] == ["shop-a"]
    assert ask(local.settled("shop")["status"]["url"])["pid"] == pid


def test_traffic_is_split_by_percent_and_tags_have_their_own_url(local: Local) -> None:
    local.apply(local.service("shop", "a"))
    service = local.apply(local.service("shop", "b", traffic=[pinned("shop-a", 75), pinned("shop-b", 25, "next")]))

    counts = Counter(ask(service["status"]["url"])["revision"] for _ in range(40))
    assert counts == {"shop-a": 30, "shop-b": 10}
    tagged = next(line for line in service["status"]["traffic"] if line.get("tag") == "next")
    assert {ask(tagged["url"])["revision"] for _ in range(5)} == {"shop-b"}


def test_a_candidate_without_traffic_can_be_reached_by_its_tag_only(local: Local) -> None:
    local.apply(local.service("shop", "a"))
    service = local.apply(
        local.service("shop", "b", traffic=[pinned("shop-a", 100), {"latestRevision": True, "percent": 0, "tag": "c"}])
    )

    assert {ask(service["status"]["url"])["revision"] for _ in range(10)} == {"shop-a"}
    assert ask(service["status"]["traffic"][1]["url"])["revision"] == "shop-b"


def test_a_failing_revision_says_why_and_the_old_one_serves(local: Local) -> None:
    url = local.apply(local.service("shop", "a"))["status"]["url"]
    local.call("PUT", f"{ROOT}/services/shop", local.service("shop", "bad", FAIL="1"))

    service = local.settled("shop", "False")
    assert "shop-bad" in condition(service)["message"]
    assert "the model is out of order" in condition(service)["message"]
    assert "exited with code 1" in condition(service)["message"]
    assert ask(url)["revision"] == "shop-a"

    service = local.apply(local.service("shop", "c"))
    assert ask(service["status"]["url"])["revision"] == "shop-c"


def test_an_image_that_is_not_in_the_store_is_named(local: Local) -> None:
    local.image = f"lading.local/none@sha256:{'0' * 64}"
    local.call("POST", f"{ROOT}/services", local.service("shop"))

    assert local.image in condition(local.settled("shop", "False"))["message"]


def test_a_crashed_revision_is_restarted_and_requests_wait_for_it(local: Local) -> None:
    url = local.apply(local.service("shop"))["status"]["url"]
    before = ask(url)["pid"]
    with pytest.raises(ConnectionResetError):  # whether to ask again is for the client to say
        send(url, "GET", "/exit")
    # A connection that the dying process still took is reset, and a request that was sent is not sent again.
    poll(lambda: gone(before) or None, deadline=Deadline.after(5), what="the process to die")

    assert ask(url)["pid"] != before


def test_a_revision_that_keeps_dying_is_not_ready_and_comes_back_when_it_can(local: Local, tmp_path: Path) -> None:
    obstacle = tmp_path / "obstacle"
    url = local.apply(local.service("shop", FAIL_IF=str(obstacle)))["status"]["url"]
    obstacle.touch()
    with pytest.raises(ConnectionResetError):
        send(url, "GET", "/exit")

    assert "no longer able to start" in condition(local.settled("shop", "False"))["message"]
    status, body = send(url, "GET", "/")
    assert status == 503
    assert "no longer able to start" in body["error"]
    obstacle.unlink()
    local.settled("shop")
    assert ask(url)["revision"] == "shop-00001"


def test_switching_under_load_fails_no_request_and_a_rollback_restarts_what_was_stopped(local: Local) -> None:
    first = local.apply(local.service("shop", "a"))
    url, old = first["status"]["url"], ask(first["status"]["url"])["pid"]
    seen: list[object] = []
    over = threading.Event()

    def load() -> None:
        while not over.is_set():
            try:
                seen.append(send(url, "POST", "/", b"x" * 100)[1]["revision"])
            except Exception as error:
                seen.append(error)

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        local.apply(local.service("shop", "b"))
        poll(lambda: gone(old) or None, deadline=Deadline.after(10), what="the old process to be stopped")
        local.apply(local.service("shop", "b", traffic=[pinned("shop-a", 100)]))
        local.apply(local.service("shop", "b", traffic=[pinned("shop-b", 100)]))
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert {str(item) for item in seen} == {"shop-a", "shop-b"}
    assert ask(url)["revision"] == "shop-b"


def test_a_request_in_flight_ends_on_the_revision_it_began_on(local: Local) -> None:
    url = local.apply(local.service("shop", "a"))["status"]["url"]
    answers: list[object] = []
    slow = threading.Thread(target=lambda: answers.append(send(url, "GET", "/slow?seconds=2")))
    slow.start()
    time.sleep(0.3)  # until it has surely been sent
    local.apply(local.service("shop", "b"))
    assert ask(url)["revision"] == "shop-b"
    slow.join()

    status, body = answers[0]  # type: ignore[misc]
    assert (status, body["revision"]) == (200, "shop-a")
    poll(lambda: gone(body["pid"]) or None, deadline=Deadline.after(10), what="the old process to be stopped")


def test_a_rollback_to_a_revision_that_is_just_ending_waits_for_a_new_process(local: Local) -> None:
    url = local.apply(local.service("shop", "a", SLOW_END="3"))["status"]["url"]
    old = ask(url)["pid"]
    local.apply(local.service("shop", "b"))
    log = local.state / "logs" / "shop-a.log"
    poll(lambda: "ending" in log.read_text() or None, deadline=Deadline.after(10), what="the old process to be ending")
    local.call("PUT", f"{ROOT}/services/shop", local.service("shop", "b", traffic=[pinned("shop-a", 100)]))

    while not gone(old):
        assert ask(url)["revision"] == "shop-b"
    local.settled("shop")
    answer = ask(url)
    assert answer["revision"] == "shop-a"
    assert answer["pid"] != old


def test_deleting_a_service_ends_its_processes_and_frees_its_port(local: Local) -> None:
    url = local.apply(local.service("shop"))["status"]["url"]
    pid = ask(url)["pid"]
    assert local.call("DELETE", f"{ROOT}/services/shop")[0] == 200

    assert local.call("GET", f"{ROOT}/services/shop")[0] == 404
    poll(lambda: gone(pid) or None, deadline=Deadline.after(10), what="the process to be stopped")

    def refused() -> bool | None:
        try:
            send(url, "GET", "/")
        except ConnectionError:
            return True
        return None

    poll(refused, deadline=Deadline.after(5), what="the port to be freed")
    assert local.call("GET", f"{ROOT}/revisions")[1]["items"] == []
