"""Runs on Beam's DirectRunner: what they give is what a run on this machine gives, however often they are begun."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from batch_runs import write_images
from fakes.storage_server import Storage

from lading.batch.local_outputs import LocalOutputs

pytestmark = pytest.mark.beam
IN_MEMORY = "--direct_running_mode=in_memory"
PROCESSES = "--direct_num_workers=2 --direct_running_mode=multi_processing"
SHARDS = ("--shard-mib", "0.25", "--batch-size", "16")


def words(model: Path | str, source: Path | str, output: Path | str, *more: str) -> list[str]:
    command = [sys.executable, "-m", "lading", "batch", "--json", "--quiet", "--model", str(model)]
    return [*command, "--input", str(source), "--output", str(output), *more]


def run(model: Path | str, source: Path | str, output: Path | str, *more: str, code: int = 0) -> dict[str, Any]:
    """The report; of a run that fails, what it says."""
    command = words(model, source, output, *more)
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment())
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout) if code < 2 else {"said": done.stderr.strip().splitlines()[-1]}


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


@contextmanager
def started(command: list[str]) -> Iterator["subprocess.Popen[str]"]:
    """A run in a process group of its own, which ends with the block."""
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(), start_new_session=True
    )
    try:
        yield child
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
        child.communicate()


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def children(pid: int) -> list[int]:
    """The processes below a process."""
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout.split()
    return [below for child in map(int, found) for below in (child, *children(child))]


def predictions(output: Path) -> dict[str, bytes]:
    """What users read: all but the notes."""
    paths = (path for path in output.rglob("*") if path.is_file())
    names = {path.relative_to(output).as_posix(): path for path in paths}
    return {name: path.read_bytes() for name, path in names.items() if not name.startswith("_lading/")}


def write_every_format(directory: Path) -> None:
    """Numbers in each format, compressed too; some rows are bad, a file is empty, and two are damaged."""
    import pyarrow as pa
    from pyarrow import parquet
    from tf_record_files import example, file_of

    numbers = [index / 3 for index in range(400)]
    lines = [f"{number}\n" for number in numbers]
    (directory / "sub").mkdir(parents=True)
    (directory / "a.jsonl").write_text("".join([*lines[:100], "nonsense\n", *lines[100:], '"text"\n']))
    (directory / "sub/b.jsonl.gz").write_bytes(gzip.compress("".join(lines).encode(), mtime=0))
    (directory / "c.csv").write_text("x\n" + "".join([*lines[:50], "text\n", *lines[50:]]))
    (directory / "d.csv.gz").write_bytes(gzip.compress(("x\n" + "".join(lines)).encode(), mtime=0))
    records = file_of(*(example(x=[number]) for number in numbers))
    (directory / "e.tfrecord").write_bytes(records)
    parquet.write_table(pa.table({"x": numbers}), directory / "f.parquet", row_group_size=90)
    (directory / "empty.jsonl").write_bytes(b"")
    (directory / "h.jsonl.gz").write_bytes(gzip.compress("".join(lines).encode())[:-200])
    (directory / "i.tfrecord").write_bytes(records[:-30])


def test_the_counts_of_the_job_are_told(scale_versions: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("1.5\n" * 1200 + "nonsense\n")
    command = words(scale_versions, tmp_path / "in.jsonl", tmp_path / "out", f"--beam={IN_MEMORY}")
    command.remove("--quiet")
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, env=environment())
    assert "Beam's job: 1,201 rows, 1 bad" in done.stderr.splitlines()


@pytest.mark.parametrize("form", ["jsonl", "ai-platform", "csv", "parquet"])
def test_every_format_comes_out_as_from_a_run_here(scale_versions: Path, tmp_path: Path, form: str) -> None:
    write_every_format(tmp_path / "in")
    more = ("--output-format", form, "--shard-mib", "0.001", "--batch-size", "16")
    here = run(scale_versions, tmp_path / "in", tmp_path / "here", *more, code=1)
    there = run(scale_versions, tmp_path / "in", tmp_path / "there", *more, f"--beam={IN_MEMORY}", code=1)
    assert predictions(tmp_path / "there") == predictions(tmp_path / "here")
    assert len(here["failed_files"]) == 2
    assert here["bad_rows"] == 3
    for name in ("rows", "bad_rows", "reasons", "failed_files", "files", "checks", "batch_size"):
        assert there[name] == here[name], name
    assert Path(there["errors"]).read_bytes() == Path(here["errors"]).read_bytes()


def test_several_processes_give_the_same_bytes_and_a_second_run_does_nothing(mlp_model: Path, tmp_path: Path) -> None:
    for number in range(3):
        write_images(tmp_path / f"in/{number}.jsonl", 600, seed=number)
    run(mlp_model, tmp_path / "in", tmp_path / "here", *SHARDS)
    first = run(mlp_model, tmp_path / "in", tmp_path / "there", *SHARDS, f"--beam={PROCESSES}")
    assert predictions(tmp_path / "there") == predictions(tmp_path / "here")
    assert (first["rows"], first["resumed"]) == (1800, False)
    assert not [*(tmp_path / "there/_lading").rglob("parts/*/*"), *(tmp_path / "there/_lading").rglob("beam/*")]
    before = (tmp_path / "there/0.jsonl").stat()
    (tmp_path / "there/1.jsonl").unlink()
    again = run(mlp_model, tmp_path / "in", tmp_path / "there", *SHARDS, f"--beam={IN_MEMORY}")
    assert (again["rows"], again["resumed"]) == (1800, True)
    assert (tmp_path / "there/0.jsonl").stat().st_mtime_ns == before.st_mtime_ns
    assert predictions(tmp_path / "there") == predictions(tmp_path / "here")


def test_a_killed_worker_ends_the_run_and_the_next_one_keeps_what_was_done(mlp_model: Path, tmp_path: Path) -> None:
    for number in range(2):
        write_images(tmp_path / f"in/{number}.jsonl", 2500, seed=number)
    run(mlp_model, tmp_path / "in", tmp_path / "here", *SHARDS)
    there, shards = tmp_path / "there", tmp_path / "there/_lading/beam/shards"
    with started(words(mlp_model, tmp_path / "in", there, *SHARDS, f"--beam={PROCESSES}")) as child:
        wait_until(lambda: len(list(shards.glob("*/[0-9]*"))) >= 3)
        os.kill(children(child.pid)[-1], signal.SIGKILL)
        _, said = child.communicate(timeout=100)
    assert child.returncode == 3
    assert said.strip().splitlines()[-1].startswith("lading: Beam's runner failed")
    assert "the same command goes on" in said
    kept = sorted(shards.glob("*/[0-9]*"))
    assert kept
    shutil.copytree(there, tmp_path / "local")

    # What is in a part that was kept shows in the output, for it is not predicted again.
    part = there / "_lading/parts" / kept[0].relative_to(shards)
    part.write_bytes(b"kept\n" + part.read_bytes())
    on_beam = run(mlp_model, tmp_path / "in", there, *SHARDS, f"--beam={IN_MEMORY}")
    marked = predictions(there)[f"{int(kept[0].parent.name)}.jsonl"]
    assert marked.count(b"kept\n") == 1
    here = predictions(tmp_path / "here")
    assert {name: content.replace(b"kept\n", b"") for name, content in predictions(there).items()} == here
    assert on_beam["rows"] == 5000

    finished_here = run(mlp_model, tmp_path / "in", tmp_path / "local", *SHARDS)
    assert predictions(tmp_path / "local") == here
    assert finished_here["rows"] == 5000


def test_what_was_begun_here_is_finished_on_beam(mlp_model: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "in/a.jsonl", 300)
    write_images(tmp_path / "in/b.jsonl", 3000, seed=1)
    with (tmp_path / "in/b.jsonl").open("a") as file:
        file.write("nonsense\n" * 40)
    ended = run(
        mlp_model, tmp_path / "in", tmp_path / "out", *SHARDS, "--max-bad-rows", "10", "--output-format", "csv", code=1
    )
    assert "run again with a higher limit" in ended["checks"][0]["received"]
    parts = sorted((tmp_path / "out/_lading/parts/000001").iterdir())
    assert parts
    kept = parts[1].read_bytes()
    parts[1].write_bytes(b"kept\n" + kept)
    more = (*SHARDS, "--max-bad-rows", "100", "--output-format", "csv")
    there = run(mlp_model, tmp_path / "in", tmp_path / "out", *more, f"--beam={IN_MEMORY}")
    here = run(mlp_model, tmp_path / "in", tmp_path / "here", *more)
    assert (there["rows"], there["bad_rows"], there["resumed"]) == (3340, 40, True)
    assert there["reasons"] == here["reasons"]
    assert b"kept\n" in predictions(tmp_path / "out")["b.csv"]
    found = {name: content.replace(b"kept\n", b"") for name, content in predictions(tmp_path / "out").items()}
    assert found == predictions(tmp_path / "here")


def test_another_run_at_work_is_refused(scale_versions: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("1.0\n")
    outputs = LocalOutputs(tmp_path / "out")
    outputs.claim("17@elsewhere")
    try:
        failed = run(scale_versions, tmp_path / "in.jsonl", tmp_path / "out", f"--beam={IN_MEMORY}", code=3)
    finally:
        outputs.release()
    assert "another run is at work" in failed["said"]
    assert "17@elsewhere" in failed["said"]


def test_another_model_on_the_workers_is_told_in_a_sentence(mlp_model: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "in.jsonl", 40)
    shutil.copytree(mlp_model, tmp_path / "model")
    command = words(tmp_path / "model", tmp_path / "in.jsonl", tmp_path / "out", f"--beam={PROCESSES}")
    with started(command) as child:
        wait_until((tmp_path / "out/_lading/manifest.json").exists)
        (tmp_path / "model/assets.extra/other").write_text("other")
        _, said = child.communicate(timeout=100)
    assert child.returncode == 2
    assert said.strip().splitlines()[-1].startswith(f"lading: the model {tmp_path}/model is another one on this worker")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--runer=DataflowRunner", "Beam has no option --runer"),
        ("--runner=DatafowRunner", "Unexpected pipeline runner: DatafowRunner"),
    ],
)
def test_options_that_cannot_be_are_refused(scale_versions: Path, tmp_path: Path, option: str, said: str) -> None:
    (tmp_path / "in.jsonl").write_text("1.0\n")
    assert said in run(scale_versions, tmp_path / "in.jsonl", tmp_path / "out", f"--beam={option}", code=2)["said"]


def test_interrupted_it_leaves_no_worker_and_goes_on(mlp_model: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "in.jsonl", 4000)
    run(mlp_model, tmp_path / "in.jsonl", tmp_path / "here", *SHARDS)
    with started(words(mlp_model, tmp_path / "in.jsonl", tmp_path / "out", *SHARDS, f"--beam={PROCESSES}")) as child:
        wait_until(lambda: len(list((tmp_path / "out/_lading/beam/shards").glob("*/[0-9]*"))) >= 2)
        workers = children(child.pid)
        assert workers
        os.killpg(child.pid, signal.SIGINT)  # as a terminal does
        _, said = child.communicate(timeout=100)
    assert child.returncode == 130
    assert "the same command goes on" in said
    wait_until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))
    again = run(mlp_model, tmp_path / "in.jsonl", tmp_path / "out", *SHARDS)
    assert again["rows"] == 4000
    assert predictions(tmp_path / "out") == predictions(tmp_path / "here")


def test_buckets(mlp_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(2):
        write_images(tmp_path / f"in/{number}.jsonl", 300, seed=number)
    run(mlp_model, tmp_path / "in", tmp_path / "here", *SHARDS)
    storage = Storage(buckets={"b": {}})
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage.url)
    try:
        put(storage, mlp_model, "model")
        put(storage, tmp_path / "in", "in")
        report = run("gs://b/model", "gs://b/in/", "gs://b/out", *SHARDS, f"--beam={PROCESSES}")
        assert report["rows"] == 600
        assert written(storage) == predictions(tmp_path / "here")
        assert not [name for name in storage.buckets["b"] if name.startswith("out/_lading/beam")]
    finally:
        storage.close()


def put(storage: Storage, directory: Path, name: str) -> None:
    """A directory as objects."""
    for path in directory.rglob("*"):
        if path.is_file():
            storage.put("b", f"{name}/{path.relative_to(directory).as_posix()}", path.read_bytes())


def written(storage: Storage) -> dict[str, bytes]:
    names = {name.removeprefix("out/"): blob for name, blob in storage.buckets["b"].items() if name.startswith("out/")}
    return {name: blob.content for name, blob in names.items() if not name.startswith("_lading/")}
