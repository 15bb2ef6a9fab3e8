"""``lading serve`` as a process: more requests, longer bodies and slower models than it can take."""

import collections
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import requests
from model_places import until
from raw_http import MIXED, Connection, head, request
from served import Served, serving

LONG = {"signature_name": "spin", "inputs": 100_000_000}
SHORT = {"signature_name": "same", "inputs": "a"}
NOT_HUNG_SECONDS = 5.0
"""Health is answered in a few milliseconds."""


@contextmanager
def healthy(served: Served) -> Iterator[None]:
    """Asks for the server's health all the time; it is to be well, and to answer."""
    stopped, found = threading.Event(), list[tuple[int, float]]()

    def ask() -> None:
        with requests.Session() as session:
            while not stopped.wait(0.02):
                started = time.monotonic()
                answer = session.get(f"{served.url}/v2/health/ready", timeout=60)
                found.append((answer.status_code, time.monotonic() - started))

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        try:
            yield
        finally:
            stopped.set()
        asking.result()
    assert {code for code, _ in found} == {200}
    assert max(seconds for _, seconds in found) < NOT_HUNG_SECONDS


def at_once(call: Callable[[], requests.Response], count: int) -> list[requests.Response]:
    with ThreadPoolExecutor(count) as pool:
        return [each.result() for each in [pool.submit(call) for _ in range(count)]]


def resident(served: Served, field: str = "VmRSS") -> int:
    """MiB; ``VmHWM`` for the most so far."""
    lines = Path(f"/proc/{served.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) // 1024


def test_what_exceeds_the_queue_is_refused_at_once_and_the_rest_is_answered(
    mixed_model: Path, scale_versions: Path
) -> None:
    words = (f"mixed={mixed_model}", f"quick={scale_versions / '3'}", "--port", "0", "--grpc-port", "off")
    with serving(*words, "--max-queue", "3", "--timeout", "60") as served:
        served.post(MIXED, {**LONG, "inputs": 1})
        rounds = {**LONG, "inputs": 8000}
        with healthy(served):
            started = time.monotonic()
            answers = at_once(lambda: served.post(MIXED, rounds), 24)
            seconds = time.monotonic() - started
        by_status = collections.Counter(answer.status_code for answer in answers)
        assert set(by_status) == {200, 503}
        # So many run as there are threads, three wait, and each that ends makes room for one more.
        assert by_status[200] >= 4
        for answer in answers:
            if answer.status_code == 503:
                assert answer.headers["retry-after"] == "1"
                assert "overloaded: 3 requests are waiting" in answer.json()["error"]
                assert answer.elapsed.total_seconds() < max(seconds / 2, NOT_HUNG_SECONDS)
            else:
                assert answer.json() == {"outputs": 8000}
        assert served.post(MIXED, rounds).status_code == 200
        assert (served.metric("lading_queue_length"), served.metric("lading_predictions_running")) == (0, 0)


def test_a_prediction_that_takes_too_long_leaves_nothing_behind(mixed_model: Path) -> None:
    words = (f"mixed={mixed_model}", "--port", "0", "--grpc-port", "off", "--max-queue", "2", "--timeout", "0.5")
    with serving(*words) as served:
        for _ in range(3):
            answers = at_once(lambda: served.post(MIXED, LONG), 4)
            assert {answer.status_code for answer in answers} <= {503, 504}
            assert 504 in {answer.status_code for answer in answers}
        until(lambda: served.metric("lading_predictions_running") == 0)
        assert served.metric("lading_queue_length") == 0
        assert served.post(MIXED, SHORT).json() == {"outputs": "a"}


def test_long_bodies_are_refused_before_they_fill_the_memory(mixed_model: Path) -> None:
    held = 32 << 20
    words = (f"mixed={mixed_model}", "--port", "0", "--grpc-port", "off", "--max-held-bytes", str(held))
    long = b'{"signature_name":"identity_float32","inputs":[' + b"1.5," * (2 << 20) + b"1]}"
    with serving(*words) as served:
        assert served.post(MIXED, long).status_code == 200
        before = resident(served)
        with healthy(served):
            answers = at_once(lambda: served.post(MIXED, long), 40)
        by_status = collections.Counter(answer.status_code for answer in answers)
        assert set(by_status) == {200, 503}, by_status
        assert by_status[200] >= 3
        refused = next(answer for answer in answers if answer.status_code == 503)
        assert (refused.headers["retry-after"], "the bodies" in refused.json()["error"]) == ("1", True)
        # 40 bodies are 320 MiB, as numbers and in an answer several times as much.
        assert resident(served, "VmHWM") - before < 400
        assert served.post(MIXED, long).status_code == 200


def test_bodies_that_do_not_come_hold_their_place_only_for_themselves(mixed_model: Path) -> None:
    words = (f"mixed={mixed_model}", "--port", "0", "--grpc-port", "off", "--max-held-bytes", "1000000")
    with serving(*words) as served, Connection(served.port) as stalled:
        stalled.send(head(content_length="999990") + b"{")
        until(lambda: served.post(MIXED, b" " * 1000).status_code == 503)
        # Who sends a short one, or none, is not concerned.
        assert served.post(MIXED, b"{").status_code == 400
        assert served.get("/v1/models/mixed").ok
        stalled.socket.close()
        until(lambda: served.post(MIXED, b" " * 1000).status_code == 400)


def test_many_idle_connections_keep_nobody_out(mixed_model: Path) -> None:
    with serving(f"mixed={mixed_model}", "--port", "0", "--grpc-port", "off") as served:
        idle = [Connection(served.port) for _ in range(1500)]
        try:
            for number, connection in enumerate(idle):
                connection.send(request(SHORT) if number % 2 else head()[:20])
            assert served.get("/v2/health/ready").ok
            assert served.post(MIXED, SHORT).json() == {"outputs": "a"}
        finally:
            for connection in idle:
                connection.socket.close()
