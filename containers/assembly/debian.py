"""A base from Debian's packages: Python and the libraries that it loads, perhaps a shell; no package manager, no pip.

mmdebstrap unpacks the packages and runs none of their scripts, so that it works for another architecture too. What the
packages are is told below ``/var/lib/dpkg/status.d``, where scanners look in images without a package manager.
"""

import gzip
import hashlib
import io
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import BinaryIO

from lading.errors import LadingError
from lading.oci.image import LAYER_TYPE, Descriptor
from lading.oci.layer import Layer
from lading.oci.store import Blob

_PACKAGES = "python3,libstdc++6,base-files,netbase,media-types"
_SHELL = "dash,coreutils"
_NOT_NEEDED = "dpkg|mawk|tar"  # packages ask for them that have scripts to run
_HOOK = f"""\
cd "$1" && mkdir -p var/lib/dpkg/status.d && for deb in var/cache/apt/archives/*.deb; do
    name=$(dpkg-deb --field "$deb" Package)
    case $name in
        {_NOT_NEEDED}) dpkg-deb --fsys-tarfile "$deb" | tar --list | while read -r path; do
                [ -d "$path" ] && [ ! -L "$path" ] || rm -f "$path"
            done ;;
        *) dpkg-deb --field "$deb" > "var/lib/dpkg/status.d/$name" ;;
    esac
done
"""
_DROPPED = re.compile(
    r"(dev|proc|sys)/.|var/(cache|log)/.|var/lib/apt/.|etc/(apt|cron\.\w+|dpkg|logrotate\.d)(/|$)|"
    # A stand-in of mmdebstrap's; and a module that every Python would import, for Ubuntu's reports of crashes.
    r"sbin/start-stop-daemon$|etc/python3\.\d+/.|usr/lib/python3\.\d+/sitecustomize\.py$|"
    r"usr/share/(man|info|locale|lintian|bug)/.|usr/share/doc/[^/]+/(?!copyright$)"
)
_ADDED = {
    "etc/passwd": b"root:x:0:0:root:/root:/usr/sbin/nologin\nnonroot:x:65532:65532:nonroot:/tmp:/usr/sbin/nologin\n",
    "etc/group": b"root:x:0:\nnonroot:x:65532:\n",
}


@contextmanager
def debian_layer(suite: str, architecture: str, *, shell: bool = False) -> Iterator[Layer]:
    """Unpack Debian's Python into a layer, which lasts as long as the block.

    Args:
        suite: For instance ``bookworm``, whose Python is 3.11.
        architecture: Debian's name of it, which for ``amd64`` and ``arm64`` is OCI's too.
        shell: With a POSIX shell and the usual commands, which KFP starts steps with.

    Raises:
        LadingError: mmdebstrap is not installed, or fails.
    """
    if not shutil.which("mmdebstrap"):
        raise LadingError("Debian's Python is unpacked by mmdebstrap, which is missing: apt-get install mmdebstrap")
    packages = f"{_PACKAGES},{_SHELL}" if shell else _PACKAGES
    with TemporaryDirectory(prefix="lading-base-") as scratch:
        unpacked, layer = Path(scratch) / "unpacked.tar", Path(scratch) / "layer.tar.gz"
        command = ["mmdebstrap", "--quiet", "--variant=extract", f"--architectures={architecture}",
                   f"--include={packages}", f"--extract-hook={_HOOK}", suite, str(unpacked)]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LadingError(f"mmdebstrap could not unpack Debian's Python: {done.stderr.strip()[-2000:]}")
        yield _write(unpacked, layer, f"Debian {suite}, Python")


def _write(unpacked: Path, to: Path, comment: str) -> Layer:
    """Write a reproducible layer: sorted, owned by root, times 0, no devices; a copy for each hard link."""
    with to.open("wb") as file:
        outer = _Hashing(file)
        with gzip.GzipFile(filename="", mode="wb", fileobj=outer, compresslevel=6, mtime=0) as squeezed:  # type: ignore[call-overload]
            inner = _Hashing(squeezed)
            with tarfile.open(fileobj=inner, mode="w", format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
                for entry, content in _entries(unpacked):
                    tar.addfile(entry, content)
    descriptor = Descriptor(LAYER_TYPE, outer.digest, outer.size)
    return Layer(Blob(descriptor, lambda: to.open("rb")), inner.digest, comment=comment)


def _entries(unpacked: Path) -> Iterator[tuple[tarfile.TarInfo, BinaryIO | None]]:
    with tarfile.open(unpacked) as source:
        found = {str(PurePosixPath(entry.name)).lstrip("/"): entry for entry in source}
        kept = {
            name: entry
            for name, entry in found.items()
            if name != "." and not entry.isdev() and not _DROPPED.match(name) and name not in _ADDED
        }
        for name in sorted({*kept, *_ADDED}, key=str.encode):
            clean = tarfile.TarInfo(name)
            if name in _ADDED:
                clean.size = len(_ADDED[name])
                yield clean, io.BytesIO(_ADDED[name])
                continue
            entry = kept[name]
            while entry.islnk():
                entry = found[str(PurePosixPath(entry.linkname)).lstrip("/")]
            clean.type, clean.mode, clean.linkname = entry.type, entry.mode, entry.linkname if entry.issym() else ""
            clean.size = entry.size if entry.isreg() else 0
            yield clean, source.extractfile(entry) if entry.isreg() else None  # type: ignore[misc]


class _Hashing:
    """A file that takes the digest of what is written to it."""

    def __init__(self, file: object) -> None:
        self._file, self._hashed, self.size = file, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self._hashed.update(data)
        self.size += len(data)
        return self._file.write(data)  # type: ignore[attr-defined, no-any-return]

    def flush(self) -> None:
        self._file.flush()  # type: ignore[attr-defined]

    def tell(self) -> int:
        return self.size

    @property
    def digest(self) -> str:
        return f"sha256:{self._hashed.hexdigest()}"
