"""Layers of container images, also of those that mean harm."""

import io
import tarfile
from pathlib import Path

import pytest

from lading.errors import StorageError
from lading.local.unpacking import unpack_image


def layer(path: Path, *entries: tuple[str, str, str]) -> Path:
    """A layer of ``(kind, name, content or target)``."""
    kinds = {"file": tarfile.REGTYPE, "link": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "dir": tarfile.DIRTYPE}
    kinds["device"] = tarfile.CHRTYPE
    with tarfile.open(path, "w") as tar:
        for kind, name, text in entries:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = kinds[kind], 0o500 if kind == "dir" else 0o644
            if kind in ("link", "hard"):
                entry.linkname = text
            entry.size = len(text) if kind == "file" else 0
            tar.addfile(entry, io.BytesIO(text.encode()))
    return path


def files(root: Path) -> dict[str, str]:
    return {
        str(p.relative_to(root)): p.read_text()
        for p in sorted(root.rglob("*"))
        if p.is_file() and not p.is_symlink() and p.parent.name != "etc"
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def test_a_later_layer_adds_replaces_and_removes(root: Path, tmp_path: Path) -> None:
    first = layer(
        tmp_path / "1",
        ("file", "a", "1"), ("file", "d/b", "1"), ("file", "d/c", "1"), ("file", "o/x", "1"), ("file", "f", "file"),
        ("hard", "d/same", "d/b"), ("dir", "closed", ""), ("file", "closed/in", "1"), ("device", "dev/null", ""),
    )  # fmt: skip
    second = layer(
        tmp_path / "2",
        ("file", "a", "2"), ("file", "d/.wh.b", ""), ("file", "o/y", "2"), ("file", "o/.wh..wh..opq", ""),
        ("dir", "f", ""), ("file", "f/now", "2"), ("file", "closed/more", "2"),
    )  # fmt: skip
    unpack_image([first, second], root)

    assert files(root) == {
        "a": "2", "d/c": "1", "d/same": "1", "o/y": "2", "f/now": "2", "closed/in": "1", "closed/more": "2",
    }  # fmt: skip
    assert not (root / "dev/null").exists()
    assert (root / "tmp").is_dir()


@pytest.mark.parametrize(
    "entries",
    [
        [("link", "way", "/../../outside"), ("file", "way/file", "x")],
        [("link", "way", "../../outside"), ("file", "way/file", "x")],
        [("file", "../outside/file", "x")],
        [("file", "/outside/file", "x")],
        [("link", "way", ".."), ("file", "way/outside/file", "x")],
        [("link", "way", "../outside"), ("file", "way/.wh.there", "")],
        [("link", "way", "../outside"), ("dir", "way", ""), ("file", "way/file", "x")],
    ],
)
def test_nothing_leaves_the_directory(root: Path, tmp_path: Path, entries: list[tuple[str, str, str]]) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "there").write_text("mine")
    unpack_image([layer(tmp_path / "layer", *entries)], root)

    assert [p.name for p in (tmp_path / "outside").iterdir()] == ["there"]


@pytest.mark.parametrize(
    "entries",
    [
        [("hard", "mine", "../outside/there")],
        [("link", "a", "b"), ("link", "b", "a"), ("file", "a/x", "")],
        [("file", "a", ""), ("file", "a/b", "")],
    ],
)
def test_what_cannot_be_is_refused(root: Path, tmp_path: Path, entries: list[tuple[str, str, str]]) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "there").write_text("mine")
    with pytest.raises(StorageError, match="cannot unpack layer"):
        unpack_image([layer(tmp_path / "layer", *entries)], root)


def test_a_damaged_layer_is_named(root: Path, tmp_path: Path) -> None:
    (tmp_path / "layer").write_bytes(b"\x28\xb5\x2f\xfd not a tar")

    with pytest.raises(StorageError, match="gzip"):
        unpack_image([tmp_path / "layer"], root)
