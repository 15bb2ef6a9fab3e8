"""The files that a job reads, in the words of Vertex AI, and what tells them from other files of the same names."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lading import buckets
from lading.errors import AccessDenied, InvalidInput, InvalidReference, NotFound

_WILDCARD = re.compile(r"[*?\[]")
_TABLE = re.compile(r"bq://[^./]+\.[^./]+\.[^./]+")
_DATASET = re.compile(r"bq://[^./]+(\.[^./]+){0,2}")
_PART = re.compile(r"\*\*|\*|\?|\[!?[^\]]+\]|.")


@dataclass(frozen=True)
class Inputs:
    """What is read."""

    uris: tuple[str, ...]
    """Files, wildcards of Cloud Storage, or a table ``bq://P.D.T``."""
    content: tuple[str, ...]
    """The files with their generations, so that new content is known as such; empty where it cannot be looked at."""


def resolve_inputs(inputs: Sequence[str], format: str, *, output: str) -> Inputs:
    """Find what is to be read.

    Args:
        inputs: Each a file, a directory or a wildcard (``*``, ``**``, ``?``, ``[…]``) ``gs://…``; or one table.
        format: One of ``options.FORMATS``.
        output: Where the predictions go; they are no input.

    Raises:
        InvalidReference: an input or the output is of the wrong kind.
        InvalidInput: a wildcard takes predictions of an earlier job for input.
        NotFound: nothing is there.
    """
    if not inputs:
        raise InvalidInput("expected an input: gs://BUCKET/PREFIX, or bq://PROJECT.DATASET.TABLE")
    check_output(output)
    if format == "bigquery":
        if len(inputs) > 1 or not _TABLE.fullmatch(inputs[0]):
            raise InvalidReference(
                f"expected one table bq://PROJECT.DATASET.TABLE for the format bigquery, received {', '.join(inputs)}"
            )
        return Inputs(tuple(inputs), ())
    for uri in inputs:
        if not re.fullmatch(r"gs://[^/*?\[]+/.*", uri):
            raise InvalidReference(f"expected gs://BUCKET/NAME for the format {format}, received {uri!r}")
    found = [_resolve(uri, output.rstrip("/")) for uri in inputs]
    uris = dict.fromkeys(uri for one in found for uri in one.uris)
    return Inputs(tuple(uris), tuple(sorted({each for one in found for each in one.content})))


def check_output(uri: str) -> None:
    """See that predictions can go there.

    Raises:
        InvalidReference: they cannot.
    """
    in_bucket = re.fullmatch(r"gs://[^/]+(/.*)?", uri) and not _WILDCARD.search(uri)
    if not in_bucket and not _DATASET.fullmatch(uri):
        raise InvalidReference(f"expected as output gs://BUCKET/PREFIX or bq://PROJECT.DATASET, received {uri!r}")


def _resolve(uri: str, output: str) -> Inputs:
    wildcard = _WILDCARD.search(uri)
    try:
        known = _generations(uri[: wildcard.start()] if wildcard else uri)
    except AccessDenied:
        # Who asks may be allowed to start jobs and not to read the data; the service itself looks at it.
        return Inputs((f"{uri}*" if uri.endswith("/") else uri,), ())
    if wildcard:
        found = {name: known[name] for name in known if _matches(uri, name)}
        if any(name.startswith(f"{output}/prediction-") for name in found):
            raise InvalidInput(
                f"{uri} also names predictions of an earlier job below {output}: write them to another prefix"
            )
        uris = [uri]
    elif uri in known and not uri.endswith("/"):  # a folder may have an object of its name
        found, uris = {uri: known[uri]}, [uri]
    else:
        found = dict(_below(uri, known, output))
        # `*` does not reach into folders, so each that has files is named.
        uris = sorted({f"{name.rpartition('/')[0]}/*" for name in found})
    if not found:
        raise NotFound(f"no file at {uri}: expected a file, a directory with files, or a wildcard")
    return Inputs(tuple(uris), tuple(f"{name}#{generation}" for name, generation in found.items()))


def _generations(prefix: str) -> dict[str, int]:
    """The objects whose URIs begin with a text, and their generations, which change when the contents do."""
    bucket, name = buckets.split(prefix)
    with buckets.opened(bucket, prefix) as opened:
        found = opened.list_blobs(prefix=name, retry=buckets.retry())
        return {f"gs://{bucket}/{blob.name}": int(blob.generation) for blob in found}


def _below(directory: str, known: dict[str, int], output: str) -> Iterator[tuple[str, int]]:
    start = f"{directory.rstrip('/')}/"
    for name, generation in known.items():
        is_file = name.startswith(start) and not name.endswith("/")
        if is_file and not name.startswith(f"{output}/prediction-"):
            yield name, generation


def _matches(pattern: str, name: str) -> bool:
    """By the rules of https://docs.cloud.google.com/storage/docs/wildcards."""
    meaning = {"**": ".*", "*": "[^/]*", "?": "[^/]"}

    def translated(part: str) -> str:
        if part[0] == "[" and len(part) > 1:
            return part.replace("[!", "[^", 1)
        return meaning.get(part) or re.escape(part)

    return re.fullmatch("".join(translated(part) for part in _PART.findall(pattern)), name) is not None
