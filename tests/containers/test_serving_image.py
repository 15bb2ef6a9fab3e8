"""The bases for serving, built with Docker and assembled without it, and images on them that run as in a cluster."""

import hashlib
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from engines import build_context, docker, docker_engine, free_port, need, ran, registry, run, until_ready
from synthetic_base import write_base

from lading.values import GoldenRequest

ROOT = Path(__file__).parent.parent.parent
ENGINES = ("litert", "tensorflow")
MOST_MEGABYTES = {"litert": 65, "tensorflow": 230}
"""Of an image without its model, compressed."""
AS_IN_A_CLUSTER = ("--network=host", "--read-only", "--memory=512m", "--cap-drop=ALL", "--tmpfs=/tmp",
                   "--security-opt=no-new-privileges")  # fmt: skip
pytestmark = [pytest.mark.containers, pytest.mark.timeout(1200)]


def assembled(checkout: Path, *words: object) -> None:
    ran(run(sys.executable, "-m", "containers.assembly", *words, cwd=checkout, timeout=900))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serving-image")


@pytest.fixture(scope="module")
def checkout(folder: Path) -> Path:
    """What images are made of, as it is now."""
    return build_context(ROOT, folder)


@pytest.fixture(scope="module")
def debian(folder: Path, checkout: Path) -> str:
    """The place of a base of Debian's Python."""
    need("mmdebstrap")
    place = f"oci:{folder}/images:base"
    assembled(checkout, "base", "--to", place)
    return place


@pytest.fixture(scope="module")
def bases(folder: Path, checkout: Path, debian: str) -> dict[str, str]:
    """The places of the assembled bases, by engine."""
    places = {engine: f"oci:{folder}/images:{engine}" for engine in ENGINES}
    for engine, place in places.items():
        assembled(checkout, f"serving-{engine}", "--base", debian, "--to", place)
    return places


@pytest.fixture(scope="module")
def models(mlp_model: Path, litert_model: Path) -> dict[str, Path]:
    return {"litert": litert_model, "tensorflow": mlp_model}


@pytest.fixture(scope="module")
def engine_of_docker(folder: Path) -> Iterator[None]:
    with docker_engine(folder):
        yield


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    need("docker-registry")
    with registry(tmp_path_factory.mktemp("registry")) as host:
        yield f"{host}/team"


@pytest.fixture(scope="module")
def built(engine_of_docker: None, checkout: Path) -> Iterator[dict[str, str]]:
    """What Docker builds on Debian's Python, by engine."""
    if docker("image", "inspect", "lading-base", "lading-python").returncode:
        need("mmdebstrap")
        ran(run(ROOT / "containers" / "make_base.sh", cwd=ROOT, env={**os.environ, "PYTHON": sys.executable}))
    index = os.environ.get("PIP_INDEX_URL")
    images = {engine: f"lading-test/serving-{engine}:{uuid.uuid4().hex}" for engine in ENGINES}
    try:
        for engine, image in images.items():
            ran(docker("build", "--network=host", *(["--build-arg", f"PIP_INDEX_URL={index}"] if index else []),
                       "--build-arg", "BASE=lading-python", "--build-arg", "BUILD_BASE=lading-base",
                       "--build-arg", f"ENGINE={engine}", "-f", checkout / "containers/serving/Dockerfile",
                       "-t", image, checkout, timeout=900))  # fmt: skip
        yield images
    finally:
        docker("rmi", *images.values())


def manifest_of(place: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Manifest and configuration of an image in a layout, as skopeo reads them."""
    need("skopeo")
    said = [ran(run("skopeo", "inspect", "--raw", *words, place)) for words in ((), ("--config",))]
    return json.loads(said[0]), json.loads(said[1])


def unpacked(place: str, to: Path) -> Path:
    """The files of an image in a layout, by umoci."""
    need("umoci")
    ran(run("umoci", "unpack", "--rootless", "--image", place.removeprefix("oci:"), to))
    return to / "rootfs"


def contents(root: Path) -> dict[str, str]:
    """Digests of all files; of bytecode, whose bytes depend on what was compiled before, the names alone."""
    return {
        str(path.relative_to(root)): "" if path.suffix == ".pyc" else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


@pytest.mark.parametrize("engine", ENGINES)
def test_an_image_is_small(engine: str, bases: dict[str, str]) -> None:
    manifest, _ = manifest_of(bases[engine])
    assert sum(layer["size"] for layer in manifest["layers"]) / 1e6 <= MOST_MEGABYTES[engine]


@pytest.mark.parametrize("engine", ENGINES)
def test_docker_builds_what_is_assembled_without_it(
    engine: str, bases: dict[str, str], built: dict[str, str], tmp_path: Path
) -> None:
    inspected = json.loads(ran(docker("image", "inspect", built[engine])))[0]["Config"]
    _, config = manifest_of(bases[engine])
    for key in ("User", "Env", "Entrypoint", "Cmd", "WorkingDir", "Labels", "ExposedPorts"):
        one, other = config["config"][key], inspected[key]
        assert sorted(one) == sorted(other) if key == "Env" else one == other, key

    container = ran(docker("create", built[engine]))
    try:
        (tmp_path / "docker").mkdir()
        ran(docker("export", "--output", tmp_path / "docker.tar", container))
        ran(run("tar", "-x", "-C", tmp_path / "docker", "-f", tmp_path / "docker.tar"))
    finally:
        docker("rm", container)
    ours = contents(unpacked(bases[engine], tmp_path / "assembled"))
    theirs = contents(tmp_path / "docker")
    own = {".dockerenv", "etc/hostname", "etc/hosts", "etc/resolv.conf", "dev/console"}
    different = {name for name in {*theirs, *ours} - own if theirs.get(name) != ours.get(name)}
    # pip notes which files came with a package, those of its caller included.
    assert {name for name in different if not name.endswith("/RECORD")} == set()


@contextmanager
def running(image: str, *words: str) -> Iterator[tuple[str, str]]:
    """A container that answers: its name and where."""
    name, port = f"lading-test-{uuid.uuid4().hex}", free_port()
    try:
        ran(docker("run", "--detach", "--name", name, *AS_IN_A_CLUSTER, "--env", f"PORT={port}", image, *words))
        until_ready(f"http://127.0.0.1:{port}")
        yield name, f"http://127.0.0.1:{port}"
    finally:
        docker("rm", "--force", name)


def ask(url: str, model: Path, name: str) -> requests.Response:
    """Send the first golden request of a model, and check the answer."""
    golden = GoldenRequest.read_all((model / "assets.extra/lading/golden.jsonl").read_text())[0]
    answer = requests.post(f"{url}/v1/models/{name}:predict", json={"inputs": golden.request}, timeout=20)
    assert answer.status_code == 200, answer.text
    np.testing.assert_allclose(answer.json()["outputs"], golden.response["softmax"], rtol=1e-3, atol=1e-4)
    return answer


def packaged(model: Path, base: str, to: str) -> dict[str, Any]:
    words = ("package", model, "--base", base, "--to", to, "--json")
    made: dict[str, Any] = json.loads(ran(run(sys.executable, "-m", "lading", *words)))
    return made


@pytest.mark.parametrize("engine", ENGINES)
def test_a_model_on_it_answers_from_a_registry(
    engine: str, bases: dict[str, str], models: dict[str, Path], repository: str, engine_of_docker: None
) -> None:
    made = packaged(models[engine], bases[engine], f"{repository}/fashion-{engine}:v1")
    image = made["image"]
    ran(docker("pull", image))
    try:
        with running(image) as (container, url):
            answer = ask(url, models[engine], f"fashion-{engine}")
            assert answer.headers["x-lading-model"] == made["model_diff_id"]
            facts = requests.get(f"{url}/v2/models/fashion-{engine}", timeout=5).json()
            assert facts["parameters"]["engine"] == engine
            processes = ran(docker("top", container, "-o", "pid,uid,args")).splitlines()[1:]
            assert [line.split()[1] for line in processes] == ["65532"]
            state = json.loads(ran(docker("inspect", "--format", "{{json .State}}", container)))
            assert (state["Running"], state["OOMKilled"]) == (True, False)
            ran(docker("stop", "--time=15", container))
            state = json.loads(ran(docker("inspect", "--format", "{{json .State}}", container)))
            assert state["ExitCode"] == 0
            assert '"draining"' in docker("logs", container).stderr
    finally:
        docker("rmi", image)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_docker_built_serves_too(engine: str, built: dict[str, str], models: dict[str, Path]) -> None:
    name = f"lading-test-{uuid.uuid4().hex}"
    volume = f"--volume={models[engine]}:/models/m:ro"
    port = free_port()
    ran(docker("run", "--detach", "--name", name, *AS_IN_A_CLUSTER, "--env", f"PORT={port}", volume, built[engine],
               "serve", "m=/models/m", "--engine", engine))  # fmt: skip
    try:
        until_ready(f"http://127.0.0.1:{port}")
        ask(f"http://127.0.0.1:{port}", models[engine], "m")
    finally:
        docker("rm", "--force", name)


def test_alone_it_says_how_it_is_used_and_has_no_shell(built: dict[str, str]) -> None:
    alone = docker("run", "--rm", "--network=none", "--read-only", built["litert"])
    assert alone.stdout.startswith("usage: lading serve"), alone.stderr
    assert docker("run", "--rm", "--network=none", "--entrypoint=sh", built["litert"]).returncode == 127
    program = (
        "import importlib.util as u; print([bool(u.find_spec(name)) for name in ('pip', 'setuptools', 'hatchling')])"
    )
    found = docker(
        "run", "--rm", "--network=none", "--read-only", "--entrypoint=python3", built["litert"], "-c", program
    )
    assert found.stdout.strip() == "[False, False, False]", found.stderr


@pytest.mark.parametrize("engine", ENGINES)
def test_it_runs_where_there_is_no_container_engine(
    engine: str, bases: dict[str, str], models: dict[str, Path], tmp_path: Path
) -> None:
    need("bwrap")
    packaged(models[engine], bases[engine], f"oci:{tmp_path}/image:fashion")
    root = unpacked(f"oci:{tmp_path}/image:fashion", tmp_path / "unpacked")
    _, image = manifest_of(f"oci:{tmp_path}/image:fashion")
    config, port = image["config"], free_port()
    environ = [word for pair in (*config["Env"], f"PORT={port}") for word in ("--setenv", *pair.split("=", 1))]
    sandbox = ["bwrap", "--ro-bind", root, "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--unshare-all",
               "--share-net", "--die-with-parent", "--uid", "65532", "--gid", "65532", "--cap-drop", "ALL",
               "--clearenv", *environ, "--chdir", config["WorkingDir"]]  # fmt: skip
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen([*sandbox, *config["Entrypoint"], *config["Cmd"]], stdout=log, stderr=log)
        try:
            until_ready(f"http://127.0.0.1:{port}")
            ask(f"http://127.0.0.1:{port}", models[engine], "image")
        finally:
            server.terminate()
            server.wait(20)


def test_make_assembles_the_same_image_where_docker_does_not_answer(
    debian: str, bases: dict[str, str], tmp_path: Path
) -> None:
    """The same base and libraries; lading may have changed meanwhile."""
    environ = {**os.environ, "DOCKER_HOST": "unix:///nonexistent.sock"}
    settings = ("STEPS=", "ENGINES=litert", "REVISION=", f"SERVING_BASE={debian}", f"LAYOUT={tmp_path}/images")
    assert "No Docker daemon answers" in ran(run("make", "images", *settings, cwd=ROOT, env=environ))
    made, _ = manifest_of(f"oci:{tmp_path}/images:serving-litert")
    expected, _ = manifest_of(bases["litert"])
    assert made["layers"][:-1] == expected["layers"][:-1]


def test_an_image_for_another_processor_is_assembled_here(checkout: Path, tmp_path: Path) -> None:
    """Of wheels for it; its bytecode is that of every processor."""
    need("readelf")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    files = {f"usr/local/lib/{version}/os.py": "import sys\n", f"usr/local/bin/{version}": ""}
    write_base(tmp_path / "base", files, architecture="arm64")
    place = f"oci:{tmp_path}/image:arm64"
    base = f"oci:{tmp_path}/base"
    assembled(checkout, "serving-litert", "--base", base, "--to", place, "--platform", "linux/arm64")
    _, config = manifest_of(place)
    assert (config["os"], config["architecture"]) == ("linux", "arm64")
    root = unpacked(place, tmp_path / "unpacked")
    libraries = [path for path in (root / "opt/lading/lib").rglob("*.so*") if path.is_file()]
    heads = ran(run("readelf", "--file-header", "--wide", *libraries))
    machines = {line.split()[-1] for line in heads.splitlines() if line.strip().startswith("Machine:")}
    assert machines == {"AArch64"}
    assert len(libraries) > 10
    cached = sys.implementation.cache_tag
    assert (root / f"usr/local/lib/{version}/__pycache__/os.{cached}.pyc").is_file()
    assert (root / f"opt/lading/lib/lading/__pycache__/cli.{cached}.pyc").is_file()
