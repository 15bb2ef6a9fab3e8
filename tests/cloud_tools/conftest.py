"""A local target for unmodified command-line tools, and the environment that `lading local env` prints for it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from tiny_target import Local, make_image

from lading.local import lifecycle
from lading.local.state import Layout
from lading.wait import Deadline

Run = Callable[..., str]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    base = tmp_path_factory.mktemp("cloud_tools")
    state = base / "lading" / "local"
    try:
        endpoint = lifecycle.start(state, deadline=Deadline.after(30))
        yield Local(state, endpoint, make_image(Layout(state), base / "image"))
    finally:
        lifecycle.stop(state, deadline=Deadline.after(40))


@pytest.fixture(scope="module")
def shell(target: Local, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run a tool in the environment of `lading local env` and return what it printed; ``fails``: it must fail."""
    state = target.state.parent.parent
    plain = {"PATH": os.environ["PATH"], "HOME": str(tmp_path_factory.mktemp("home")), "XDG_STATE_HOME": str(state)}
    command = [sys.executable, "-m", "lading", "local", "env", "--json"]
    printed = subprocess.run(command, env=plain, capture_output=True, text=True, timeout=60, check=True).stdout
    environ = {**plain, **json.loads(printed)}

    def run(*words: str, fails: bool = False, stdin: str = "") -> str:
        if shutil.which(words[0]) is None:
            pytest.fail(f"{words[0]} is not on this machine: install it, or leave tests/cloud_tools out")
        done = subprocess.run(words, env=environ, input=stdin, capture_output=True, text=True, timeout=100, check=False)
        assert (done.returncode != 0) is fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run
