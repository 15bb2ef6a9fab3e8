"""Uploads of blobs: POST opens one, a single PUT carries all bytes.

Source: distribution specification 1.1, "Pushing blobs", the way of POST then PUT. One PUT, not pieces by PATCH:
Artifact Registry takes no second piece, and pieces are slower everywhere else. A PUT that breaks is begun again with a
POST, for nothing says how much of it arrived.
"""

from collections.abc import Iterator
from urllib.parse import quote, urlsplit

from lading.errors import DeadlineExceeded, LadingError, NotFound, RemoteError, ServiceUnreachable
from lading.http import RETRY_STATUSES
from lading.oci.channel import Channel
from lading.oci.pieces import pieces_of
from lading.oci.store import Blob
from lading.wait import Deadline

_TRIES = 6  # a connection that breaks so often will break again, and the blob may be large
_PUT_SECONDS = 300.0  # a registry may copy the whole blob to its storage before it answers


def has_blob(channel: Channel, digest: str, *, writing: bool = False, deadline: Deadline) -> bool:
    """Whether the repository has a blob; ``writing`` says that it is asked for an upload."""
    try:
        channel.request("HEAD", f"/blobs/{digest}", writing=writing, deadline=deadline)  # a redirect says that it is
    except NotFound:
        return False
    return True


def mount(channel: Channel, digest: str, origin: str, *, deadline: Deadline) -> tuple[bool, str]:
    """Ask the registry to take a blob from another of its repositories, which the token must allow to read.

    Returns:
        Whether it did; if not, the address of an upload that it opened instead, or nothing.

    Raises:
        RemoteError: the registry fails for another reason than that it does not want to.
    """
    path = f"/blobs/uploads/?mount={digest}&from={quote(origin, safe='')}"
    try:
        answer = channel.request("POST", path, deadline=deadline, writing=True, repeatable=True, data=b"")
    except (NotFound, RemoteError) as error:
        if isinstance(error, RemoteError) and (error.status >= 500 or error.status == 429):
            raise
        return False, ""
    if answer.status_code == 201:
        return True, ""
    return False, channel.follow(answer) if answer.status_code == 202 else ""


def upload(channel: Channel, blob: Blob, *, opened: str = "", deadline: Deadline) -> None:
    """Bring a blob into the repository, unless it is there.

    Args:
        channel: To the repository.
        blob: Read again from the start for every try.
        opened: The address of an upload that is open already.
        deadline: For all tries together.

    Raises:
        AccessDenied, NotFound, QuotaExceeded: the registry refuses.
        RemoteError: it fails, also when it was asked again.
        ServiceUnreachable, DeadlineExceeded: the connection broke too often, or for too long.
        StorageError: the blob cannot be read.
    """
    pause = 0.1
    digest = blob.descriptor.digest
    for left in reversed(range(_TRIES)):
        if not opened:
            # Asked before every try: the one before may have arrived and only its answer been lost.
            asked = not blob.fresh or left < _TRIES - 1
            if asked and has_blob(channel, digest, writing=True, deadline=deadline):
                return
            # An upload that nobody goes on with is forgotten by the registry, so that opening two does no harm.
            answer = channel.request(
                "POST", "/blobs/uploads/", deadline=deadline, writing=True, repeatable=True, data=b""
            )
            opened = channel.follow(answer)
        try:
            _put(channel, blob, opened, deadline)
            return
        except _SourceFailed as failed:
            raise failed.error from failed.error.__cause__
        except LadingError as error:
            if not left or not _may_pass(error, first=left == _TRIES - 1) or deadline.remaining() <= pause:
                raise
        opened = ""
        deadline.sleep(pause)
        pause = min(pause * 2, 5.0)


def _put(channel: Channel, blob: Blob, opened: str, deadline: Deadline) -> None:
    url = f"{opened}{'&' if urlsplit(opened).query else '?'}digest={quote(blob.descriptor.digest, safe='')}"
    answer = channel.request(
        "PUT",
        url,
        deadline=deadline,
        writing=True,
        retry=False,
        timeout_seconds=_PUT_SECONDS,
        # An empty stream would be sent in chunks of unknown number, which registries do not take.
        data=_Body(blob, deadline) if blob.descriptor.size else b"",
        headers={"Content-Type": "application/octet-stream"},
    )
    if answer.status_code >= 300:
        raise RemoteError(
            f"{channel.host}/{channel.name}: the registry sends an upload on, which it may not", status=502
        )


def _may_pass(error: LadingError, *, first: bool) -> bool:
    """Whether another try may end better."""
    if isinstance(error, RemoteError):
        # 401: the token ran out; the next request fetches another. 404, 416: the registry forgot the upload.
        return error.status in RETRY_STATUSES or error.status == 416 or (error.status == 401 and first)
    return isinstance(error, ServiceUnreachable | DeadlineExceeded | NotFound)


class _SourceFailed(Exception):
    """The blob cannot be read: no error of the registry that it goes to, so nothing there may take it for one."""

    def __init__(self, error: LadingError) -> None:
        super().__init__(str(error))
        self.error = error


class _Body:
    """The body of a PUT: requests takes the length from ``len`` and sends each piece as it is."""

    def __init__(self, blob: Blob, deadline: Deadline) -> None:
        self._blob, self._deadline = blob, deadline

    def __len__(self) -> int:
        return self._blob.descriptor.size

    def __iter__(self) -> Iterator[bytes]:
        try:
            for piece in pieces_of(self._blob):
                if self._deadline.passed:
                    raise DeadlineExceeded(f"blob {self._blob.descriptor.digest}: its upload did not end in time")
                yield piece
        except LadingError as error:
            raise _SourceFailed(error) from error
