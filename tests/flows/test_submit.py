"""``lading submit`` as a team uses it: real clients, servers that run what they are sent, a real local target."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fakes.kfp_server import KfpServer
from fakes.registry import FakeRegistry
from fakes.storage_server import Storage
from fakes.vertex_server import VertexServer

from lading.cli import main
from lading.local.lifecycle import start, status, stop
from lading.wait import Deadline, poll

ROOT = Path(__file__).parent.parent.parent
ELSEWHERE = ["--skip", "images", "--skip", "target"]
"""Here the steps run on this machine, so the local target is in their reach."""


class Team:
    """A local target, both backends, a bucket and a registry, and the command line among them."""

    def __init__(self, root: Path) -> None:
        self.root, self.state = root, root / "lading" / "local"
        self.storage, self.registry = Storage(), FakeRegistry()
        self.storage.buckets |= {"bucket": {}, "proj-vertex-pipelines-us-central1": {}}
        self.environ = {
            **os.environ,
            "XDG_STATE_HOME": str(root),
            "HOME": str(root),
            "STORAGE_EMULATOR_HOST": self.storage.url,
            "GOOGLE_CLOUD_PROJECT": "proj",
        }
        self.kfp = KfpServer(root / "kfp", self.environ)
        self.vertex = VertexServer(root / "vertex", self.environ)
        self.environ["CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM"] = self.vertex.url
        self.environ["CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING"] = self.vertex.url
        self.to = {"kfp": f"kfp:{self.kfp.url}", "vertex": "vertex:proj/us-central1"}
        start(self.state, deadline=Deadline.after(30))

    def close(self) -> None:
        for server in (self.kfp, self.vertex, self.storage, self.registry):
            server.close()
        stop(self.state, deadline=Deadline.after(60))

    def command(self, *words: object) -> list[str]:
        return [sys.executable, "-m", "lading", *map(str, words)]

    def lading(self, *words: object, **environ: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.command(*words), capture_output=True, text=True, env={**self.environ, **environ}, timeout=120,
            check=False, cwd=self.root,
        )  # fmt: skip

    def submit(self, to: str, pipeline: object, *words: object, **parameters: object) -> tuple[int, dict[str, Any]]:
        sets = [part for key, value in parameters.items() for part in ("--set", f"{key}={value}")]
        done = self.lading("submit", pipeline, "--to", self.to[to], "--json", *ELSEWHERE, *sets, *words)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def service(self) -> dict[str, Any] | None:
        return next(iter(status(self.state, deadline=Deadline.after(10))), None)

    def traffic(self) -> dict[str, int]:
        service = self.service()
        return {line["revision"]: line["percent"] for line in service["traffic"] if line["percent"]} if service else {}


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    made = Team(tmp_path_factory.mktemp("team"))
    yield made
    made.close()


@contextmanager
def running(command: list[str], environ: dict[str, str]) -> "Iterator[subprocess.Popen[str]]":
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def soon(probe: Callable[[], Any], what: str) -> Any:
    return poll(probe, deadline=Deadline.after(60), what=what)


def test_a_run_comes_back_promoted(team: Team, compiled: Path, mlp_model: Path) -> None:
    code, done = team.submit("kfp", compiled, source=mlp_model)
    assert (code, done["outcome"], done["problem"]) == (0, "promoted", "")
    assert [(s["name"], s["status"]) for s in done["steps"]] == [
        (name, "succeeded") for name in ("take", "package", "deploy", "smoke", "promote", "settle")
    ]
    assert list(team.traffic().values()) == [100]


@pytest.mark.parametrize("to", [pytest.param("kfp", marks=pytest.mark.slow), "vertex"])
def test_a_model_that_answers_wrongly_comes_back_rejected(team: Team, compiled: Path, mlp_model: Path, to: str) -> None:
    before = team.traffic()
    code, done = team.submit(to, compiled, source=mlp_model, alter="true", mark=to)
    assert (code, done["outcome"]) == (1, "rejected")
    assert "answers" in done["problem"]
    assert team.traffic() == before


@pytest.mark.parametrize("to", ["kfp", pytest.param("vertex", marks=pytest.mark.slow)])
def test_a_failed_run_shows_the_end_of_the_steps_log(team: Team, compiled: Path, to: str) -> None:
    done = team.lading("submit", compiled, "--to", team.to[to], *ELSEWHERE, "--set", "source=/nowhere")
    assert done.returncode == 3
    assert "failed: step take: FileNotFoundError" in done.stdout
    assert "the step's last lines:" in done.stdout
    assert "✗ take" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_interrupted_with_cancel_the_run_ends_and_the_service_is_as_before(
    team: Team, compiled: Path, mlp_model: Path
) -> None:
    team.submit("kfp", compiled, source=mlp_model, mark="before")
    before = team.traffic()
    settings = json.dumps({"env": {"WAIT": "1"}, "startup_seconds": 50})
    words = ["submit", compiled, "--to", team.to["vertex"], "--json", *ELSEWHERE, "--on-interrupt", "cancel",
             "--set", f"source={mlp_model}", "--set", "mark=late", "--set", f"settings={settings}"]  # fmt: skip
    with running(team.command(*words), team.environ) as process:
        soon(lambda: "deploy" in list(team.vertex.jobs.values())[-1].steps or None, "deploy to begin")
        soon(lambda: len((team.service() or {}).get("traffic", [])) > 1 or None, "the candidate")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert json.loads(out)["outcome"] == "cancelled"
    assert json.loads(out)["undone"] == "restored the traffic from before the release"
    assert team.traffic() == before


def test_left_alone_a_run_goes_on_and_can_be_followed_or_cancelled(team: Team, compiled: Path, mlp_model: Path) -> None:
    code, sent = team.submit("kfp", compiled, "--no-wait", source=mlp_model, mark="alone")
    assert code == 0
    assert sent["url"] == f"{team.kfp.url}/#/runs/details/{sent['run']}"
    with running(team.command("follow", sent["run"], "--to", team.to["kfp"]), team.environ) as process:
        assert process.stderr
        assert process.stderr.readline() == f"run {sent['run']}\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"The run goes on. Follow it again: lading follow {sent['run']} --to {team.to['kfp']}" in err
    assert team.lading("follow", sent["run"], "--to", team.to["kfp"]).returncode == 0

    code, sent = team.submit("vertex", compiled, "--no-wait", source=mlp_model, mark="alone2")
    assert team.lading("cancel", sent["run"], "--to", team.to["vertex"]).returncode == 0
    done = team.lading("follow", sent["run"], "--to", team.to["vertex"], "--json")
    assert (done.returncode, json.loads(done.stdout)["outcome"]) == (130, "cancelled")


def test_on_a_terminal_a_table_is_drawn_and_ctrl_c_asks(team: Team, compiled: Path, mlp_model: Path) -> None:
    terminal, end = pty.openpty()
    words = ["submit", compiled, "--to", team.to["vertex"], *ELSEWHERE, "--set", f"source={mlp_model}",
             "--set", "service=terminal", "--set", "mark=terminal"]  # fmt: skip
    process = subprocess.Popen(
        team.command(*words), stdin=end, stdout=end, stderr=end, env=team.environ, start_new_session=True
    )
    os.close(end)
    shown = ""

    def until(text: str) -> None:
        nonlocal shown
        while text not in shown:
            try:
                shown += os.read(terminal, 4096).decode()
            except OSError:  # the other end was closed
                raise AssertionError(f"{text!r} never came: {shown}") from None

    try:
        until("✓ take")
        process.send_signal(signal.SIGINT)
        until("Cancel the run too? [y/N]")
        os.write(terminal, b"y\n")
        until("cancelled, so")
        assert process.wait(60) == 130
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
    assert "· promote" in shown  # steps stand there before they run
    assert "\x1b[7F\x1b[J" in shown  # and the table of seven lines is drawn anew


@pytest.mark.slow
def test_a_recipe_and_its_data_travel_to_vertex(team: Team) -> None:
    """The shipped release pipeline, whole: recipe from a file, data in a bucket, step images by digest."""
    digests = {name: team.registry.put(f"team/{name}", "0.1.0-python3.12") for name in ("steps", "steps-train")}
    rows = ["species,island,bill_length_mm,bill_depth_mm,flipper_length_mm,body_mass_g"]
    kinds = {"Adelie": (38, 18, 190, 3700), "Chinstrap": (49, 18, 196, 3750), "Gentoo": (47, 15, 217, 5100)}
    for row in range(150):
        name = list(kinds)[row % 3]
        rows.append(",".join([name, "Dream", *(f"{value * (1 + row % 7 / 100)}" for value in kinds[name])]))
    team.storage.put("bucket", "penguins/penguins.csv", "\n".join(rows).encode())
    (team.root / "release.yaml").write_text(
        f"recipe: {ROOT}/docs/examples/penguins.py\nhyperparameters: {{epochs: 20}}\nservice: penguins\n"
    )
    done = team.lading(
        "submit", "release", "--to", team.to["vertex"], "--json", "--skip", "target",
        "--images", f"{team.registry.host}/team", "--pipeline-root", "gs://bucket/lading",
        "--parameters", "release.yaml", "--set", "data=gs://bucket/penguins", "--label", "team=birds",
        LADING_PARAM_REPOSITORY="lading.local/penguins",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    assert json.loads(done.stdout)["outcome"] == "promoted"
    sent = list(team.vertex.sent.values())[-1]
    values = sent["runtimeConfig"]["parameterValues"]
    assert re.fullmatch(rf"gs://bucket/lading/recipes/{values['recipe_sha256']}/penguins.py", values["recipe"])
    assert values["hyperparameters"] == '{"epochs": 20}'
    images = {e["container"]["image"] for e in sent["pipelineSpec"]["deploymentSpec"]["executors"].values()}
    assert images == {f"{team.registry.host}/team/{name}@{digest}" for name, digest in digests.items()}
    assert sent["labels"]["team"] == "birds"


def test_everything_that_is_wrong_is_told_before_anything_is_sent(team: Team) -> None:
    (team.root / "bad.py").write_text("import nothing_of_this_name\n")
    sent = len(team.vertex.sent)
    done = team.lading(
        "submit", "release", "--to", team.to["vertex"], "--images", f"{team.registry.host}/nobody",
        "--pipeline-root", "gs://bucket/x", "--set", "recipe=bad.py", "--set", "data=gs://nowhere/data",
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("✗") == 5
    for words in ("nothing was sent", "nobody/steps", "lading images push", "nothing_of_this_name", "no bucket nowhere",
                  "target=local:", "repository=lading.local"):  # fmt: skip
        assert words in done.stderr
    assert len(team.vertex.sent) == sent
    assert not any(name.startswith("x/") for name in team.storage.buckets["bucket"])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--set", "source=a", "--to", "airflow:x"], "kfp:HOST"),
        (["--set", "source=a", "--to", "kfp:http://127.0.0.1:9"], "port-forward"),
        (["--set", "source=a", "--set", "alter=perhaps"], "true or false"),
        ([], "source: missing"),
        (["--set", "source=a", "--label", "Team=A"], "labels"),
        (["--set", "source=a", "--skip", "everything"], "unknown check"),
        (["--set", "source=a", "--network", "n"], "no network"),
        (["--set", "source=a", "--to", "VERTEX", "--pipeline-root", "gs://lost/x"], "no bucket lost"),
    ],
)
def test_each_mistake_is_one_paragraph(
    team: Team,
    compiled: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    told: str,
) -> None:
    """In this process, since a start takes longer than all that is looked at."""
    for name, value in team.environ.items():
        monkeypatch.setenv(name, value)
    words = [team.to["vertex"] if word == "VERTEX" else word for word in words]
    assert main(["submit", str(compiled), "--to", team.to["kfp"], *ELSEWHERE, *words]) in (2, 3)
    assert told in capsys.readouterr().err


def test_a_pipeline_of_two_documents_is_not_sent_to_vertex(team: Team, compiled: Path) -> None:
    both = team.root / "both.yaml"
    both.write_text(compiled.read_text() + "---\nplatforms:\n  kubernetes: {}\n")
    done = team.lading("submit", both, "--to", team.to["vertex"], *ELSEWHERE, "--set", "source=a")
    assert done.returncode == 2
    assert "second YAML document" in done.stderr
    assert "overlay" in done.stderr


def test_a_schedule_is_made_shown_paused_and_deleted(team: Team, compiled: Path) -> None:
    words = ["--to", team.to["vertex"], "--json"]
    create = ["schedule", "create", compiled, *words, *ELSEWHERE, "--set", "source=a"]
    wrong = team.lading(*create, "--cron", "0 25 * * 1")
    assert wrong.returncode == 2
    assert "hour" in wrong.stderr
    made = team.lading(*create, "--cron", "0 6 * * 1", "--name", "weekly")
    assert made.returncode == 0, made.stderr
    schedule = json.loads(made.stdout)
    assert (schedule["name"], schedule["cron"], schedule["active"]) == ("weekly", "0 6 * * 1", True)
    assert team.lading("schedule", "pause", schedule["id"], *words).returncode == 0
    assert [s["active"] for s in json.loads(team.lading("schedule", "list", *words).stdout)] == [False]
    assert team.lading("schedule", "resume", schedule["id"], *words).returncode == 0
    listed = team.lading("schedule", "list", "--to", team.to["vertex"]).stdout
    assert re.search(rf"{schedule['id']} +weekly +0 6 \* \* 1 +active", listed)
    assert team.lading("schedule", "delete", schedule["id"], *words).returncode == 0
    assert team.lading("schedule", "list", "--to", team.to["vertex"]).stdout == "no schedules\n"
