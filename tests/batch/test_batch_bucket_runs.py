"""Whole runs from and to a bucket that stumbles: the bytes are those of a run on this machine."""

import gzip
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fakes.storage_faults import Fault
from fakes.storage_server import Storage

from lading import buckets
from lading.batch.job import BatchJob
from lading.batch.model import OpenModel
from lading.batch.options import BatchOptions
from lading.batch.run import run_batch
from lading.wait import Deadline, poll

OPTIONS = BatchOptions(batch_size=16, shard_bytes=60_000)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    made = Storage(buckets={"b": {}})
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", made.url)
    yield made
    made.close()


def fill(server: Storage, directory: Path) -> None:
    """The same inputs in the bucket and on this machine."""
    for seed, name in enumerate(("a.jsonl", "deep/b.jsonl.gz")):
        images = np.random.default_rng(seed).integers(0, 256, (300, 28, 28))
        content = "".join(f"{json.dumps(image.tolist())}\n" for image in images).encode() + b"nonsense\n"
        content = gzip.compress(content, 1) if name.endswith(".gz") else content
        server.put("b", f"in/{name}", content)
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def outputs_of(server: Storage) -> dict[str, bytes]:
    found = {name.removeprefix("out/"): blob.content for name, blob in server.buckets["b"].items() if "out/" in name}
    return {name: content for name, content in found.items() if not name.startswith("_lading")}


def expected(mlp: OpenModel, directory: Path) -> dict[str, bytes]:
    run_batch(BatchJob((f"{directory}/in",), f"{directory}/out", OPTIONS), mlp.model, mlp.digest)
    return {name: (directory / "out" / name).read_bytes() for name in ("a.jsonl", "deep/b.jsonl")}


def test_a_bucket_gets_the_bytes_that_a_directory_gets(mlp: OpenModel, server: Storage, tmp_path: Path) -> None:
    fill(server, tmp_path / "in")
    chance = random.Random(7)
    kinds = ({"status": 503}, {"status": 429}, {"lost": True}, {"cut": 500})
    # One at a time, so that most of them hit requests far apart.
    server.faults += [
        Fault(path=path, **chance.choice(kinds))  # type: ignore[arg-type]
        for path in ("alt=media", "lock", "parts%2F", "progress", "compose", "out%2Fa", "error-parts", "report")
    ]
    job = BatchJob(("gs://b/in/",), "gs://b/out", OPTIONS)
    with buckets.kept():
        report = run_batch(job, mlp.model, mlp.digest)
    assert (report.passed, report.rows, report.bad_rows) == (True, 602, 2)
    assert outputs_of(server) == expected(mlp, tmp_path)
    errors = server.buckets["b"]["out/_lading/errors.jsonl"].content.splitlines()
    assert [json.loads(line)["row"] for line in errors] == [301, 301]
    assert "out/_lading/lock.json" not in server.buckets["b"]


@pytest.mark.slow  # a lease has to run out
def test_a_run_that_was_killed_is_gone_on_with(
    mlp: OpenModel, mlp_model: Path, server: Storage, tmp_path: Path
) -> None:
    fill(server, tmp_path / "in")
    code = (
        "import sys; from lading.batch.job import BatchJob; from lading.batch.options import BatchOptions\n"
        "from lading.batch.model import open_model; from lading.batch.run import run_batch\n"
        "with open_model(sys.argv[1], environ={}) as opened:\n"
        f"  run_batch(BatchJob(('gs://b/in',), 'gs://b/out', {OPTIONS!r}), opened.model, opened.digest)"
    )
    command = [sys.executable, "-c", code, str(mlp_model)]
    stalled = Fault(path="parts%2F000000%2F000007", seconds=600)
    server.faults.append(stalled)
    process = subprocess.Popen(command, env=os.environ, stdout=subprocess.DEVNULL)
    try:
        assert stalled.hit.wait(120)
        recorded = "out/_lading/progress.jsonl/000001"
        poll(lambda: recorded in server.buckets["b"] or None, deadline=Deadline.after(30), what="the journal")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert outputs_of(server) == {}
    job = BatchJob(("gs://b/in",), "gs://b/out", OPTIONS)
    with buckets.kept():
        report = run_batch(job, mlp.model, mlp.digest)
    assert report.resumed
    assert outputs_of(server) == expected(mlp, tmp_path)
