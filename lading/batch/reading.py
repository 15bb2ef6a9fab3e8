"""The blocks that a run still has to predict, file after file, shard after shard."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lading.batch.done import Done
from lading.batch.files import open_source
from lading.batch.formats.base import Block, InputFormat, Source
from lading.batch.plan import Plan
from lading.errors import InvalidData, InvalidInput


@dataclass(frozen=True)
class Piece:
    """A block of a file, or its end."""

    file: int
    """Index in the plan."""
    block: Block | None
    """None at the end of the file."""
    ends_shard: bool = False
    problem: str = ""
    """At the end: why the file could not be read to its end."""
    consumed: int = 0
    """Bytes of the file as it lies there that were read so far."""


def pieces(plan: Plan, done: Done, formats: Mapping[str, InputFormat]) -> Iterator[Piece]:
    """What is left to do, in the order of the plan.

    A file that cannot be read is ended with the problem, and the next one follows.

    Raises:
        NotFound, StorageError: the storage fails, or a file was changed since the run was planned.
    """
    for index, (planned, so_far) in enumerate(zip(plan.files, done.files, strict=True)):
        if so_far.is_whole:
            continue
        try:
            yield from file_pieces(plan, index, formats[planned.format], start=so_far.end, row=so_far.next_row)
        except (InvalidData, InvalidInput) as error:
            yield Piece(index, None, problem=str(error))


def file_pieces(plan: Plan, index: int, format: InputFormat, *, start: int = 0, row: int = 0) -> Iterator[Piece]:
    """The blocks of a file from the start of one of its shards on, and its end.

    Args:
        plan: The run.
        index: Of the file in it.
        format: The file's.
        start: Where the shard starts.
        row: The number of the row there; 0 at the beginning of the file.

    Raises:
        InvalidData, InvalidInput: the file cannot be read to its end.
        NotFound, StorageError: the storage fails, or the file was changed since the run was planned.
    """
    source = open_source(plan.files[index].file)
    size, last = 0, None
    for block in format.blocks(source, start, row):
        # One block late: whether a block is the last one is known when there is no other.
        if last is not None:
            size += last.size
            ends = size >= plan.options.shard_bytes
            yield Piece(index, last, ends_shard=ends, consumed=_consumed(last, source))
            size = 0 if ends else size
        last = block
    if last is not None:
        yield Piece(index, last, ends_shard=True, consumed=_consumed(last, source))
    yield Piece(index, None, consumed=source.size)


def _consumed(block: Block, source: Source) -> int:
    return source.consumed if block.consumed is None else block.consumed
