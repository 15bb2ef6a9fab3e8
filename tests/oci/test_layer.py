import gzip
import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest

from lading.errors import InvalidModel, StorageError
from lading.oci.layer import unpack, write_layer


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


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    one = write_layer(sample(tmp_path / "one", mtime=1, umask=0o022), "models/m/1", tmp_path / "one.layer")
    two = write_layer(sample(tmp_path / "two", mtime=2_000_000_000, umask=0o077), "models/m/1", tmp_path / "two.layer")
    assert one.descriptor == two.descriptor
    assert one.path.read_bytes() == two.path.read_bytes()


def test_the_layer_is_a_gzip_of_a_tar_and_its_digests_are_right(tmp_path: Path) -> None:
    layer = write_layer(sample(tmp_path / "m", mtime=1, umask=0o022), "models/m/1", tmp_path / "layer")
    packed = layer.path.read_bytes()
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
    layer = write_layer(source, "models/m/1", tmp_path / "layer")
    (tmp_path / "out").mkdir()
    unpack(layer.path, tmp_path / "out")
    for path in source.rglob("*"):
        if path.is_file():
            assert (tmp_path / "out/models/m/1" / path.relative_to(source)).read_bytes() == path.read_bytes()


def test_a_link_is_refused_by_name(tmp_path: Path) -> None:
    source = sample(tmp_path / "m", mtime=1, umask=0o022)
    (source / "secret").symlink_to("/etc/hostname")
    with pytest.raises(InvalidModel, match=r"only files and directories to package, found .*/secret"):
        write_layer(source, "models/m/1", tmp_path / "layer")


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
    layer = write_layer(sample(tmp_path / "m", mtime=1, umask=0o022), "models/m/1", tmp_path / "layer")
    layer.path.write_bytes(layer.path.read_bytes()[:-200_000])
    (tmp_path / "out").mkdir()
    with pytest.raises(StorageError, match="cannot unpack layer"):
        unpack(layer.path, tmp_path / "out")
