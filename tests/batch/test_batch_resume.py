"""Runs that are asked for again: complete, stopped, killed, or at work still."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from batch_runs import rows_of, run, write_images

from lading.batch.job import BatchJob
from lading.batch.model import OpenModel
from lading.batch.options import BatchOptions
from lading.batch.progress import Progress
from lading.batch.run import run_batch
from lading.batch.stop import Stop, Stopped
from lading.batches import BatchReport
from lading.errors import InvalidInput, RunInProgress
from lading.report import render_verdict


def test_a_complete_run_is_not_done_again(mlp: OpenModel, tmp_path: Path) -> None:
    write_images(tmp_path / "in.jsonl", 10)
    run(mlp, tmp_path / "in.jsonl", tmp_path / "out")
    before = (tmp_path / "out/in.jsonl").stat()
    again = run(mlp, tmp_path / "in.jsonl", tmp_path / "out")
    assert again.passed
    assert (again.rows, again.new_rows, again.resumed) == (10, 0, True)
    assert "an earlier run had predicted all" in render_verdict(again)
    assert (tmp_path / "out/in.jsonl").stat().st_mtime_ns == before.st_mtime_ns
    (tmp_path / "out/in.jsonl").unlink()
    run(mlp, tmp_path / "in.jsonl", tmp_path / "out")
    assert len(rows_of(tmp_path / "out/in.jsonl")) == 10


def test_an_output_that_is_made_anew_leaves_the_bad_rows_of_the_others(mlp: OpenModel, tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        write_images(tmp_path / "in" / name, 4)
        with (tmp_path / "in" / name).open("a") as file:
            file.write("nonsense\n")
    errors = Path(run(mlp, tmp_path / "in", tmp_path / "out", max_bad_rows="50%").errors)
    before = errors.read_bytes()
    (tmp_path / "out/b.jsonl").unlink()
    errors.unlink()
    again = run(mlp, tmp_path / "in", tmp_path / "out", max_bad_rows="50%")
    assert (again.rows, again.bad_rows, again.new_rows) == (10, 2, 5)
    assert errors.read_bytes() == before


def test_a_complete_run_makes_room_for_another(mlp: OpenModel, tmp_path: Path) -> None:
    write_images(tmp_path / "in.jsonl", 10)
    run(mlp, tmp_path / "in.jsonl", tmp_path / "out")
    write_images(tmp_path / "in.jsonl", 12, seed=3)
    report = run(mlp, tmp_path / "in.jsonl", tmp_path / "out")
    assert (report.rows, report.resumed) == (12, False)
    assert len(rows_of(tmp_path / "out/in.jsonl")) == 12


class StopAfter(Stop):
    """Asked to end after it was looked at so often."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.looks, self.most = 0, looks

    @property
    def asked(self) -> bool:
        self.looks += 1
        return self.looks > self.most


def test_a_stopped_run_ends_at_the_next_block_and_goes_on(mlp: OpenModel, tmp_path: Path) -> None:
    write_images(tmp_path / "in.jsonl", 3000)  # 94 blocks, 9 shards
    whole = run(mlp, tmp_path / "in.jsonl", tmp_path / "whole", shard_bytes=1 << 20, batch_size=32)
    options = BatchOptions(shard_bytes=1 << 20, batch_size=32)
    job = BatchJob((str(tmp_path / "in.jsonl"),), str(tmp_path / "out"), options)
    stop, told = StopAfter(40), list[Progress]()
    with pytest.raises(Stopped, match="run it again to go on"):
        run_batch(job, mlp.model, mlp.digest, told=told.append, stop=stop)
    assert stop.looks < 50
    assert not (tmp_path / "out/in.jsonl").exists()
    report = run_batch(job, mlp.model, mlp.digest)
    assert report.resumed
    assert 0 < report.new_rows < 3000  # what was recorded is not done again
    assert report.rows == whole.rows == 3000
    assert (tmp_path / "out/in.jsonl").read_bytes() == (tmp_path / "whole/in.jsonl").read_bytes()


def test_a_run_that_is_stopped_when_all_is_done_is_complete(mlp: OpenModel, tmp_path: Path) -> None:
    write_images(tmp_path / "in.jsonl", 10)
    stop = Stop()

    def listen(progress: Progress) -> None:
        if progress.files_done == progress.files:
            stop.ask()

    job = BatchJob((str(tmp_path / "in.jsonl"),), str(tmp_path / "out"))
    report = run_batch(job, mlp.model, mlp.digest, told=listen, stop=stop)
    assert stop.asked
    assert (report.passed, report.rows) == (True, 10)
    assert run_batch(job, mlp.model, mlp.digest).new_rows == 0


def test_other_options_do_not_go_on_with_an_unfinished_run(mlp: OpenModel, tmp_path: Path) -> None:
    write_images(tmp_path / "in/a.jsonl", 40)
    (tmp_path / "in/b.jsonl").write_text("nonsense\n" * 50)
    run(mlp, tmp_path / "in", tmp_path / "out", max_bad_rows="1", batch_size=8)
    with pytest.raises(InvalidInput, match=r"unfinished run that differs: batch_size.* --restart"):
        run(mlp, tmp_path / "in", tmp_path / "out", max_bad_rows="100", batch_size=4)
    report = run(mlp, tmp_path / "in", tmp_path / "out", max_bad_rows="100", batch_size=4, restart=True)
    assert report.passed
    assert report.rows == 90


def test_two_runs_on_one_output_refuse_each_other(mlp: OpenModel, tmp_path: Path) -> None:
    write_images(tmp_path / "in.jsonl", 2000)
    started = threading.Event()
    ended: list[BaseException | BatchReport] = []
    job = BatchJob((str(tmp_path / "in.jsonl"),), str(tmp_path / "out"), BatchOptions(batch_size=8))

    def first() -> None:
        def told(_: Progress) -> None:
            started.set()
            time.sleep(0.5)

        ended.append(run_batch(job, mlp.model, mlp.digest, told=told))

    thread = threading.Thread(target=first)
    thread.start()
    try:
        assert started.wait(30)
        with pytest.raises(RunInProgress, match=str(os.getpid())):
            run_batch(job, mlp.model, mlp.digest)
    finally:
        thread.join()
    assert isinstance(ended[0], BatchReport)
    assert ended[0].rows == 2000


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 8))])
def test_killed_and_started_again_the_bytes_are_the_same(mlp_model: Path, tmp_path: Path, seed: int) -> None:
    write_images(tmp_path / "in/a.jsonl", 3000)
    write_images(tmp_path / "in/b.jsonl", 500, seed=1)
    words = [sys.executable, "-m", "lading", "batch", "--model", str(mlp_model), "--input", str(tmp_path / "in")]
    words += ["--shard-mib", "0.5", "--batch-size", "16", "--output-format", "csv", "--quiet", "--output"]
    subprocess.run([*words, str(tmp_path / "whole")], check=True, capture_output=True, timeout=60)
    moments = random.Random(seed)
    for _ in range(4):
        with subprocess.Popen([*words, str(tmp_path / "out")], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
            time.sleep(moments.uniform(0.4, 1.6))
            child.send_signal(signal.SIGKILL)
    done = subprocess.run([*words, str(tmp_path / "out")], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("a.csv", "b.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert "3,500 rows of 2 files" in done.stdout
    again = subprocess.run([*words, str(tmp_path / "out")], capture_output=True, text=True, timeout=60, check=False)
    assert "3,500 rows of 2 files: an earlier run had done everything, nothing was left to do" in again.stdout
    assert not list((tmp_path / "out/_lading").glob("parts/*/*"))
