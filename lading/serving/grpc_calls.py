"""What a gRPC method is to lading's server: the line between its protocols and the gRPC library."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lading.errors import InvalidInstance
from lading.predict.protos import message
from lading.serving.records import Asked


@dataclass(frozen=True)
class Method:
    """A method with one request and one answer."""

    request: str
    """The name of its message."""
    call: Callable[[Any], Any]
    """The answer to a request, both messages; raises LadingError."""
    model_of: Callable[[Any], Asked] | None = None
    """For methods that run a model: which one. These wait for a thread, and are counted and logged."""


def read_request(name: str, data: bytes) -> Any:
    """The message of a request.

    Raises:
        InvalidInstance: the bytes are no such message.
    """
    from google.protobuf.message import DecodeError

    try:
        return message(name).FromString(data)
    except DecodeError as error:
        raise InvalidInstance(f"the request is no {name}: {error}") from error


def text_of(data: bytes, what: str) -> str:
    """A string for a field that holds text.

    Raises:
        InvalidInstance: it is not UTF-8, which protobuf's ``string`` must be.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidInstance(f"{what} is not UTF-8: {data[:40]!r}") from error


def names(items: Sequence[str]) -> str:
    """Names in the form of TensorFlow Serving's messages: sorted, in braces."""
    return f"{{{','.join(sorted(items))}}}"
