"""What a run of batch prediction is asked for."""

from dataclasses import dataclass, field

from lading.batch.options import BatchOptions


@dataclass(frozen=True)
class BatchJob:
    """What is to be done."""

    inputs: tuple[str, ...]
    """As ``lading.batch.files.find_inputs`` takes them."""
    output: str
    """A directory; its own notes are below ``_lading/`` there."""
    options: BatchOptions = field(default_factory=BatchOptions)
    max_bad_rows: str = "10%"
    """A count, or a share as ``1%``; with more bad rows the verdict is negative."""
    errors: str = ""
    """URI of the errors file; empty: ``_lading/errors.jsonl`` below the output."""
    restart: bool = False
    """Forget what an earlier run did here."""
    keep_notes: bool = True
    """Whether ``_lading/`` stays when there is a verdict. Without it the same job does all of its work again."""
    supersede: bool = False
    """Forget an unfinished run with other inputs, another model or other options, which is refused otherwise."""
    by_prefix: bool = False
    """The inputs are beginnings of the names of objects, as ``lading.batch.files.find_by_prefix`` takes them."""
