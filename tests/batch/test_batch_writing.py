"""Writes that fail and files that are small: nothing is recorded that is not there, and nothing is written twice."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fakes.storage_server import Storage

from lading.batch.job import BatchJob
from lading.batch.model import open_model
from lading.batch.options import BatchOptions
from lading.batch.run import run_batch

LIMITED = """
import resource, sys
from lading.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
sys.exit(main(sys.argv[2:]))
"""
"""A file that grows beyond the limit fails as one on a full disk does."""


def write_rows(path: Path, count: int, *, note: str = "") -> None:
    images = np.random.default_rng(0).integers(0, 256, (count, 28, 28))
    lines = (json.dumps({"image": image.tolist(), "note": note}) for image in images)
    path.write_text("".join(f"{line}\n" for line in lines))


def batch(*words: str, limit: int = 1 << 40) -> "subprocess.CompletedProcess[str]":
    code = [sys.executable, "-c", LIMITED, str(limit), "batch", "--quiet", *words]
    return subprocess.run(code, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("output_format", "shard_mib"),
    [
        ("jsonl", "0.2"),  # many parts; with 64 the one part is the file itself
        pytest.param("jsonl", "64", marks=pytest.mark.slow),
        pytest.param("parquet", "0.2", marks=pytest.mark.slow),
        pytest.param("parquet", "64", marks=pytest.mark.slow),
    ],
)
def test_after_a_full_disk_the_run_goes_on_where_it_was(
    mlp_model: Path, tmp_path: Path, output_format: str, shard_mib: str
) -> None:
    for name, count, note in (("a", 2, ""), ("b", 300, "x" * 2000), ("c", 2, "")):
        write_rows(tmp_path / f"{name}.jsonl", count, note=note)
    words = ["--model", str(mlp_model), "--input", f"{tmp_path}/*.jsonl", "--passthrough", "note"]
    words += ["--batch-size", "16", "--shard-mib", shard_mib, "--output-format", output_format, "--output"]
    assert batch(*words, f"{tmp_path}/whole").returncode == 0
    full = batch(*words, f"{tmp_path}/out", limit=8_000)
    assert full.returncode == 3
    assert "no space left" in full.stderr
    assert not (tmp_path / "out" / f"b.{output_format}").exists()
    again = batch(*words, f"{tmp_path}/out")
    assert again.returncode == 0, again.stderr
    for name in "abc":
        file = f"{name}.{output_format}"
        assert (tmp_path / "out" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_a_full_directory_for_temporary_files_is_named(mlp_model: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "in.jsonl", 50, note="x" * 100_000)
    words = ["--model", str(mlp_model), "--input", f"{tmp_path}/in.jsonl", "--passthrough", "note"]
    full = batch(*words, "--output", f"{tmp_path}/out", limit=1_000_000)
    assert full.returncode == 3
    assert f"df -h {os.environ.get('TMPDIR', '/tmp')}" in full.stderr, full.stderr


def test_a_file_of_one_shard_is_written_once(mlp_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Storage(buckets={"b": {}})
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    try:
        for number in range(5):
            server.put("b", f"in/{number}.jsonl", json.dumps(np.full((28, 28), number).tolist()).encode())
        with open_model(str(mlp_model), environ={}) as opened:
            for form in ("jsonl", "parquet"):
                job = BatchJob(("gs://b/in",), f"gs://b/{form}", BatchOptions(output_format=form))
                report = run_batch(job, opened.model, opened.digest)
                assert (report.rows, len(report.outputs)) == (5, 5)
        twice = [request for request in server.requests if "_lading%2Fparts%2F0" in request or "compose" in request]
        assert twice == []
    finally:
        server.close()


def test_a_terminal_sees_what_the_run_says_and_nothing_else(mlp_model: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "in.jsonl", 1)
    done = batch("--model", str(mlp_model), "--input", f"{tmp_path}/in.jsonl", "--output", f"{tmp_path}/out")
    assert done.stderr == "", "TensorFlow's notes while it starts"
    assert done.returncode == 1
    assert '"note" is unknown' in done.stdout


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--threads", "0", "expected 1 or more, received 0"),
        ("--batch-size", "some", "expected 1 or more, or auto, received some"),
        ("--shard-mib", "-1", "expected MiB above 0, received -1"),
        ("--max-line-bytes", "1e6", "expected 1 or more, received 1e6"),
    ],
)
def test_a_number_that_is_none_is_refused_in_words(option: str, value: str, expected: str) -> None:
    done = batch("--model", "m", "--input", "i", "--output", "o", option, value)
    assert done.returncode == 2
    assert f"argument {option}: {expected}" in done.stderr


def test_damaged_files_are_named_once(mlp_model: Path, tmp_path: Path) -> None:
    for number in range(7):
        (tmp_path / f"{number}.jsonl.gz").write_bytes(b"no gzip")
    words = ["--model", str(mlp_model), "--input", f"{tmp_path}/*.gz", "--output", f"{tmp_path}/out"]
    done = batch(*words)
    assert done.returncode == 1
    assert done.stdout.count(f"{tmp_path}/0.jsonl.gz") == 1, done.stdout
    assert "7 could not" in done.stdout
    assert "… and 2 more: --json names them" in done.stdout


def test_an_image_by_tag_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("1\n")
    done = batch("--model", "localhost:5000/mlp:v1", "--input", f"{tmp_path}/in.jsonl", "--output", f"{tmp_path}/out")
    assert done.returncode == 2
    assert "image by digest" in done.stderr
    assert "`lading package` printed" in done.stderr


def test_parts_that_a_killed_run_did_not_remove_are_gone_at_the_end(mlp_model: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "in.jsonl", 1)
    words = ["--model", str(mlp_model), "--input", f"{tmp_path}/in.jsonl", "--passthrough", "note"]
    assert batch(*words, "--output", f"{tmp_path}/out").returncode == 0
    left = tmp_path / "out/_lading/parts/000000/000000"
    left.parent.mkdir(parents=True)
    left.write_text("as of a run that was killed when the whole file was in its place")
    assert batch(*words, "--output", f"{tmp_path}/out").returncode == 0
    assert not left.exists()
