"""References to images in a registry, as people write them."""

import re
from dataclasses import dataclass

from lading.errors import InvalidReference

TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
# The grammar of distribution/reference, without its limits of length.
_REFERENCE = re.compile(
    r"(?:(?P<host>[^/@]+[.:][^/@]*|localhost)/)?"
    r"(?P<name>[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?",
    re.ASCII,
)


@dataclass(frozen=True)
class Reference:
    """An image as people write it: ``HOST/NAME:TAG``, ``HOST/NAME@sha256:…``, or a name on Docker Hub."""

    host: str
    """Where the registry answers, with its port."""
    name: str
    """The repository on that host."""
    tag: str
    digest: str
    """Empty, or ``sha256:…``, which wins over the tag."""
    written: str
    """The reference without tag and digest, as it was written."""

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Read a reference.

        Raises:
            InvalidReference: it is not one.
        """
        found = _REFERENCE.fullmatch(text)
        if not found:
            raise InvalidReference(f"expected an image (HOST/NAME:TAG or HOST/NAME@sha256:…), received {text!r}")
        host, name = found["host"] or "docker.io", found["name"]
        if host in ("docker.io", "index.docker.io"):
            host, name = "registry-1.docker.io", name if "/" in name else f"library/{name}"
        written = text.partition("@")[0]
        written = written.removesuffix(f":{found['tag']}") if found["tag"] else written
        return cls(host, name, found["tag"] or "", found["digest"] or "", written)
