"""The sample of requests that goes to a file."""

import base64
import json
import os
import resource
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from lading.errors import InvalidInput, StorageError
from lading.serving import request_log
from lading.serving.request_log import Exchange, RequestLog


def exchange(request: bytes = b"{}", response: bytes = b"{}", **more: Any) -> Exchange:
    given = {"signature": "", **more}
    return Exchange(
        model="taxi",
        version=3,
        path="/v1/models/taxi:predict",
        request=request,
        response=response,
        status=200,
        seconds=0.00123456,
        request_id="r1",
        **given,
    )


def written(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path: Path, *exchanges: Exchange) -> RequestLog:
    log = RequestLog(path, rate=1)
    for each in exchanges:
        log.write(each)
    log.close()
    return log


def test_a_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, exchange(b'{"instances": [0.10000000000000000001]}', b'{"predictions":[1]}', signature="classify"))
    (line,) = written(path)
    assert line.pop("time").endswith("Z")
    assert line == {
        "model": "taxi",
        "version": 3,
        "signature": "classify",
        "path": "/v1/models/taxi:predict",
        "status": 200,
        "seconds": 0.001235,
        "request_id": "r1",
        "request": {"instances": [0.1]},
        "response": {"predictions": [1]},
    }
    assert b"0.10000000000000000001" in path.read_bytes()  # as it came


@pytest.mark.parametrize("body", [b"", b"\x08\x01\xff", b'{"a": NaN}', b"{} {}", b'"\xff"', b"[" * 100_000])
def test_what_is_no_json_is_base64(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "log"
    write(path, exchange(body, body))
    (line,) = written(path)
    assert base64.b64decode(line["request_b64"]) == body == base64.b64decode(line["response_b64"])
    assert "request" not in line


def test_a_body_of_many_lines_stays_on_one(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, exchange(b'{\r\n  "a": "b\\nc",\n  "d": [1,\n2]\n}\n'), exchange())
    assert [line["request"] for line in written(path)] == [{"a": "b\nc", "d": [1, 2]}, {}]


def test_a_long_body_is_not_parsed(tmp_path: Path) -> None:
    body = b'"' + b"x" * request_log.MAX_PARSED_BYTES + b'"'
    path = tmp_path / "log"
    write(path, exchange(body))
    assert base64.b64decode(written(path)[0]["request_b64"]) == body


def test_it_appends_and_is_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, exchange(b"1"))
    write(path, exchange(b"2"))
    assert [line["request"] for line in written(path)] == [1, 2]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("rate", "chosen"),
    [(0, []), (1, list(range(20))), (0.25, [0, 4, 8, 12, 16]), (0.4, [0, 3, 5, 8, 10, 13, 15, 18])],
)
def test_the_sample_is_the_same_each_time(tmp_path: Path, rate: float, chosen: list[int]) -> None:
    log = RequestLog(tmp_path / "log", rate=rate)
    assert [number for number in range(20) if log.wants()] == chosen
    log.close()


def test_the_share_is_kept(tmp_path: Path) -> None:
    log = RequestLog(tmp_path / "log", rate=0.01)
    assert sum(log.wants() for _ in range(100_000)) == 1000
    log.close()


def test_lines_of_many_threads_are_whole(tmp_path: Path) -> None:
    log = RequestLog(tmp_path / "log", rate=1)

    def work(number: int) -> None:
        for _ in range(100):
            log.write(exchange(json.dumps({"n": number, "filler": "x" * 5000}).encode()))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    lines = written(tmp_path / "log")
    assert len(lines) + log.dropped == 800
    assert {line["request"]["n"] for line in lines} == set(range(8))


def test_what_waits_is_bounded(tmp_path: Path) -> None:
    """Nobody reads the pipe: the writer stands still, and what comes beyond the bound is counted."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log = RequestLog(path, rate=1)
    body = b'"' + b"x" * 1_000_000 + b'"'
    for _ in range(100):
        log.write(exchange(body, b"1"))
    assert 30 <= log.dropped <= 40  # 64 MiB wait, one is being written
    os.close(reading)
    log.close()
    assert log.dropped == 100


def test_a_full_disk_fails_no_request_and_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = write(Path("/dev/full"), exchange(), exchange(), exchange())
    assert log.dropped == 3
    (line,) = [json.loads(text) for text in capsys.readouterr().err.splitlines()]
    assert (line["message"], line["severity"], line["path"]) == ("request log failed", "ERROR", "/dev/full")
    assert "No space left" in line["error"]


def test_a_line_that_a_full_disk_cut_does_not_spoil_the_next(tmp_path: Path) -> None:
    """In a process of its own, whose files may not grow beyond 1000 bytes, and then may."""
    script = """
import resource, signal, sys
from pathlib import Path
from lading.serving.request_log import Exchange, RequestLog
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
log = RequestLog(Path(sys.argv[1]), rate=1)
def write(n):
    log.write(Exchange("m", 1, "/p", b"%d" % n, b'"' + b"x" * 300 + b'"', 200, 0.1, "r"))
for n in range(4):
    write(n)
while log._waiting:
    pass
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
write(9)
log.close()
print(log.dropped)
"""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    path = tmp_path / "log"
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    first, second, cut, last = path.read_text().splitlines()
    assert [json.loads(line)["request"] for line in (first, second, last)] == [0, 1, 9]
    with pytest.raises(ValueError):
        json.loads(cut)
    assert done.stdout == "2\n"


def test_writing_after_the_end_is_counted(tmp_path: Path) -> None:
    log = write(tmp_path / "log", exchange())
    log.write(exchange())
    assert log.dropped == 1
    assert len(written(tmp_path / "log")) == 1


def test_what_cannot_be_opened_is_said_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"missing/log: No such file"):
        RequestLog(tmp_path / "missing" / "log", rate=1)
    with pytest.raises(InvalidInput, match=r"0 to 1, received 1\.5"):
        RequestLog(tmp_path / "log", rate=1.5)
