"""``lading run``: real steps in real processes, a real local target, real signals."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from lading.flows.catalog import find_pipeline
from lading.flows.run import KEPT_RUNS, new_run
from lading.local.lifecycle import status, stop
from lading.wait import Deadline

ROOT = Path(__file__).parent.parent.parent


class Bench:
    """A state directory of its own, and the command line in it."""

    def __init__(self, root: Path, pipeline: Path, model: Path) -> None:
        self.root, self.pipeline, self.model = root, pipeline, model
        self.environ = {**os.environ, "XDG_STATE_HOME": str(root)}
        self.state = root / "lading" / "local"
        self.first: dict[str, Any] = {}
        """The report of the first release, where one serves already."""

    def command(self, *extra: str, **parameters: object) -> list[str]:
        words = [f"{key}={value}" for key, value in {"source": self.model, **parameters}.items()]
        sets = [part for word in words for part in ("--set", word)]
        return [sys.executable, "-m", "lading", "run", str(self.pipeline), *sets, *extra]

    def run(self, **parameters: object) -> tuple[int, dict[str, Any]]:
        done = subprocess.run(
            self.command("--json", **parameters),
            capture_output=True,
            text=True,
            env=self.environ,
            timeout=120,
            check=False,
        )
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def service(self) -> dict[str, Any] | None:
        found = status(self.state, deadline=Deadline.after(10))
        return found[0] if found else None

    def traffic(self) -> dict[str, int]:
        service = self.service()
        return {line["revision"]: line["percent"] for line in service["traffic"] if line["percent"]} if service else {}

    def open_tags(self) -> list[str]:
        service = self.service()
        return [line["tag"] for line in service["traffic"] if line["tag"]] if service else []


@contextmanager
def benches(root: Path, compiled: Path, mlp_model: Path) -> Iterator[Bench]:
    made = Bench(root, compiled, mlp_model)
    try:
        yield made
    finally:
        stop(made.state, deadline=Deadline.after(60))
    assert processes_below(root) == []


@pytest.fixture
def bench(tmp_path: Path, compiled: Path, mlp_model: Path) -> Iterator[Bench]:
    with benches(tmp_path, compiled, mlp_model) as made:
        yield made


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory, compiled: Path, mlp_model: Path) -> Iterator[Bench]:
    """Where a release serves already."""
    with benches(tmp_path_factory.mktemp("serving"), compiled, mlp_model) as made:
        code, made.first = made.run(mark="one")
        assert code == 0, made.first
        yield made


def processes_below(state: Path) -> list[str]:
    """Command lines of processes that belong to a state directory, so that nothing stays behind."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            environ = (path / "environ").read_bytes()
            words = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # it has ended
            continue
        if str(state).encode() in environ or str(state) in words:
            found.append(words)
    return [words for words in found if words and "pytest" not in words]


def test_a_release_and_a_retrain_that_no_caller_notices(serving: Bench) -> None:
    first = serving.first
    assert (first["outcome"], first["problem"]) == ("promoted", "")
    assert [(step["name"], step["status"]) for step in first["steps"]] == [
        (name, "succeeded") for name in ("take", "package", "deploy", "smoke", "promote", "settle")
    ]
    assert Path(first["report"]).read_text().startswith("<!doctype html>")
    with Caller(first["url"]) as caller:
        code, second = serving.run(mark="two")
    assert code == 0
    assert caller.answers > 20
    assert caller.failures == []
    assert caller.revisions == [first["revision"], second["revision"]]
    assert second["image"] != first["image"]
    assert second["url"] == first["url"]
    service = serving.service()
    assert service is not None
    assert {revision["name"] for revision in service["revisions"]} >= {first["revision"], second["revision"]}
    rollback = [sys.executable, "-m", "lading", "rollback", "--service", "shop"]
    subprocess.run(rollback, check=True, env=serving.environ, capture_output=True, timeout=60)
    assert serving.traffic() == {first["revision"]: 100}


class Caller:
    """Calls a service again and again, in a thread, and remembers what went wrong."""

    def __init__(self, url: str) -> None:
        self.url = f"{url}/v1/models/shop:predict"
        self.body = json.dumps({"instances": [[[0.5] * 28] * 28]})
        self.answers, self.failures, self.revisions = 0, list[str](), list[str]()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._call)

    def _call(self) -> None:
        while not self._over.wait(0.02):
            try:
                answer = requests.post(self.url, data=self.body, timeout=30)
            except requests.RequestException as error:
                self.failures.append(repr(error))
                continue
            self.answers += 1
            revision = answer.headers.get("x-lading-revision", "")
            if answer.status_code != 200 or len(answer.json()["predictions"][0]) != 10:
                self.failures.append(answer.text)
            if revision not in self.revisions:
                self.revisions.append(revision)

    def __enter__(self) -> "Caller":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def test_a_model_altered_after_its_golden_answers_never_serves(bench: Bench) -> None:
    code, rejected = bench.run(alter=True)
    assert (code, rejected["outcome"]) == (1, "rejected")
    assert "answers: expected every golden request answered rightly" in rejected["problem"]
    assert bench.service() is None, "a first release that is rejected leaves no service"


def test_a_revision_that_cannot_start_is_a_failure(serving: Bench, tmp_path: Path) -> None:
    before = serving.traffic()
    broken = tmp_path / "broken"
    subprocess.run(["cp", "-r", serving.model, broken], check=True)
    (broken / "variables" / "variables.data-00000-of-00001").write_bytes(b"short")
    code, failed = serving.run(source=broken)
    assert (code, failed["outcome"]) == (3, "failed")
    assert failed["problem"].startswith("step deploy: ")
    assert "cannot serve the model shop" in failed["problem"]
    assert serving.traffic() == before
    assert len(before) == 1


@pytest.mark.parametrize(
    ("step", "number"),
    [
        ("take", signal.SIGINT),
        pytest.param("deploy", signal.SIGTERM, marks=pytest.mark.slow),
        ("promote", signal.SIGTERM),
        pytest.param("smoke", signal.SIGINT, marks=pytest.mark.slow),
        pytest.param("take", signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param("deploy", signal.SIGINT, marks=pytest.mark.slow),
        pytest.param("smoke", signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param("promote", signal.SIGINT, marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_run_leaves_everything_as_it_was(
    request: pytest.FixtureRequest, step: str, number: signal.Signals
) -> None:
    # The first release is interrupted in `take`, a later one in the other steps.
    bench: Bench = request.getfixturevalue("bench" if step == "take" else "serving")
    before, command = bench.traffic(), bench.command(mark=f"{step} {number}")
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=bench.environ)
    try:
        assert child.stderr is not None
        for line in child.stderr:
            if f"… {step}" in line:
                break
        time.sleep(0.35)  # into the step, which has been importing until now
        child.send_signal(number)
        out, err = child.communicate(timeout=60)
    finally:
        child.kill()
        child.wait()
    after = bench.traffic()
    assert bench.open_tags() == []
    if step in ("smoke", "promote") and re.search(
        "promoted after|interrupted after the promotion|promotion had gone through", out
    ):
        assert list(after.values()) == [100], "on a slow machine the signal may come when all is done"
        assert after != before
        return
    assert child.returncode == 130, out + err
    assert "cancelled" in out
    assert after == before
    steps = [words for words in processes_below(bench.root) if "kfp" in words or "local_runner" in words]
    assert steps == []
    assert not any((bench.state / "images").glob("scratch/*"))


def test_the_runner_ends_with_whoever_started_it(serving: Bench) -> None:
    child = subprocess.Popen(
        serving.command(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=serving.environ
    )
    assert child.stderr is not None
    for line in child.stderr:
        if "… take" in line:
            break
    child.kill()
    child.wait()
    child.stderr.close()
    deadline = Deadline.after(20)
    while any("local_runner" in words or "executor_main" in words for words in processes_below(serving.root)):
        assert not deadline.passed, processes_below(serving.root)
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["nope"], 2, "unknown pipeline 'nope' (known: batch, release)"),
        (["release", "--set", "nope=1"], 2, "'nope' is not a parameter (there are: base, data"),
        (["release", "--set", "recipe"], 2, "expected KEY=VALUE, received 'recipe'"),
        (["missing.yaml"], 2, "no compiled pipeline at missing.yaml"),
    ],
)
def test_usage_is_checked_before_anything_runs(tmp_path: Path, words: list[str], code: int, message: str) -> None:
    environ = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "lading", "run", *words],
        capture_output=True,
        text=True,
        env=environ,
        timeout=60,
        check=False,
    )
    assert (done.returncode, message in done.stderr, "Traceback" in done.stderr) == (code, True, False), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_only_the_newest_runs_are_kept(tmp_path: Path) -> None:
    for number in range(KEPT_RUNS + 3):
        run = new_run("release", find_pipeline("release"), {}, tmp_path)
        run.directory.rename(run.directory.with_name(f"run-{number:02}"))
        report = run.directory.with_name(f"run-{number:02}") / "report.json"
        report.write_text("{}")
        os.utime(report, (number, number))
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == [f"run-{number:02}" for number in range(3, KEPT_RUNS + 3)]
