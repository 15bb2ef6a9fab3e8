"""The release pipeline as it is shipped, on small data; and the README's commands, in the README's order."""

import csv
import json
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from idx_files import write_fashion

from lading.local.lifecycle import status, stop
from lading.results import EvaluationReport
from lading.run_report import RunReport
from lading.values import from_json
from lading.wait import Deadline

ROOT = Path(__file__).parent.parent.parent
LADING = [sys.executable, "-m", "lading"]


def write_penguins(directory: Path) -> Path:
    """Birds of three species whose measures hardly overlap: the CSV that docs/examples/penguins.py reads."""
    draw = random.Random(1)
    species = {"Adelie": (38, 18, 190, 3700), "Chinstrap": (49, 18, 196, 3750), "Gentoo": (47, 15, 217, 5100)}
    columns = ["species", "island", "bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
    directory.mkdir()
    with (directory / "penguins.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in range(240):
            name = list(species)[row % 3]
            measures = [round(draw.gauss(mean, mean / 50), 1) for mean in species[name]]
            writer.writerow([name, draw.choice(["Biscoe", "Dream", "Torgersen"]), *measures])
    return directory


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, mlp_model: Path) -> Iterator[Path]:
    """A directory to work in, with the state below it and what the README talks of beside."""
    made = tmp_path_factory.mktemp("home")
    shutil.copy(ROOT / "docs" / "examples" / "penguins.py", made / "my_recipe.py")
    write_penguins(made / "my_data")
    write_fashion(made / "fashion")
    shutil.copytree(mlp_model, made / "my_model")
    (made / "my_rows").mkdir()
    (made / "my_rows" / "rows.jsonl").write_text(f"{[[0] * 28] * 28}\n")
    yield made
    stop(made / "lading" / "local", deadline=Deadline.after(60))


def run(words: list[str], home: Path) -> "subprocess.CompletedProcess[str]":
    environ = {**os.environ, "XDG_STATE_HOME": str(home)}
    return subprocess.run(words, cwd=home, env=environ, capture_output=True, text=True, timeout=120, check=False)


def test_a_release_tells_what_a_user_wants_to_know(home: Path) -> None:
    sets = ["--set", "data=fashion"]
    for _ in range(2):
        done = run([*LADING, "run", "release", *sets], home)
        assert done.returncode == 0, done.stdout + done.stderr
    for step in ("train", "evaluate", "scan", "package", "deploy", "smoke", "promote"):
        assert re.search(rf"^{step} +succeeded +\d+\.\d s", done.stdout, re.M), done.stdout
    assert re.search(r"accuracy  [01]\.\d{4} on 100 held-out rows", done.stdout)
    assert re.search(r"image     lading.local/fashion-mnist@sha256:[0-9a-f]{64}", done.stdout)
    assert re.search(r"^T-shirt/top +\S+.* +\d+\.\d% +(right|wrong)$", done.stdout, re.M)
    assert "make stop" in done.stdout
    command = re.search(r"^  (curl .*)$", done.stdout, re.M)
    assert command
    pasted = subprocess.run(["sh", "-c", command[1]], capture_output=True, text=True, check=True, timeout=30)
    (probabilities,) = json.loads(pasted.stdout)["predictions"]
    assert len(probabilities) == 10
    assert sum(probabilities) == pytest.approx(1, abs=1e-4)
    page = re.search(r"report    (/\S+/report.html)", done.stdout)
    assert page
    assert "data:image/png;base64," in Path(page[1]).read_text()
    report = from_json(Path(page[1]).with_suffix(".json").read_text(), RunReport)
    assert isinstance(report.evaluation, EvaluationReport)
    assert report.evaluation.champion.startswith("lading.local/fashion-mnist@sha256:")
    assert report.promotion is not None
    assert report.promotion.before != report.promotion.after
    (service,) = status(home / "lading" / "local", deadline=Deadline.after(10))
    assert len(service["revisions"]) == 2


@pytest.mark.slow
def test_a_model_that_the_scan_refuses_is_not_packaged(home: Path) -> None:
    """The policy denies what every dense layer has."""
    words = ["--set", "data=fashion", "--set", "service=unsafe", "--set", "repository=lading.local/unsafe"]
    done = run([*LADING, "run", "release", *words, "--set", 'scan_policy={"deny_ops": ["MatMul"]}'], home)
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"^scan +succeeded .*REJECTED: \d+ operations", done.stdout, re.M), done.stdout
    assert "MatMul is denied by the policy" in done.stdout
    assert not re.search(r"^package +succeeded", done.stdout, re.M)
    assert "unsafe" not in {
        service["name"] for service in status(home / "lading" / "local", deadline=Deadline.after(10))
    }


def test_the_readme_does_what_it_says(home: Path) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    targets = re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(), re.M)
    ran = 0
    for line in filter(None, "\n".join(blocks).splitlines()):
        words = shlex.split(line, comments=True)
        if words[0] == "make":
            assert words[1] in targets
            continue
        assert words[0] == ".venv/bin/lading"
        done = run([*LADING, *words[1:]], home)
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
        ran += 1
    assert ran >= 4


def test_a_recipe_of_ones_own_is_served(home: Path) -> None:
    """The README's command released it; it has two named inputs."""
    services = {service["name"]: service for service in status(home / "lading" / "local", deadline=Deadline.after(10))}
    instance = {"measures": [47.0, 15.0, 217.0, 5100.0], "island": 0}
    url = f"{services['taxi']['url']}/v1/models/taxi:predict"
    answer = requests.post(url, json={"instances": [instance]}, timeout=10)
    (probabilities,) = answer.json()["predictions"]
    assert max(range(3), key=probabilities.__getitem__) == 2, "a Gentoo"


def test_a_recipe_without_its_function_ends_the_run_with_a_clear_word(home: Path) -> None:
    (home / "empty.py").write_text("HYPERPARAMETERS = {}\n")
    done = run([*LADING, "run", "release", "--set", "recipe=empty.py", "--set", "service=other"], home)
    assert done.returncode == 3
    assert re.search(r"failed after .*: step train: .*empty\.py.*train", done.stdout), done.stdout
    assert "Traceback" not in done.stdout + done.stderr
