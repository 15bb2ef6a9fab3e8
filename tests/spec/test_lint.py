"""``lading lint``: each rule finds what it is for, and what the local rules find does break."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lading.cli import main
from lading.errors import InvalidInput
from lading.spec.ir import Pipeline
from lading.spec.lint import RULES, lint

ROOT = Path(__file__).parent.parent.parent
PROGRAM = Path(__file__).parent / "lint_pipelines.py"
FOUND = {
    "clean": set(),
    "one-of-artifacts": {"one-of-artifacts"},
    "quoted-condition": {"quoted-condition"},
    "named-condition": {"named-condition"},
    "named-loop": {"named-loop"},
    "file-importer": {"file-importer"},
    "job-placeholder": {"job-placeholder"},
    "google-placeholder": {"google-placeholder"},
    "workspace": {"workspace", "two-documents"},
    "optional-parameter": {"optional-parameter"},
    "container": {"container-component"},
    "pip-install": {"pip-install"},
    "loose-image": {"moving-image"},
    "parallelism": {"parallelism"},
    "artifact-input": {"artifact-input"},
    "requests-only": {"requests-only"},
}
BREAKS = {
    "clean": "ok",
    "one-of-artifacts": "Expected 1 artifact",
    "quoted-condition": "Condition evaluation failed",
    "named-condition": "Could not resolve CEL parameter",
    "named-loop": "not found",
    "file-importer": "Inner task failed",
    "job-placeholder": "IndexError",
    "google-placeholder": "IndexError",
    "optional-parameter": "Unknown value type",
    "container": "only supports running Lightweight Python Components",
    "artifact-input": "missing 1 required argument",
}
"""What kfp.local says, of each that an error-severity rule for ``local`` finds, and of one that is in order."""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lint")
    subprocess.run([sys.executable, "-W", "ignore", PROGRAM, "compile", folder], check=True, timeout=60)
    return folder


def rules_of(pipeline: Pipeline) -> set[str]:
    return {finding.rule for finding in lint(pipeline)}


def test_each_rule_finds_what_it_is_for_and_nothing_else(compiled: Path) -> None:
    assert {name: rules_of(Pipeline.load(compiled / f"{name}.yaml")) for name in FOUND} == FOUND


# Each is a run: by default one that is in order and three that are not.
@pytest.mark.parametrize(
    "names",
    [
        pytest.param(("clean", "quoted-condition", "named-loop", "artifact-input"), id="some"),
        pytest.param(tuple(BREAKS), id="all", marks=pytest.mark.slow),
    ],
)
def test_what_the_local_rules_find_breaks_the_local_runner(compiled: Path, names: tuple[str, ...]) -> None:
    command = [sys.executable, "-W", "ignore", PROGRAM, "run", compiled, *names]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    said = json.loads(done.stdout)
    assert {name: BREAKS[name] in said[name] for name in names} == dict.fromkeys(names, True), said


def test_what_the_compiler_no_longer_writes_is_found_too(compiled: Path) -> None:
    plain = Pipeline.load(compiled / "clean.yaml")
    executors = plain.spec["deploymentSpec"]["executors"]
    next(iter(executors.values()))["container"] |= {
        "image": "gcr.io/ml-pipeline/google-cloud-pipeline-components:2.0",
        "resources": {"resourceCpuLimit": "4"},
    }
    plain.spec["pipelineInfo"]["name"] = "Upper"
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {"exec-say": {"secretAsEnv": []}}}}}}
    found = rules_of(Pipeline(plain.spec, platform, "x"))
    assert found == {"google-component", "new-resources", "pipeline-name", "two-documents", "platform-ignored"}


def test_every_rule_was_seen_to_find_something() -> None:
    edited = {"google-component", "new-resources", "pipeline-name", "platform-ignored", "nameless-registry"}
    assert set().union(*FOUND.values()) | edited == {rule.name for rule in RULES}


def test_ladings_own_pipelines_and_components_break_nowhere() -> None:
    for file in (ROOT / "pipelines" / "compiled").glob("*.yaml"):
        assert rules_of(Pipeline.load(file)) == {"nameless-registry"}
    for file in (ROOT / "components" / "compiled").glob("*.yaml"):
        assert rules_of(Pipeline.load(file)) <= {"nameless-registry", "artifact-input"}


def test_only_what_breaks_on_the_named_backends_is_told(compiled: Path) -> None:
    loop = Pipeline.load(compiled / "named-loop.yaml")
    assert [finding.backends for finding in lint(loop, ["local", "kfp"])] == [("local",)]
    assert lint(loop, ["vertex", "kfp"]) == []
    with pytest.raises(InvalidInput, match="airflow"):
        lint(loop, ["airflow"])


def test_the_command_tells_place_and_remedy_and_exits_by_severity(
    compiled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lint", str(compiled / "named-loop.yaml")]) == 1
    told = capsys.readouterr().out
    assert "error on local: for-loop-1 loops over the output 'items' of two-lists" in told
    assert ".output" in told
    assert main(["lint", str(compiled / "named-loop.yaml"), "--for", "vertex"]) == 0
    assert main(["lint", str(compiled / "loose-image.yaml")]) == 0
    assert main(["lint", str(compiled / "loose-image.yaml"), "--strict"]) == 1
    capsys.readouterr()
    assert main(["lint", "release", str(compiled / "pip-install.yaml"), "--json"]) == 0
    assert {one["rule"] for one in json.loads(capsys.readouterr().out)} == {"nameless-registry", "pip-install"}


def test_what_is_no_pipeline_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.yaml").write_text("a: 1\n")
    assert main(["lint", str(tmp_path / "x.yaml")]) == 2
    assert "not a compiled KFP v2 pipeline" in capsys.readouterr().err


def test_the_table_of_the_docs_is_that_of_the_code() -> None:
    table = (ROOT / "docs" / "lint.md").read_text()
    for rule in RULES:
        row = f"| {rule.name} | {', '.join(rule.backends)} | {rule.severity} | {rule.title} | {rule.remedy} |"
        assert row in table
    assert table.count("\n| ") == len(RULES) + 1
