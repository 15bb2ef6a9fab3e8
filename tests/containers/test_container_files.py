"""What the images are built from agrees with the rest: versions, locks, tags. The images: ``test_images.py``."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from containers.assembly.dockerfile import last_stage, shared_directories
from containers.assembly.images import IMAGES
from containers.assembly.libraries import PREPARE, requirements_for
from lading import __version__
from lading.errors import InvalidInput
from lading.flows.publish import project_images, serving_images

ROOT = Path(__file__).parent.parent.parent
CONTAINERS = ROOT / "containers"
LOCKS = sorted(CONTAINERS.rglob("*.lock"))
DOCKERFILES = sorted(CONTAINERS.rglob("Dockerfile"))
SERVING = CONTAINERS / "serving"
ENGINES = ("litert", "tensorflow")


def pins(lock: Path) -> set[tuple[str, str]]:
    return set(re.findall(r"^([a-z0-9][a-z0-9._-]*)==(\S+)", lock.read_text(), re.MULTILINE))


def locked(name: str) -> set[str]:
    return {package for package, _ in pins(CONTAINERS / name)}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: str(lock.relative_to(ROOT)))
def test_a_lock_has_hashes_and_no_host_and_what_the_tests_run_with(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    entries = re.split(r"^(?=\S)", text, flags=re.MULTILINE)[1:]
    assert len(entries) == len(pins(lock)) > 0
    assert all("--hash=sha256:" in entry for entry in entries)
    assert pins(lock) <= pins(ROOT / "requirements.lock")


def test_each_image_has_a_dockerfile_that_builds_this_version() -> None:
    assert {path.parent.name for path in DOCKERFILES} == {"batch", "serving", "steps", "steps-train"}
    for image in project_images():
        name = re.split("[/:]", image)[1]
        text = (CONTAINERS / ("serving" if image in serving_images() else name) / "Dockerfile").read_text()
        assert f"ARG VERSION={__version__}\n" in text
        assert f"-t {image} ." in text
        titles = re.findall('title="(.*)"', text)
        assert f"lading/{name}" in [title.replace("${ENGINE}", name.rpartition("-")[2]) for title in titles]


def test_make_gives_the_tags_that_pipelines_name() -> None:
    (tag,) = re.findall(r"^IMAGE_TAG := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {image.partition(":")[2] for image in project_images()} == {tag}


def test_the_small_image_locks_no_tensorflow_and_no_kfp() -> None:
    names = locked("steps/requirements.lock")
    assert "requests" in names
    assert not {"tensorflow-cpu", "tensorflow", "numpy", "kfp"} & names
    assert {"kubernetes", "google-cloud-aiplatform", "cryptography"} <= names  # what its steps deploy and sign with
    assert not {"google-genai", "pydantic", "google-cloud-bigquery"} & names  # what these clients never import


@pytest.mark.parametrize("engine", ENGINES)
def test_a_serving_image_has_what_the_server_asks_for_and_nothing_else(engine: str) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = {Requirement(text).name for name in ("serving", "grpc", "litert") for text in extras[name]}
    engines = {"tensorflow", "tensorflow-cpu", "ai-edge-litert"}
    own = {"litert": "ai-edge-litert", "tensorflow": "tensorflow-cpu"}[engine]
    assert locked(f"serving/requirements-{engine}.lock") == asked - engines | {own, "typing-extensions"}


def test_the_batch_image_has_both_engines_and_parquet_and_nothing_of_training() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    texts = [
        *project["dependencies"],
        *(text for name in ("serving", "litert", "batch", "gcp") for text in extras[name]),
    ]
    names = locked("batch/requirements.lock")
    assert {Requirement(text).name for text in texts} - {"tensorflow"} <= names
    assert not {"tensorflow", "keras", "grpcio", "kfp"} & names


def test_only_the_batch_image_has_parquet() -> None:
    """It is large, and no other step reads it."""
    assert {lock.parent.name for lock in LOCKS if "pyarrow" in {name for name, _ in pins(lock)}} == {"batch"}


def test_a_lock_is_read_for_the_image_and_not_for_this_machine() -> None:
    lock = SERVING / "requirements-litert.lock"
    old, new = (requirements_for(lock, version, "aarch64").splitlines() for version in ("3.11", "3.12"))
    assert all(" --hash=sha256:" in line and ";" not in line for line in [*old, *new])
    numpy = [next(line.split()[0] for line in lines if line.startswith("numpy==")) for lines in (old, new)]
    assert sorted(numpy) == sorted(f"numpy=={version}" for name, version in pins(lock) if name == "numpy")


@pytest.mark.parametrize("engine", ENGINES)
def test_docker_and_the_assembly_say_the_same_of_an_image(engine: str) -> None:
    config = last_stage((SERVING / "Dockerfile").read_text(), {"ENGINE": engine, "REVISION": "abc"})
    assert (config["User"], config["WorkingDir"]) == ("65532:65532", "/tmp")
    assert config["Entrypoint"] == ["python3", "-m", "lading"]
    assert config["Cmd"] == ["serve", "--help"]
    assert dict(pair.split("=", 1) for pair in config["Env"]) == {
        "PYTHONPATH": "/opt/lading/lib", "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1", "HOME": "/tmp",
    }  # fmt: skip
    labels = config["Labels"]
    assert (labels["dev.lading.runtime"], labels["dev.lading.engine"]) == ("lading", engine)
    assert labels["org.opencontainers.image.title"] == f"lading/serving-{engine}"
    assert labels["org.opencontainers.image.version"] == __version__
    assert labels["org.opencontainers.image.revision"] == "abc"


@pytest.mark.parametrize(
    ("name", "command"), [("steps", "--help"), ("steps-train", "--help"), ("batch", "batch-service")]
)
def test_docker_and_the_assembly_say_the_same_of_a_step_image(name: str, command: str) -> None:
    text = (CONTAINERS / name / "Dockerfile").read_text()
    config = last_stage(text, {"REVISION": "abc"})
    assert (config["User"], config["WorkingDir"]) == ("65532:65532", "/tmp")
    assert "Entrypoint" not in config
    assert config["Cmd"] == ["python3", "-m", "lading", command]
    assert {"PYTHONPATH=/opt/lading/lib", "HOME=/tmp"} < set(config["Env"])
    assert config["Labels"]["org.opencontainers.image.title"] == f"lading/{name}"
    assert shared_directories(text) == ["/gcs", "/minio", "/s3"]


def test_every_image_of_the_project_can_be_assembled() -> None:
    assert {re.split("[/:]", image)[1] for image in project_images()} == set(IMAGES)


def test_an_instruction_that_the_assembly_cannot_follow_is_refused() -> None:
    for text in ("VOLUME /data", "CMD python3 -m lading"):
        with pytest.raises(InvalidInput, match=f"found {text}"):
            last_stage(f"FROM a AS b\nUSER x\nFROM b\n{text}\n", {})
    with pytest.raises(InvalidInput, match="found RUN rm -rf /etc"):
        shared_directories("FROM a AS b\nRUN pip install x\nFROM b\nRUN rm -rf /etc\n")


def test_docker_sees_what_its_files_copy() -> None:
    """`.dockerignore` leaves out everything that it does not name."""
    let_in = [line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"]
    for path in DOCKERFILES:
        for words in re.findall(r"^COPY (?!--from)(.*) \S+$", path.read_text(), re.MULTILINE):
            for source in words.replace("${ENGINE}", "litert").split():
                assert any(Path(source).match(pattern) for pattern in let_in), f"{path}: {source}"
    assert PREPARE.is_file()
