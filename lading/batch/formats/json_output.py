"""Predictions as JSON Lines, as embedded-tf writes them."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy.typing as npt

from lading.batch.formats.output_rows import (
    check_outputs,
    check_rows,
    compressed,
    gather,
    json_text,
    number_lines,
    output_rows,
)
from lading.batch.options import BatchOptions
from lading.errors import InvalidInput
from lading.predict.signature import Signature

Array = npt.NDArray[Any]

PREDICTION = "prediction"
"""The member that holds the prediction where others stand beside it, as in the results of a Vertex batch job."""


class LinesOutput:
    """A line for each row, from a template with a place for each carried column and each output.

    Args:
        signature: Whose outputs are written, in its order.
        options: Of the run.
        template: For the ``%`` operator of bytes; the carried columns first.
    """

    suffix = ".jsonl"
    plain = True

    def __init__(self, signature: Signature, options: BatchOptions, *, template: bytes) -> None:
        check_outputs(signature)
        self._signature, self._options, self._template = signature, options, template

    def head(self) -> bytes:
        """Nothing, but for gzip its sign."""
        return compressed(b"", self._options)

    def encode(self, outputs: Mapping[str, Array], carried: Mapping[str, Sequence[Any]]) -> bytes:
        """See ``OutputFormat``.

        Raises:
            RowErrors: strings that are not UTF-8, of outputs whose names do not end in ``_bytes``.
            InvalidInput: an output without a row for each row.
        """
        if not check_rows(outputs, carried):
            return b""
        return compressed(self._lines(outputs, carried) + b"\n", self._options)

    def join(self, parts: Iterator[bytes]) -> Iterator[bytes]:
        """The parts themselves."""
        return parts

    def _lines(self, outputs: Mapping[str, Array], carried: Mapping[str, Sequence[Any]]) -> bytes:
        if self._template == b"%b":
            (only,) = outputs.values()
            if only.dtype.kind != "O":
                return number_lines(only)
        columns = [[json_text(value) for value in carried[name]] for name in self._options.carried]
        columns += gather([functools.partial(output_rows, outputs[name], name) for name in self._signature.outputs])
        return b"\n".join([self._template % row for row in zip(*columns, strict=True)])


class JsonOutput(LinesOutput):
    """Writes elements of ``predictions`` as TensorFlow Serving's REST API has them, one a line.

    The name of a single output is left out; several are an object. With carried columns a line is an object of these
    and ``prediction``, as in the results of a Vertex batch job. ``NaN`` and ``Infinity`` are written as such.

    Raises:
        InvalidInput: an output of complex numbers, or a carried column called ``prediction``.
    """

    def __init__(self, signature: Signature, options: BatchOptions) -> None:
        if PREDICTION in options.carried:
            raise InvalidInput(
                f"a column called {PREDICTION!r} cannot be carried to the output, where the prediction has that name: "
                "use another output format, or rename it"
            )
        value = b"%b" if len(signature.outputs) == 1 else template(signature.outputs)
        if options.carried:
            value = template(options.carried, {PREDICTION: value})
        super().__init__(signature, options, template=value)


def template(names: "Mapping[str, Any] | Sequence[str]", more: Mapping[str, bytes] | None = None) -> bytes:
    """The template of a JSON object.

    Args:
        names: Members with a place for a value.
        more: Further ones, with the templates of their values.
    """
    members = {**dict.fromkeys(names, b"%b"), **(more or {})}
    return b"{" + b",".join(json_text(name).replace(b"%", b"%%") + b":" + at for name, at in members.items()) + b"}"
