"""containers/serving/cloudbuild.yaml: Cloud Build would take it, and its steps do what they say."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from fakes.cloud_build_server import CloudBuildServer
from fakes.storage_server import Storage

from lading.cli import build_parser

ROOT = Path(__file__).parent.parent.parent
FILE = ROOT / "containers" / "serving" / "cloudbuild.yaml"
BUILT_IN = {"PROJECT_ID": "my-project", "BUILD_ID": "b-1", "COMMIT_SHA": "", "LOCATION": "global"}
# https://docs.cloud.google.com/build/docs/configuring-builds/substitute-variable-values
_NAME = re.compile(r"\$\$|\$\{(\w+)\}|\$([A-Z_][A-Z0-9_]*)")


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return loaded


def substituted(text: str, values: dict[str, str]) -> str:
    """As Cloud Build does it: ``$$`` is a dollar, and a name that is not known is an error."""

    def one(found: re.Match[str]) -> str:
        return "$" if found[0] == "$$" else values[found[1] or found[2]]

    return _NAME.sub(one, text)


def values(config: dict[str, Any], **given: str) -> dict[str, str]:
    known = {**BUILT_IN, **config["substitutions"], **given}
    # dynamicSubstitutions: one value may name others.
    return {name: substituted(value, known) for name, value in known.items()}


def names_in(part: Any) -> set[str]:
    return {found[1] or found[2] for found in _NAME.finditer(json.dumps(part)) if found[0] != "$$"}


def test_substitutions_follow_the_rules(config: dict[str, Any]) -> None:
    own = set(config["substitutions"])
    assert all(re.fullmatch(r"_[A-Z0-9_]{1,99}", name) for name in own)
    used = names_in(config["steps"]) | names_in(config["images"]) | names_in(list(config["substitutions"].values()))
    # Cloud Build refuses a build that leaves a substitution unused, or uses one that is not there.
    assert own == {name for name in used if name.startswith("_")}
    assert {name for name in used if not name.startswith("_")} <= set(BUILT_IN)
    assert all(len(value) <= 4000 for value in config["substitutions"].values())
    assert config["options"]["dynamicSubstitutions"] is True
    assert "_EXPORT_BUCKET" in own


def test_steps_are_of_a_kind_that_cloud_build_knows(config: dict[str, Any]) -> None:
    assert set(config) <= {"steps", "images", "substitutions", "options", "timeout", "tags", "serviceAccount"}
    for step in config["steps"]:
        assert set(step) <= {"id", "name", "entrypoint", "args", "env", "dir", "waitFor", "timeout"}
        assert step["name"].startswith("gcr.io/")
        assert all(isinstance(word, str) for word in step["args"])
    identities = [step["id"] for step in config["steps"]]
    assert len(set(identities)) == len(identities)
    assert re.fullmatch(r"\d+s", config["timeout"])


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    """Programs on a PATH of their own, a bucket with an export, and a copy of what is submitted."""
    (tmp_path / "bin").mkdir()
    for name in ("docker", "gcloud"):
        program = tmp_path / "bin" / name
        program.write_text(f"#!{sys.executable}\n" + (Path(__file__).parent / "stand_in.py").read_text())
        program.chmod(0o755)
    export = tmp_path / "buckets" / "my-bucket" / "export" / "exporter" / "1700000000"
    (export / "variables").mkdir(parents=True)
    (export / "saved_model.pb").write_bytes(b"graph")
    (export / "variables" / "variables.index").write_bytes(b"weights")
    workspace = tmp_path / "workspace"
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        workspace.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, workspace)
    for name in ("containers", "components/compiled", "pipelines/compiled"):
        shutil.copytree(ROOT / name, workspace / name, ignore=shutil.ignore_patterns("__pycache__"))
    (workspace / "lading").mkdir()
    return tmp_path


def run(config: dict[str, Any], root: Path, **given: str) -> subprocess.CompletedProcess[str]:
    """Run the steps one after another in one directory, until one fails; the last that ran."""
    known = values(config, **given)
    environ = {"PATH": f"{root / 'bin'}:{os.environ['PATH']}", "STAND_IN": str(root), "HOME": str(root)}
    for step in config["steps"]:
        program = step.get("entrypoint") or step["name"].rpartition("/")[2]
        words = [program, *(substituted(word, known) for word in step["args"])]
        done = subprocess.run(words, cwd=root / "workspace", env=environ, capture_output=True, text=True, check=False)
        if done.returncode:
            return done
    return done


def calls(root: Path) -> list[list[str]]:
    return [json.loads(line) for line in (root / "calls.jsonl").read_text().splitlines()]


def test_an_export_becomes_a_service(config: dict[str, Any], stand_in: Path) -> None:
    done = run(config, stand_in, _EXPORT_BUCKET="gs://my-bucket/export/exporter", _MODEL="taxi", _ENGINE="litert")
    assert not done.returncode, done.stderr
    image = "europe-west4-docker.pkg.dev/my-project/lading/predict"
    assert [call[:3] for call in calls(stand_in)] == [
        ["gcloud", "storage", "rsync"],
        ["docker", "build", "--tag=lading-serving"],
        ["docker", "build", "--tag"],
        ["docker", "push", f"{image}:b-1"],
        ["docker", "inspect", "--format"],
        ["gcloud", "run", "deploy"],
    ]
    copied = stand_in / "workspace" / "image" / "models" / "taxi" / "1700000000"
    assert (copied / "variables" / "variables.index").read_bytes() == b"weights"
    deploy = calls(stand_in)[-1]
    assert f"--image={(stand_in / 'pushed').read_text()}" in deploy
    assert re.search(rf"--image={image}@sha256:[0-9a-f]{{64}}", " ".join(deploy))
    assert deploy[3] == "predict"
    assert {"--no-allow-unauthenticated", "--region=europe-west4", "--project=my-project", "--quiet"} <= set(deploy)
    assert [substituted(name, values(config)) for name in config["images"]] == [f"{image}:b-1"]


def test_what_the_image_runs_is_a_command_of_lading(config: dict[str, Any], stand_in: Path) -> None:
    done = run(config, stand_in, _EXPORT_BUCKET="gs://my-bucket/export/exporter", _MODEL="taxi")
    assert not done.returncode, done.stderr
    lines = (stand_in / "workspace" / "Dockerfile.model").read_text().splitlines()
    assert lines[:2] == ["FROM lading-serving", "COPY models /models"]
    words = json.loads(lines[2].removeprefix("CMD "))
    args = build_parser("serve").parse_args(words)
    assert args.engine == "tensorflow"
    assert "taxi=/models/taxi" in words


def test_a_bucket_without_a_model_ends_the_build(config: dict[str, Any], stand_in: Path) -> None:
    (stand_in / "buckets" / "my-bucket" / "export" / "empty").mkdir()
    done = run(config, stand_in, _EXPORT_BUCKET="gs://my-bucket/export/empty")
    assert done.returncode
    assert "expected a SavedModel below gs://my-bucket/export/empty, found no saved_model.pb" in done.stderr
    assert [call[0] for call in calls(stand_in)] == ["gcloud"]


def test_a_bucket_that_does_not_exist_ends_the_build(config: dict[str, Any], stand_in: Path) -> None:
    assert run(config, stand_in, _EXPORT_BUCKET="gs://nowhere/x").returncode
    assert len(calls(stand_in)) == 1


@pytest.mark.containers
def test_gcloud_itself_reads_and_sends_the_file(config: dict[str, Any], tmp_path: Path) -> None:
    assert shutil.which("gcloud"), "this test needs the Google Cloud CLI"
    storage = Storage()
    server = CloudBuildServer(storage)
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "CLOUDSDK_CONFIG": str(tmp_path),
        "CLOUDSDK_AUTH_ACCESS_TOKEN": "token",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDBUILD": f"{server.url}/",
    }
    words = ["gcloud", "builds", "submit", "--no-source", "--async", f"--config={FILE}", "--project=my-project"]
    try:
        words.append("--substitutions=_EXPORT_BUCKET=gs://b/x")
        done = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=120, check=False)
    finally:
        server.stop()
        storage.close()
    assert not done.returncode, done.stderr
    (build,) = server.builds.values()
    assert [step["id"] for step in build["steps"]] == ["fetch", "base", "build", "push", "deploy"]
    assert build["substitutions"] == {**config["substitutions"], "_EXPORT_BUCKET": "gs://b/x"}


def test_the_dockerfile_takes_the_arguments_that_are_given(config: dict[str, Any]) -> None:
    (base,) = [step for step in config["steps"] if step["id"] == "base"]
    given = {word.removeprefix("--build-arg=").partition("=")[0] for word in base["args"] if "--build-arg=" in word}
    path = next(word.removeprefix("--file=") for word in base["args"] if word.startswith("--file="))
    assert given <= set(re.findall(r"^ARG (\w+)", (ROOT / path).read_text(), re.M))
