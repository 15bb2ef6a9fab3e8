import json
import os
from pathlib import Path

import pytest
from soon import soon
from tiny_bases import CREATED, base_layers, put_base, put_bytes, put_index, put_manifest

from lading.errors import InvalidInput, InvalidReference, NotFound, StorageError
from lading.oci.assemble import Base, Changes, assemble, publish, read_base
from lading.oci.image import CONFIG_TYPE, INDEX_TYPE, MANIFEST_TYPE
from lading.oci.layer import Entry, Layer, plan_entries, plan_layer
from lading.oci.layout import Layout
from lading.oci.platform import Platform


@pytest.fixture
def store(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout")


def model_layer(content: bytes = b"graph") -> Layer:
    return plan_entries([Entry("models/taxi/1/saved_model.pb", content)], comment="model taxi")


def read(store: Layout, digest: str, **options: object) -> Base:
    return read_base(store, digest, deadline=soon(), **options)  # type: ignore[arg-type]


def build(base: Base | None, **changes: object) -> dict[str, object]:
    """The configuration of an image with one layer on a base."""
    made = assemble(base, [model_layer()], Changes(**changes))  # type: ignore[arg-type]
    with made.config.open() as reader:
        return json.loads(reader.read())


def test_an_image_is_its_base_with_layers_on_top(store: Layout, tmp_path: Path) -> None:
    base = read(store, put_base(store))
    made = assemble(base, [model_layer()], Changes(env={"A": "1"}))
    there = Layout(tmp_path / "there")
    publish(made, there, tag="v1", deadline=soon())
    image = read(there, "v1").image
    below = [layer.descriptor for layer in base_layers()]
    assert list(image.layers) == [*below, model_layer().descriptor]
    assert image.config["rootfs"]["diff_ids"] == [
        *(layer.diff_id for layer in base_layers()),
        model_layer().diff_id,
    ]
    for layer in image.layers:
        assert b"".join(there.blob(layer.digest, deadline=soon()))


def test_the_configuration_is_the_bases_with_ours_over_it(store: Layout) -> None:
    run = {
        "StopSignal": "SIGINT",
        "WorkingDir": "/srv",
        "ExposedPorts": {"1/tcp": {}},
        "OnBuild": ["RUN x"],
        "Image": None,
    }
    base = read(store, put_base(store, run=run, docker_version="20.10", container="c0ffee"))
    config = build(base, cmd=("serve",), env={"PATH": "/opt/bin", "B": "=2"}, labels={"b": "2"}, ports=(8501,))
    assert config["config"] == {
        "Entrypoint": ["python3", "-m", "lading"],
        "Cmd": ["serve"],
        "Env": ["PATH=/opt/bin", "PYTHONPATH=/opt/lading/lib", "B==2"],
        "User": "65532:65532",
        "Labels": {"dev.lading.runtime": "lading", "dev.lading.engine": "tensorflow", "b": "2"},
        "StopSignal": "SIGINT",
        "WorkingDir": "/srv",
        "ExposedPorts": {"1/tcp": {}, "8501/tcp": {}},
    }
    assert (config["os"], config["architecture"], config["created"]) == ("linux", "amd64", CREATED)
    assert not {"docker_version", "container"} & config.keys()


def test_another_entry_point_has_no_use_for_the_bases_arguments(store: Layout) -> None:
    base = read(store, put_base(store))
    assert build(base)["config"]["Cmd"] == ["--help"]  # type: ignore[index]
    config = build(base, entry_point=("/start",))["config"]
    assert config["Entrypoint"] == ["/start"]  # type: ignore[index]
    assert "Cmd" not in config  # type: ignore[operator]


@pytest.mark.parametrize(("user", "expected"), [("", "7:7"), ("root", "7:7"), ("0:0", "7:7"), ("1000", "1000")])
def test_only_root_is_replaced(store: Layout, user: str, expected: str) -> None:
    base = read(store, put_base(store, run={"User": user}))
    assert build(base, user="7:7")["config"]["User"] == expected  # type: ignore[index]


def test_the_history_has_an_entry_for_every_layer(store: Layout) -> None:
    history = build(read(store, put_base(store)))["history"]
    assert history == [
        {"created": CREATED, "created_by": "ADD rootfs"},
        {"created": CREATED, "created_by": "ENV x", "empty_layer": True},
        {"created": CREATED, "created_by": "COPY lib"},
        {"created": CREATED, "created_by": "lading", "comment": "model taxi"},
    ]
    untold = build(read(store, put_base(store, history=None, created=None)))
    assert [entry.get("created_by") for entry in untold["history"]] == [None, None, "lading"]  # type: ignore[attr-defined]
    assert "created" not in untold


def test_docker_and_oci_write_the_same_image(store: Layout) -> None:
    bases = [read(store, put_base(store, docker=docker)) for docker in (False, True)]
    one, two = (assemble(base, [model_layer()], Changes()) for base in bases)
    assert bases[0].digest != bases[1].digest
    assert one.manifest == two.manifest
    assert {layer["mediaType"] for layer in json.loads(two.manifest.content)["layers"]} == {
        "application/vnd.oci.image.layer.v1.tar+gzip"
    }


@pytest.mark.parametrize("docker", [False, True])
def test_an_index_is_asked_for_a_platform(store: Layout, docker: bool) -> None:
    platforms = ("linux/amd64", "linux/arm64")
    digests = {one: put_base(store, platform=one, docker=docker, part=True) for one in platforms}
    index = put_index(
        store, {"linux/amd64": digests["linux/amd64"], "linux/arm64/v8": digests["linux/arm64"]}, docker=docker
    )
    for wanted in ("linux/arm64", "linux/arm64/v8", "linux/amd64"):
        base = read(store, index, platform=Platform.parse(wanted))
        assert base.digest == digests[wanted.removesuffix("/v8")]
        assert base.image.config["architecture"] == wanted.split("/")[1]
    assert read(store, index).digest == digests[str(Platform.of_this_machine())]
    with pytest.raises(NotFound, match=r"no image for linux/s390x, it has linux/amd64, linux/arm64/v8: .*--platform"):
        read(store, index, platform=Platform.parse("linux/s390x"))
    with pytest.raises(NotFound, match="no image for linux/arm64/v9"):
        read(store, index, platform=Platform.parse("linux/arm64/v9"))


def test_a_single_image_must_be_for_the_platform_that_is_asked_for(store: Layout) -> None:
    digest = put_base(store, platform="linux/arm64")
    assert read(store, digest).image.config["architecture"] == "arm64"
    assert read(store, digest, platform=Platform.parse("linux/arm64/v8"))
    with pytest.raises(NotFound, match="is for linux/arm64, not for linux/amd64"):
        read(store, digest, platform=Platform.parse("linux/amd64"))


@pytest.mark.parametrize("text", ["amd64", "linux/", "Linux/amd64", "linux/amd64/v2/x", ""])
def test_what_is_no_platform(text: str) -> None:
    with pytest.raises(InvalidInput, match="expected a platform such as linux/amd64"):
        Platform.parse(text)


def test_what_is_no_image_is_no_base(store: Layout) -> None:
    blob = put_bytes(store, b"{}", "application/vnd.cncf.helm.config.v1+json").to_dict()
    artifact = put_manifest(store, {"mediaType": MANIFEST_TYPE, "config": blob, "layers": []}, MANIFEST_TYPE)
    with pytest.raises(InvalidReference, match=r"expected a container image, found .*helm"):
        read(store, artifact)
    with pytest.raises(InvalidReference, match="tells of 0 layers, it has 2"):
        read(store, put_base(store, rootfs={"type": "layers", "diff_ids": []}))
    with pytest.raises(InvalidReference, match="expected a manifest that names blobs"):
        read(store, put_manifest(store, {"mediaType": MANIFEST_TYPE, "config": {}, "layers": []}, MANIFEST_TYPE))
    with pytest.raises(InvalidReference, match="expected an index of images"):
        read(store, put_manifest(store, {"mediaType": INDEX_TYPE, "manifests": [1]}, INDEX_TYPE))
    config = put_bytes(store, b"[]", CONFIG_TYPE).to_dict()
    with pytest.raises(InvalidReference, match="found list"):
        read(store, put_manifest(store, {"mediaType": MANIFEST_TYPE, "config": config, "layers": []}, MANIFEST_TYPE))
    windows = {**config, "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"}
    with pytest.raises(InvalidReference, match=r"expected layers that are tar archives, found .*foreign"):
        read(
            store,
            put_manifest(store, {"mediaType": MANIFEST_TYPE, "config": config, "layers": [windows]}, MANIFEST_TYPE),
        )


def test_an_image_of_nothing_else_runs_nowhere() -> None:
    config = build(None, entry_point=("python3",))
    assert (config["os"], config["architecture"]) == ("unknown", "unknown")
    assert config["rootfs"]["diff_ids"] == [model_layer().diff_id]  # type: ignore[index]


def test_a_model_that_changes_meanwhile_is_tagged_nowhere(tmp_path: Path, store: Layout) -> None:
    (tmp_path / "model").mkdir()
    file = tmp_path / "model" / "saved_model.pb"
    file.write_bytes(os.urandom(100_000))
    made = assemble(None, [plan_layer(tmp_path / "model", "models/taxi/1")], Changes())
    file.write_bytes(os.urandom(100_000))
    with pytest.raises(StorageError, match=r"saved_model\.pb was changed while it was packaged"):
        publish(made, store, tag="v1", deadline=soon())
    assert not (tmp_path / "layout" / "index.json").exists()
