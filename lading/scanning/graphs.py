"""Reads and judges what ``saved_model.pb`` holds."""

import contextlib
import mmap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lading.errors import InvalidModel, StorageError
from lading.results import ScanFinding
from lading.scanning import op_groups
from lading.scanning.graph import MAIN, GraphReader
from lading.scanning.meta_graph import MetaGraph, holds_lambda, read_meta_graphs
from lading.scanning.operations import Found, is_noted, judge_operations
from lading.scanning.plain import plain
from lading.scanning.policy import MIB, Policy
from lading.scanning.wire import Wire

_HUGE = 1024 * MIB
"""A constant that needs so much memory, and is short in the file, was made to exhaust it."""
_SMALL_IN_FILE = 16
_ALL_CONSTANTS = 10
"""So many times the largest constant is the most for all of them."""


@dataclass(frozen=True)
class Graphs:
    """The graphs of a SavedModel, and what is worth a look in them."""

    metas: tuple[MetaGraph, ...] = ()
    found: tuple[Found, ...] = ()
    operations: Counter[str] = field(default_factory=Counter)
    functions: int = 0


def read_graphs(path: Path, policy: Policy) -> Graphs:
    """Read ``saved_model.pb`` and judge its operations and constants.

    Raises:
        InvalidModel: it is cut off, is something else, or has more parts than can be looked at.
        StorageError: it cannot be read.
    """
    with _mapped(path) as data:
        wire = Wire(data, str(path))
        reader = GraphReader(
            wire,
            is_noted=lambda op: is_noted(op, policy.deny_ops),
            is_known=op_groups.is_known,
            large_bytes=policy.max_constant_bytes,
        )
        metas = read_meta_graphs(wire, reader)
        if not metas:
            raise InvalidModel(f"{path}: expected a SavedModel, found a file without a MetaGraphDef")
        found: list[Found] = []
        operations: Counter[str] = Counter()
        functions = 0
        for meta in metas:
            found += judge_operations(meta, policy.deny_ops)
            found += (Found(finding, "") for finding in _judge_constants(meta, policy))
            for scope in meta.graph.scopes():
                operations.update(scope.ops)
                functions += scope.number != 1
        return Graphs(tuple(metas), tuple(found), operations, functions)


def file_holds_lambda(path: Path) -> bool:
    """Whether a file names a Keras layer of the class Lambda."""
    with _mapped(path) as data:
        wire = Wire(data, str(path))
        return holds_lambda(wire, wire.whole)


@contextlib.contextmanager
def _mapped(path: Path) -> "Iterator[mmap.mmap | bytes]":
    """A file in memory, page by page as it is read."""
    try:
        with path.open("rb") as file:
            if not path.stat().st_size:  # an empty file cannot be mapped
                yield b""
                return
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                yield data
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error


def _judge_constants(meta: MetaGraph, policy: Policy) -> Iterator[ScanFinding]:
    """Constants that need much memory: weights belong into variables, and a few bytes can ask for all there is."""
    for scope in meta.graph.scopes():
        for span, tensor in scope.large:
            node, most = scope.read(span), max(tensor.stored, tensor.expanded)
            bomb = most >= _HUGE and tensor.stored * _SMALL_IN_FILE < most
            size = f"{most / MIB:.0f} MiB"
            yield ScanFinding(
                "constants/large",
                "high" if bomb else "low",
                plain(f"{scope.place} › {node.name}"),
                f"a constant of {size}"
                + (f" that takes {tensor.stored} bytes in the file: loading it can exhaust the memory" if bomb else ""),
                "Do not use this model." if bomb else "Keep weights in variables: constants are loaded twice.",
            )
    total = meta.graph.constant_bytes
    if total >= _ALL_CONSTANTS * policy.max_constant_bytes:
        yield ScanFinding(
            "constants/total",
            "low",
            MAIN,
            f"constants of {total / MIB:.0f} MiB in all",
            "Keep weights in variables: protobuf ends at 2 GiB.",
        )
