"""How many rows one call of the model gets."""

from lading.batch.formats.base import MOST_BLOCK_BYTES, row_bytes
from lading.errors import InvalidInput
from lading.predict.signature import Signature

MOST_ROWS = 1024
"""A larger call costs memory and latency, and by then what a call costs in itself is spread over many rows."""
UNKNOWN_ROWS = 64
"""Where the size of a row is not declared; AI Platform's default."""


def fixed_batch(signature: Signature) -> int | None:
    """The rows that a call must have, if the signature says so; None if any number will do."""
    sizes = {spec.shape[0] for spec in signature.inputs.values() if spec.shape}
    return next(iter(sizes)) if len(sizes) == 1 else None


def choose_batch_size(signature: Signature, asked: int) -> int:
    """The batch size of a run: what was asked, else the largest power of two whose inputs stay small.

    By the size of a row and not by a stopwatch, so that every attempt of a run, and every run, decides the same.

    Args:
        signature: What is called.
        asked: 0 for a choice.

    Raises:
        InvalidInput: the signature takes another number of rows only.
    """
    fixed = fixed_batch(signature)
    if fixed is not None:
        if asked not in (0, fixed):
            raise InvalidInput(
                f'the signature "{signature.name}" takes {fixed} rows a call, received a batch size of {asked}: leave '
                "it out"
            )
        return fixed
    if asked:
        return asked
    one = row_bytes(signature)
    if one is None:
        return UNKNOWN_ROWS
    fitting = max(1, MOST_BLOCK_BYTES // max(1, one))
    return min(MOST_ROWS, 1 << (fitting.bit_length() - 1))
