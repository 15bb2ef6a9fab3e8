"""The step images: what is in them, and lading's pipelines in them: from data to traffic, from rows to predictions."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests
from engines import docker, free_port, need, ran, registry, until_ready
from fakes.registry import FakeRegistry

from lading import __version__
from lading.flows.publish import project_images, step_images
from lading.local.lifecycle import start, status, stop
from lading.wait import Deadline

ROOT = Path(__file__).parent.parent.parent
BATCH, STEPS, STEPS_TRAIN = step_images()
COMPRESSED_MB = 40
"""Of the small image, above its base."""
pytestmark = [pytest.mark.images, pytest.mark.timeout(600)]


def python(image: str, program: str, *options: str) -> str:
    done = docker("run", "--rm", "--network=none", "--read-only", "--tmpfs", "/tmp", *options,
                  "-e", "_KFP_RUNTIME=true", image, "python3", "-c", program)  # fmt: skip
    assert not done.returncode, done.stderr
    return str(done.stdout.strip())


@pytest.mark.parametrize("image", step_images())
def test_it_runs_as_nobody_on_a_file_system_that_it_cannot_write(image: str) -> None:
    assert python(image, "import os, lading; print(os.getuid(), lading.__version__)") == f"65532 {__version__}"
    assert python(image, "import kfp.dsl.executor_main, google.cloud.storage; print('ok')") == "ok"


@pytest.mark.parametrize("image", step_images())
def test_any_user_id_will_do(image: str) -> None:
    """OpenShift gives each namespace user ids of its own."""
    program = "import lading.cli, pathlib, tempfile; tempfile.mkstemp(); print(pathlib.Path.home())"
    assert python(image, program, "--user", "1000680000:0") == "/tmp"


@pytest.mark.parametrize("image", step_images())
def test_where_kfp_puts_artifacts_can_be_written(image: str) -> None:
    program = "for place in /gcs /minio /s3; do mkdir -p $place/bucket/run && echo written; done"
    done = docker("run", "--rm", "--network=none", image, "sh", "-c", program)
    assert done.stdout.split() == ["written"] * 3, done.stderr


@pytest.mark.parametrize("image", step_images())
def test_it_says_where_it_comes_from(image: str) -> None:
    labels = json.loads(docker("image", "inspect", "--format", "{{json .Config.Labels}}", image).stdout)
    told = {name.removeprefix("org.opencontainers.image."): value for name, value in labels.items()}
    assert told["title"] == image.partition(":")[0]
    assert (told["version"], told["licenses"]) == (__version__, "Apache-2.0")
    assert re.fullmatch("[0-9a-f]{40}", told["revision"])
    assert told["source"].startswith("https://")


def test_each_image_has_only_what_its_steps_use() -> None:
    """TensorFlow in Python is for training; the client of Kubernetes for who deploys there; Parquet for batches."""
    names = ("keras", "kubernetes", "pyarrow")
    program = f"import importlib.util as u; print([name for name in {names} if u.find_spec(name)])"
    assert [python(image, program) for image in (STEPS, STEPS_TRAIN, BATCH)] == [
        "['kubernetes']",
        "['keras']",
        "['pyarrow']",
    ]


def test_the_small_image_adds_little_to_its_base(tmp_path: Path) -> None:
    saved = tmp_path / "image.tar"
    ran(docker("save", "-o", saved, STEPS))
    with tarfile.open(saved) as archive:
        layers = json.loads(read(archive, "manifest.json"))[0]["Layers"]
        own = [read(archive, name) for name in layers[-2:]]  # libraries, lading
    assert sum(len(zlib.compress(layer, 6)) for layer in own) / 1e6 <= COMPRESSED_MB


def read(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None, name
    return file.read()


def test_images_list_knows_that_they_are_built() -> None:
    assert {one["built"] for one in json.loads(lading("images", "list", "--json").stdout)} == {True}


@pytest.fixture
def prefix(tmp_path: Path) -> Iterator[str]:
    """A prefix in Debian's registry; the tags that Docker had to make for it are removed at the end."""
    need("docker-registry")
    with registry(tmp_path) as host:
        yield f"{host}/team"
        forget(f"{host}/team")


def forget(prefix: str) -> None:
    docker("rmi", *(image.replace("lading/", f"{prefix}/") for image in project_images()))


def lading(*words: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "lading", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)


def test_they_are_published_by_digest_and_the_pipeline_pinned_to_them(prefix: str, tmp_path: Path) -> None:
    pushed = lading("images", "push", "--to", prefix, "--json")
    assert not pushed.returncode, pushed.stderr
    images = json.loads(pushed.stdout)
    assert [image.partition("@")[0] for image in images] == [
        image.partition(":")[0].replace("lading/", f"{prefix}/") for image in project_images()
    ]
    compiled = lading("compile", "release", "--images", prefix, "--out", tmp_path / "out")
    assert not compiled.returncode, compiled.stderr
    text = next((tmp_path / "out").rglob("release.yaml")).read_text()
    assert {image for image in images[: len(step_images())] if image in text} == {
        images[1],
        images[2],
    }  # no batch in it
    assert lading("images", "push", "--to", prefix, "--json").stdout == pushed.stdout


@pytest.mark.parametrize("case", ["nobody there", "no login"])
def test_docker_that_cannot_push_is_explained(case: str) -> None:
    fake = FakeRegistry(auth="basic")
    prefix = f"{fake.host}/team" if case == "no login" else "127.0.0.1:9/team"
    try:
        done = lading("images", "push", "--to", prefix)
    finally:
        fake.close()
        forget(prefix)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1), done.stderr
    assert ("docker login" if case == "no login" else "does not reach the registry") in done.stderr


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    stop(tmp_path / "lading" / "local", deadline=Deadline.after(60))


def run_in_containers(pipeline: str, home: Path, **parameters: str) -> "subprocess.CompletedProcess[str]":
    """Run a compiled pipeline of lading through KFP's DockerRunner; steps find ``home`` where it is."""
    compiled = ROOT / "pipelines" / "compiled" / f"{pipeline}.yaml"
    command = [sys.executable, "-W", "ignore", Path(__file__).parent / "docker_runner.py", compiled,
               home / "runs", home, *(f"{key}={value}" for key, value in parameters.items())]  # fmt: skip
    return subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=500, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@pytest.mark.parametrize("engine", ["tensorflow", "litert"])
def test_the_batch_pipeline_reads_and_writes_parquet_in_its_image(
    engine: str, mlp_model: Path, litert_model: Path, tmp_path: Path
) -> None:
    images = np.random.default_rng(0).random((20, 28, 28), np.float32)
    table = pa.table({"id": range(20), "image": [image.tolist() for image in images]})
    pq.write_table(table, tmp_path / "rows.parquet")
    shutil.copytree({"tensorflow": mlp_model, "litert": litert_model}[engine], tmp_path / "model")
    options = {"output_format": "parquet", "key_field": "id"}
    done = run_in_containers("batch", tmp_path, model=f"{tmp_path}/model", inputs=f"{tmp_path}/rows.parquet",
                             output=f"{tmp_path}/out", options=json.dumps(options), engine=engine)  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    (written,) = (tmp_path / "out").glob("*.parquet")
    rows = pq.read_table(written).to_pylist()
    assert [row["id"] for row in rows] == list(range(20))
    values = next(value for row in rows[:1] for name, value in row.items() if name != "id")
    assert sum(values) == pytest.approx(1, abs=1e-3)


def test_alone_the_batch_image_is_the_service() -> None:
    name, port = f"lading-test-{uuid.uuid4().hex}", free_port()
    try:
        ran(docker("run", "--detach", "--name", name, "--network=host", "--read-only", "--tmpfs=/tmp", "--memory=512m",
                   "--cap-drop=ALL", "--env", f"PORT={port}", BATCH))  # fmt: skip
        until_ready(f"http://127.0.0.1:{port}")
        assert requests.get(f"http://127.0.0.1:{port}/v1/batches", timeout=5).status_code == 200
        ran(docker("stop", "--time=15", name))
        assert ran(docker("inspect", "--format", "{{.State.ExitCode}}", name)) == "0"
    finally:
        docker("rm", "--force", name)


def test_the_release_pipeline_in_its_images_promotes_and_rejects(home: Path) -> None:
    start(home / "lading" / "local", deadline=Deadline.after(30))
    shutil.copy(ROOT / "docs" / "examples" / "penguins.py", home / "recipe.py")
    (home / "data").mkdir()
    rows = ["species,island,bill_length_mm,bill_depth_mm,flipper_length_mm,body_mass_g"]
    kinds = {"Adelie": (38, 18, 190, 3700), "Chinstrap": (49, 18, 196, 3750), "Gentoo": (47, 15, 217, 5100)}
    for row in range(150):
        name = list(kinds)[row % 3]
        rows.append(",".join([name, "Dream", *(f"{value * (1 + row % 7 / 100)}" for value in kinds[name])]))
    (home / "data" / "penguins.csv").write_text("\n".join(rows))

    def run(**parameters: str) -> "subprocess.CompletedProcess[str]":
        given = {"service": "penguins", "repository": "lading.local/penguins", "recipe": f"{home}/recipe.py",
                 "data": f"{home}/data", **parameters}  # fmt: skip
        return run_in_containers("release", home, **given)

    first = run()
    assert first.returncode == 0, first.stdout[-4000:] + first.stderr[-4000:]
    (service,) = status(home / "lading" / "local", deadline=Deadline.after(10))
    row = {"inputs": {"measures": [[38, 18, 190, 3700]], "island": [1]}}
    answer = requests.post(f"{service['url']}/v1/models/penguins:predict", json=row, timeout=30).json()
    assert max(range(3), key=answer["outputs"][0].__getitem__) == 0

    second = run(hyperparameters='{"epochs": 1, "learning_rate": 1e-9}')
    assert second.returncode == 1
    # KFP numbers tasks of one name: which of them it is changes with the pipeline.
    assert re.search(r"Inner task failed: 'reject(-\d+)?'", plain(second.stdout)), second.stdout[-4000:]
    assert "min_accuracy: expected at least 0.8" in second.stdout
    (after,) = status(home / "lading" / "local", deadline=Deadline.after(10))
    assert after["traffic"] == service["traffic"]

    third = run(data=f"{home}/nowhere")
    assert third.returncode == 1
    assert "Inner task failed: 'train'" in plain(third.stdout), third.stdout[-4000:]
    assert f"{home}/nowhere" in third.stdout


def plain(said: str) -> str:
    """Without colours."""
    return re.sub(r"\x1b\[\d+m", "", said)
