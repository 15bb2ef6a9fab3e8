"""KFP's own command takes what lading compiles."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.kfp_server import KfpServer

from lading.wait import Deadline, poll


@pytest.fixture
def server(tmp_path: Path) -> Iterator[KfpServer]:
    made = KfpServer(tmp_path / "kfp", os.environ)
    yield made
    made.close()


def kfp(server: KfpServer, home: Path, *words: str) -> str:
    command = [Path(sys.executable).parent / "kfp", "--endpoint", server.url, "--output", "json", *words]
    environ = {**os.environ, "HOME": str(home)}
    done = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=60, check=False)
    assert not done.returncode, done.stderr + done.stdout
    return done.stdout


@pytest.mark.parametrize("verb", [pytest.param("create", marks=pytest.mark.slow), "submit"])
def test_kfp_run_sends_a_compiled_pipeline_and_waits(
    server: KfpServer, tiny_file: Path, tmp_path: Path, verb: str
) -> None:
    kfp(server, tmp_path, "run", verb, "-e", "mine", "-r", "first", "-f", str(tiny_file), "-w", "words=a", "factor=3")
    ((id, run),) = server.runs.items()
    assert run["display_name"] == "first"
    assert server.jobs[id].state == "succeeded"
    assert "working on aaa" in server.jobs[id].log("work")


@pytest.mark.slow
def test_kfp_run_takes_the_release_pipeline(server: KfpServer, tmp_path: Path) -> None:
    """It begins to run with the parameters that were given; what it does is tested elsewhere."""
    release = Path(__file__).parent.parent.parent / "pipelines" / "compiled" / "release.yaml"
    kfp(server, tmp_path, "run", "create", "-e", "mine", "-f", str(release), "service=taxi", "recipe=none.py")
    ((id, run),) = server.runs.items()
    assert run["runtime_config"]["parameters"] == {"service": "taxi", "recipe": "none.py"}
    job = server.jobs[id]
    poll(lambda: job.state if job.state != "running" else None, deadline=Deadline.after(60), what="the run to end")
    assert "none.py" in job.log("train")
    assert job.state == "failed"
