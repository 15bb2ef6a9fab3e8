"""The bill of materials: what is really in an image, judged by CycloneDX's own library."""

import gzip
import json
import struct
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from backports import zstd
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from soon import soon
from tiny_image import BASE, MODEL, write_blob, write_image

from lading.cli import main
from lading.errors import InvalidReference, StorageError, Unsupported
from lading.oci.image import INDEX_TYPE, LAYER_TYPE, canonical_json, digest_of
from lading.oci.layout import Layout
from lading.oci.store import Manifest
from lading.sbom import make_sbom


@pytest.fixture
def store(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "images")


def components(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["bom-ref"]: one for one in document["components"]}


def test_it_is_valid_cyclonedx(store: Layout) -> None:
    document = make_sbom(store, write_image(store), deadline=soon())
    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document))
    assert problem is None, problem


def test_every_package_url_is_canonical(store: Layout) -> None:
    document = make_sbom(store, write_image(store), deadline=soon())
    purls = [one["purl"] for one in [*document["components"], document["metadata"]["component"]] if "purl" in one]
    assert len(purls) == 8
    assert [PackageURL.from_string(purl).to_string() for purl in purls] == purls


def test_it_lists_what_is_installed(store: Layout) -> None:
    found = components(make_sbom(store, write_image(store), deadline=soon()))
    libc = found["pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64&distro=debian-12"]
    assert [one["license"]["name"] for one in libc["licenses"]] == ["LGPL-2.1+", "GPL-2+ with exception"]
    assert "pkg:deb/debian/libstdc%2B%2B6@1:12.2.0-14~x?arch=amd64&distro=debian-12" in found
    assert "pkg:deb/debian/tzdata@2025a-0?arch=all&distro=debian-12" in found
    flask = found["pkg:pypi/flask-login@1.2.0%2Blocal"]
    assert (flask["name"], flask["licenses"]) == (
        "Flask_Login",
        [{"expression": "MIT AND (Apache-2.0 OR BSD-2-Clause)"}],
    )
    assert found["pkg:pypi/old@1.0"]["licenses"] == [{"license": {"name": "BSD"}}]
    assert found["pkg:pypi/lading@0.1.0"]["licenses"] == [{"license": {"name": "Apache Software License"}}]
    assert found["os:debian-12"]["type"] == "operating-system"
    assert found["pkg:generic/python@3.12.7"]["type"] == "platform"
    assert not [ref for ref in found if "gone" in ref or "not-a-field" in ref]


def test_it_lists_the_model_with_the_digest_of_every_file(store: Layout) -> None:
    digest = write_image(store)
    model = components(make_sbom(store, digest, deadline=soon()))["model:taxi"]
    assert (model["type"], model["name"], model["version"]) == ("machine-learning-model", "taxi", "3")
    files = {one["name"]: one["hashes"][0]["content"] for one in model["components"]}
    assert files == {
        name.removeprefix("models/taxi/3/"): digest_of(
            content.encode() if isinstance(content, str) else content
        ).removeprefix("sha256:")
        for name, content in MODEL.items()
    }
    properties = {one["name"]: one["value"] for one in model["properties"]}
    assert properties["dev.lading:model.recipe"] == "fashion_mnist"
    config = json.loads(
        b"".join(
            store.blob(json.loads(store.manifest(digest, deadline=soon()).content)["config"]["digest"], deadline=soon())
        )
    )
    assert properties["dev.lading:model.diff-id"] == config["rootfs"]["diff_ids"][-1]


def test_the_same_image_gives_the_same_bytes_anywhere(tmp_path: Path) -> None:
    one, two = Layout(tmp_path / "one"), Layout(tmp_path / "two", "lading.local/taxi")
    digest = write_image(one)
    assert write_image(two) == digest
    assert canonical_json(make_sbom(one, digest, deadline=soon())) == canonical_json(
        make_sbom(two, digest, deadline=soon())
    )
    other = write_image(one, [BASE, {"models/taxi/3/saved_model.pb": b"other"}], tag="v2")
    serials = {make_sbom(one, which, deadline=soon())["serialNumber"] for which in (digest, other)}
    assert len(serials) == 2


def test_upper_layers_replace_and_remove(store: Layout) -> None:
    metadata = "lib/{0}.dist-info/METADATA"
    below = {metadata.format(name): f"Name: {name}\nVersion: 1\n" for name in ("kept", "updated", "removed", "shadow")}
    below["opt/a/x.dist-info/METADATA"] = below["opt/b/y.dist-info/METADATA"] = "Name: emptied\nVersion: 1\n"
    above = {
        metadata.format("updated"): "Name: updated\nVersion: 2\n",
        "lib/.wh.removed.dist-info": "",
        "lib/shadow.dist-info": "a file where a directory was",
        "opt/a/.wh..wh..opq": "",
        "opt/a/z.dist-info/METADATA": "Name: new\nVersion: 1\n",
        "opt/.wh.b": "",
    }
    document = make_sbom(store, write_image(store, [below, above]), deadline=soon())
    assert [one["purl"] for one in document["components"] if "pypi" in one.get("purl", "")] == [
        "pkg:pypi/kept@1",
        "pkg:pypi/new@1",
        "pkg:pypi/updated@2",
    ]


def in_members(raw: bytes) -> bytes:
    """A gzip of many members, filled up with zeros, as some writers make them."""
    return b"".join(gzip.compress(raw[start : start + 70_000]) for start in range(0, len(raw), 70_000)) + bytes(512)


def cut_off(raw: bytes) -> bytes:
    return gzip.compress(raw)[:-30]


def as_zstd(raw: bytes) -> bytes:
    """Two frames, then one that is to be skipped, in which some tools keep a table of contents."""
    half = len(raw) // 2
    skipped = b"\x50\x2a\x4d\x18" + struct.pack("<I", 8) + b"contents"  # RFC 8878, 3.1.2
    return zstd.compress(raw[:half]) + zstd.compress(raw[half:]) + skipped


def cut_off_zstd(raw: bytes) -> bytes:
    return zstd.compress(raw)[:-30]


def damaged_zstd(raw: bytes) -> bytes:
    return zstd.compress(raw) + b"no frame"


def as_it_is(raw: bytes) -> bytes:
    return raw


def test_layers_may_be_plain_tars_and_packed_in_several_members(store: Layout) -> None:
    usual = components(make_sbom(store, write_image(store), deadline=soon()))
    for pack in (as_it_is, in_members, as_zstd):
        assert components(make_sbom(store, write_image(store, pack=pack), deadline=soon())) == usual


@pytest.mark.parametrize(
    ("pack", "words"), [(cut_off, "cut off"), (cut_off_zstd, "cut off"), (damaged_zstd, "is damaged: .*frame")]
)
def test_a_layer_that_is_damaged_is_told(store: Layout, pack: Callable[[bytes], bytes], words: str) -> None:
    with pytest.raises(StorageError, match=words):
        make_sbom(store, write_image(store, pack=pack), deadline=soon())


def test_zstd_without_its_library_is_refused_in_a_sentence(store: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "backports.zstd", None)  # as if it were not installed
    monkeypatch.delattr("backports.zstd", raising=False)
    with pytest.raises(Unsupported, match=r"zstd, .*pip install 'lading\[zstd\]'.*skopeo"):
        make_sbom(store, write_image(store, pack=as_zstd), deadline=soon())


@pytest.mark.parametrize("pack", [gzip.compress, as_zstd])
def test_what_unpacks_to_far_more_is_read_in_little_memory(store: Layout, pack: Callable[[bytes], bytes]) -> None:
    digest = write_image(store, [BASE, {**MODEL, "models/taxi/3/zeros": bytes(60_000_000)}], pack=pack)
    tracemalloc.start()
    make_sbom(store, digest, deadline=soon())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


def test_an_index_is_refused(store: Layout) -> None:
    image = store.manifest(write_image(store), deadline=soon())
    content = canonical_json({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [image.descriptor.to_dict()]})
    store.write_manifest(Manifest(content, INDEX_TYPE, digest_of(content)), deadline=soon())
    with pytest.raises(InvalidReference, match=r"index.*by its digest"):
        make_sbom(store, digest_of(content), deadline=soon())


def test_an_image_without_a_model_or_packages(store: Layout) -> None:
    write_blob(store, b"", LAYER_TYPE, soon())
    document = make_sbom(store, write_image(store, [{"hello": "world"}]), deadline=soon())
    assert [one["bom-ref"] for one in document["components"]] == ["pkg:generic/python@3.12.7"]


def test_the_command_prints_and_writes_it(store: Layout, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_image(store)
    assert main(["sbom", f"oci:{store.directory}"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert main(["sbom", f"oci:{store.directory}:v1", "--out", str(tmp_path / "s.json")]) == 0
    assert json.loads((tmp_path / "s.json").read_text()) == printed
    assert main(["sbom", f"oci:{store.directory}", "--key", "x"]) == 2
