"""The values that steps hand to each other, and their one JSON form.

Every value is a frozen dataclass. ``to_json`` writes it with its ``kind`` and ``version``; ``from_json`` reads it back
and refuses another kind. Only digests cross a boundary: an image is ``repository@sha256:…``, never a tag.
"""

import dataclasses
import json
import re
import types
import typing
from dataclasses import dataclass
from typing import Any, TypeVar

from lading.errors import InvalidInput, InvalidReference

VERSION = 1
"""Version of the JSON form of every value here. A reader refuses a newer one."""

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

V = TypeVar("V")


@dataclass(frozen=True)
class ImageRef:
    """An image by digest: ``repository@sha256:…``."""

    repository: str
    """Registry host and path, for instance ``europe-docker.pkg.dev/p/r/taxi`` or ``lading.local/taxi``."""
    digest: str
    """Digest of the manifest: ``sha256:`` and 64 hex digits."""

    @classmethod
    def parse(cls, text: str) -> "ImageRef":
        """Read ``repository@sha256:…``.

        Raises:
            InvalidReference: there is no digest, or it is malformed.
        """
        repository, at, digest = text.partition("@")
        if not at or not repository or not DIGEST.fullmatch(digest):
            raise InvalidReference(
                f"expected an image by digest (repository@sha256:<64 hex digits>), received {text!r}: "
                "a tag can move, so give the digest that `lading package` printed"
            )
        return cls(repository, digest)

    def __str__(self) -> str:
        return f"{self.repository}@{self.digest}"


@dataclass(frozen=True)
class GoldenRequest:
    """One request whose right answer is known: a line of ``golden.jsonl``."""

    signature: str
    """Name of the signature, for instance ``serving_default``."""
    request: dict[str, Any]
    """For each input its value as nested lists, with a leading batch axis of 1."""
    response: dict[str, Any]
    """For each output its value as nested lists, with a leading batch axis of 1."""
    rtol: float
    """Relative tolerance, as in ``numpy.isclose``."""
    atol: float
    """Absolute tolerance, as in ``numpy.isclose``."""

    def to_line(self) -> str:
        """The request as one line of JSON, without the newline."""
        return json.dumps(dataclasses.asdict(self), separators=(",", ":"), allow_nan=False)

    @classmethod
    def read_all(cls, text: str) -> tuple["GoldenRequest", ...]:
        """Read a ``golden.jsonl``; blank lines are skipped.

        Raises:
            InvalidInput: names the line that is not a golden request.
        """
        found = []
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                try:
                    found.append(_build(cls, json.loads(line)))
                except (ValueError, InvalidInput) as error:
                    raise InvalidInput(f"golden requests, line {number}: {error}") from error
        return tuple(found)


@dataclass(frozen=True)
class Check:
    """One question of a verdict, with what was expected and what came."""

    name: str
    passed: bool
    expected: str
    received: str


@dataclass(frozen=True)
class FileDigest:
    """What a file was when it was read."""

    size: int
    """In bytes."""
    sha256: str
    """64 hex digits."""


@dataclass(frozen=True)
class ModelDigests:
    """Every file of a model, as it was when it was packaged; it lies in the image, in a layer of its own."""

    root: str
    """The directory of the SavedModel: a path in the image, relative where the image has no root of its own."""
    files: dict[str, FileDigest]
    """By path below ``root``."""


def to_json(value: Any) -> str:
    """The JSON text of a value of this module, with its kind and version."""
    body = {"kind": type(value).__name__, "version": VERSION, **dataclasses.asdict(value)}
    return json.dumps(body, indent=1, allow_nan=False)


def from_json(text: str | bytes, kind: type[V]) -> V:
    """Read back what ``to_json`` wrote.

    Raises:
        InvalidInput: the text is not JSON, is of another kind or a newer version, or lacks a field.
    """
    try:
        body = json.loads(text)
    except ValueError as error:
        raise InvalidInput(
            f"expected the JSON of a {kind.__name__}, received text that is not JSON: {error}"
        ) from error
    came = body.pop("kind", None) if isinstance(body, dict) else None
    if came != kind.__name__:
        raise InvalidInput(f"expected the JSON of a {kind.__name__}, received kind {came!r}")
    if body.pop("version", 0) > VERSION:
        raise InvalidInput(f"this {kind.__name__} was written by a newer lading: upgrade lading to read it")
    value: V = _build(kind, body)
    return value


def _build(kind: Any, body: Any) -> Any:
    """Make ``kind`` (a dataclass, or a type made of dataclasses, tuples and dicts) out of parsed JSON."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return None if body is None else _build(next(a for a in inner if a is not types.NoneType), body)
    if origin is tuple:
        return tuple(_build(inner[0], item) for item in body)
    if origin is dict:
        return {key: _build(inner[1], item) for key, item in body.items()}
    if not dataclasses.is_dataclass(kind):
        return float(body) if kind is float else body
    hints = typing.get_type_hints(kind)
    known = {field.name: field for field in dataclasses.fields(kind)}
    missing = [
        name
        for name, field in known.items()
        if name not in body and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise InvalidInput(f"{getattr(kind, '__name__', kind)} lacks {', '.join(missing)}")
    # Fields of a newer minor release are ignored, so that an older reader still works.
    make: Any = kind
    return make(**{name: _build(hints[name], body[name]) for name in known if name in body})
