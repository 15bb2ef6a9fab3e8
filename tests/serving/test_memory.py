"""``lading serve`` as a process, for long: what a hundred thousand requests leave behind in its memory."""

import gzip
import json
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from raw_http import Connection, request
from served import Served, serving

WARM_UP, REQUESTS, CLIENTS = 20_000, 100_000, 4
GROWTH = 1.05
IMAGE = {"instances": [[[0.5] * 28] * 28]}


def spelled(chance: random.Random) -> str:
    """A name that was not used before."""
    return f"{chance.getrandbits(64):x}"


def traffic(chance: random.Random, long_share: float) -> Iterator[bytes]:
    """Requests without end: most are good, some are not, a few are long; many have a spelling of their own."""
    image = json.dumps(IMAGE).encode()
    good = [
        request(IMAGE, "/v1/models/mlp:predict"),
        request(IMAGE, "/v1/models/mlp/versions/1:predict"),
        request({"inputs": [{"name": "image", "shape": [1, 28, 28], "datatype": "FP32", "data": [0.5] * 784}]},
                "/v2/models/mlp/infer"),
        request(gzip.compress(image), "/v1/models/mlp:predict", content_encoding="gzip"),
        request(None, "/v1/models/mlp", method="GET"),
        request(None, "/metrics", method="GET"),
        request(None, "/v2/health/ready", method="GET"),
    ]  # fmt: skip
    bad = [
        request(b"{", "/v1/models/mlp:predict"),
        request({"instances": [[1.0]]}, "/v1/models/mlp:predict"),
        request({"instances": [{"image": "x"}]}, "/v1/models/mlp:predict"),
        request(b'{"instances":' + b"[" * 500, "/v1/models/mlp:predict"),
    ]
    long = [
        request({"instances": [[[0.5] * 28] * 28] * 400}, "/v1/models/mlp:predict"),
        request(b" " * 3_000_000, "/v1/models/mlp:predict"),
    ]
    while True:
        kind = chance.random()
        if kind < long_share:
            yield chance.choice(long)
        elif kind < 0.05:
            # Each of these is another path for the same model.
            yield request(IMAGE, f"/v1/models/mlp/versions/{'0' * chance.randrange(2000)}1:predict")
        elif kind < 0.1:
            yield request(IMAGE, f"/v1/models/{spelled(chance)}:predict", x_request_id=spelled(chance))
        elif kind < 0.13:
            yield request(None, f"/{chance.choice(('v1/models/', 'v2/models/', ''))}{spelled(chance)}", method="GET")
        elif kind < 0.16:
            yield request({"signature_name": spelled(chance), "instances": [1]}, "/v1/models/mlp:predict")
        elif kind < 0.3:
            yield chance.choice(bad)
        else:
            yield chance.choice(good)


def send(served: Served, count: int, seed: int, *, long_share: float = 0.0005) -> None:
    """So many requests, by several clients, which come back with a new connection now and then."""
    left = threading.Semaphore(count)

    def client(number: int) -> None:
        requests = traffic(random.Random(seed + number), long_share)
        while left.acquire(blocking=False):
            with Connection(served.port) as connection:
                assert connection.ask(next(requests)).status < 500
                for _ in range(200):
                    if not left.acquire(blocking=False):
                        return
                    assert connection.ask(next(requests)).status < 500

    with ThreadPoolExecutor(CLIENTS) as pool:
        for each in [pool.submit(client, number) for number in range(CLIENTS)]:
            each.result()


def resident(served: Served) -> int:
    """In bytes, as the process itself sees it."""
    return int(served.metric("process_resident_memory_bytes"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("engine", ["tensorflow", "litert"])
@pytest.mark.parametrize("batching", [False, True], ids=["alone", "batching"])
def test_requests_leave_nothing_behind(litert_model: Path, engine: str, batching: bool) -> None:
    words = (f"mlp={litert_model}", "--engine", engine, "--port", "0", "--grpc-port", "off", "--access-log", "off")
    with serving(*words, *(["--batching"] if batching else [])) as served:
        # Long ones more often: what they need stays with the allocator, once for each thread that was given one.
        send(served, WARM_UP, seed=1, long_share=0.01)
        warm = resident(served)
        send(served, REQUESTS, seed=100)
        assert resident(served) <= GROWTH * warm
