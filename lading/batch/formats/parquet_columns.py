"""Which columns of a Parquet file are which inputs, and what they hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lading.batch.formats.arrow_columns import null_reason, read_column, read_columns
from lading.batch.formats.csv_columns import match_columns
from lading.batch.options import BatchOptions
from lading.predict.signature import Signature, TensorSpec

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class InputColumn:
    """Where an input's values are."""

    spec: TensorSpec
    columns: tuple[str, ...]
    shape: tuple[int, ...] | None
    """Of a row, if there is a column for each of its elements."""


Columns = Sequence[InputColumn]


def find_columns(names: tuple[str, ...], signature: Signature, options: BatchOptions, file: str) -> Columns:
    """The columns of each input.

    Raises:
        InvalidInput: they are not there, or not once.
    """
    called = list(names)
    free = [index for index, name in enumerate(names) if name not in options.carried]
    if len(signature.inputs) == len(free) == 1 and not signature.inputs.keys() & set(names):
        called[free[0]] = next(iter(signature.inputs))
    found = match_columns(called, signature, options.carried, file)
    return [
        InputColumn(one.spec, tuple(names[index] for index in one.columns), one.shape if len(one.columns) > 1 else None)
        for one in found.inputs
    ]


def find_nulls(batch: pa.RecordBatch, columns: Columns) -> tuple[dict[int, str], Array]:
    """The rows that have a null where the model needs a value, by index, and which have none."""
    keep, bad = np.ones(batch.num_rows, bool), dict[int, str]()
    for column in (name for one in columns for name in one.columns):
        array = batch.column(column)
        if array.null_count:
            nulls = array.is_null().to_numpy(zero_copy_only=False)
            bad = {**dict.fromkeys(np.flatnonzero(nulls).tolist(), null_reason(column)), **bad}
            keep &= ~nulls
    return bad, keep


def read_inputs(batch: pa.RecordBatch, columns: Columns) -> dict[str, Array]:
    """The inputs of all rows.

    Raises:
        Misfit: not all fit.
    """
    inputs = {}
    for one in columns:
        arrays = {name: batch.column(name) for name in one.columns}
        if one.shape is None:
            inputs[one.spec.name] = read_column(arrays[one.columns[0]], one.columns[0], one.spec)
        else:
            inputs[one.spec.name] = read_columns(arrays, one.shape, one.spec)
    return inputs
