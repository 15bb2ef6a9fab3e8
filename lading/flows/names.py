"""Names of runs and labels, as every backend takes them. Imports nothing that costs time: the command line needs it."""

import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime

from lading.errors import InvalidInput

CHECKS = ("pipeline", "images", "recipe", "data", "target")
"""What ``lading.flows.preflight`` looks at; each can be skipped."""

# https://docs.cloud.google.com/resource-manager/docs/labels-overview#requirements
_LABEL = re.compile(r"(?P<key>[a-z][a-z0-9_-]{0,62})=(?P<value>[a-z0-9_-]{0,63})")


def run_name(pipeline: str) -> str:
    """A new name for a run: ``release-20261121-093015-4f2a``.

    Vertex takes ``[a-z][-a-z0-9]{0,127}`` as the id of a pipeline job, which is narrower than what KFP takes.
    """
    stem = re.sub(r"[^a-z0-9]+", "-", pipeline.lower()).strip("-")[:90] or "run"
    stem = stem if stem[0].isalpha() else f"run-{stem}"
    return f"{stem}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def parse_labels(words: Sequence[str]) -> dict[str, str]:
    """Read ``KEY=VALUE`` words as labels.

    Raises:
        InvalidInput: names every word that is not a label as Google Cloud takes them.
    """
    found = {word: _LABEL.fullmatch(word) for word in words}
    if bad := [word for word, match in found.items() if not match]:
        raise InvalidInput(
            f"labels: expected KEY=VALUE in lower-case letters, digits, _ and -, at most 63 each, "
            f"received {', '.join(repr(word) for word in bad)}"
        )
    return {match["key"]: match["value"] for match in found.values() if match}
