"""Copies of images between places of every kind."""

import json
from pathlib import Path

import pytest
from fakes.fault_proxy import FaultProxy
from fakes.registry import FakeRegistry
from sample_images import Sample, blob_of, complete, sample_image, sample_index, write
from soon import soon

from lading.errors import InvalidReference, NotFound, ServiceUnreachable, StorageError
from lading.files import state_dir
from lading.oci.archive import Archive
from lading.oci.connect import open_place
from lading.oci.copy import Moved, copy_blobs, copy_image
from lading.oci.image import MANIFEST_TYPE, digest_of
from lading.oci.layout import Layout
from lading.oci.platform import Platform
from lading.oci.registry import Registry
from lading.oci.store import Blob, Manifest, Store
from lading.wait import Deadline


def place(kind: str, registry: FakeRegistry, folder: Path) -> Store:
    texts = {
        "registry": f"{registry.host}/team/{folder.name}",
        "layout": f"oci:{folder}",
        "archive": f"archive:{folder}.tar",
        "local": f"lading.local/{folder.name}",
    }
    return open_place(texts[kind], environ={"HOME": str(folder.parent)}).store


class Seen:
    """A progress that remembers."""

    def __init__(self) -> None:
        self.expected = self.came = 0

    def expect(self, size: int) -> None:
        self.expected += size

    def done(self, size: int) -> None:
        self.came += size


IMAGES = [
    sample_image(),
    sample_image(docker=True),
    sample_image(sizes=()),
    sample_image(sizes=(10, 10)),
    sample_index(),
    sample_index(docker=True),
]


@pytest.mark.parametrize("origin", ["registry", "layout", "archive", "local"])
@pytest.mark.parametrize("destination", ["registry", "layout", "archive", "local"])
def test_an_image_is_copied_as_it_is(registry: FakeRegistry, tmp_path: Path, origin: str, destination: str) -> None:
    for number, image in enumerate(IMAGES):
        there = place(origin, registry, tmp_path / f"from{number}")
        write(image, there, tag="v1")
        here, seen = place(destination, registry, tmp_path / f"to{number}"), Seen()
        copied, _ = copy_image(there, here, image.manifest, tag="v2", deadline=soon(), progress=seen)
        assert copied == image.manifest
        again = place(destination, registry, tmp_path / f"to{number}")
        assert again.manifest("v2", deadline=soon()) == image.manifest  # its media types and its digest too
        assert complete(again, "v2") == image.digests
        assert seen.expected == seen.came > 0


def test_what_moved_is_told(registry: FakeRegistry, tmp_path: Path) -> None:
    image, origin = sample_image(), place("layout", registry, tmp_path / "a")
    write(image, origin)
    size = sum(blob.descriptor.size for blob in image.blobs)
    one, two = (place("registry", registry, tmp_path / name) for name in ("one", "two"))
    assert copy_image(origin, one, image.manifest, deadline=soon())[1] == Moved(sent=size, found=0)
    assert copy_image(origin, one, image.manifest, deadline=soon())[1] == Moved(sent=0, found=size)
    assert copy_image(one, two, image.manifest, deadline=soon())[1] == Moved(sent=0, found=size)


def test_of_an_index_one_image_is_copied_when_a_platform_is_named(registry: FakeRegistry, tmp_path: Path) -> None:
    index, origin = sample_index(), place("layout", registry, tmp_path / "a")
    write(index, origin)
    arm = Platform.parse("linux/arm64")
    here = place("archive", registry, tmp_path / "b")
    copied, _ = copy_image(origin, here, index.manifest, platform=arm, deadline=soon())
    assert copied == index.parts[1].manifest
    assert complete(here, "") == index.parts[1].digests
    with pytest.raises(NotFound, match="linux/s390x"):
        copy_image(origin, here, index.manifest, platform=Platform.parse("linux/s390x"), deadline=soon())


def test_a_layer_that_is_not_ours_to_give_stays_away(registry: FakeRegistry, tmp_path: Path) -> None:
    image, origin = sample_image(), Layout(tmp_path / "a")
    write(image, origin)
    body = json.loads(image.manifest.content)
    foreign = blob_of(b"windows", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip")
    body["layers"].append({**foreign.descriptor.to_dict(), "urls": ["https://example.org/windows"]})
    content = json.dumps(body).encode()
    manifest = Manifest(content, MANIFEST_TYPE, digest_of(content))
    here = Layout(tmp_path / "b")
    copy_image(origin, here, manifest, deadline=soon())
    assert not here.has_blob(foreign.descriptor.digest, deadline=soon())
    assert here.manifest("", deadline=soon()) == manifest


class Stuck:
    """A reader that gives one piece and then waits for the test to end."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline

    def read(self, size: int) -> bytes:
        self._deadline.sleep(0.02)
        return b"" if self._deadline.passed else b"x"

    def __enter__(self) -> "Stuck":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def close(self) -> None:
        pass


def test_the_first_failure_ends_the_other_transfers(registry: FakeRegistry, tmp_path: Path) -> None:
    origin, here = Layout(tmp_path / "a"), place("registry", registry, tmp_path / "taxi")
    image = sample_image(sizes=(100,) * 3)
    write(image, origin)
    origin.path_of(image.blobs[1].descriptor.digest).write_bytes(b"damaged")
    end = soon(30)
    long = blob_of(b"x" * 10_000_000)
    endless = Blob(long.descriptor, lambda: Stuck(end))  # type: ignore[arg-type,return-value]
    descriptors = [blob.descriptor for blob in image.blobs]
    with pytest.raises(StorageError, match=r"other bytes|change meanwhile"):
        copy_blobs(origin, here, descriptors, extra=[endless], deadline=soon())
    assert not end.passed
    assert not registry.tags("team/taxi")


def test_a_part_that_is_missing_tags_nothing(registry: FakeRegistry, tmp_path: Path) -> None:
    index, origin = sample_index(), Layout(tmp_path / "a")
    write(index, origin)
    origin.path_of(index.parts[1].blobs[1].descriptor.digest).unlink()
    for kind in ("registry", "layout", "archive"):
        here = place(kind, registry, tmp_path / "taxi")
        with pytest.raises(NotFound, match="is not there"):
            copy_image(origin, here, index.manifest, tag="v1", deadline=soon())
        with pytest.raises(NotFound):
            here.manifest("v1", deadline=soon())


@pytest.mark.parametrize(
    "content", [b"{}", b"[]", b"no json", b'{"config": {"digest": "sha256:../../x", "size": 1}, "layers": []}']
)
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    manifest = Manifest(content, MANIFEST_TYPE, digest_of(content))
    with pytest.raises(InvalidReference):
        copy_image(Layout(tmp_path / "a"), Layout(tmp_path / "b"), manifest, deadline=soon())


def test_over_a_bad_line_an_image_is_read_to_its_end(registry: FakeRegistry, tmp_path: Path) -> None:
    images: list[Sample] = [sample_image(seed, sizes=(300, 2_500_000)) for seed in range(6)]
    for number, image in enumerate(images):
        write(image, Registry(registry.host, "team/base", environ={"HOME": "/nonexistent"}), tag=f"v{number}")
    proxy = FaultProxy(registry.host, seed=3, faulty=0.35)
    origin = Registry(proxy.host, "team/base", environ={"HOME": "/nonexistent"})
    try:
        for number, image in enumerate(images):
            here = Archive(tmp_path / f"{number}.tar")
            copy_image(origin, here, origin.manifest(f"v{number}", deadline=soon()), deadline=soon())
            assert complete(here, "") == image.digests
    finally:
        proxy.close()
    assert proxy.met["cut answer"] > 0


def test_a_registry_that_breaks_off_again_and_again_is_given_up(registry: FakeRegistry, tmp_path: Path) -> None:
    image, origin = sample_image(), place("registry", registry, tmp_path / "base")
    write(image, origin)
    registry.cut_after = 0
    with pytest.raises(ServiceUnreachable, match="the connection was lost"):
        copy_image(origin, Layout(tmp_path / "here"), image.manifest, deadline=soon())
    assert not (tmp_path / "here" / "index.json").exists()


@pytest.mark.parametrize(
    ("text", "repository", "tag", "digest"),
    [
        ("oci:a/b", "oci:a/b", "", ""),
        ("oci:a/b:v1", "oci:a/b", "v1", ""),
        ("oci:/a:b/c", "oci:/a:b/c", "", ""),
        ("archive:taxi.tar", "archive:taxi.tar", "", ""),
        ("archive:C:taxi.tar", "archive:C:taxi.tar", "", ""),
        ("lading.local/taxi:v1", "lading.local/taxi", "v1", ""),
        ("example.org:5000/a/b:v1", "example.org:5000/a/b", "v1", ""),
        ("python", "python", "", ""),
    ],
)
def test_places_are_read(text: str, repository: str, tag: str, digest: str) -> None:
    found = open_place(text, environ={"HOME": "/home/x"})
    assert (found.store.repository, found.tag, found.digest) == (repository, tag, digest)
    with_digest = open_place(f"{text}@sha256:{'0' * 64}", environ={"HOME": "/home/x"})
    assert (with_digest.store.repository, with_digest.wanted) == (repository, f"sha256:{'0' * 64}")
    with pytest.raises(InvalidReference, match="to write to"):
        open_place(f"{text}@sha256:{'0' * 64}", environ={"HOME": "/home/x"}, writable=True)


@pytest.mark.parametrize(
    "text", ["", "oci:", "archive:", "oci:a@sha256:12", "archive:@", "UPPER/case", "https://x.y/z"]
)
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(InvalidReference, match="expected"):
        open_place(text, environ={"HOME": "/home/x"})


def test_the_image_store_lies_in_the_state_directory(tmp_path: Path) -> None:
    environ = {"XDG_STATE_HOME": str(tmp_path)}
    write(sample_image(), open_place("lading.local/taxi", environ=environ, writable=True).store)
    assert (state_dir(environ) / "local" / "images" / "index.json").is_file()
