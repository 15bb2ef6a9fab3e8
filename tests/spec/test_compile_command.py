"""``lading compile`` as a user meets it: files, digests of a registry on loopback, and the overlay."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from fakes.registry import FakeRegistry

from lading.spec.compile import Compiled
from lading.spec.ir import Pipeline
from lading.spec.kubernetes import SETTINGS
from lading.spec.overlay import Overlay

ROOT = Path(__file__).parent.parent.parent
RELEASE = ROOT / "pipelines" / "compiled" / "release.yaml"
SHIPPED = sorted(
    [*(ROOT / "pipelines" / "compiled").glob("*.yaml"), *(ROOT / "components" / "compiled").glob("*.yaml")]
)

OVERLAY = """
"*":
  nodeSelector: {labels: {pool: ml}}
  imagePullSecret: [{secretName: registry}]
train:
  nodeSelector: {labels: {disk: ssd}}
  imagePullSecret: [{secretName: more}]
  secretAsEnv:
  - secretName: bucket
    keyToEnv: [{secretKey: token, envVar: TOKEN}]
  activeDeadlineSeconds: 60
"""

# What kfp-kubernetes 2.17 wrote for the same settings; its proto reads this and gives it back.
TRAIN: dict[str, Any] = {
    "activeDeadlineSeconds": "60",
    "imagePullSecret": [
        {"secretName": name, "secretNameParameter": {"runtimeValue": {"constant": name}}}
        for name in ("registry", "more")
    ],
    "nodeSelector": {"labels": {"disk": "ssd", "pool": "ml"}},
    "secretAsEnv": [
        {
            "keyToEnv": [{"envVar": "TOKEN", "secretKey": "token"}],
            "secretName": "bucket",
            "secretNameParameter": {"runtimeValue": {"constant": "bucket"}},
        }
    ],
}


def compile_(*words: object, home: Path, code: int = 0) -> str:
    """Run the command in an empty home; what it printed, or its error."""
    environ = {**os.environ, "HOME": str(home), "DOCKER_CONFIG": str(home)}
    done = subprocess.run(
        [sys.executable, "-m", "lading", "compile", *map(str, words)],
        capture_output=True, text=True, env=environ, cwd=home, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done.stderr if code else done.stdout


def platform(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = Pipeline.load(path).platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return found


def test_without_options_the_files_are_those_that_are_committed(tmp_path: Path) -> None:
    written = json.loads(compile_("--out", tmp_path / "out", "--json", home=tmp_path))
    assert sorted(Path(one["path"]).name for one in written) == sorted(path.name for path in SHIPPED)
    for path in SHIPPED:
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()


def test_kfp_is_not_needed(tmp_path: Path) -> None:
    code = "import sys; from lading.cli import main; main(['compile', '--out', sys.argv[1]]); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert not {"kfp", "google.auth", "tensorflow"} & set(done.stdout.split())


def test_without_pyyaml_it_says_what_to_install(tmp_path: Path) -> None:
    code = "import sys; sys.modules['yaml'] = None; from lading.cli import main; sys.exit(main(['compile']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, "pip install 'lading[pipelines]'" in done.stderr) == (3, True)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_what_is_written_anew_has_the_form_of_the_compiler_of_kfp(path: Path) -> None:
    source = Compiled.load(path)
    changed = Pipeline({**source.pipeline.spec, "sdkVersion": "kfp-9"}, {}, "")
    assert source.with_pipeline(changed).text == path.read_text().replace("sdkVersion: kfp-2.17.0", "sdkVersion: kfp-9")


def test_step_images_become_what_the_registry_has(registry: FakeRegistry, tmp_path: Path) -> None:
    digests = {name: registry.put(f"team/{name}", "0.1.0-python3.12") for name in ("steps", "steps-train", "batch")}
    prefix = f"{registry.host}/team"
    compile_("--images", f"{prefix}/", "--out", tmp_path / "out", home=tmp_path)
    for path in SHIPPED:
        expected = re.sub(
            r"image: lading/([\w-]+):\S+", lambda found: f"image: {prefix}/{found[1]}@{digests[found[1]]}",
            path.read_text(),
        )  # fmt: skip
        assert (tmp_path / "out" / path.name).read_text() == expected
    assert len(registry.requests) == 3, "each image is asked for once"


def test_a_pipeline_of_someone_else_keeps_its_own_images(registry: FakeRegistry, tmp_path: Path) -> None:
    digest = registry.put("team/steps", "0.1.0-python3.12")
    spec = yaml.safe_load((ROOT / "components" / "compiled" / "smoke.yaml").read_text())
    other = {"container": {"image": "python:3.12"}}
    spec["deploymentSpec"]["executors"]["exec-other"] = other
    spec["components"]["comp-other"] = {"executorLabel": "exec-other"}
    spec["root"]["dag"]["tasks"]["other"] = {"componentRef": {"name": "comp-other"}, "taskInfo": {"name": "other"}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(spec))
    compile_("mine.yaml", "--images", f"{registry.host}/team", "--out", "out", home=tmp_path)
    images = Pipeline.load(tmp_path / "out" / "mine.yaml").images()
    assert sorted(images) == sorted([f"{registry.host}/team/steps@{digest}", "python:3.12"])


def test_an_image_that_is_missing_or_refused_is_named_and_nothing_is_written(
    registry: FakeRegistry, tmp_path: Path
) -> None:
    for name in ("steps-train", "batch"):
        registry.put(f"team/{name}", "0.1.0-python3.12")
    words = ("--images", f"{registry.host}/team", "--out", "out")
    error = compile_(*words, home=tmp_path, code=3)
    assert f"no image {registry.host}/team/steps:0.1.0-python3.12" in error
    assert "`lading images push --to PREFIX`" in error
    registry.denied.add("team/steps")
    error = compile_(*words, home=tmp_path, code=3)
    assert "403" in error
    assert "`docker login`" in error
    registry.auth = "bearer"
    assert "`docker login`" in compile_(*words, home=tmp_path, code=3)
    assert not (tmp_path / "out").exists()


def test_an_overlay_is_a_second_document_of_kubernetes_settings(tmp_path: Path) -> None:
    (tmp_path / "kubernetes.yaml").write_text(OVERLAY)
    compile_("release", "--overlay", "kubernetes", "--out", "out", home=tmp_path)
    path = tmp_path / "out" / "release.yaml"
    assert path.read_text().startswith(RELEASE.read_text() + "---\n")
    executors = platform(path)
    assert executors["exec-train"] == TRAIN
    assert executors["exec-smoke"] == {
        "imagePullSecret": TRAIN["imagePullSecret"][:1],
        "nodeSelector": {"labels": {"pool": "ml"}},
    }
    assert set(executors) == set(Pipeline.load(path).spec["deploymentSpec"]["executors"])


def test_an_overlay_over_an_overlay_adds_to_it(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(OVERLAY)
    compile_("release", "--overlay", "kubernetes=a.yaml", "--out", "one", home=tmp_path)
    (tmp_path / "b.yaml").write_text("train: {nodeSelector: {labels: {pool: gpu}}, imagePullPolicy: Always}")
    compile_("one/release.yaml", "--overlay", "kubernetes=b.yaml", "--out", "two", home=tmp_path)
    expected = TRAIN | {"nodeSelector": {"labels": {"disk": "ssd", "pool": "gpu"}}, "imagePullPolicy": "Always"}
    assert platform(tmp_path / "two" / "release.yaml")["exec-train"] == expected


def test_steps_that_share_an_executor_need_the_same_settings(tmp_path: Path) -> None:
    spec = yaml.safe_load((ROOT / "components" / "compiled" / "smoke.yaml").read_text())
    spec["root"]["dag"]["tasks"]["again"] = spec["root"]["dag"]["tasks"]["smoke"]
    pipeline = Pipeline(spec, {}, "p.yaml")
    both = Overlay.parse("{smoke: {imagePullPolicy: Always}, again: {imagePullPolicy: Always}}", source="o.yaml")
    assert both.apply(pipeline).platform
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(spec))
    (tmp_path / "kubernetes.yaml").write_text("smoke: {imagePullPolicy: Always}")
    error = compile_("mine.yaml", "--overlay", "kubernetes", home=tmp_path, code=2)
    assert "smoke and again are one to KFP" in error or "again and smoke are one to KFP" in error


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("trian: {imagePullPolicy: Always}", "no step trian (there are: train, evaluate, scan, package"),
        ("train: {secrets: []}", "'secrets'; there are: secretAsEnv, secretAsVolume"),
        ("train: {serviceAccount: me}", "`lading submit --service-account`"),
        ("train: {secretAsEnv: [{secretName: s}]}", "train.secretAsEnv[0]: keyToEnv is missing"),
        ("train: {secretAsEnv: {secretName: s}}", "train.secretAsEnv: expected a list, received"),
        ("train: {imagePullPolicy: Sometimes}", "expected one of Always, IfNotPresent, Never, received 'Sometimes'"),
        ("train: {nodeSelector: {labels: {gpu: true}}}", "in quotes"),
        ("train: {activeDeadlineSeconds: soon}", "expected a whole number, received 'soon'"),
        ("- train", "expected a mapping from steps"),
        ("{", "is not an overlay"),
    ],
)
def test_an_overlay_that_kfp_would_not_take_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "kubernetes.yaml").write_text(text)
    assert words in compile_("release", "--overlay", "kubernetes", "--out", "out", home=tmp_path, code=2)
    assert not (tmp_path / "out").exists()


def test_the_documented_fields_are_those_that_are_taken() -> None:
    text = (ROOT / "docs" / "compile.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.M)) == set(SETTINGS)
    example = re.search(r"```yaml\n(.*?)```", text, re.S)
    assert example
    assert Overlay.parse(example[1], source="docs/compile.md").apply(Pipeline.load(RELEASE)).platform


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["nope"], "unknown pipeline or component 'nope' (known: batch, release, batch_predict, convert, deploy"),
        (["nope.yaml"], "no compiled pipeline or component at nope.yaml"),
        (["mine.py"], "`kfp dsl compile"),
        (["release", "--overlay", "vertex"], "expected --overlay kubernetes"),
        (["release", "--images", "example.org/lading:1"], "without tag or digest"),
        ([RELEASE, "--out", RELEASE.parent], "would be written over"),
        ([RELEASE, "release", "--out", "out"], "would both be out/release.yaml"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path: Path, words: list[object], expected: str) -> None:
    assert expected in compile_(*words, home=tmp_path, code=2)


def test_an_overlay_that_is_not_there_is_said(tmp_path: Path) -> None:
    assert "no overlay at kubernetes.yaml" in compile_("release", "--overlay", "kubernetes", home=tmp_path, code=3)


def test_a_folder_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    error = compile_("release", "--out", "out", home=tmp_path, code=3)
    assert "out is in the way and is not a directory" in error
    assert (tmp_path / "out").read_text() == "a file"
