"""Bodies of requests: limits of length, of what is held, and of time; without sockets."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future
from typing import Any

import pytest

from lading.serving.answers import Answer
from lading.serving.bodies import Bodies
from lading.serving.config import ServeConfig
from lading.serving.gate import Gate

LIMIT = 100


class Upload:
    """A body that arrives in parts, as an exchange gives it; it stalls before the part ``None``."""

    def __init__(self, *parts: bytes | None) -> None:
        self.parts: Sequence[bytes | None] = parts
        self.taken = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self.parts:
            if part is None:
                await asyncio.Event().wait()
            else:
                self.taken += 1
                await asyncio.sleep(0)
                yield part

    async def __call__(self) -> bytes:
        return b"".join([part async for part in self])


def read(
    *uploads: tuple[dict[str, str], Upload], in_gate: int = 0, patience: float = 20.0, limit: int = LIMIT
) -> list[bytes | tuple[int, str]]:
    """What is read of uploads that come at the same time: the body, or status and text of the answer."""

    async def all_of_them() -> list[bytes | Answer]:
        return await asyncio.gather(*[bodies.read(headers, upload) for headers, upload in uploads])

    config = ServeConfig(models=(), port=1, max_body_bytes=limit, max_held_bytes=2 * limit)
    with Gate(1, 1, 10**9) as gate:
        held: Future[None] = Future()
        if in_gate:
            gate.submit(held.result, in_gate)
        bodies = Bodies(config, gate, patience_seconds=patience)
        try:
            found = asyncio.run(all_of_them())
        finally:
            held.set_result(None)
    assert bodies.held_bytes == 0
    return [each if isinstance(each, bytes) else (each.status, json.loads(each.body)["error"]) for each in found]


def sized(*parts: bytes | None, length: int | None = None, **headers: str) -> tuple[dict[str, str], Upload]:
    length = sum(len(part or b"") for part in parts) if length is None else length
    return {"content-length": str(length), **headers}, Upload(*parts)


def unsized(*parts: bytes | None) -> tuple[dict[str, str], Upload]:
    return {}, Upload(*parts)


def status(found: Any) -> Any:
    return found[0] if isinstance(found, tuple) else 200


def test_a_body_is_read_whole() -> None:
    assert read(sized(b"ab", b"c"), unsized(b"d", b"", b"ef"), sized(), unsized()) == [b"abc", b"def", b"", b""]


@pytest.mark.parametrize("make", [sized, unsized])
def test_a_body_beyond_the_limit_is_refused_after_it_was_read(make: Any) -> None:
    upload = make(*[b"x" * 10] * 20)
    ((code, text),) = read(upload)
    assert (code, "longer than 100 bytes" in text) == (413, True)
    assert upload[1].taken == 20, "who sends before it reads would get a broken connection"


@pytest.mark.parametrize("make", [sized, unsized])
def test_not_all_of_an_endless_body_is_read(make: Any) -> None:
    upload = make(*[b"x" * 10] * 1000)
    assert status(read(upload)[0]) == 413
    assert upload[1].taken < 100


def test_bodies_are_admitted_by_the_length_that_they_declare() -> None:
    found = read(*[sized(b"x" * 90) for _ in range(5)])
    assert [status(each) for each in found] == [200, 200, 503, 503, 503]
    assert "would have 270 bytes, and may have 200; try again later" in found[2][1]


def test_bodies_without_a_length_count_as_they_grow() -> None:
    parts = [b"x" * 10] * 9
    found = read(*[unsized(*parts) for _ in range(5)])
    assert 1 <= [status(each) for each in found].count(200) <= 2
    # Short ones do not count as if they had the length that they may have.
    assert [status(each) for each in read(*[unsized(b"x") for _ in range(50)])] == [200] * 50


def test_what_the_gate_holds_counts_too() -> None:
    assert [status(each) for each in read(sized(b"x" * 90), in_gate=150)] == [503]
    assert [status(each) for each in read(unsized(b"x" * 90), in_gate=150)] == [503]


def test_one_body_is_let_in_where_the_whole_is_smaller_than_one() -> None:
    config = ServeConfig(models=(), port=1, max_body_bytes=100, max_held_bytes=10)

    async def one() -> bytes | Answer:
        return await bodies.read(*unsized(b"x" * 50, b"y" * 50))

    with Gate(1, 1, 10) as gate:
        bodies = Bodies(config, gate)
        assert asyncio.run(one()) == b"x" * 50 + b"y" * 50


@pytest.mark.parametrize("make", [sized, unsized])
def test_a_body_that_does_not_arrive_is_given_up_alone(make: Any) -> None:
    found = read(make(b"x", None), make(b"y"), make(b"x" * 150, None), patience=0.2)
    assert [status(each) for each in found] == [408, 200, 408]
    assert found[0][1] == "the request's body did not arrive in time"


def test_gzip_is_unpacked() -> None:
    def packed(body: bytes) -> bytes | tuple[int, str]:
        return read(sized(body, **{"content-encoding": "gzip"}), limit=200_000)[0]

    long = bytes(range(256)) * 600
    assert packed(gzip.compress(b"abc")) == b"abc"
    assert packed(gzip.compress(long)) == long
    for damaged in (b"\x1f\x8b", gzip.compress(b"abc")[:-9], gzip.compress(b"abc")[:-4] + b"\2\0\0\0", b"x" * 50):
        assert packed(damaged) == b""
    assert status(packed(gzip.compress(b"\0" * 300_000))) == 413
    # What the end of a stream says about its length is not believed.
    lying = gzip.compress(b"\0" * 190_000)[:-4] + (70_000).to_bytes(4, "little")
    assert packed(lying) == b""
