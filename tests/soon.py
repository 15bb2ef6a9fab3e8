"""The deadline of whatever a test expects to end."""

from lading.wait import Deadline


def soon(seconds: float = 30) -> Deadline:
    return Deadline.after(seconds)
