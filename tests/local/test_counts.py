"""What the local target counts of its users' requests."""

import http.client
import os
import signal
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest
from tiny_target import Local, ask, gone, send

from lading.local import lifecycle
from lading.wait import Deadline, poll


@pytest.fixture
def shop(shared: Local) -> Local:
    shared.apply(shared.service("shop", "one", VALUE="1"))
    return shared


def seen(local: Local) -> Any:
    headers = {"Authorization": f"Bearer {local.endpoint.token}"}
    path = "/apis/local.lading.dev/v1/namespaces/default/services/shop/traffic"
    status, body = send(local.endpoint.url, "GET", path, headers=headers)
    assert status == 200, body
    return body


def counted(local: Local, revision: str = "shop-one") -> tuple[int, int, int, int]:
    """Requests, refused, errors, right answers."""
    one = seen(local)["revisions"][revision]
    return one["requests"], one["refused"], one["errors"], sum(one["buckets"])


def expect(local: Local, numbers: tuple[int, int, int, int], revision: str = "shop-one") -> None:
    """A request is counted when its answer has been sent, so a moment after the client has it."""
    poll(
        lambda: True if counted(local, revision) == numbers else None,
        deadline=Deadline.after(10),
        what=f"{numbers}, last {counted(local, revision)}",
    )


def url_of(local: Local) -> str:
    found: str = local.settled("shop")["status"]["url"]
    return found


def test_requests_of_users_are_counted_by_revision_and_by_how_they_end(shop: Local) -> None:
    url = url_of(shop)
    expect(shop, (0, 0, 0, 0))
    for _ in range(3):
        ask(url)
    with pytest.raises(ConnectionResetError):
        send(url, "GET", "/exit")
    expect(shop, (4, 0, 1, 3))
    body = shop.service("shop", "two", VALUE="2")
    body["spec"]["traffic"] = [
        {"revisionName": "shop-one", "percent": 75},
        {"revisionName": "shop-two", "percent": 25, "tag": "candidate"},
    ]
    service = shop.apply(body)
    for _ in range(8):
        ask(url)
    expect(shop, (10, 0, 1, 9))
    expect(shop, (2, 0, 0, 2), "shop-two")
    tagged = next(line["url"] for line in service["status"]["traffic"] if line.get("tag"))
    ask(tagged)
    assert send(url, "GET", "/", headers={"User-Agent": "lading-probe"})[0] == 200
    expect(shop, (10, 0, 1, 9))
    expect(shop, (2, 0, 0, 2), "shop-two")


def test_the_histogram_has_the_time_until_an_answer_begins(shop: Local) -> None:
    url = url_of(shop)
    ask(url, "/slow?seconds=0.2")
    found = seen(shop)
    (place,) = [i for i, n in enumerate(found["revisions"]["shop-one"]["buckets"]) if n]
    assert 200 <= found["boundsMilliseconds"][place] < 2000
    assert found["boundsMilliseconds"][place - 1] > 100


def test_an_answer_that_breaks_off_is_an_error_and_a_client_that_leaves_is_none(shop: Local) -> None:
    url = url_of(shop)
    place = urlsplit(url)
    with socket.create_connection((place.hostname or "", place.port or 0)) as left:
        left.sendall(b"GET /slow?seconds=0.3 HTTP/1.1\r\nHost: x\r\n\r\n")
    poll(lambda: counted(shop)[3] or None, deadline=Deadline.after(10), what="the answer that nobody waits for")
    connection = http.client.HTTPConnection(place.netloc, timeout=15)
    connection.request("GET", "/stream")
    answer = connection.getresponse()
    assert answer.status == 200
    os.kill(ask(url)["pid"], signal.SIGKILL)
    with pytest.raises(http.client.IncompleteRead):
        answer.read()
    connection.close()
    poll(lambda: True if counted(shop)[2] == 1 else None, deadline=Deadline.after(10), what="the error to be counted")
    with pytest.raises(ConnectionResetError):
        send(url, "GET", "/exit")
    requests, refused, errors, _ = counted(shop)
    assert (refused, errors) == (0, 2)
    assert requests >= 3


def test_counting_begins_anew_with_the_target_and_says_so(local: Local) -> None:
    pid = ask(local.apply(local.service("shop", "one"))["status"]["url"])["pid"]
    before = seen(local)
    lifecycle.stop(local.state, deadline=Deadline.after(40))
    assert gone(pid)
    local.endpoint = lifecycle.start(local.state, deadline=Deadline.after(30))
    local.settled("shop")
    now = seen(local)
    assert now["since"] != before["since"]
    assert now["revisions"]["shop-one"]["requests"] == 0


def test_a_service_that_is_not_there_has_no_traffic_and_none_can_be_written(shop: Local) -> None:
    headers = {"Authorization": f"Bearer {shop.endpoint.token}"}
    path = "/apis/local.lading.dev/v1/namespaces/default/services/{}/traffic"
    assert send(shop.endpoint.url, "GET", path.format("nothing"), headers=headers)[0] == 404
    assert send(shop.endpoint.url, "PUT", path.format("shop"), {}, headers=headers)[0] == 405
    assert send(shop.endpoint.url, "GET", path.format("shop"))[0] == 401
