"""Packaged images in Debian's registry, as programs read them that have nothing in common with lading."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engines import docker, docker_engine, need, ran, registry, run
from tiny_bases import base_layers, put_base, put_index

from lading.oci.connect import open_place
from lading.oci.platform import Platform
from lading.package import package_image
from lading.results import PackagedImage
from lading.values import ModelDigests, from_json

pytestmark = pytest.mark.containers
ENVIRON: dict[str, str] = {}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    need("docker-registry", "skopeo", "umoci")
    with registry(tmp_path_factory.mktemp("registry")) as started:
        yield started


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("model")
    (root / "variables").mkdir()
    (root / "saved_model.pb").write_bytes(b"graph" * 1000)
    (root / "variables" / "variables.data-00000-of-00001").write_bytes(bytes(range(256)) * 20_000)
    (root / ("long-" * 30)).write_bytes(b"a name that needs a PAX header")
    return root


@pytest.fixture(scope="module", params=["oci", "docker"])
def made(request: pytest.FixtureRequest, host: str, model: Path) -> PackagedImage:
    """An image on a base that is one of several, as OCI and as Docker write them."""
    is_docker = request.param == "docker"
    store = open_place(f"{host}/bases/{request.param}", environ=ENVIRON, writable=True).store
    platforms = ("linux/amd64", "linux/arm64")
    put_index(
        store, {one: put_base(store, platform=one, docker=is_docker) for one in platforms}, docker=is_docker, tag="v1"
    )
    to = f"{host}/models/{request.param}:v1"
    return package_image(model, to, base=f"{host}/bases/{request.param}:v1", name="taxi", environ=ENVIRON)


def skopeo(made: PackagedImage, *words: str) -> Any:
    return json.loads(ran(run("skopeo", "inspect", "--tls-verify=false", *words, f"docker://{made.image}")))


def test_skopeo_reads_the_image(made: PackagedImage) -> None:
    manifest, config = skopeo(made, "--raw"), skopeo(made, "--config")
    assert manifest["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    platform = str(Platform.of_this_machine())
    below = [layer.descriptor.digest for layer in base_layers(platform)]
    assert [layer["digest"] for layer in manifest["layers"]][:2] == below
    assert {layer["mediaType"] for layer in manifest["layers"]} == {"application/vnd.oci.image.layer.v1.tar+gzip"}
    assert manifest["layers"][-1]["size"] == made.model_bytes
    assert config["rootfs"]["diff_ids"][-1] == made.model_diff_id
    assert len([entry for entry in config["history"] if not entry.get("empty_layer")]) == len(manifest["layers"])
    assert config["config"]["Cmd"] == ["serve", "taxi=/models/taxi"]
    told = skopeo(made)
    assert told["Digest"] == made.image.partition("@")[2]
    assert told["Labels"]["dev.lading.model.diff-id"] == made.model_diff_id
    assert told["RepoTags"] == ["v1"]


def test_umoci_unpacks_what_was_packaged(made: PackagedImage, model: Path, tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    ran(run("skopeo", "copy", "--src-tls-verify=false", f"docker://{made.image}", f"oci:{layout}:taxi"))
    ran(run("umoci", "unpack", "--rootless", "--image", f"{layout}:taxi", tmp_path / "unpacked"))
    root = tmp_path / "unpacked" / "rootfs"
    files = {path.relative_to(model): path.read_bytes() for path in model.rglob("*") if path.is_file()}
    there = root / "models" / "taxi" / "1"
    assert {path.relative_to(there): path.read_bytes() for path in there.rglob("*") if path.is_file()} == files
    digests = from_json((root / "opt/lading/model/digests.json").read_bytes(), ModelDigests)
    assert (root / digests.root.lstrip("/")) == there
    assert {Path(name): known.sha256 for name, known in digests.files.items()} == {
        name: hashlib.sha256(content).hexdigest() for name, content in files.items()
    }
    assert (root / "opt/lading/lib/server").stat().st_mode & 0o777 == 0o755  # the base's


def test_docker_pulls_it(made: PackagedImage, tmp_path: Path) -> None:
    with docker_engine(tmp_path):
        ran(docker("pull", "--quiet", made.image))
        try:
            (inspected,) = json.loads(ran(docker("image", "inspect", made.image)))
            assert inspected["RootFS"]["Layers"][-1] == made.model_diff_id
            assert inspected["Config"]["User"] == "65532:65532"
            assert "model taxi, version 1" in ran(docker("history", "--no-trunc", made.image))
        finally:
            docker("rmi", made.image)
