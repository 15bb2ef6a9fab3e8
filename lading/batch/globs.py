"""Patterns of file names: ``*``, ``?`` and ``[…]`` within a directory's name, ``**`` for any number of directories."""

import fnmatch
import re
from collections.abc import Sequence

from lading.batch.plan import NOTES

_MAGIC = re.compile(r"[*?[]")
_ANY = "**"


def has_magic(text: str) -> bool:
    """Whether it is a pattern."""
    return _MAGIC.search(text) is not None


def is_hidden(name: str) -> bool:
    """Whether a file or directory of that name is no data, unless it is asked for by name."""
    return name.startswith(".") or name == NOTES


class Glob:
    """A pattern of paths; one that ends in ``/`` stands for everything below.

    As in a shell, hidden names are found only where the pattern begins with the same character.

    Attributes:
        prefix: What every path that fits begins with.
        root: The directory in which the first part with a pattern is; empty if that is the first of all.
    """

    def __init__(self, pattern: str) -> None:
        first = _MAGIC.search(pattern)
        self.prefix = pattern[: first.start()] if first else pattern
        self.root = self.prefix.rpartition("/")[0]
        below = pattern[len(self.root) :].removeprefix("/")
        self._parts = [_Part(text or _ANY) for text in below.split("/")]

    def fits(self, name: str) -> bool:
        """Whether it is the pattern of a file, given by its path below the root."""
        return _fit(name.split("/"), self._parts)

    def may_hold(self, directory: str) -> bool:
        """Whether files that fit may be in a directory, given by its path below the root."""
        names = directory.split("/")
        for index, (name, part) in enumerate(zip(names, self._parts, strict=False)):
            if part.is_any:
                asked = any(below.is_hidden for below in self._parts[index + 1 :])
                return asked or not any(is_hidden(below) for below in names[index:])
            if not part.fits(name):
                return False
        return len(names) < len(self._parts)


class _Part:
    """What one directory's name, or the file's, has to be like."""

    def __init__(self, text: str) -> None:
        self.is_any = text == _ANY
        self.is_hidden = is_hidden(text)
        self._text = text
        self._fits = re.compile(fnmatch.translate(text)).fullmatch

    def fits(self, name: str) -> bool:
        return self._fits(name) is not None and (not is_hidden(name) or self._text.startswith(name[0]))


def _fit(names: Sequence[str], parts: Sequence[_Part]) -> bool:
    if not parts or not names:
        return not parts and not names
    if not parts[0].is_any:
        return parts[0].fits(names[0]) and _fit(names[1:], parts[1:])
    if len(parts) == 1:
        return not any(is_hidden(name) for name in names)
    # Any number of directories, none included.
    return _fit(names, parts[1:]) or (not is_hidden(names[0]) and _fit(names[1:], parts))
