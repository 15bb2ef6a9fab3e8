"""What a batch service is asked for, and what it may use: bodies, settings, memory."""

from pathlib import Path

import pytest

from lading.batch.job import BatchJob
from lading.batch.options import MIB, BatchOptions
from lading.batch.service import ServiceConfig
from lading.batch.service.memory import PROCESS_BYTES, run_bytes, usable_bytes
from lading.batch.service.request import BatchRequest, parse_request
from lading.errors import InvalidInput


def test_the_memory_of_a_run_follows_its_options() -> None:
    small = run_bytes(BatchOptions(max_line_bytes=1000), 2)
    assert small == run_bytes(BatchOptions(max_line_bytes=4 * MIB), 2)  # a block has 4 MiB at least
    assert run_bytes(BatchOptions(max_line_bytes=8 * MIB), 2) > small < run_bytes(BatchOptions(max_line_bytes=1), 3)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/memory.max": "536870912\n"}, 512),
        (
            {"sys/fs/cgroup/memory.max": "max\n", "proc/self/cgroup": "0::/\n", "proc/meminfo": "MemTotal: 2097152 kB"},
            2048,
        ),
        ({"proc/self/cgroup": "4:memory:/x\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "1073741824\n"}, 1024),
        ({"proc/meminfo": "MemFree: 1 kB\nMemTotal:  1048576 kB\n"}, 1024),
    ],
)  # fmt: skip
def test_the_budget_is_what_the_container_may_use(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert usable_bytes(root=tmp_path) == expected * MIB - PROCESS_BYTES


def test_the_settings_of_a_service() -> None:
    config = ServiceConfig.read({"PORT": "99", "K_REVISION": "r1"}, memory_bytes=1 << 30, threads=1)
    assert (config.port, config.host, config.revision, config.threads) == (99, "0.0.0.0", "r1", 1)
    assert ServiceConfig.read({}, memory_bytes=1 << 40).port == 8080
    assert ServiceConfig.read({"PORT": "99"}, port="5", memory_bytes=1 << 40).port == 5
    with pytest.raises(InvalidInput, match="PORT='80a': expected a port number"):
        ServiceConfig.read({"PORT": "80a"}, memory_bytes=1 << 40)
    with pytest.raises(InvalidInput, match="a run with 2 threads needs 234881024"):
        ServiceConfig.read({}, memory_bytes=100 * MIB, threads=2)
    with pytest.raises(InvalidInput, match="max_runs is 0, expected 1 or more"):
        ServiceConfig.read({}, memory_bytes=1 << 40, max_runs=0)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "expected a JSON object"),
        (b"[1]", "received list"),
        (
            b'{"model": "m", "input": "i", "output": "o", "batchsize": 3, "inputs": 1}',
            "no such member: batchsize, inputs",
        ),
        (b'{"input": "i", "output": "o"}', "expected as model a URI"),
        (b'{"model": "m", "input": [], "output": "o"}', "expected as input a URI, or a list"),
        (b'{"model": "m", "input": ["a", 3], "output": "o"}', "expected as input a URI, or a list"),
        (b'{"model": "m", "input": "@gs://b/list", "output": "o"}', "give what the list holds as a list"),
        (b'{"model": "m", "input": "i", "output": "o", "max_bad_rows": "many"}', "expected as most bad rows"),
        (b'{"model": "m", "input": "i", "output": "o", "max_bad_rows": true}', "expected as max_bad_rows"),
        (b'{"model": "m", "input": "i", "output": "o", "batch_size": "3"}', "expected int as the option batch_size"),
        (b'{"model": "m", "input": "i", "output": "o", "output_format": "xml"}', "expected as output format"),
        (b'{"model": "m", "input": "i", "output": "o", "restart": 1}', "expected as restart true or false"),
    ],
)
def test_a_body_that_is_none(body: bytes, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        parse_request(body, max_line_bytes=1000)


def test_a_body_is_a_job() -> None:
    body = (
        b'{"model": "m", "input": ["a", "b"], "output": "o", "max_bad_rows": 3, "batch_size": 7, "passthrough": ["k"]}'
    )
    request = parse_request(body, max_line_bytes=1000)
    options = BatchOptions(batch_size=7, passthrough=("k",), max_line_bytes=1000)
    assert request == BatchRequest("m", BatchJob(("a", "b"), "o", options, max_bad_rows="3"))
    assert request.to_dict() == {
        "model": "m", "input": ["a", "b"], "output": "o", "max_bad_rows": "3", "batch_size": 7, "passthrough": ("k",),
        "max_line_bytes": 1000,
    }  # fmt: skip
