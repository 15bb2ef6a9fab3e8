"""A traffic split as values: from what is asked for to what is in force."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from lading.local.objects import Object


@dataclass(frozen=True)
class Line:
    """One line of a split."""

    revision: str
    percent: int
    tag: str = ""
    latest: bool = False
    """Whether the line follows the newest revision."""


def resolve(traffic: Iterable[Mapping[str, Any]], latest: str) -> tuple[Line, ...]:
    """The lines of a ``spec.traffic`` or ``status.traffic``.

    Args:
        traffic: As it stands in the service.
        latest: The revision of a line that names none.
    """
    return tuple(
        Line(
            revision=line.get("revisionName") or latest,
            percent=line.get("percent") or 0,
            tag=line.get("tag") or "",
            latest=not line.get("revisionName") or bool(line.get("latestRevision")),
        )
        for line in traffic
    )


def revisions_of(lines: Iterable[Line]) -> frozenset[str]:
    """The revisions that must run for a split: they have a share or a tag."""
    return frozenset(line.revision for line in lines if line.percent or line.tag)


def shares(lines: Iterable[Line]) -> dict[str, int]:
    """Percent for each revision that has a share."""
    total: dict[str, int] = {}
    for line in lines:
        if line.percent:
            total[line.revision] = total.get(line.revision, 0) + line.percent
    return total


def status_of(lines: Iterable[Line], ports: Mapping[str, int]) -> list[Object]:
    """The ``status.traffic`` of a split; ``ports`` has the port of each tag."""
    found = []
    for line in lines:
        body: Object = {"revisionName": line.revision, "percent": line.percent, "latestRevision": line.latest}
        if line.tag:
            body |= {"tag": line.tag, "url": url_of(ports[line.tag])}
        found.append(body)
    return found


def url_of(port: int) -> str:
    """The URL of a port.

    A service and each of its tags have a port of their own: names under ``.localhost`` do not resolve everywhere, and a
    header would have to be known to every client.
    """
    return f"http://127.0.0.1:{port}"


def ports_in(status: Mapping[str, Any]) -> dict[str, int]:
    """The ports that a service's status speaks of: its own under the empty name, and that of each tag."""
    urls = {
        "": status.get("url"),
        **{line["tag"]: line.get("url") for line in status.get("traffic", []) if line.get("tag")},
    }
    return {tag: port for tag, url in urls.items() if url and (port := urlsplit(url).port)}
