"""Archives: one tar that everybody's loader takes, and that appears whole or not at all."""

import gc
import io
import json
import tarfile
from pathlib import Path

import pytest
from sample_images import blob_of, complete, sample_image, sample_index, write
from soon import soon

from lading.errors import NotFound, StorageError
from lading.oci.archive import Archive
from lading.oci.attach import Artifact, attach, attached_to
from lading.oci.copy import copy_image
from lading.oci.layout import Layout
from lading.oci.store import Blob


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path, "r:") as tar:
        entries = tar.getmembers()
        assert {(e.uid, e.gid, e.uname, e.mtime, e.mode) for e in entries} == {(0, 0, "", 0, 0o644)}
        return {e.name: tar.extractfile(e).read() for e in entries}  # type: ignore[union-attr]


def test_an_archive_is_a_layout_and_what_docker_saves(tmp_path: Path) -> None:
    image = sample_image()
    write(image, Archive(tmp_path / "Taxi v1.tar"))
    found = members(tmp_path / "Taxi v1.tar")
    assert json.loads(found["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = json.loads(found["index.json"])["manifests"]
    assert entry["annotations"]["io.containerd.image.name"] == "docker.io/library/taxi-v1:latest"
    (docker,) = json.loads(found["manifest.json"])
    assert docker["RepoTags"] == ["taxi-v1:latest"]
    assert json.loads(found[docker["Config"]])["os"] == "linux"
    assert [found[name] for name in docker["Layers"]] == [blob.open().read() for blob in image.blobs[1:]]
    assert [path.name for path in tmp_path.iterdir()] == ["Taxi v1.tar"]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    image = sample_image()
    write(image, Archive(tmp_path / "taxi.tar"))
    again = Archive(tmp_path / "taxi.tar")
    assert again.repository == f"archive:{tmp_path}/taxi.tar"
    assert again.manifest("", deadline=soon()) == image.manifest
    assert complete(again, image.manifest.digest) == image.digests
    assert again.has_blob(image.blobs[0].descriptor.digest, deadline=soon())
    with pytest.raises(NotFound, match="is not in it"):
        list(again.blob("sha256:" + "0" * 64, deadline=soon()))


def test_the_same_image_is_the_same_archive(tmp_path: Path) -> None:
    image, origin = sample_image(sizes=(10, 20, 30, 40_000)), Layout(tmp_path / "layout")
    write(image, origin)
    for folder in ("one", "two"):
        copy_image(origin, Archive(tmp_path / folder / "taxi.tar"), image.manifest, deadline=soon())
    assert (tmp_path / "one" / "taxi.tar").read_bytes() == (tmp_path / "two" / "taxi.tar").read_bytes()


def test_an_index_is_archived_with_its_images(tmp_path: Path) -> None:
    index = sample_index()
    write(index, Archive(tmp_path / "taxi.tar"))
    assert complete(Archive(tmp_path / "taxi.tar"), "") == index.digests
    found = members(tmp_path / "taxi.tar")
    assert len(json.loads(found["index.json"])["manifests"]) == 1
    (docker,) = json.loads(found["manifest.json"])
    assert json.loads(found[docker["Config"]])["architecture"] == "amd64"


def test_nothing_is_seen_of_an_image_before_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "taxi.tar"
    path.write_bytes(b"what was there before")
    there, image = Archive(path), sample_image()
    for blob in image.blobs:
        there.write_blob(blob, deadline=soon())
    assert path.read_bytes() == b"what was there before"
    del there  # given up
    gc.collect()
    assert [one.name for one in tmp_path.iterdir()] == ["taxi.tar"]
    write(image, Archive(path))
    assert complete(Archive(path), "") == image.digests


def test_a_statement_is_added_to_what_is_there(tmp_path: Path) -> None:
    image, signature = sample_image(), sample_image(2)
    there = Archive(tmp_path / "taxi.tar")
    write(image, there, tag="v1")
    first = (tmp_path / "taxi.tar").read_bytes()
    tag = image.manifest.digest.replace(":", "-") + ".sig"
    write(signature, there, tag=tag)
    again = Archive(tmp_path / "taxi.tar")
    assert again.manifest("", deadline=soon()) == image.manifest
    assert again.manifest(tag, deadline=soon()) == signature.manifest
    assert complete(again, "v1") | complete(again, tag) == image.digests | signature.digests
    assert len(json.loads(members(tmp_path / "taxi.tar")["manifest.json"])) == 1  # docker load gets the image alone
    assert first != (tmp_path / "taxi.tar").read_bytes()


def test_an_image_in_an_archive_can_be_signed_later(tmp_path: Path) -> None:
    image = sample_image()
    write(image, Archive(tmp_path / "taxi.tar"))
    later = Archive(tmp_path / "taxi.tar")
    attach(later, image.manifest.digest, [Artifact("application/vnd.test", b"{}")], deadline=soon())
    again = Archive(tmp_path / "taxi.tar")
    assert again.manifest("", deadline=soon()) == image.manifest
    assert complete(again, "") == image.digests
    (found,) = attached_to(again, image.manifest.digest, deadline=soon())
    assert complete(again, found.digest)
    assert len(json.loads(members(tmp_path / "taxi.tar")["manifest.json"])) == 1


def test_a_blob_that_fails_leaves_no_part(tmp_path: Path) -> None:
    there, image = Archive(tmp_path / "taxi.tar"), sample_image()
    for content in (b"weight", b"WEIGHTS"):
        with pytest.raises(StorageError, match=r"expected .* read"):
            there.write_blob(Blob(blob_of(b"weights").descriptor, blob_of(content).open), deadline=soon())
    write(image, there)
    assert set(members(tmp_path / "taxi.tar")) == {
        *(f"blobs/{digest.replace(':', '/')}" for digest in {*image.digests, image.manifest.digest}),
        "index.json",
        "oci-layout",
        "manifest.json",
    }


def test_what_is_no_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"taxi\.tar: there is no such file"):
        Archive(tmp_path / "taxi.tar").manifest("", deadline=soon())
    (tmp_path / "taxi.tar").write_bytes(b"no tar" * 1000)
    with pytest.raises(StorageError, match="expected an uncompressed tar"):
        Archive(tmp_path / "taxi.tar").manifest("", deadline=soon())
    with tarfile.open(tmp_path / "old.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("manifest.json"), io.BytesIO())
    with pytest.raises(StorageError, match="skopeo copy docker-archive:FILE"):
        Archive(tmp_path / "old.tar").manifest("", deadline=soon())


def test_what_is_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "taxi.tar").mkdir()
    with pytest.raises(StorageError, match="there is a directory"):
        write(sample_image(), Archive(tmp_path / "taxi.tar"))
    (tmp_path / "file").write_bytes(b"")
    for place in (Archive(tmp_path / "file" / "taxi.tar"), Layout(tmp_path / "file")):
        with pytest.raises(StorageError, match="in the way"):
            write(sample_image(), place)


def test_a_damaged_archive_is_noticed(tmp_path: Path) -> None:
    image = sample_image()
    write(image, Archive(tmp_path / "taxi.tar"))
    raw = bytearray((tmp_path / "taxi.tar").read_bytes())
    layer = image.blobs[2].open().read()
    raw[raw.index(layer) + 5] ^= 1
    (tmp_path / "taxi.tar").write_bytes(raw)
    with pytest.raises(StorageError, match="is damaged"):
        complete(Archive(tmp_path / "taxi.tar"), "")
    (tmp_path / "taxi.tar").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(StorageError):
        complete(Archive(tmp_path / "taxi.tar"), "")
