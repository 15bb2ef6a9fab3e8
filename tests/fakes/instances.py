"""What a batch prediction job of the fake Vertex AI sends to the model, and shows of it in its output."""

import base64
import csv
import fnmatch
import gzip
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from fakes.service import Refused
from fakes.storage_server import Storage


@dataclass
class Instances:
    """``sent[i]`` goes to the model, ``shown[i]`` to the output; ``errors``: rows that could not be read."""

    sent: list[Any] = field(default_factory=list)
    shown: list[dict[str, Any]] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)

    @property
    def total(self) -> int:
        return len(self.sent) + len(self.errors)


def instances_of(job: dict[str, Any], storage: Storage, tables: dict[str, list[dict[str, Any]]]) -> Instances:
    """Read every row, by the rules of InputConfig and InstanceConfig."""
    source, config = job["inputConfig"], job.get("instanceConfig", {})
    kind, found = source["instancesFormat"], Instances()
    if kind == "bigquery":
        name = source["bigquerySource"]["inputUri"].removeprefix("bq://")
        if name not in tables:
            raise Refused(5, f"Not found: Table {name}")
        rows: Iterator[Any] = iter(tables[name])
    else:
        rows = (
            row for content in _files(source["gcsSource"]["uris"], storage) for row in _rows(kind, content, storage)
        )
    for row in rows:
        if isinstance(row, ValueError):
            found.errors.append({"instance": str(row), "error": {"code": 3, "message": "Cannot parse the instance."}})
            continue
        found.sent.append(_sent(row, kind, config))
        key = config.get("keyField")
        found.shown.append({"key": row[key]} if key else {"instance": row})
    return found


def _files(uris: list[str], storage: Storage) -> Iterator[bytes]:
    for uri in uris:
        bucket, _, pattern = uri.removeprefix("gs://").partition("/")
        known = storage.buckets.get(bucket, {})
        names = [name for name in sorted(known) if _matches(name, pattern)]
        if not names:
            raise Refused(5, f"No files found for {uri}.")
        yield from (known[name].content for name in names)


def _matches(name: str, pattern: str) -> bool:
    """As Cloud Storage has it: one ``*`` does not reach into folders."""
    if "**" in pattern:
        return fnmatch.fnmatchcase(name, pattern)
    parts, patterns = name.split("/"), pattern.split("/")
    return len(parts) == len(patterns) and all(map(fnmatch.fnmatchcase, parts, patterns))


def _rows(kind: str, content: bytes, storage: Storage) -> Iterator[Any]:
    if kind == "jsonl":
        for line in content.decode().splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                yield ValueError(line)
    elif kind == "csv":
        for row in csv.DictReader(content.decode().splitlines()):
            yield {name: _number(text) for name, text in row.items()}
    elif kind == "file-list":
        for uri in content.decode().split():
            (each,) = _files([uri], storage)
            yield {"b64": base64.b64encode(each).decode()}
    else:
        data = gzip.decompress(content) if kind == "tf-record-gzip" else content
        while data:
            (length,) = struct.unpack_from("<Q", data)
            yield {"b64": base64.b64encode(data[12 : 12 + length]).decode()}
            data = data[16 + length :]


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def _sent(row: Any, kind: str, config: dict[str, Any]) -> Any:
    if not isinstance(row, dict) or "b64" in row:
        return row
    left_out = {config.get("keyField"), *config.get("excludedFields", [])}
    names = config.get("includedFields") or [name for name in row if name not in left_out]
    default = "array" if kind in ("csv", "bigquery") else "object"
    if config.get("instanceType", default) == "array":
        return [row[name] for name in names]
    return {name: row[name] for name in names}
