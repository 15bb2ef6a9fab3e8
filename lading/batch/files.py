"""The files of a run: what is read, and where it is written, on this machine and in buckets."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lading.batch.formats.base import Source


@dataclass(frozen=True)
class InputFile:
    """A file as it was when the run was planned."""

    uri: str
    name: str
    """Its path below the input, ``/`` between the parts; the file's own name if the input is a single file."""
    size: int
    """In bytes, as it lies there."""
    identity: str
    """Changes when the content does: ``generation:N`` in a bucket, ``mtime:NANOSECONDS`` on this machine."""


class Outputs(Protocol):
    """The directory that a run writes into, and its own notes below ``_lading/`` there. Safe for several threads."""

    uri: str

    def claim(self, owner: str) -> None:
        """Keep other runs out until ``release``, or until this process is gone.

        Raises:
            RunInProgress: another run is at work here.
            AccessDenied, StorageError: the place cannot be written.
        """

    def check(self) -> None:
        """See that the claim still holds; called before each record of progress.

        Raises:
            RunInProgress: it was lost (the process was suspended for longer than a lease lasts).
        """

    def release(self) -> None:
        """Let others in."""

    def read(self, name: str) -> bytes | None:
        """A file's content; None if there is none."""

    def write(self, name: str, content: bytes | Iterable[bytes]) -> None:
        """Write a file; readers see the old content or all of the new."""

    def concatenate(self, names: Sequence[str], to: str) -> None:
        """Make a file of others, in order (server-side in a bucket); the others stay."""

    def stream(self, name: str) -> Iterator[bytes]:
        """A file's content in pieces."""

    def names(self, directory: str) -> list[str]:
        """The names of the files below a directory, sorted; empty if there is none."""

    def remove(self, names: Sequence[str]) -> None:
        """Delete files; those that are not there are no error."""

    def append(self, name: str, line: bytes) -> None:
        """Add a line (without its newline) to a journal.

        It is durable when this returns on this machine, and within a second in a bucket.
        """

    def flush(self) -> None:
        """See that every appended line is durable."""

    def lines(self, name: str) -> list[bytes]:
        """The whole lines of a journal; a torn last one is left out."""


def find_inputs(inputs: Sequence[str], *, without: str = "") -> list[InputFile]:
    """The files that inputs name, in the order of their URIs, each once.

    Args:
        inputs: Each a file, a directory (a trailing ``/`` may stand), a glob (``*``, ``?``, ``[…]``, ``**``), or
            ``@FILE``: a list of such, one a line. On this machine or ``gs://``.
        without: A directory whose files are not taken: the output may lie below the input.

    Raises:
        NotFound: nothing is there; names the input.
        InvalidInput: two files have the same name below different inputs, so that their outputs would collide.
        AccessDenied, StorageError: it cannot be listed.
    """
    from lading.batch import finding

    return finding.find_inputs(inputs, without=without)


def find_by_prefix(prefixes: Sequence[str], *, without: str = "") -> list[InputFile]:
    """The objects whose names begin with given texts, as embedded-tf takes its inputs; there may be none.

    Args:
        prefixes: ``gs://BUCKET/TEXT``; a file's name below the input is what follows the last ``/`` of the text.
        without: As ``find_inputs``; if everything lies in that directory, only the notes in it are left out.

    Raises:
        InvalidInput: two files have the same name below different inputs.
        NotFound, AccessDenied, StorageError: the bucket cannot be listed.
    """
    from lading.batch import finding

    return finding.find_by_prefix(prefixes, without=without)


def open_source(file: InputFile) -> Source:
    """The file for reading; that it is still what was planned is seen at the first read."""
    from lading.batch import sources

    return sources.open_source(file)


def open_outputs(uri: str, *, patience_seconds: float = 60.0, lease_seconds: float = 30.0) -> Outputs:
    """The directory for writing; made when it is missing.

    Args:
        uri: A directory on this machine, or ``gs://BUCKET/PREFIX``.
        patience_seconds: For how long a fault of the storage is tried again.
        lease_seconds: For how long a claim on a bucket outlives the process that made it.
    """
    from lading import storage

    if storage.is_remote(uri):
        from lading.batch.bucket_outputs import BucketOutputs

        return BucketOutputs(uri, patience_seconds=patience_seconds, lease_seconds=lease_seconds)
    from lading.batch.local_outputs import LocalOutputs

    return LocalOutputs(Path(storage.local_path(uri)))
