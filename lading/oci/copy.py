"""Copies of images from any place to any other: nothing is moved that is there, and the manifest comes last."""

import json
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from functools import partial
from typing import BinaryIO, Protocol, cast

from lading.errors import InvalidReference, LadingError
from lading.oci.archive import Archive
from lading.oci.image import Descriptor
from lading.oci.pieces import PIECE_BYTES, PieceReader
from lading.oci.platform import Platform, image_manifest, is_index
from lading.oci.store import Blob, Manifest, Store
from lading.wait import Deadline

_MOST_INDEXES = 4  # below each other
THREADS = 4
"""Transfers at the same time."""
# Layers that their makers forbid to hand on (Windows); whoever runs the image fetches them from there.
# Sources: OCI image specification 1.1, ``layer.md``, "Non-Distributable Layers"; Docker's image manifest, schema 2.
_NOT_OURS = ("application/vnd.oci.image.layer.nondistributable.", "application/vnd.docker.image.rootfs.foreign.")


class Progress(Protocol):
    """Is told how a copy goes, from several threads."""

    def expect(self, size: int) -> None:
        """So many bytes more belong to what is copied."""

    def done(self, size: int) -> None:
        """So many of them are there; negative when an upload starts anew."""


@dataclass
class Moved:
    """What a copy came to, in bytes."""

    sent: int = 0
    """Of blobs that were moved through this machine; of one that was sent twice, once."""
    found: int = 0
    """Of blobs that were there, or that the place took from another of its repositories."""


def copy_image(
    origin: Store,
    destination: Store,
    manifest: Manifest,
    *,
    platform: Platform | None = None,
    tag: str = "",
    part: bool = False,
    deadline: Deadline,
    progress: Progress | None = None,
) -> tuple[Manifest, Moved]:
    """Copy an image, or an index with all of its images; the bytes of manifests stay as they are, and so the digest.

    Args:
        origin: Where the image is.
        destination: Where it shall be.
        manifest: As ``origin`` has it.
        platform: Of an index only the image for it is copied. None: all are.
        tag: Moved to the image when all of it is there; empty: none.
        part: It belongs to an index that is written next; see ``Store.write_manifest``.
        deadline: For all of it.
        progress: Is told how it goes.

    Returns:
        What was copied: ``manifest``, or the one for the platform.

    Raises:
        NotFound: the index has no image for the platform; or something is missing at the origin.
        InvalidReference: a manifest is malformed.
        AccessDenied, QuotaExceeded, RemoteError, ServiceUnreachable, DeadlineExceeded, StorageError: as the places say.
            Nothing was tagged.
    """
    if platform:
        manifest = image_manifest(origin, manifest.digest, platform=platform, deadline=deadline)
    parts = [*_parts(origin, manifest, deadline), manifest]
    blobs = [descriptor for one in parts for descriptor in blobs_of(one)]
    moved = copy_blobs(origin, destination, blobs, deadline=deadline, progress=progress)
    for named in parts[:-1]:
        destination.write_manifest(named, part=True, deadline=deadline)
    destination.write_manifest(manifest, tag=tag, part=part, deadline=deadline)
    return manifest, moved


def copy_blobs(
    origin: Store | None,
    destination: Store,
    descriptors: Iterable[Descriptor] = (),
    *,
    extra: Sequence[Blob] = (),
    known: Collection[str] = (),
    deadline: Deadline,
    progress: Progress | None = None,
) -> Moved:
    """Bring blobs to a place, several at a time and without a copy on disk.

    Args:
        origin: Where ``descriptors`` are; a place next to the destination is asked to share them. None: there are none.
        destination: Where they shall be.
        descriptors: Taken from the origin.
        extra: Blobs that are made here.
        known: Digests that are at the destination, which is not asked for them.
        deadline: For all of it.
        progress: Is told how it goes.

    Returns:
        How much of it had to be moved.

    Raises:
        As ``copy_image``. The first error ends the other transfers.
    """
    work = _Work(origin, destination, deadline, progress)
    own = {blob.descriptor.digest: blob for blob in extra}
    theirs = {d.digest: d for d in descriptors if d.digest not in own and not d.media_type.startswith(_NOT_OURS)}
    if progress:
        progress.expect(sum(d.size for d in theirs.values()) + sum(b.descriptor.size for b in own.values()))
    for descriptor in (*theirs.values(), *(blob.descriptor for blob in own.values())):
        if descriptor.digest in known:
            work.found(descriptor)
    jobs = [(b.descriptor.size, partial(work.write, b)) for b in own.values() if b.descriptor.digest not in known]
    jobs += [(d.size, partial(work.bring, d)) for d in theirs.values() if d.digest not in known]
    jobs.sort(key=lambda job: -job[0])  # the largest decides how long all of it takes
    # A file is written by one, in order, so that the same image is the same archive.
    with ThreadPoolExecutor(1 if isinstance(destination, Archive) else THREADS) as pool:
        _finish([pool.submit(job) for _, job in jobs], work)
    return work.moved


def _finish(jobs: list["Future[None]"], work: "_Work") -> None:
    try:
        done, _ = wait(jobs, return_when=FIRST_EXCEPTION)
        for job in done:
            job.result()
    except BaseException:
        work.stopped.set()
        for job in jobs:
            job.cancel()
        raise


class _Stopped(LadingError):
    """Another transfer failed; nobody sees this one."""


@dataclass
class _Work:
    """What the threads of one copy share."""

    origin: Store | None
    destination: Store
    deadline: Deadline
    progress: Progress | None
    moved: Moved = field(default_factory=Moved)
    stopped: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def found(self, descriptor: Descriptor) -> None:
        """Count a blob that is there."""
        self._count(descriptor.size, sent=False)
        self._show(descriptor.size)

    def bring(self, descriptor: Descriptor) -> None:
        """Bring a blob of the origin."""
        assert self.origin
        if self.destination.take_blob(descriptor, self.origin, deadline=self.deadline):
            self.found(descriptor)
            return
        origin, deadline = self.origin, self.deadline
        self.write(Blob(descriptor, lambda: _reader(origin.blob(descriptor.digest, deadline=deadline))))

    def write(self, blob: Blob) -> None:
        """Bring a blob, and count what is read of it."""
        passed = 0
        opened = False

        def pieces() -> Iterator[bytes]:
            nonlocal passed
            with blob.open() as reader:
                while piece := reader.read(PIECE_BYTES):
                    if self.stopped.is_set():
                        raise _Stopped("another part of the image failed")
                    passed += len(piece)
                    self._show(len(piece))
                    yield piece

        def reopen() -> BinaryIO:
            nonlocal passed, opened
            self._show(-passed)
            passed, opened = 0, True
            return _reader(pieces())

        self.destination.write_blob(replace(blob, open=reopen), deadline=self.deadline)
        self._show(blob.descriptor.size - passed)
        self._count(blob.descriptor.size, sent=opened)

    def _count(self, size: int, *, sent: bool) -> None:
        with self._lock:
            if sent:
                self.moved.sent += size
            else:
                self.moved.found += size

    def _show(self, size: int) -> None:
        if self.progress and size:
            self.progress.done(size)


def _reader(pieces: Iterator[bytes]) -> BinaryIO:
    return cast(BinaryIO, PieceReader(pieces))


def _parts(origin: Store, manifest: Manifest, deadline: Deadline, depth: int = 0) -> Iterator[Manifest]:
    """The manifests that an index names, each after those that it names itself."""
    if not is_index(manifest):
        return
    if depth == _MOST_INDEXES:
        raise InvalidReference(f"{origin.repository}: expected images, found indexes of indexes of indexes")
    for named in _named(manifest, "manifests"):
        part = origin.manifest(named.digest, deadline=deadline)
        yield from _parts(origin, part, deadline, depth + 1)
        yield part


def blobs_of(manifest: Manifest) -> list[Descriptor]:
    """Configuration and layers of an image; an index has none itself.

    Raises:
        InvalidReference: the manifest is malformed.
    """
    return [] if is_index(manifest) else _named(manifest, "config", "layers")


def _named(manifest: Manifest, *fields: str) -> list[Descriptor]:
    try:
        body = json.loads(manifest.content)
        found = [body[field] for field in fields]
        named = [one for item in found for one in (item if isinstance(item, list) else [item])]
        return [Descriptor.from_dict(one) for one in named]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidReference(f"{manifest.digest}: expected the manifest of an image: {error!r}") from error
