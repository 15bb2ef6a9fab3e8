"""How much memory there is, and how much of it a run may take."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from lading.batch.formats.base import MOST_BLOCK_BYTES
from lading.batch.options import MIB, BatchOptions
from lading.errors import LadingError

PROCESS_BYTES = 192 * MIB
"""What the process takes without models and runs: the interpreter, TensorFlow's library, the client of storage."""
BLOCKS_BESIDE, BESIDE_FACTOR = 4, 2
"""Blocks of a run beside those that are computed (one more waits, one is written, two are read): text, predictions."""
DECODE_FACTOR = 16
"""A block that is computed: its text, what the parser makes of it, the arrays of inputs and outputs."""
STORAGE_BYTES = 64 * MIB
"""Of a run, for the parts that it writes and the pieces that it reads."""


class TooLarge(LadingError):
    """A request that would never fit into the memory of the service."""


def run_bytes(options: BatchOptions, threads: int) -> int:
    """What a run is accounted for, whatever the length of its files.

    ``(threads × DECODE_FACTOR + BLOCKS_BESIDE × BESIDE_FACTOR) × BLOCK + STORAGE_BYTES``, where BLOCK is 4 MiB, or the
    longest line if that is longer. What the model computes with is not in it.
    """
    block = max(MOST_BLOCK_BYTES, options.max_line_bytes)
    return (threads * DECODE_FACTOR + BLOCKS_BESIDE * BESIDE_FACTOR) * block + STORAGE_BYTES


def usable_bytes(*, root: Path = Path("/")) -> int:
    """What this process may use, less ``PROCESS_BYTES``: the limit of its control groups, else the machine's memory.

    Args:
        root: The root of the file system; ``/proc`` and ``/sys`` are read below it.

    Source: the kernel's admin-guide, cgroup-v2 ``memory.max`` and cgroup-v1 ``memory.limit_in_bytes``.
    """
    limits = [limit for limit in (*_group_limits(root), _machine_bytes(root)) if limit > 0]
    return max(MIB, min(limits) - PROCESS_BYTES) if limits else 1024 * MIB


def _group_limits(root: Path) -> Iterator[int]:
    """The limits of the process's groups and of those above them."""
    base = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # no control groups here
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        mount, name = (base / "memory", "memory.limit_in_bytes") if controllers else (base, "memory.max")
        relative = PurePosixPath(group.lstrip("/"))
        for directory in (relative, *relative.parents):
            yield _number(mount / directory / name)


def _number(path: Path) -> int:
    """The number in a file; 0 if there is none (``max``, or no such file)."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


def _machine_bytes(root: Path) -> int:
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemTotal:")), 0)
