"""The files of an image, read from its layers as streams: nothing is unpacked, nothing is kept.

Source: OCI image specification 1.1, ``layer.md``: upper layers replace and hide (``.wh.``) what lies below.
"""

import tarfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO

from lading.errors import StorageError, Unsupported
from lading.oci.image import Descriptor
from lading.oci.pieces import PIECE_BYTES, PieceReader
from lading.oci.store import Store
from lading.wait import Deadline

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_HIDES, _HIDES_ALL = ".wh.", ".wh..wh..opq"


def read_files(
    store: Store, layers: tuple[Descriptor, ...], wanted: Callable[[str], bool], *, deadline: Deadline
) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Walk through the regular files of an image, each once, as a container would see it.

    What was read may be believed when the walk has come to its end: then every layer had its digest.

    Args:
        store: Where the image lies.
        layers: Of the image, bottom to top.
        wanted: Whether a file of this path, relative to the root, is of interest.
        deadline: When to give up.

    Yields:
        Path, size in bytes, and a reader that is good until the next file.

    Raises:
        NotFound: a layer is missing.
        RemoteError, StorageError: a layer is damaged.
        Unsupported: a layer is compressed with zstd, and what reads that is not installed.
    """
    gone = _Gone()
    for layer in reversed(layers):
        above = gone.copy()
        reader = PieceReader(layer_tar(store, layer, deadline=deadline))
        try:
            with tarfile.open(fileobj=reader, mode="r|", bufsize=PIECE_BYTES) as tar:
                while (entry := tar.next()) is not None:
                    tar.members.clear()  # type: ignore[attr-defined]  # it would keep every one
                    name = _clean(entry.name)
                    gone.note(name, directory=entry.isdir())
                    if entry.isreg() and wanted(name) and not above.hides(name):
                        content = tar.extractfile(entry)
                        assert content is not None
                        yield name, entry.size, content
        except tarfile.TarError as error:
            raise StorageError(f"{store.repository}: the layer {layer.digest} is not a tar: {error}") from error
        while reader.read(PIECE_BYTES):
            pass  # what follows the tar; at the end the digest is checked


def layer_tar(store: Store, layer: Descriptor, *, deadline: Deadline) -> Iterator[bytes]:
    """The tar of a layer in pieces of up to 1 MiB, whatever it is compressed with.

    Raises:
        NotFound: there is no such blob.
        RemoteError, StorageError: it is damaged.
        Unsupported: it is compressed with zstd, and what reads that is not installed.
    """
    pieces = store.blob(layer.digest, deadline=deadline)
    first = next(pieces, b"")
    whole, what = _chain(first, pieces), f"{store.repository}: the layer {layer.digest}"
    if first.startswith(_ZSTD):
        return _unzstd(whole, what)
    return _gunzip(whole, what) if first.startswith(_GZIP) else whole


class _Gone:
    """Paths that the layers above have taken."""

    def __init__(self, paths: frozenset[str] = frozenset(), emptied: frozenset[str] = frozenset()) -> None:
        self._paths, self._emptied = set(paths), set(emptied)

    def copy(self) -> "_Gone":
        return _Gone(frozenset(self._paths), frozenset(self._emptied))

    def note(self, name: str, *, directory: bool) -> None:
        parent, _, last = name.rpartition("/")
        if last == _HIDES_ALL:
            self._emptied.add(parent)
        elif last.startswith(_HIDES):
            self._paths.add(f"{parent}/{last.removeprefix(_HIDES)}".lstrip("/"))
        elif not directory:
            self._paths.add(name)

    def hides(self, name: str) -> bool:
        """Whether this file is replaced or removed, or a directory that it lies in is."""
        if name in self._paths:
            return True
        while name:
            name = name.rpartition("/")[0]
            if name in self._paths or name in self._emptied:
                return True
        return False


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from rest


def _gunzip(pieces: Iterator[bytes], what: str) -> Iterator[bytes]:
    """Unpack a gzip of any number of members, never more than 1 MiB at a time, however well it was compressed."""
    member, begun = zlib.decompressobj(zlib.MAX_WBITS | 16), False
    try:
        for piece in pieces:
            rest = piece
            while rest:
                data, begun = member.decompress(rest, PIECE_BYTES), True
                if data:
                    yield data
                rest = member.unconsumed_tail
                if member.eof:
                    rest = member.unused_data.lstrip(b"\0")  # some writers fill up with zeros
                    member, begun = zlib.decompressobj(zlib.MAX_WBITS | 16), False
        while begun and not member.eof and (data := member.decompress(b"", PIECE_BYTES)):
            yield data
    except zlib.error as error:
        raise StorageError(f"{what} is damaged: {error}") from error
    if begun and not member.eof:
        raise StorageError(f"{what} is cut off")


def _unzstd(pieces: Iterator[bytes], what: str) -> Iterator[bytes]:
    """Unpack any number of zstd frames; one whose window is larger than 128 MiB is refused by the library."""
    try:
        from backports import zstd  # ``compression.zstd`` of Python 3.14
    except ImportError as error:
        raise Unsupported(
            f"{what} is compressed with zstd, which needs a library that is not installed: `pip install "
            "'lading[zstd]'`, or convert the image with `skopeo copy --dest-compress-format gzip`"
        ) from error
    try:
        with PieceReader(pieces) as packed, zstd.ZstdFile(packed) as unpacked:
            while piece := unpacked.read(PIECE_BYTES):
                yield piece
            for _ in pieces:
                pass  # at its end the digest is checked
    except zstd.ZstdError as error:
        raise StorageError(f"{what} is damaged: {error}") from error
    except EOFError as error:
        raise StorageError(f"{what} is cut off") from error


def _clean(name: str) -> str:
    """A path relative to the root, without ``./``."""
    return "/".join(part for part in name.split("/") if part not in ("", "."))
