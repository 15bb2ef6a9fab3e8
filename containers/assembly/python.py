"""Python in a base: which one it is, and its own library, read from the layers and from nothing else."""

import re
import shutil
import sys
import tarfile
from pathlib import Path, PurePosixPath

from lading.errors import InvalidReference, NotFound
from lading.oci.assemble import Base
from lading.oci.contents import layer_tar
from lading.oci.pieces import PIECE_BYTES, PieceReader
from lading.wait import Deadline

_LIBRARY = re.compile(r"usr/(?:local/)?lib/python(3\.\d+)/(?:.*\.py|__pycache__/os\.[^/]*\.pyc)")
_WHITEOUT = ".wh."


def read_standard_library(base: Base, into: Path, *, deadline: Deadline) -> str:
    """Unpack the modules of Python's own library below a directory, as they lie in the image.

    Args:
        base: Its layers are read whole.
        into: An existing directory.
        deadline: For all layers together.

    Returns:
        Python's minor version: ``3.12``.

    Raises:
        InvalidReference: no Python is in the base, or more than one, or a layer is no tar.
        Unsupported: a layer is compressed with zstd, and what reads that is not installed.
        RemoteError, StorageError: a layer is damaged.
    """
    for layer in base.image.layers:
        reader = PieceReader(layer_tar(base.store, layer, deadline=deadline))
        try:
            with tarfile.open(fileobj=reader, mode="r|") as tar:
                for entry in tar:
                    _take(tar, entry, into)
        except tarfile.TarError as error:
            raise InvalidReference(f"{base.reference}: cannot read its layer {layer.digest}: {error}") from error
        while reader.read(PIECE_BYTES):
            pass  # what follows the tar; at the end the digest is checked
    found = {path.parent.name.removeprefix("python") for path in into.rglob("os.py")}
    if len(found) != 1:
        there = ", ".join(sorted(found)) or "none"
        raise InvalidReference(f"{base.reference}: expected one Python below /usr or /usr/local, found {there}")
    return found.pop()


def _take(tar: tarfile.TarFile, entry: tarfile.TarInfo, into: Path) -> None:
    path = PurePosixPath("/" + entry.name).relative_to("/")
    if ".." in path.parts:
        return
    if path.name.startswith(_WHITEOUT):  # OCI image specification 1.1, layer.md: what lies below is gone
        gone = into / path.parent / path.name.removeprefix(_WHITEOUT)
        if gone.is_dir():
            shutil.rmtree(gone)
        else:
            gone.unlink(missing_ok=True)
    elif entry.isreg() and _LIBRARY.fullmatch(str(path)):
        content = tar.extractfile(entry)
        assert content is not None
        (into / path).parent.mkdir(parents=True, exist_ok=True)
        (into / path).write_bytes(content.read())


def interpreter(version: str) -> str:
    """A Python of this machine that makes bytecode for another of the same minor version.

    Raises:
        NotFound: there is none.
    """
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    found = shutil.which(f"python{version}")
    if not found:
        raise NotFound(
            f"the base has Python {version}, whose bytecode only Python {version} makes, and this machine has no "
            f"python{version}: install it, choose another base, or build with Docker"
        )
    return found
