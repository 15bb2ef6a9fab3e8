"""What a registry is asked for and sent."""

import base64
import json
import re
from collections import Counter
from pathlib import Path

import pytest
from fakes.registry import FakeRegistry
from packaged_images import ENVIRON, base_in, read

from lading.errors import AccessDenied
from lading.package import package_image
from lading.values import ImageRef


def test_a_retrained_model_moves_itself_and_little_else(registry: FakeRegistry, model: Path) -> None:
    base = base_in(registry, "team/taxi")  # where images of the same repository are, nothing has to be asked for
    to = f"{registry.host}/team/taxi"
    first = package_image(model, f"{to}:v1", base=base, environ=ENVIRON)
    assert len(registry.uploaded) == 3  # model, its digests, configuration
    (model / "variables" / "data").write_bytes(b"retrained" * 20_000)
    registry.uploaded.clear()
    registry.requests.clear()
    second = package_image(model, f"{to}:v2", base=base, environ=ENVIRON)
    image = read(second.image).image
    assert {digest for _, digest in registry.uploaded} == {
        image.layers[-1].digest,
        image.layers[-2].digest,
        json.loads(registry.manifests["team/taxi", "v2"])["config"]["digest"],
    }
    assert [line for line in registry.requests if line.startswith("PUT") and "manifests" in line] == [
        "PUT /v2/team/taxi/manifests/v2"
    ]
    layers = [layer.digest for layer in read(first.image).image.layers[:2]]
    assert not [line for line in registry.requests if line.startswith("GET") and line.endswith(tuple(layers))]
    assert second.sent_bytes == sum(len(registry.blobs[digest]) for _, digest in registry.uploaded)


def test_the_same_model_again_moves_nothing(registry: FakeRegistry, model: Path) -> None:
    base, to = base_in(registry), f"{registry.host}/models/taxi:v1"
    first = package_image(model, to, base=base, environ=ENVIRON)
    registry.uploaded.clear()
    again = package_image(model, to, base=base, environ=ENVIRON)
    assert (again.image, again.sent_bytes, registry.uploaded) == (first.image, 0, [])


def asked(registry: FakeRegistry) -> Counter[str]:
    """How often each kind of request came: ``HEAD blobs``."""
    kinds = (re.fullmatch(r"(\w+) /v2/.+?/(manifests|blobs/uploads|blobs)/.*", line) for line in registry.requests)
    return Counter(f"{found[1]} {found[2]}" for found in kinds if found)


def test_a_registry_is_asked_for_no_more_than_is_needed(registry: FakeRegistry, model: Path) -> None:
    base, to = base_in(registry), f"{registry.host}/models/taxi"
    (model / "variables" / "data").write_bytes(b"weights" * 20_000)
    read_ = {"GET manifests": 2, "GET blobs": 1}  # the base: manifest and configuration; what the tag names
    package_image(model, f"{to}:v1", base=base, environ=ENVIRON)
    # HEAD: two layers of the base, then mounted, and the model. POST and PUT: model, digests, configuration.
    sent = {"PUT blobs/uploads": 3, "PUT manifests": 1}
    assert asked(registry) == {**read_, "HEAD blobs": 3, "POST blobs/uploads": 2 + 3, **sent}
    registry.requests.clear()
    package_image(model, f"{to}:v1", base=base, environ=ENVIRON)
    assert asked(registry) == read_
    registry.requests.clear()
    (model / "variables" / "data").write_bytes(b"retrained" * 20_000)
    package_image(model, f"{to}:v1", base=base, environ=ENVIRON)  # the layers of the base are those of the last image
    assert asked(registry) == {**read_, "HEAD blobs": 1, "POST blobs/uploads": 3, **sent}
    registry.requests.clear()
    package_image(model, to, base=base, environ=ENVIRON)  # it is there, and no tag is to be moved
    assert asked(registry)["PUT manifests"] == sum(line.startswith("POST") for line in registry.requests) == 0


def test_an_image_that_is_there_gets_another_tag_and_nothing_else(registry: FakeRegistry, model: Path) -> None:
    base, to = base_in(registry), f"{registry.host}/models/taxi"
    first = package_image(model, f"{to}:v1", base=base, environ=ENVIRON)
    registry.requests.clear()
    again = package_image(model, f"{to}:v2", base=base, environ=ENVIRON)
    assert (again.image, again.sent_bytes) == (first.image, 0)
    assert [line for line in registry.requests if line.startswith(("PUT", "POST"))] == [
        "PUT /v2/models/taxi/manifests/v2"
    ]


def test_a_tag_of_something_else_is_no_hindrance(registry: FakeRegistry, model: Path) -> None:
    registry.put("models/taxi", "v1", {"schemaVersion": 2, "config": "none"})
    made = package_image(model, f"{registry.host}/models/taxi:v1", base=base_in(registry), environ=ENVIRON)
    assert read(f"{registry.host}/models/taxi:v1").digest == ImageRef.parse(made.image).digest


def test_the_same_model_on_another_base_is_not_sent_again(registry: FakeRegistry, model: Path) -> None:
    to = f"{registry.host}/models/taxi:v1"
    first = package_image(model, to, base=base_in(registry), environ=ENVIRON)
    newer = base_in(registry, run={"StopSignal": "SIGINT"})
    registry.uploaded.clear()
    second = package_image(model, to, base=newer, environ=ENVIRON)
    assert second.image != first.image
    assert [digest for _, digest in registry.uploaded if digest == read(first.image).image.layers[-1].digest] == []
    assert second.sent_bytes < first.model_bytes


def test_one_login_is_for_the_base_and_the_image(registry: FakeRegistry, model: Path, tmp_path: Path) -> None:
    base = base_in(registry)
    registry.auth = "bearer"
    (tmp_path / ".docker").mkdir()
    auths = {registry.host: {"auth": base64.b64encode(b"user:secret").decode()}}
    (tmp_path / ".docker" / "config.json").write_text(json.dumps({"auths": auths}))
    package_image(model, f"{registry.host}/models/taxi:v1", base=base, environ={"HOME": str(tmp_path)})
    assert list(registry.tokens.values()) == [
        {"repository:bases/serving:pull"},
        {"repository:bases/serving:pull", "repository:models/taxi:pull,push"},
    ]


@pytest.mark.parametrize("mounts", [True, False])
def test_the_base_is_mounted_or_else_copied(registry: FakeRegistry, model: Path, mounts: bool) -> None:
    registry.mounts = mounts
    base = base_in(registry)
    made = package_image(model, f"{registry.host}/models/taxi", base=base, environ=ENVIRON)
    layers = {layer.digest for layer in read(made.image).image.layers[:2]}
    assert {digest for _, digest in registry.mounted} == (layers if mounts else set())
    assert layers & {digest for _, digest in registry.uploaded} == (set() if mounts else layers)


def test_who_may_not_push_is_told_and_nothing_is_tagged(registry: FakeRegistry, model: Path) -> None:
    base = base_in(registry)
    registry.denied.add("models/taxi")
    for to in (f"{registry.host}/models/taxi:v1", f"{registry.host}/models/taxi"):
        with pytest.raises(AccessDenied, match="an anonymous user may not push to it"):
            package_image(model, to, base=base, environ=ENVIRON)
    assert not registry.tags("models/taxi")
