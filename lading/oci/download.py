"""Downloads of blobs: a connection that breaks is taken up again where it broke."""

from collections.abc import Iterator

import requests

from lading.errors import DeadlineExceeded, RemoteError, ServiceUnreachable
from lading.oci.channel import Channel
from lading.oci.pieces import PIECE_BYTES, Checksum
from lading.wait import Deadline

_TRIES = 4  # in a row that bring nothing


def download(channel: Channel, digest: str, *, deadline: Deadline) -> Iterator[bytes]:
    """The bytes of a blob in pieces of up to 1 MiB; believe them only when the last one came without an error.

    Raises:
        NotFound: there is no such blob.
        RemoteError: the bytes do not have the digest.
        ServiceUnreachable: the connection broke too often.
        DeadlineExceeded: the time is over.
    """
    checksum = Checksum()
    for piece in checksum.over(_unbroken(channel, digest, deadline)):
        if deadline.passed:
            raise DeadlineExceeded(f"blob {digest}: it did not arrive in time")
        yield piece
    if checksum.digest != digest:
        raise RemoteError(f"blob {digest}: the registry sent other bytes than those of the digest", status=502)


def _unbroken(channel: Channel, digest: str, deadline: Deadline) -> Iterator[bytes]:
    done, tries, pause = 0, _TRIES, 0.1
    while True:
        before = done
        try:
            for piece in _from(channel, digest, done, deadline):
                done += len(piece)
                yield piece
            return
        except requests.RequestException as error:
            tries = _TRIES if done > before else tries - 1
            if not tries or deadline.remaining() <= pause:
                raise ServiceUnreachable(f"blob {digest}: the connection was lost while it was read") from error
        deadline.sleep(pause)
        pause = min(pause * 2, 5.0)


def _from(channel: Channel, digest: str, start: int, deadline: Deadline) -> Iterator[bytes]:
    # As it is stored: a layer that is a gzip file must not be unpacked on the way.
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
    answer = channel.get(f"/blobs/{digest}", deadline=deadline, headers=headers, stream=True)
    skip = 0 if answer.status_code == 206 else start  # not every storage knows ranges
    with answer:
        for piece in answer.iter_content(PIECE_BYTES):
            rest = piece[skip:] if skip else piece
            skip = max(0, skip - len(piece))
            if rest:
                yield rest
