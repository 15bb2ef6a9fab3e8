"""What a run of batch prediction is asked to do. These options go into its manifest: with others it is another run."""

from dataclasses import dataclass

from lading.errors import InvalidInput
from lading.options import options_from_json, options_from_members

INPUT_FORMATS = ("jsonl", "csv", "tfrecord", "parquet")
OUTPUT_FORMATS = ("jsonl", "ai-platform", "csv", "parquet")
COMPRESSIONS = ("none", "gzip")
MIB = 1 << 20


@dataclass(frozen=True)
class BatchOptions:
    """How rows are read, predicted and written.

    Raises:
        InvalidInput: values that cannot be, all in one message.
    """

    input_format: str = "auto"
    """One of ``INPUT_FORMATS``, or ``auto``: by each file's name (``.csv``, ``.tfrecord``, ``.parquet``, also with
    ``.gz``); JSON Lines for all other names, as embedded-tf reads everything."""
    output_format: str = "jsonl"
    """``jsonl``: a line is the prediction as TensorFlow Serving writes an element of ``predictions`` (the name of a
    single output is left out). ``ai-platform``: files ``prediction.results-SSSSS-of-NNNNN``, a line is an object keyed
    by output."""
    compression: str = "none"
    """Of the output: ``none`` or ``gzip`` (not for Parquet, which compresses its pages)."""
    signature: str = ""
    """Empty: the only one that can be called, else ``serving_default``."""
    key_field: str = ""
    """A column that is not given to the model and stands first in the output."""
    passthrough: tuple[str, ...] = ()
    """Further columns that are carried to the output; one that is also an input is given to the model too."""
    batch_size: int = 0
    """Rows of one call of the model; 0 chooses by the size of a row, once for the run."""
    shard_bytes: int = 64 * MIB
    """About so much input is written and recorded at once: what a crash costs at most."""
    max_line_bytes: int = 16 * MIB
    """A longer line, or record, is one bad row."""

    def __post_init__(self) -> None:
        problems = []
        for name, value, known in (
            ("input format", self.input_format, ("auto", *INPUT_FORMATS)),
            ("output format", self.output_format, OUTPUT_FORMATS),
            ("compression", self.compression, COMPRESSIONS),
        ):
            if value not in known:
                problems.append(f"expected as {name} one of {', '.join(known)}, received {value!r}")
        for name, least in (("batch_size", 0), ("shard_bytes", 1), ("max_line_bytes", 1)):
            if getattr(self, name) < least:
                problems.append(f"expected {name} of {least} or more, received {getattr(self, name)}")
        if self.output_format == "parquet" and self.compression != "none":
            problems.append("Parquet compresses its pages itself: leave the compression out")
        if len(set(self.passthrough)) < len(self.passthrough):
            problems.append(f"a column is passed through twice: {', '.join(self.passthrough)}")
        if self.key_field and self.key_field in self.passthrough:
            problems.append(f"{self.key_field!r} is the key and need not be passed through")
        if problems:
            raise InvalidInput("; ".join(problems))

    @classmethod
    def from_json(cls, text: str) -> "BatchOptions":
        """Read a JSON object whose members are options.

        Raises:
            InvalidInput: it is none, or has a member that is no option, or one of another type.
        """
        return options_from_json(cls, text)

    @classmethod
    def from_members(cls, given: object) -> "BatchOptions":
        """As ``from_json``, of what was parsed already."""
        return options_from_members(cls, given)

    @property
    def carried(self) -> tuple[str, ...]:
        """The columns that are carried to the output, the key first."""
        return (self.key_field, *self.passthrough) if self.key_field else self.passthrough
