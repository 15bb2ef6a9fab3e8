"""The files of a container image: its layers one over the other, with links, permissions and whiteouts.

Source: OCI image specification 1.1, ``layer.md``. Nothing is written outside the directory, whatever a layer says:
names and links are followed as they would be inside of the image.
"""

import os
import shutil
import stat
import tarfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from lading.errors import StorageError
from lading.files import storage_errors

_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"
_MOST_LINKS = 40  # as the kernel's own limit
_COPY_BYTES = 1 << 20
# What an engine mounts something on, and may not be able to make in a directory that is read-only.
_MOUNT_POINTS = ("dev", "proc", "sys", "tmp", "etc")
_MOUNT_FILES = ("etc/resolv.conf", "etc/hosts")

_CONTRADICTIONS = (FileNotFoundError, FileExistsError, NotADirectoryError)  # a link to nothing, a file below a file


def unpack_image(layers: Iterable[Path], root: Path) -> None:
    """Unpack layers (tars, gzipped or not) into an empty directory, bottom to top.

    Everything belongs to this user, who can read and remove it; set-user-ID bits and device files are left out, since a
    revision gets no rights that they could give.

    Raises:
        StorageError: a layer is damaged or compressed with Zstandard, or does not fit on the disk.
    """
    for layer in layers:
        try:
            with storage_errors(root), tarfile.open(layer) as tar:
                _apply(tar, root)
        except (tarfile.TarError, EOFError, zlib.error, *_CONTRADICTIONS) as error:
            raise StorageError(
                f"cannot unpack layer {layer.name}: {error} (expected a tar that is plain, or compressed with gzip, "
                "bzip2 or xz)"
            ) from error
    for name in _MOUNT_POINTS:
        _inside(root, name).mkdir(exist_ok=True)
    _inside(root, "tmp").chmod(0o1777)  # runc and docker give what they mount there the same mode
    for name in _MOUNT_FILES:
        place = _inside(root, name)
        if not place.exists() and not place.is_symlink():
            place.touch()


def _apply(tar: tarfile.TarFile, root: Path) -> None:
    written: set[Path] = set()  # by this layer: its whiteouts speak of the layers below
    modes: dict[Path, int] = {}
    for entry in tar:
        name = PurePosixPath("/", entry.name)
        if name == PurePosixPath("/") or ".." in name.parts:
            continue
        place = _inside(root, str(name.parent)) / name.name
        if name.name == _OPAQUE:
            _empty(place.parent, written)
        elif name.name.startswith(_WHITEOUT):
            _remove(place.with_name(name.name.removeprefix(_WHITEOUT)))
        elif _write(tar, entry, place, root):
            written |= {place, *place.parents}
            if entry.isdir():  # later, so that files can be written into what nobody may write
                modes[place] = entry.mode
    for directory, mode in modes.items():
        if directory.is_dir() and not directory.is_symlink():
            directory.chmod((mode & 0o777) | stat.S_IRWXU)


def _write(tar: tarfile.TarFile, entry: tarfile.TarInfo, place: Path, root: Path) -> bool:
    """Write one entry; whether it is of a kind that is kept."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if entry.isdir():
        if place.is_symlink() or not place.is_dir():
            _remove(place)
            place.mkdir()
        return True
    if not (entry.isreg() or entry.issym() or entry.islnk()):
        return False
    _remove(place)
    if entry.issym():
        place.symlink_to(entry.linkname)
    elif entry.islnk():
        target = PurePosixPath("/", entry.linkname)
        os.link(_inside(root, str(target.parent)) / target.name, place, follow_symlinks=False)
    else:
        source = tar.extractfile(entry)
        assert source is not None
        with source, place.open("xb") as file:
            shutil.copyfileobj(source, file, _COPY_BYTES)
        place.chmod((entry.mode & 0o777) | stat.S_IRUSR | stat.S_IWUSR)
    return True


def _inside(root: Path, name: str) -> Path:
    """The directory that a name of the image leads to; one that does not exist is made by whoever writes there."""
    found, left, links = root, list(reversed(PurePosixPath("/", name).parts[1:])), 0
    while left:
        part = left.pop()
        if part == "..":
            found = found.parent if found != root else root
            continue
        step = found / part
        if step.is_symlink():
            links += 1
            if links > _MOST_LINKS:
                raise tarfile.TarError(f"too many links on the way to {name!r}")
            target = PurePosixPath(step.readlink())
            found = root if target.is_absolute() else found
            left += reversed([one for one in target.parts if one != "/"])
        else:
            found = step
    return found


def _empty(directory: Path, kept: set[Path]) -> None:
    if directory.is_dir():
        for path in directory.iterdir():
            if path not in kept:
                _remove(path)
            elif path.is_dir() and not path.is_symlink():
                _empty(path, kept)


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
