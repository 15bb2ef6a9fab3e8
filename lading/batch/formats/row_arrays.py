"""Gathers the rows of a block into arrays."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lading.batch.formats.base import BadRow, Block, Decoded
from lading.batch.formats.row_shapes import shown
from lading.errors import InvalidInput
from lading.predict.signature import Signature, TensorSpec, type_name

Array = npt.NDArray[Any]
Shapes = Mapping[str, tuple[int, ...]]


class BetterShapes(Exception):
    """A row has the shapes that the signature declares, and the rows before it had others: begin again with these.

    Attributes:
        shapes: Of the row.
    """

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.shapes = shapes


class RowArrays:
    """The good rows of a block, in one array for each input, and the bad ones.

    All good rows have the same shapes: those of the first one, or of the first one that is as the signature declares.

    Args:
        signature: Of the model.
        block: What is decoded.
        carried: The names of the columns that are carried to the output.
        shapes: Of a row, if they are known; else the first row's count.
    """

    def __init__(
        self, signature: Signature, block: Block, carried: Sequence[str], *, shapes: Shapes | None = None
    ) -> None:
        self._signature = signature
        self._block = block
        self._carried: dict[str, list[Any]] = {name: [] for name in carried}
        self._columns = tuple(self._carried.values())
        self._bad: list[BadRow] = []
        self._rows: list[int] = []
        self._originals: list[Any] = []
        self.shapes: Shapes | None = None
        self.arrays: dict[str, Array] = {}
        """For each input ``[rows of the block, …]``; the first ``count`` are filled."""
        self.count = 0
        if shapes is not None:
            self._allocate(shapes)

    def keep(self, index: int, carried: Sequence[Any]) -> None:
        """Count a row whose values are in ``arrays[…][count]`` already.

        Args:
            index: In the block.
            carried: A value for each carried column.
        """
        self._rows.append(self._block.first_row + index)
        self._originals.append(self._block.rows[index])
        for column, value in zip(self._columns, carried, strict=True):
            column.append(value)
        self.count += 1

    def add(self, index: int, values: Mapping[str, Any], carried: Sequence[Any], *, shapes: Shapes) -> str:
        """Add a row.

        Args:
            index: In the block.
            values: For each input an array, or a scalar that fills the shape.
            carried: A value for each carried column.
            shapes: Of the values.

        Returns:
            Why it does not go with the others; empty if it does.

        Raises:
            BetterShapes: it is the first one that is as declared.
        """
        if self.shapes is None:
            self._allocate(shapes)
        elif shapes != self.shapes:
            if self._declared(shapes) and not self._declared(self.shapes):
                raise BetterShapes(shapes)
            return self._difference(shapes)
        for name, array in self.arrays.items():
            value = values[name]
            array[self.count] = value[()] if isinstance(value, np.ndarray) and not value.ndim else value
        self.keep(index, carried)
        return ""

    def refuse(self, bad: BadRow) -> None:
        """Count a bad row."""
        self._bad.append(bad)

    def decoded(self) -> Decoded:
        """All of it."""
        if self.shapes is None:
            self._allocate({name: _least_shape(spec) for name, spec in self._signature.inputs.items()})
        inputs = {name: array[: self.count] for name, array in self.arrays.items()}
        return Decoded(inputs, self._rows, self._carried, self._bad, self._originals)

    def _allocate(self, shapes: Shapes) -> None:
        self.shapes = shapes
        count = len(self._block.rows)
        self.arrays = {
            name: np.empty((count, *shapes[name]), spec.dtype) for name, spec in self._signature.inputs.items()
        }

    def _declared(self, shapes: Shapes) -> bool:
        return all(fits(shapes[name], spec) for name, spec in self._signature.inputs.items())

    def _difference(self, shapes: Shapes) -> str:
        assert self.shapes is not None
        name = next(name for name in self.shapes if shapes[name] != self.shapes[name])
        which = f"the input {name}" if len(self.shapes) > 1 else "a row"
        spec, expected = self._signature.inputs[name], self.shapes[name]
        if fits(expected, spec) and not fits(shapes[name], spec):
            return f"expected for {which} the shape {shown(expected)}, received {shown(shapes[name])}"
        return (
            f"expected for {which} the shape {shown(expected)}, as rows before it have, received "
            f"{shown(shapes[name])}: rows of one call have one shape (a batch size of 1 takes any)"
        )


def fits(shape: tuple[int, ...], spec: TensorSpec) -> bool:
    """Whether the shape of a row is as an input declares it; True if it declares none."""
    if spec.shape is None:
        return True
    declared = spec.shape[1:]
    return len(declared) == len(shape) and all(
        expected in (None, size) for expected, size in zip(declared, shape, strict=True)
    )


def see_types(signature: Signature, format: str) -> None:
    """Refuse a model that a text format cannot feed.

    Raises:
        InvalidInput: names the input.
    """
    for spec in signature.inputs.values():
        if spec.dtype is None or spec.dtype.kind not in "fiubO":
            raise InvalidInput(
                f'expected inputs that {format} can hold, received "{spec.name}" of type {type_name(spec.data_type)}'
            )


def _least_shape(spec: TensorSpec) -> tuple[int, ...]:
    return tuple(size or 0 for size in (spec.shape or ())[1:])
