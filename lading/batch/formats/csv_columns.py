"""Which columns of a CSV file are which inputs of a model."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lading.batch.formats.row_shapes import Declared, row_shape
from lading.errors import InvalidInput
from lading.predict.signature import DT_STRING, Signature, TensorSpec

_NUMBERED = ("{}_{}", "{}.{}", "{}[{}]")


@dataclass(frozen=True)
class InputColumns:
    """Where an input's values are."""

    spec: TensorSpec
    columns: tuple[int, ...]
    """Indices in the header, in the order of the values."""
    shape: tuple[int, ...] | None
    """Of a row; each column has one value of it. None: the cells of the only column are lists of JSON."""


@dataclass(frozen=True)
class Columns:
    """What a header means."""

    names: tuple[str, ...]
    inputs: tuple[InputColumns, ...]
    carried: tuple[int, ...]

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]] | None:
        """Of a row of each input; None if cells say it."""
        shapes = {found.spec.name: found.shape for found in self.inputs if found.shape is not None}
        return shapes if len(shapes) == len(self.inputs) else None


def match_columns(names: Sequence[str], signature: Signature, carried: Sequence[str], file: str) -> Columns:
    """Find the columns of each input.

    An input takes the column of its name: a value for a row of one element, else a list in JSON. Or it takes columns
    numbered from 0, ``NAME_0``, ``NAME.0`` or ``NAME[0]``. The input of a model that has only one, if none is named
    after it, takes all columns that are not carried, in their order, when there are as many as a row has elements.
    Other columns are ignored.

    Args:
        names: The header.
        signature: Of the model.
        carried: The names of the columns that are carried to the output.
        file: For messages.

    Raises:
        InvalidInput: columns for an input, or carried ones, are missing, repeated, too many or too few.
    """
    places: dict[str, int] = {}
    for index, name in enumerate(names):
        places.setdefault(name, index)
    missing = [name for name in carried if name not in places]
    if missing:
        column, is_to_be = ("column", "is") if len(missing) == 1 else ("columns", "are")
        raise InvalidInput(
            f"{file}: expected the {column} {', '.join(missing)}, which {is_to_be} to be carried to the output, "
            f"received {_list(names)}"
        )
    free = tuple(index for index, name in enumerate(names) if name not in carried)
    found = []
    for spec in signature.inputs.values():
        columns = _named(spec, places) or _numbered(spec, places, file)
        if columns is None and len(signature.inputs) == 1:
            columns = _all(spec, free)
        if columns is None:
            raise InvalidInput(f"{file}: {_expected(spec, signature, carried)}, received {_list(names)}")
        found.append(columns)
    kept = tuple(places[name] for name in carried)
    used = {names[index] for columns in found for index in columns.columns} | set(carried)
    repeated = sorted(name for name in used if list(names).count(name) > 1) if len(places) < len(names) else []
    if repeated:
        raise InvalidInput(f"{file}: expected each column once, received {', '.join(repeated)} more than once")
    return Columns(tuple(names), tuple(found), kept)


def _whole(row: Declared) -> tuple[int, ...] | None:
    """A shape of which everything is known; else None."""
    if row is None:
        return None
    sizes = tuple(size for size in row if size is not None)
    return sizes if len(sizes) == len(row) else None


def _named(spec: TensorSpec, places: Mapping[str, int]) -> InputColumns | None:
    if spec.name not in places:
        return None
    shape = _whole(row_shape(spec))
    if shape is not None and math.prod(shape) != 1:
        shape = None
    if spec.shape is None and spec.data_type == DT_STRING:
        shape = ()
    return InputColumns(spec, (places[spec.name],), shape)


def _numbered(spec: TensorSpec, places: Mapping[str, int], file: str) -> InputColumns | None:
    row = row_shape(spec)
    shape = _whole(row)
    for form in _NUMBERED:
        if form.format(spec.name, 0) not in places:
            continue
        count = 0
        while form.format(spec.name, count) in places:
            count += 1
        if shape is None and (row is None or len(row) == 1):
            shape = (count,)
        if shape is None or count != math.prod(shape):
            first, last = form.format(spec.name, 0), form.format(spec.name, count - 1)
            size = "a list in one column" if shape is None else f"{math.prod(shape)} columns, numbered from 0"
            raise InvalidInput(
                f'{file}: expected for the input "{spec.name}" {size}, received {count}: {first} to {last}'
            )
        return InputColumns(spec, tuple(places[form.format(spec.name, index)] for index in range(count)), shape)
    return None


def _all(spec: TensorSpec, free: tuple[int, ...]) -> InputColumns | None:
    row = row_shape(spec)
    shape = (len(free),) if row == (None,) else _whole(row)
    return InputColumns(spec, free, shape) if free and shape is not None and math.prod(shape) == len(free) else None


def _expected(spec: TensorSpec, signature: Signature, carried: Sequence[str]) -> str:
    shape = _whole(row_shape(spec))
    words = f'expected for the input "{spec.name}" a column of this name'
    if shape is None or math.prod(shape) != 1:
        words += " with lists, or"
        words += f" columns {spec.name}_0 to {spec.name}_{'N' if shape is None else math.prod(shape) - 1}"
    if len(signature.inputs) == 1 and shape is not None:
        count = math.prod(shape)
        words += f", or {count} column{'s' if count != 1 else ''} in all"
        words += f" besides {', '.join(carried)}" if carried else ""
    return words


def _list(names: Sequence[str], most: int = 8) -> str:
    if len(names) <= most:
        return ", ".join(names)
    return f"{len(names)} columns: {', '.join(names[: most - 1])}, …, {names[-1]}"
