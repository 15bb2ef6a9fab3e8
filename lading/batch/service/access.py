"""Which places a service reads and writes.

What callers name is compared as text where it is in a bucket: object names know no ``..``, and those that have one are
refused, as what reads them later may take it for a way out. On this machine links are followed before the comparison.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from lading.errors import AccessDenied, InvalidInput, InvalidReference
from lading.storage import is_remote, local_path

_WILD = re.compile(r"[*?\[]")
"""What begins a pattern in the names of inputs."""
_PREFIX = re.compile(r"gs://[^/]+(/|$)|(file://)?/[^/]|localhost[:/]|[^/:]+\.[^/]+(/|$)")


class NotAllowed(AccessDenied):
    """A place that a service is not for."""

    def __init__(self, message: str) -> None:
        super().__init__(message, status=403)


@dataclass(frozen=True)
class Access:
    """The prefixes that may be read and written.

    A prefix is a directory: ``gs://bucket/data`` holds ``gs://bucket/data/x`` and not ``gs://bucket/data-old/x``. Or a
    path on this machine, or the beginning of an image's repository.
    """

    read: tuple[str, ...] | None = None
    """None: every bucket and image, and nothing on this machine."""
    write: tuple[str, ...] | None = None
    """None: every bucket."""

    @classmethod
    def of(cls, both: Sequence[str], read: Sequence[str], write: Sequence[str]) -> "Access":
        """What a command line allows: as soon as something is listed, nothing else is read or written.

        Raises:
            InvalidInput: something is listed, and nothing that may be read, or nothing that may be written.
        """
        if not (both or read or write):
            return cls()
        found = cls((*both, *read), (*both, *write))
        if not found.read or not found.write:
            raise InvalidInput(
                "where some places are listed, no other is read or written: expected --allow PREFIX, or both "
                "--allow-read and --allow-write"
            )
        for prefix in (*found.read, *found.write):
            if not _PREFIX.match(prefix):
                raise InvalidInput(
                    "expected gs://BUCKET/DIRECTORY, an absolute path, or the repository of an image with its host, "
                    f"received {prefix!r}"
                )
        return found

    def check_model(self, uri: str) -> None:
        """See that a model may be read.

        Raises:
            NotAllowed: it may not; says which prefixes there are.
            InvalidReference: the URI is of no kind that is known.
        """
        if "@sha256:" not in uri:
            _check(uri, self.read, "read", is_start=False)
            return
        _refuse_steps(uri)
        if self.read is None and not uri.startswith(("oci:", "archive:")):
            return
        if not any(_is_below(uri.partition("@")[0], prefix) for prefix in self.read or ()):
            raise _refusal(uri, self.read, "read")

    def check_input(self, uri: str) -> None:
        """See that a file, directory or pattern may be read; raises as ``check_model``."""
        wild = _WILD.search(uri)
        _check(uri[: wild.start()] if wild else uri, self.read, "read", is_start=wild is not None, shown=uri)

    def check_start(self, uri: str) -> None:
        """See that every object whose name begins so may be read; raises as ``check_model``."""
        _check(uri, self.read, "read", is_start=True)

    def check_write(self, uri: str) -> None:
        """See that a file or directory may be written; raises as ``check_model``."""
        _check(uri, self.write, "written", is_start=False)


def _check(uri: str, allowed: tuple[str, ...] | None, verb: str, *, is_start: bool, shown: str = "") -> None:
    """See that a URI is below an allowed one.

    Args:
        uri: Of a file or directory; with ``is_start`` the beginning of names, all of which have to be below.
        allowed: The prefixes, if there is a list.
        verb: For messages.
        is_start: See there.
        shown: What the caller named, if that is more.
    """
    _refuse_steps(shown or uri)
    if is_remote(uri):
        if allowed is None or any(_is_below(uri, prefix, is_start=is_start) for prefix in allowed):
            return
    elif any(_is_below(_real(uri), _real(prefix), is_start=is_start) for prefix in allowed or () if _is_local(prefix)):
        return
    raise _refusal(shown or uri, allowed, verb)


def _is_below(uri: str, prefix: str, *, is_start: bool = False) -> bool:
    directory = prefix.rstrip("/") + "/"
    return uri.startswith(directory) or (not is_start and uri == directory[:-1])


def _real(uri: str) -> str:
    """The path behind links, with the slash at its end that says that it is a directory."""
    path = str(local_path(uri))
    if not path.startswith("/"):
        raise InvalidReference(f"expected gs://BUCKET/NAME, or an absolute path, received {uri!r}")
    return os.path.realpath(path) + ("/" if uri.endswith("/") else "")


def _is_local(prefix: str) -> bool:
    return prefix.startswith(("/", "file:///"))


def _refuse_steps(uri: str) -> None:
    if {".", ".."} & set(re.split(r"[/\\]", uri)) or "\0" in uri:
        raise NotAllowed(f"{uri!r} has a way out of its directory (. or ..): name the place itself")


def _refusal(uri: str, allowed: tuple[str, ...] | None, verb: str) -> NotAllowed:
    if allowed is None:
        return NotAllowed(
            f"{uri!r} may not be {verb}: this service knows files in buckets only (gs://), unless --allow lists others"
        )
    return NotAllowed(f"{uri!r} may not be {verb}: this service is for {', '.join(allowed)}")
