"""What callers ask for: the JSON body of ``POST /v1/batches``."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from lading.batch.job import BatchJob
from lading.batch.limit import Limit
from lading.batch.options import BatchOptions
from lading.batch.service.access import Access
from lading.errors import InvalidInput

OPTIONS = tuple(field.name for field in dataclasses.fields(BatchOptions))
MEMBERS = ("model", "input", "output", "max_bad_rows", "errors", "restart", *OPTIONS)


@dataclass(frozen=True)
class BatchRequest:
    """A run that is asked for; equal ones ask for the same."""

    model: str
    job: BatchJob
    embedded: bool = False
    """Whether it came in embedded-tf's form."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it: what was asked for, without what the defaults say."""
        job = self.job
        inputs = job.inputs[0] if len(job.inputs) == 1 else list(job.inputs)
        options = {name: getattr(job.options, name) for name in OPTIONS}
        defaults = BatchOptions()
        found: dict[str, Any] = {
            "model": self.model,
            "input": inputs,
            "output": job.output,
            "max_bad_rows": job.max_bad_rows,
        }
        found |= {"errors": job.errors} if job.errors else {}
        found |= {"restart": True} if job.restart else {}
        return found | {name: value for name, value in options.items() if value != getattr(defaults, name)}


def parse_request(body: bytes, *, max_line_bytes: int) -> BatchRequest:
    """Read a body.

    Args:
        body: JSON.
        max_line_bytes: Where the body does not say.

    Raises:
        InvalidInput: what is wrong with it.
    """
    try:
        given = orjson.loads(body)
    except ValueError as error:
        raise InvalidInput(f"expected a JSON object: {error}") from error
    if not isinstance(given, dict):
        raise InvalidInput(f"expected a JSON object with {', '.join(MEMBERS[:3])}, received {type(given).__name__}")
    if unknown := given.keys() - set(MEMBERS):
        raise InvalidInput(f"no such member: {', '.join(sorted(unknown))} (there are: {', '.join(MEMBERS)})")
    options = {name: given[name] for name in OPTIONS if name in given}
    job = BatchJob(
        _inputs(given.get("input")),
        _text(given, "output"),
        BatchOptions.from_members({"max_line_bytes": max_line_bytes, **options}),
        max_bad_rows=_limit(given.get("max_bad_rows", BatchJob.max_bad_rows)),
        errors=_text(given, "errors", empty=True),
        restart=_switch(given, "restart"),
    )
    return BatchRequest(_text(given, "model"), job)


def check_access(request: BatchRequest, access: Access) -> None:
    """See that everything a request names may be read or written.

    Raises:
        NotAllowed: something may not.
        InvalidReference: a URI is of no kind that is known.
    """
    access.check_model(request.model)
    for uri in request.job.inputs:
        if request.job.by_prefix:
            access.check_start(uri)
        else:
            access.check_input(uri)
    access.check_write(request.job.output)
    if request.job.errors:
        access.check_write(request.job.errors)


def _inputs(given: object) -> tuple[str, ...]:
    found: list[Any] = given if isinstance(given, list) else [given]
    if not found or not all(isinstance(uri, str) and uri for uri in found):
        raise InvalidInput(f"expected as input a URI, or a list of such, received {given!r}")
    if lists := [uri for uri in found if uri.startswith("@")]:
        raise InvalidInput(f"expected inputs, received {lists[0]!r}: give what the list holds as a list in the body")
    return tuple(found)


def _text(given: Mapping[str, Any], name: str, *, empty: bool = False) -> str:
    value = given.get(name, "" if empty else None)
    if not isinstance(value, str) or not (value or empty):
        raise InvalidInput(f"expected as {name} a URI, received {value!r}")
    return value


def _limit(given: object) -> str:
    text = str(given) if isinstance(given, int) and not isinstance(given, bool) else given
    if not isinstance(text, str):
        raise InvalidInput(f"expected as max_bad_rows a count, or a share as 1%, received {given!r}")
    return Limit.parse(text).text


def _switch(given: Mapping[str, Any], name: str) -> bool:
    value = given.get(name, False)
    if not isinstance(value, bool):
        raise InvalidInput(f"expected as {name} true or false, received {value!r}")
    return value
