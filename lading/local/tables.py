"""Lists as tables: what ``kubectl get`` asks a server for.

Source: Kubernetes documentation, "Receiving resources as Tables"; columns: the custom resources of Knative Serving.
"""

from collections.abc import Callable, Iterable, Mapping

from lading.local.objects import CONFIGURATION_LABEL, GENERATION_LABEL, REVISIONS, SERVICES, Object, condition_of

_Column = tuple[str, Callable[[Object], str]]


def _status(field: str) -> Callable[[Object], str]:
    return lambda body: str(body.get("status", {}).get(field, ""))


def _label(name: str) -> Callable[[Object], str]:
    return lambda body: str(body["metadata"].get("labels", {}).get(name, ""))


_ENDING: tuple[_Column, ...] = (
    ("Ready", lambda body: str(condition_of(body)["status"])),
    ("Reason", lambda body: str(condition_of(body).get("reason", ""))),
)
_COLUMNS: Mapping[str, tuple[_Column, ...]] = {
    SERVICES: (
        ("URL", _status("url")),
        ("LatestCreated", _status("latestCreatedRevisionName")),
        ("LatestReady", _status("latestReadyRevisionName")),
        *_ENDING,
    ),
    REVISIONS: (
        ("Config Name", _label(CONFIGURATION_LABEL)),
        ("Generation", _label(GENERATION_LABEL)),
        *_ENDING,
    ),
}


def wants_table(accept: str) -> bool:
    """Whether the header ``Accept`` asks for a table before anything else."""
    return "as=Table" in accept.partition(",")[0]


def table(plural: str, items: Iterable[Object], version: str) -> Object:
    """Objects of one kind as a ``Table``.

    Args:
        plural: Their kind.
        items: The objects; only their metadata goes along.
        version: The ``resourceVersion`` of the list.
    """
    columns: tuple[_Column, ...] = (("Name", lambda body: str(body["metadata"]["name"])), *_COLUMNS[plural])
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": version},
        "columnDefinitions": [
            {
                "name": name,
                "type": "string",
                "format": "name" if name == "Name" else "",
                "description": "",
                "priority": 0,
            }
            for name, _ in columns
        ],
        "rows": [
            {
                "cells": [read(item) for _, read in columns],
                "object": {
                    "kind": "PartialObjectMetadata",
                    "apiVersion": "meta.k8s.io/v1",
                    "metadata": item["metadata"],
                },
            }
            for item in items
        ],
    }
