"""Predicts the rows of a block, and finds the rows that cannot be predicted or written."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lading.batch.formats.base import BadRow, Block, Decoded, InputFormat, OutputFormat, RowErrors
from lading.batch.size import fixed_batch
from lading.errors import EngineError, InvalidInput, InvalidInstance, ModelClosed
from lading.predict.model import Model
from lading.predict.signature import Signature

Array = npt.NDArray[Any]

_FATAL = ("CANCELLED", "UNAVAILABLE", "RESOURCE_EXHAUSTED")
"""Failures of the model (by canonical code) that no row is to blame for, once it fails with a single one."""


@dataclass(frozen=True)
class Predicted:
    """A block after the model."""

    content: bytes
    """Its rows as the output has them."""
    rows: int
    """All of it, bad ones included."""
    bad: Sequence[BadRow]


class Predictor:
    """Decodes, predicts and encodes blocks; several threads use it at once."""

    def __init__(self, model: Model, signature: Signature, output: OutputFormat) -> None:
        self._model = model
        self._signature = signature
        self._output = output
        self._fixed = fixed_batch(signature)
        # Decoding holds Python's own lock: threads that compete for it are slower than one after the other.
        self._decoding = threading.Lock()

    def run(self, block: Block, format: InputFormat) -> Predicted:
        """Predict a block.

        Raises:
            EngineError: the model fails, whatever it is given.
            InvalidInput: its outputs do not have one row for each row of the inputs.
        """
        with self._decoding:
            decoded = format.decode(block)
        refused: dict[int, str] = {}
        outputs = self._predict(decoded, np.arange(len(decoded.rows)), refused)
        content = self._encode(outputs, decoded, refused)
        bad = [*decoded.bad]
        bad += [
            BadRow(decoded.rows[index], reason, format.show(decoded.originals[index]))
            for index, reason in refused.items()
        ]
        return Predicted(content, len(decoded.rows) + len(decoded.bad), sorted(bad, key=lambda row: row.row))

    def _predict(self, decoded: Decoded, rows: "npt.NDArray[np.intp]", refused: dict[int, str]) -> dict[str, Array]:
        """The outputs for rows of a block; those that the model refuses are left out, found by halving."""
        if not len(rows):
            return {}
        whole = len(rows) == len(decoded.rows)
        arrays = [array if whole else array[rows] for array in decoded.inputs.values()]
        try:
            return self._call(arrays, len(rows))
        except ModelClosed:
            raise
        except (InvalidInstance, EngineError) as error:
            if len(rows) == 1:
                if isinstance(error, EngineError) and error.code in _FATAL:
                    raise
                refused[int(rows[0])] = str(error)
                return {}
        half = len(rows) // 2
        parts = [self._predict(decoded, part, refused) for part in (rows[:half], rows[half:])]
        return _joined([part for part in parts if part])

    def _call(self, arrays: Sequence[Array], rows: int) -> dict[str, Array]:
        """One call of the model; a model with a fixed number of rows gets the last row again and again."""
        missing = (self._fixed or rows) - rows
        if missing:
            arrays = [np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) for array in arrays]
        outputs = self._model.run(self._signature, arrays)
        for name, array in outputs.items():
            if not array.ndim or len(array) != rows + missing:
                raise InvalidInput(
                    f'the signature "{self._signature.name}" is not one for batches: for {rows + missing} rows its '
                    f"output {name} has the shape {list(array.shape)}, expected [{rows + missing}, …]"
                )
        return {name: array[:rows] for name, array in outputs.items()} if missing else outputs

    def _encode(self, outputs: dict[str, Array], decoded: Decoded, refused: dict[int, str]) -> bytes:
        """The rows that were predicted, as the output has them; rows that it cannot hold are added to ``refused``."""
        kept = [index for index in range(len(decoded.rows)) if index not in refused]
        while kept:
            carried = {name: [values[index] for index in kept] for name, values in decoded.carried.items()}
            try:
                return self._output.encode(outputs, carried)
            except RowErrors as error:
                refused.update({kept[index]: reason for index, reason in error.reasons.items()})
                good = [index for index in range(len(kept)) if index not in error.reasons]
                kept = [kept[index] for index in good]
                outputs = {name: array[good] for name, array in outputs.items()}
        return b""


def _joined(parts: Sequence[dict[str, Array]]) -> dict[str, Array]:
    """Outputs of one part of the rows after the other.

    Raises:
        InvalidInput: they differ in more than the number of rows.
    """
    if not parts:
        return {}
    try:
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    except ValueError as error:
        raise InvalidInput(f"the model gives outputs of another shape for other rows of one block: {error}") from error
