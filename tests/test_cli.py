"""The command line as a user meets it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lading import __version__


def lading(*words: str, state: Path) -> "subprocess.CompletedProcess[str]":
    environ = {**os.environ, "XDG_STATE_HOME": str(state)}
    return subprocess.run(
        [sys.executable, "-m", "lading", *words], capture_output=True, text=True, env=environ, timeout=100, check=False
    )


def test_help_and_version_need_no_library() -> None:
    code = "import sys; from lading.cli import build_parser; build_parser().format_help(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"requests", "numpy", "kfp", "tensorflow", "jinja2", "google.auth", "yaml", "httptools"} & set(loaded)
    done = subprocess.run([sys.executable, "-m", "lading", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"lading {__version__}\n"


def test_an_error_is_one_paragraph_with_its_exit_code(tmp_path: Path) -> None:
    done = lading("package", str(tmp_path), "--to", "lading.local/taxi", state=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "lading: expected a SavedModel (a directory that holds saved_model.pb), or a base of versions, "
        f"received {tmp_path}\n"
    )
    assert lading("package", str(tmp_path), "--to", "taxi", "--debug", state=tmp_path).stderr.startswith("Traceback")
    done = lading("rollback", "--service", "taxi", state=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "`lading local start`" in done.stderr


def test_the_commands_make_a_release_by_hand(tmp_path: Path, mlp_model: Path) -> None:
    image = lading("package", str(mlp_model), "--to", "lading.local/shop", state=tmp_path).stdout.strip()
    assert image.startswith("lading.local/shop@sha256:")
    golden = str(mlp_model / "assets.extra" / "lading" / "golden.jsonl")
    candidate, verdict = str(tmp_path / "candidate.json"), str(tmp_path / "smoke.json")
    try:
        assert lading("local", "start", state=tmp_path).returncode == 0
        done = lading("deploy", image, "--service", "shop", "--out", candidate, state=tmp_path)
        assert "without traffic" in done.stdout, done.stderr
        done = lading("smoke", candidate, "--golden", golden, "--out", verdict, "--json", state=tmp_path)
        assert (done.returncode, json.loads(done.stdout)["passed"]) == (0, True), done.stderr
        done = lading("promote", candidate, "--smoke", verdict, state=tmp_path)
        assert "100 %" in done.stdout, done.stderr
        (service,) = json.loads(lading("local", "status", "--json", state=tmp_path).stdout)
        assert service.keys() >= {"name", "url", "revisions", "traffic"}
        done = lading("rollback", "--service", "shop", state=tmp_path)
        assert (done.returncode, "nothing to go back to" in done.stderr) == (2, True)
        assert "nothing to undo" in lading("settle", "--service", "shop", state=tmp_path).stdout
        assert '"message"' in lading("local", "logs", "shop", state=tmp_path).stdout
    finally:
        assert lading("local", "stop", state=tmp_path).returncode == 0


@pytest.mark.parametrize("words", [[], ["nope"], ["deploy"]])
def test_usage_errors_exit_with_two(tmp_path: Path, words: list[str]) -> None:
    done = lading(*words, state=tmp_path)
    assert done.returncode == 2
    assert "usage: lading" in done.stderr


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = lading("smoke", "nope.json", "--golden", "nope.jsonl", state=tmp_path)
    assert (done.returncode, done.stderr) == (3, "lading: no file at nope.json\n")
