"""Cron expressions: five fields of crontab(5), optionally after ``TZ=ZONE`` (``CRON_TZ=ZONE``), as Vertex AI has it."""

import re
import zoneinfo

from lading.errors import InvalidInput

_ZONE = re.compile(r"(?:CRON_)?TZ=(\S+)\s+(.*)")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_NAMES = {3: {name: n for n, name in enumerate(_MONTHS, start=1)}, 4: {name: n for n, name in enumerate(_DAYS)}}
_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day of the month", 1, 31), ("month", 1, 12), ("day of the week", 0, 7))


def check_cron(text: str) -> None:
    """See that an expression can be read, before a server refuses it or, worse, takes it for another one.

    Raises:
        InvalidInput: names the field, what it may be, and what came.
    """
    zone, fields = split_cron(text)
    if zone:
        try:
            zoneinfo.ZoneInfo(zone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
            raise InvalidInput(f"cron {text!r}: unknown time zone {zone!r} (for instance TZ=Europe/Vienna)") from error
    if len(fields) != len(_FIELDS):
        names = ", ".join(name for name, _, _ in _FIELDS)
        raise InvalidInput(f"cron {text!r}: expected five fields ({names}), received {len(fields)}")
    for index, (field, (name, low, high)) in enumerate(zip(fields, _FIELDS, strict=True)):
        if not all(_valid(part, low, high, _NAMES.get(index, {})) for part in field.split(",")):
            raise InvalidInput(
                f"cron {text!r}: {name}: expected *, N, N-M, */N or a list, {low} to {high}; got {field!r}"
            )


def split_cron(text: str) -> tuple[str, list[str]]:
    """The time zone, empty when there is none, and the fields."""
    found = _ZONE.fullmatch(text.strip())
    return (found[1], found[2].split()) if found else ("", text.split())


def _valid(part: str, low: int, high: int, names: dict[str, int]) -> bool:
    span, slash, step = part.partition("/")
    if slash and not (step.isdigit() and int(step) > 0):
        return False
    if span == "*":
        return True
    ends = [names.get(end.lower(), int(end) if end.isdigit() else -1) for end in span.split("-")]
    return len(ends) <= 2 and all(low <= end <= high for end in ends) and ends == sorted(ends)
