import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lading.errors import InvalidInput, InvalidModel, NotFound, StorageError
from lading.oci.layer import Entry, Layer, plan_entries, plan_layer, unpack


def sample(root: Path, *, mtime: int, umask: int) -> Path:
    """The same files, whatever the clock and the umask."""
    old = os.umask(umask)
    try:
        (root / "variables").mkdir(parents=True)
        (root / "variables" / "data").write_bytes(os.urandom(0) + bytes(range(256)) * 1000)  # more than one block
        (root / "saved_model.pb").write_bytes(b"graph")
        (root / "empty").write_bytes(b"")
        (root / "run.sh").write_bytes(b"#!/bin/sh\n")
        (root / "run.sh").chmod(0o700)
        (root / ("long-" * 30)).write_bytes(b"a name that needs a PAX header")
    finally:
        os.umask(old)
    for path in root.rglob("*"):
        os.utime(path, (mtime, mtime))
    return root


def content(layer: Layer, size: int = -1) -> bytes:
    """All bytes of a layer, read in pieces of up to ``size``."""
    with layer.blob.open() as reader:
        return b"".join(iter(lambda: reader.read(size), b""))


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    one = plan_layer(sample(tmp_path / "one", mtime=1, umask=0o022), "models/m/1")
    two = plan_layer(sample(tmp_path / "two", mtime=2_000_000_000, umask=0o077), "models/m/1")
    assert (one.descriptor, one.diff_id, one.files) == (two.descriptor, two.diff_id, two.files)
    assert content(one) == content(two)


def test_the_bytes_have_not_changed_since_they_were_first_released(tmp_path: Path) -> None:
    layer = plan_layer(sample(tmp_path / "m", mtime=1, umask=0o022), "models/m/1")
    assert layer.diff_id == "sha256:684f5994f2114652931da09561c6c5a7d949c1c7015539506af167a9a527f5cb"
    assert layer.descriptor.digest == "sha256:5e5732af096cfa2d08d5113ea2f15257cab6c5ed3d527db432bffd296525d2ab"


def test_the_layer_is_a_gzip_of_a_tar_and_its_digests_are_right(tmp_path: Path) -> None:
    layer = plan_layer(sample(tmp_path / "m", mtime=1, umask=0o022), "models/m/1")
    packed = content(layer)
    inner = gzip.decompress(packed)
    assert layer.descriptor.digest == "sha256:" + hashlib.sha256(packed).hexdigest()
    assert layer.diff_id == "sha256:" + hashlib.sha256(inner).hexdigest()
    assert layer.descriptor.size == len(packed)
    with tarfile.open(fileobj=io.BytesIO(inner)) as tar:
        members = {m.name: m for m in tar.getmembers()}
    assert list(members)[:3] == ["models", "models/m", "models/m/1"]
    assert {(m.uid, m.gid, m.uname, m.mtime) for m in members.values()} == {(0, 0, "", 0)}
    assert members["models/m/1/run.sh"].mode == 0o755
    assert members["models/m/1/saved_model.pb"].mode == 0o644


def test_what_is_packed_can_be_unpacked(tmp_path: Path) -> None:
    source = sample(tmp_path / "m", mtime=1, umask=0o022)
    (tmp_path / "layer").write_bytes(content(plan_layer(source, "models/m/1")))
    (tmp_path / "out").mkdir()
    unpack(tmp_path / "layer", tmp_path / "out")
    for path in source.rglob("*"):
        if path.is_file():
            assert (tmp_path / "out/models/m/1" / path.relative_to(source)).read_bytes() == path.read_bytes()


def test_a_link_is_refused_by_name(tmp_path: Path) -> None:
    source = sample(tmp_path / "m", mtime=1, umask=0o022)
    (source / "secret").symlink_to("/etc/hostname")
    with pytest.raises(InvalidModel, match=r"only files and directories to package, found .*/secret"):
        plan_layer(source, "models/m/1")


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "a/../../outside"])
def test_nothing_leaves_the_directory(tmp_path: Path, name: str) -> None:
    layer = tmp_path / "evil"
    with tarfile.open(layer, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo(name))
    (tmp_path / "in" / "here").mkdir(parents=True)
    with pytest.raises(StorageError, match="lie inside, found"):
        unpack(layer, tmp_path / "in" / "here")
    assert not (tmp_path / "in" / "outside").exists()
    assert not Path("/etc/outside").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_neither_links_nor_devices_are_unpacked(tmp_path: Path, kind: bytes) -> None:
    layer = tmp_path / "evil"
    with tarfile.open(layer, "w:gz") as tar:
        entry = tarfile.TarInfo("way-out")
        entry.type, entry.linkname = kind, "/etc"
        tar.addfile(entry)
    (tmp_path / "here").mkdir()
    with pytest.raises(StorageError, match="way-out"):
        unpack(layer, tmp_path / "here")
    assert list((tmp_path / "here").iterdir()) == []


def test_a_damaged_layer_is_refused(tmp_path: Path) -> None:
    layer = plan_layer(sample(tmp_path / "m", mtime=1, umask=0o022), "models/m/1")
    (tmp_path / "layer").write_bytes(content(layer)[:-200_000])
    (tmp_path / "out").mkdir()
    with pytest.raises(StorageError, match="cannot unpack layer"):
        unpack(tmp_path / "layer", tmp_path / "out")


@pytest.mark.parametrize("size", [1, 7, 512, 65_535, 1 << 20, -1])
def test_a_layer_is_read_in_pieces_of_any_size(tmp_path: Path, size: int) -> None:
    root = tmp_path / "m"
    root.mkdir()
    (root / "weights").write_bytes(bytes(range(251)) * (40 if size == 1 else 9000))  # more than one piece
    layer = plan_layer(root, "m")
    packed = content(layer, size)
    assert (len(packed), "sha256:" + hashlib.sha256(packed).hexdigest()) == (
        layer.descriptor.size,
        layer.descriptor.digest,
    )
    assert content(layer) == packed


def test_every_file_has_its_digest(tmp_path: Path) -> None:
    layer = plan_layer(sample(tmp_path / "m", mtime=1, umask=0o022), "models/m/1")
    for name, digest in layer.files.items():
        file = tmp_path / "m" / name.removeprefix("models/m/1/")
        assert digest.size == file.stat().st_size
        assert digest.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert len(layer.files) == 5


def test_without_compression_a_layer_is_the_tar_itself(tmp_path: Path) -> None:
    source = sample(tmp_path / "m", mtime=1, umask=0o022)
    stored, plain = plan_layer(source, "m"), plan_layer(source, "m", codec="none")
    assert plain.diff_id == stored.diff_id == plain.descriptor.digest
    assert plain.descriptor.media_type == "application/vnd.oci.image.layer.v1.tar"
    assert content(plain) == gzip.decompress(content(stored))
    assert len(content(plain)) == plain.descriptor.size
    assert plain.files == stored.files


def test_compression_is_the_same_files_in_fewer_bytes(tmp_path: Path) -> None:
    source = sample(tmp_path / "m", mtime=1, umask=0o022)
    stored, squeezed = plan_layer(source, "m"), plan_layer(source, "m", codec="gzip")
    assert stored.diff_id == squeezed.diff_id
    assert squeezed.descriptor.size < stored.descriptor.size / 10
    assert gzip.decompress(content(squeezed)) == gzip.decompress(content(stored))
    assert len(content(squeezed)) == squeezed.descriptor.size
    with pytest.raises(InvalidInput, match="expected the compression stored, gzip, none, received 'zip'"):
        plan_layer(source, "m", codec="zip")


def test_a_layer_of_single_files() -> None:
    entries = [Entry("b/c/run", b"#!", executable=True), Entry("a", b""), Entry("b/empty", None)]
    one, two = plan_entries(entries), plan_entries(reversed(entries))
    assert one.descriptor == two.descriptor
    with tarfile.open(fileobj=io.BytesIO(content(one))) as tar:
        assert [(m.name, m.isdir(), m.mode) for m in tar] == [
            ("a", False, 0o644),
            ("b", True, 0o755),
            ("b/c", True, 0o755),
            ("b/c/run", False, 0o755),
            ("b/empty", True, 0o755),
        ]
    with pytest.raises(InvalidInput, match="expected every name once in a layer, received a twice"):
        plan_entries([Entry("a", b"1"), Entry("/a", b"2")])


def test_a_directory_for_everybody(tmp_path: Path) -> None:
    (tmp_path / "layer").write_bytes(content(plan_entries([Entry("/gcs", None, shared=True), Entry("etc/x", b"")])))
    with tarfile.open(tmp_path / "layer") as tar:
        assert {entry.name: entry.mode for entry in tar} == {"etc": 0o755, "etc/x": 0o644, "gcs": 0o1777}


def rewrite(file: Path) -> None:
    stat = file.stat()
    file.write_bytes(b"other" + file.read_bytes()[5:])
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.write_bytes(file.read_bytes() + b"more"), "data was changed while it was packaged"),
        (lambda file: file.write_bytes(b"less"), "data was changed while it was packaged"),
        (lambda file: os.utime(file, ns=(1, 1)), "data was changed while it was packaged"),
        (rewrite, "a file of a layer was changed while it was packaged"),
        (lambda file: file.unlink(), "cannot read .*/data, which is to be packaged: No such file"),
    ],
    ids=["longer", "shorter", "touched", "rewritten", "removed"],
)
def test_files_that_change_meanwhile_are_noticed(
    tmp_path: Path, change: Callable[[Path], object], message: str
) -> None:
    source = sample(tmp_path / "m", mtime=1, umask=0o022)
    layer = plan_layer(source, "m")
    change(source / "variables" / "data")
    with pytest.raises(StorageError, match=message):
        content(layer)


def test_a_directory_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match="expected a directory to package"):
        plan_layer(tmp_path / "nothing", "m")


def test_planning_ends_when_something_else_fails(tmp_path: Path) -> None:
    (tmp_path / "weights").touch()
    os.truncate(tmp_path / "weights", 1 << 40)  # would take an hour
    calls: list[int] = []

    def check() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise NotFound("no such base")

    with pytest.raises(NotFound, match="no such base"):
        plan_layer(tmp_path, "m", check=check)


LARGE = """
import re, sys
from pathlib import Path
from lading.oci.layer import plan_layer
layer = plan_layer(Path(sys.argv[1]), "m")
with layer.blob.open() as reader:
    while reader.read(1 << 20):
        pass
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


def test_a_large_model_takes_little_memory(tmp_path: Path) -> None:
    (tmp_path / "weights").touch()
    os.truncate(tmp_path / "weights", 200_000_000)
    done = subprocess.run([sys.executable, "-c", LARGE, str(tmp_path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 60_000  # KiB
