"""Between ``scan`` and ``package`` of a pipeline nobody may change the model."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent

PIPELINE = """
import sys
from kfp import dsl, local
from components.package import package
from components.scan import scan


@dsl.component
def make(model: dsl.Output[dsl.Model]):
    from pathlib import Path

    Path(model.path).mkdir(parents=True)
    (Path(model.path) / "saved_model.pb").write_bytes(b"\\x08\\x01\\x12\\x02\\x12\\x00")  # an empty graph


@dsl.component
def disturb(model: dsl.Input[dsl.Model], name: str) -> str:
    from pathlib import Path

    if name:
        (Path(model.path) / name).write_text("something else")
    return "lading.local/taxi"


@dsl.pipeline(name="guarded")
def guarded(name: str = ""):
    made = make()
    scanned = scan(model=made.outputs["model"])
    place = disturb(model=made.outputs["model"], name=name).after(scanned)
    package(model=made.outputs["model"], repository=place.output, scan_report=scanned.outputs["report"])


local.init(local.SubprocessRunner(use_venv=False), pipeline_root=sys.argv[1], raise_on_error=True)
guarded(name=sys.argv[2])
"""


def run(root: Path, name: str) -> "subprocess.CompletedProcess[str]":
    """Run the pipeline; ``name`` is the file that is written to in between."""
    (root / "guarded.py").write_text(PIPELINE)  # KFP ships the sources of components, so that these need a file
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(root / "state")}
    words = [sys.executable, str(root / "guarded.py"), str(root / "runs"), name]
    return subprocess.run(words, env=environ, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize(
    ("name", "words"),
    [("saved_model.pb", "saved_model.pb was changed"), pytest.param("", "", marks=pytest.mark.slow)],
    ids=["changed", "alone"],
)
def test_a_model_that_changes_between_scan_and_package_is_not_packaged(tmp_path: Path, name: str, words: str) -> None:
    done = run(tmp_path, name)
    images = tmp_path / "state" / "lading" / "local" / "images"
    if name:
        assert done.returncode
        assert f"is not the model that was scanned: {words}" in done.stdout + done.stderr
        assert not images.exists()
    else:
        assert not done.returncode, done.stdout + done.stderr
        assert (images / "index.json").is_file()


def test_the_release_pipeline_packages_what_it_scanned() -> None:
    compiled = yaml.safe_load((ROOT / "pipelines" / "compiled" / "release.yaml").read_text())
    tasks = [
        component["dag"]["tasks"]["package"]
        for component in compiled["components"].values()
        if "package" in component.get("dag", {}).get("tasks", {})
    ]
    (task,) = tasks
    report = task["inputs"]["artifacts"]["scan_report"]
    model = task["inputs"]["artifacts"]["model"]
    assert report["componentInputArtifact"] == "pipelinechannel--scan-report"
    assert model["componentInputArtifact"] == "pipelinechannel--train-model"
