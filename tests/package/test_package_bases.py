"""Bases of every kind, and those that cannot serve."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from fakes.registry import FakeRegistry
from packaged_images import ENVIRON, ROOT, base_in, read, unpacked
from soon import soon
from tiny_bases import LADING, put_base, put_bytes, put_index, put_manifest

from lading import model_files
from lading.errors import InvalidInput, InvalidModel, InvalidReference, NotFound
from lading.oci.connect import open_place
from lading.oci.image import CONFIG_TYPE, MANIFEST_TYPE
from lading.oci.platform import Platform
from lading.package import package_image
from lading.predict.conversion import FOLDER

ZSTD_LAYER = "application/vnd.oci.image.layer.v1.tar+zstd"
NO_DIGEST = "sha256:" + "0" * 64


def test_a_base_for_several_platforms(registry: FakeRegistry, model: Path) -> None:
    store = open_place(f"{registry.host}/bases/serving", environ=ENVIRON, writable=True).store
    digests = {one: put_base(store, platform=one) for one in ("linux/amd64", "linux/arm64")}
    put_index(store, digests, tag="latest")
    base, to = f"{registry.host}/bases/serving", f"{registry.host}/models/taxi"
    made = package_image(model, to, base=base, platform="linux/arm64", environ=ENVIRON)
    assert read(made.image).image.config["architecture"] == "arm64"
    assert made.base == f"{base}@{digests['linux/arm64']}"
    here = package_image(model, to, base=base, environ=ENVIRON)
    assert here.base == f"{base}@{digests[str(Platform.of_this_machine())]}"
    with pytest.raises(NotFound, match="it has linux/amd64, linux/arm64"):
        package_image(model, to, base=base, platform="linux/riscv64", environ=ENVIRON)
    with pytest.raises(InvalidInput, match="expected a platform such as"):
        package_image(model, to, base=base, platform="arm64", environ=ENVIRON)


@pytest.mark.parametrize("docker", [False, True])
@pytest.mark.parametrize("place", ["{0}/models/taxi:v1", "oci:{1}/taxi:v1", "archive:{1}/taxi.tar"])
def test_a_base_whose_layers_zstd_packs_is_not_looked_into(
    registry: FakeRegistry, model: Path, tmp_path: Path, place: str, docker: bool
) -> None:
    packed = b"\x28\xb5\x2f\xfd that only zstd could read"
    store = open_place(f"{registry.host}/bases/serving", environ=ENVIRON, writable=True).store
    kind = "application/vnd.docker.image.rootfs.diff.tar.zstd" if docker else ZSTD_LAYER
    config = {"os": "linux", "architecture": "amd64", "config": {"Labels": LADING}, "rootfs": {"diff_ids": [NO_DIGEST]}}
    body = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": put_bytes(store, json.dumps(config).encode(), CONFIG_TYPE).to_dict(),
        "layers": [put_bytes(store, packed, kind).to_dict()],
    }
    base = f"{registry.host}/bases/serving@{put_manifest(store, body, MANIFEST_TYPE)}"
    made = package_image(model, place.format(registry.host, tmp_path), base=base, environ=ENVIRON)
    image = read(made.image).image
    assert image.layers[0].media_type == ZSTD_LAYER
    assert b"".join(read(made.image).store.blob(image.layers[0].digest, deadline=soon())) == packed
    assert image.model_diff_id == made.model_diff_id


def test_tensorflow_serving_gets_our_entry_point(registry: FakeRegistry, model: Path, tmp_path: Path) -> None:
    run = {"Entrypoint": ["/usr/bin/tf_serving_entrypoint.sh"], "Cmd": None, "User": "", "Env": ["MODEL_NAME=model"]}
    base = base_in(registry, "tensorflow/serving", labels={"maintainer": "x"}, docker=True, run=run)
    to = f"{registry.host}/models/taxi"
    made = package_image(model, to, base=base, runtime="tf-serving", environ=ENVIRON)
    image = read(made.image).image
    assert (image.command, made.runtime) == (("/opt/lading/bin/tf-serving",), "tf-serving")
    assert image.env["MODEL_NAME"] == "taxi"
    assert image.config["config"]["User"] == "65532:65532"
    assert image.labels["dev.lading.runtime"] == "tf-serving"
    script = unpacked(made.image, -3, tmp_path / "script") / "opt/lading/bin/tf-serving"
    assert os.access(script, os.X_OK)
    assert script.read_bytes() == (ROOT / "lading/entry_points/tf_serving.sh").read_bytes()
    # The model is the same layer, whichever server reads it.
    lading = package_image(model, to, base=base_in(registry), environ=ENVIRON)
    assert read(lading.image).image.layers[-1] == image.layers[-1]


@pytest.mark.parametrize(
    ("labels", "runtime", "message"),
    [
        (
            {},
            "",
            r"base with lading's server .*dev\.lading\.runtime=lading.* has no such label: .*--runtime tf-serving",
        ),
        ({"dev.lading.runtime": "host"}, "", r"has host: `make images`"),
        (LADING, "tf-serving", r"such as tensorflow/serving; .* has the label dev\.lading\.runtime=lading: leave out"),
        (
            {**LADING, "dev.lading.model.diff-id": "sha256:1", "org.opencontainers.image.base.digest": "sha256:2"},
            "",
            r"holds a model already: give the base that it was made on \(sha256:2\)",
        ),
    ],
)
def test_a_base_that_cannot_serve(
    registry: FakeRegistry, model: Path, labels: dict[str, str], runtime: str, message: str
) -> None:
    base = base_in(registry, labels=labels)
    with pytest.raises(InvalidReference, match=message):
        package_image(model, f"{registry.host}/models/taxi", base=base, runtime=runtime, environ=ENVIRON)
    assert not [line for line in registry.requests if not line.startswith(("GET", "HEAD"))]


def test_a_base_that_is_not_there(registry: FakeRegistry, model: Path) -> None:
    with pytest.raises(NotFound, match="bases/none"):
        package_image(model, f"{registry.host}/a", base=f"{registry.host}/bases/none:v1", environ=ENVIRON)


def test_a_base_with_litert_needs_a_converted_model(registry: FakeRegistry, model: Path) -> None:
    base = base_in(registry, labels={**LADING, "dev.lading.engine": "litert"})
    options: dict[str, Any] = {"base": base, "environ": ENVIRON}
    to = f"{registry.host}/models/taxi"
    with pytest.raises(InvalidModel, match=f"`lading convert {model} --out DIR`, then package DIR"):
        package_image(model, to, **options)
    folder = model / model_files.CONVERSION
    folder.mkdir(parents=True)
    (folder / "report.json").write_text('{"passed": false}')
    with pytest.raises(InvalidModel, match="failed, as its report says: choose a base of the engine tensorflow"):
        package_image(model, to, **options)
    (folder / "report.json").write_text("{")
    with pytest.raises(InvalidModel, match="cannot be read"):
        package_image(model, to, **options)
    (folder / "report.json").write_text('{"passed": true}')
    (folder / "model.tflite").write_bytes(b"TFL3")
    made = package_image(model, to, **options)
    words = ("serve", "taxi=/models/taxi", "--engine", "litert")
    assert read(made.image).image.command == ("python3", "-m", "lading", *words)
    assert Path(model_files.CONVERSION) == FOLDER
