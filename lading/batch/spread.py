"""What workers that share nothing but the output know of a run, and tell of it: notes below ``_lading/beam/``.

The one that began the run has the claim on the output and writes its journal; the workers write parts, and beside each
part what is in it. So the next attempt keeps the shards of one that was ended, and workers that the runner has not
ended yet, or believed dead, notice that their attempt is over before they write.
"""

import contextlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import orjson

from lading.batch.done import Done, FileDone, Shard
from lading.batch.files import Outputs
from lading.batch.parts import part_name
from lading.batch.plan import NOTES, PARTS
from lading.errors import LadingError, RunInProgress

_SPREAD = f"{NOTES}/beam"
_ATTEMPT, _SHARDS, _FILES = f"{_SPREAD}/attempt", f"{_SPREAD}/shards", f"{_SPREAD}/files"
_READERS, _AT_ONCE = 16, 1000
"""Notes of so many files are read side by side, and removed at a time."""


@dataclass(frozen=True)
class Work:
    """What every worker knows; the plan it reads from the output."""

    attempt: str
    model: str
    engine: str
    output: str
    begun: Mapping[int, FileDone] = field(default_factory=dict)
    """Files of which the journal has the first shards."""

    def before(self, file: int) -> FileDone:
        """What the journal has of a file."""
        return self.begun.get(file, FileDone())


@dataclass(frozen=True)
class Left:
    """A file that is not whole."""

    file: int
    """Index in the plan."""
    kept: tuple[int, ...]
    """Shards that an earlier attempt predicted."""


@dataclass(frozen=True)
class Stretch:
    """Shards of a file that one worker predicts."""

    file: int
    number: int
    """Of the first shard in the file."""
    start: int
    row: int
    shards: int
    """How many; 0: all that follow."""
    kept: tuple[int, ...]
    """Those of them that an earlier attempt predicted."""


@dataclass(frozen=True)
class Told:
    """What came of a shard; with a problem: where a file could not be read further."""

    number: int
    shard: Shard
    problem: str = ""


@contextlib.contextmanager
def attempt(outputs: Outputs) -> Iterator[str]:
    """A name for what is begun now; workers of an earlier attempt stop, and its own when the block ends.

    Raises:
        AccessDenied, StorageError: the output cannot be written.
    """
    name = uuid.uuid4().hex
    outputs.write(_ATTEMPT, name.encode())
    try:
        yield name
    finally:
        outputs.remove([_ATTEMPT])


def check_attempt(outputs: Outputs, name: str) -> None:
    """See that an attempt goes on; a worker calls this before it writes.

    Raises:
        RunInProgress: it has ended, or another one was begun.
        AccessDenied, StorageError: the output cannot be read.
    """
    now = outputs.read(_ATTEMPT)
    if now != name.encode():
        raise RunInProgress(
            f"this attempt at {outputs.uri} is over: {'another one was begun' if now else 'who began it has ended'}"
        )


def store_shard(outputs: Outputs, file: int, number: int, shard: Shard) -> None:
    """Write down what is in a part that was stored."""
    outputs.write(_shard_name(file, number), orjson.dumps(shard.to_dict()))


def stored_shard(outputs: Outputs, file: int, number: int) -> Shard:
    """What an earlier attempt wrote down."""
    return Shard.from_dict(orjson.loads(outputs.read(_shard_name(file, number)) or b"null"))


def store_file(outputs: Outputs, file: int, *, first: int, told: Sequence[Told], problem: str) -> None:
    """Write down what came of a file, when its predictions are in their place, or it cannot be read to its end.

    Args:
        outputs: Where.
        file: Index in the plan.
        first: Number of the first shard that was told of; the journal has those before it.
        told: Its shards, in order.
        problem: Why it cannot be read further; else empty.
    """
    shards = [one.shard.to_dict() for one in told]
    outputs.write(_file_name(file), orjson.dumps({"first": first, "problem": problem, "shards": shards}))


def left_files(outputs: Outputs, done: Done) -> list[Left]:
    """The files that are not whole, with the shards that need not be predicted again."""
    files = [index for index, file in enumerate(done.files) if not file.is_whole]
    noted, parts = _numbers(outputs, _SHARDS), _numbers(outputs, PARTS)
    return [Left(file, tuple(sorted(noted.get(file, set()) & parts.get(file, set())))) for file in files]


def take_files(outputs: Outputs, done: Done) -> dict[int, str]:
    """Write into the journal what workers told of files, and remove the parts of those that are whole.

    Returns:
        The files that cannot be read to their end, by index, and why.

    Raises:
        RunInProgress: the claim on the output was lost.
        AccessDenied, StorageError: it cannot be read or written.
    """
    failed: dict[int, str] = {}
    names = [name for name in outputs.names(_FILES) if name[-1:].isdigit()]
    with ThreadPoolExecutor(_READERS) as pool:
        for begin in range(0, len(names), _AT_ONCE):
            taken = names[begin : begin + _AT_ONCE]
            for name, content in zip(taken, pool.map(outputs.read, taken), strict=True):
                index = int(name.rpartition("/")[2])
                failed |= _take(done, index, orjson.loads(content or b"null"))
            outputs.flush()
            outputs.remove([*taken, *_removable(done, taken)])
    return failed


def _take(done: Done, index: int, told: Any) -> dict[int, str]:
    so_far = done.files[index]
    if so_far.is_whole or told["first"] > so_far.shards:
        return {}
    for shard in told["shards"][so_far.shards - told["first"] :]:
        done.shard(index, Shard.from_dict(shard))
    if told["problem"]:
        return {index: told["problem"]}
    done.whole(index)
    return {}


def missing(done: Done, failed: Mapping[int, str]) -> None:
    """See that something came of every file.

    Raises:
        LadingError: no worker told of one of them.
    """
    lost = [index for index, file in enumerate(done.files) if not file.is_whole and index not in failed]
    if lost:
        raise LadingError(f"no worker told what came of {len(lost)} of the files: run again to go on")


def forget_shards(outputs: Outputs, done: Done) -> None:
    """Remove what was told of shards whose files are whole."""
    noted = _numbers(outputs, _SHARDS)
    outputs.remove([_shard_name(file, number) for file in noted if done.files[file].is_whole for number in noted[file]])


def _removable(done: Done, names: Sequence[str]) -> Iterator[str]:
    for file in (int(name.rpartition("/")[2]) for name in names):
        if done.files[file].is_whole:
            yield from (part_name(PARTS, file, number) for number in range(done.files[file].shards))


def _numbers(outputs: Outputs, directory: str) -> dict[int, set[int]]:
    """The shards that a directory has something of, by file."""
    found: dict[int, set[int]] = {}
    for name in outputs.names(directory):
        file, _, number = name.removeprefix(f"{directory}/").partition("/")
        if number.isdigit():  # else a worker was killed while it wrote
            found.setdefault(int(file), set()).add(int(number))
    return found


def _shard_name(file: int, number: int) -> str:
    return part_name(_SHARDS, file, number)


def _file_name(file: int) -> str:
    return f"{_FILES}/{file:06d}"
