"""Lines of the log: their fields, what a request can put into them, and a reader that does not read."""

import json
import os
import subprocess
import sys
import textwrap
from typing import Any

import pytest

from lading.serving.log import SAMPLED, SPAN, TRACE, AccessLog, log, request_context

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CLOUD = "x-cloud-trace-context"


def context(project: str = "", **headers: str) -> dict[str, object]:
    return request_context({name.replace("_", "-"): text for name, text in headers.items()}.get, project=project)


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    log("model loaded", severity="WARNING", model="a\nb", seconds=0.5)
    (line,) = lines(capsys.readouterr().err)
    assert line.pop("time").endswith("Z")
    assert line == {"severity": "WARNING", "message": "model loaded", "model": "a\nb", "seconds": 0.5}


def test_long_texts_are_cut(capsys: pytest.CaptureFixture[str]) -> None:
    log("request failed", error="x" * 100_000)
    (line,) = lines(capsys.readouterr().err)
    assert line["error"] == "x" * 2000 + "…"


def test_the_trace_of_w3c() -> None:
    found = context("p", traceparent=f"00-{TRACE_ID}-{SPAN_ID}-01", x_request_id="abc-1")
    assert found == {
        "request_id": "abc-1",
        TRACE: f"projects/p/traces/{TRACE_ID}",
        SPAN: SPAN_ID,
        SAMPLED: True,
    }
    assert context(traceparent=f"00-{TRACE_ID}-{SPAN_ID}-00")[SAMPLED] is False
    assert context(traceparent=f"00-{TRACE_ID}-{SPAN_ID}-00")[TRACE] == TRACE_ID, "no project is known"
    assert context(traceparent=f"cc-{TRACE_ID}-{SPAN_ID}-01-what-the-future-brings")[TRACE] == TRACE_ID


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        f"00-{TRACE_ID.upper()}-{SPAN_ID}-01",
        f"ff-{TRACE_ID}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{SPAN_ID}-01-more",
        f"00-{TRACE_ID}-{SPAN_ID}",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f" 00-{TRACE_ID}-{SPAN_ID}-01",
        f'00-{TRACE_ID}-{SPAN_ID}-01"',
        "cc-" + TRACE_ID + "-" + SPAN_ID + "-01-" + "x" * 10_000 + "\n",
    ],
)
def test_a_traceparent_that_is_none_is_ignored(text: str) -> None:
    assert context(traceparent=text).keys() == {"request_id"}


def test_the_trace_of_google_cloud() -> None:
    headers = {CLOUD: f"{TRACE_ID.upper()}/13235353014750950193;o=1"}
    found = request_context(headers.get, project="p")
    assert (found[TRACE], found[SPAN], found[SAMPLED]) == (f"projects/p/traces/{TRACE_ID}", SPAN_ID, True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (TRACE_ID, {TRACE: TRACE_ID, SAMPLED: False}),
        (f"{TRACE_ID};o=1", {TRACE: TRACE_ID, SAMPLED: True}),
        (f"{TRACE_ID}/1", {TRACE: TRACE_ID, SPAN: "0000000000000001", SAMPLED: False}),
        (f"{TRACE_ID}/0;o=0", {TRACE: TRACE_ID, SAMPLED: False}),
        (f"{TRACE_ID}/99999999999999999999;o=0", {TRACE: TRACE_ID, SAMPLED: False}),  # more than 64 bits
        (f"{'0' * 32}/1;o=1", {}),
        ("abc/1;o=1", {}),
        (f"{TRACE_ID}/x;o=1", {}),
    ],
)
def test_forms_of_google_clouds_header(text: str, expected: dict[str, object]) -> None:
    found = request_context({CLOUD: text}.get)
    del found["request_id"]
    assert found == expected


def test_w3c_comes_first() -> None:
    headers = {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01", CLOUD: f"{'1' * 32}/1;o=0"}
    assert request_context(headers.get)[TRACE] == TRACE_ID


@pytest.mark.parametrize("given", ["", "a b", "a\nb", "ä", "x" * 129, "\x1b[31m", "\x00"])
def test_a_request_id_that_cannot_be_taken_is_replaced(given: str) -> None:
    made = context(x_request_id=given)["request_id"]
    assert isinstance(made, str)
    assert made != given
    assert len(made) == 32
    assert made != context(x_request_id=given)["request_id"]


def write(access: AccessLog, status: int, seconds: float, path: str = "/v1/models/m:predict") -> None:
    if access.wants(status, seconds):
        access.write(
            context(x_request_id="r1"), method="POST", path=path, status=status, seconds=seconds, sizes=(10, 20)
        )


def test_the_line_of_a_request(capsys: pytest.CaptureFixture[str]) -> None:
    write(AccessLog("all"), 200, 0.0123)
    (line,) = lines(capsys.readouterr().err)
    assert line["httpRequest"] == {
        "requestMethod": "POST",
        "requestUrl": "/v1/models/m:predict",
        "status": 200,
        "requestSize": "10",
        "responseSize": "20",
        "latency": "0.012300s",
    }
    assert (line["severity"], line["message"], line["request_id"]) == ("INFO", "request", "r1")


@pytest.mark.parametrize(
    ("which", "severities"),
    [("off", []), ("errors", ["WARNING", "ERROR"]), ("all", ["INFO", "INFO", "WARNING", "ERROR"])],
)
def test_which_requests_get_a_line(which: str, severities: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    access = AccessLog(which, slow_seconds=1)
    for status, seconds in ((200, 0.1), (404, 0.1), (200, 1.5), (503, 0.1)):
        write(access, status, seconds)
    assert [line["severity"] for line in lines(capsys.readouterr().err)] == severities


def test_a_path_cannot_forge_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    write(AccessLog("all"), 404, 0.1, path='/v1/x\n{"severity": "ERROR"}\x1b[2J\ud800' + "y" * 10_000)
    (line,) = lines(capsys.readouterr().err)
    assert len(line["httpRequest"]["requestUrl"]) == 2000


def child(script: str, stderr: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", "from lading.serving.log import log\n" + textwrap.dedent(script)]
    return subprocess.Popen(command, stderr=stderr, stdout=subprocess.PIPE, stdin=subprocess.PIPE)


def test_a_reader_that_does_not_read_holds_nobody_up() -> None:
    """A pipe on Linux has room for 65536 bytes; the process writes more, and nobody reads."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    script = """
        for number in range(3000):
            log("line", number=number, filler="x" * 100)
        print("through", flush=True)
        input()
        log("again")
        """
    with os.fdopen(reading, "rb", buffering=0) as file, child(script, writing) as process:
        os.close(writing)
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"through\n"
            before = lines(file.readall().decode())  # every line is whole
            process.communicate(b"\n", timeout=20)
            after = lines(file.readall().decode())
        finally:
            process.kill()
    assert [line["number"] for line in before] == list(range(len(before)))
    assert 100 < len(before) < 3000
    assert [line["message"] for line in after] == ["again"]
    assert after[0]["dropped_lines"] == 3000 - len(before)


def test_a_reader_that_is_gone_is_no_reason_to_fail() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with child("log('a'); log('b'); print('through')", writing) as process:
        os.close(writing)
        out, _ = process.communicate(timeout=20)
    assert out == b"through\n"
