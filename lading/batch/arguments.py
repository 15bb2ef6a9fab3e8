"""The arguments of a run on the command line; ``lading batch`` and the module for Apache Beam take the same."""

import argparse

from lading.batch.job import BatchJob
from lading.batch.options import COMPRESSIONS, INPUT_FORMATS, MIB, OUTPUT_FORMATS, BatchOptions


def add_job(parser: argparse.ArgumentParser) -> None:
    """The arguments that say what is to be done."""
    add = parser.add_argument
    add("--model", required=True, metavar="M", help="a SavedModel, a base of versions, or an image by digest")
    add(
        *("--input", "-i"),
        required=True,
        action="append",
        metavar="URI",
        help="a file, directory or glob, here or gs://; @FILE: a list of such; may be repeated",
    )
    add("--output", "-o", required=True, metavar="URI", help="a directory, here or gs://")
    add(
        "--input-format",
        choices=("auto", *INPUT_FORMATS),
        default="auto",
        help="default: by the names of the files; JSON Lines for unknown ones",
    )
    add("--output-format", choices=OUTPUT_FORMATS, default="jsonl", help="default: jsonl")
    add("--compression", choices=COMPRESSIONS, default="none", help="of the output (default: none)")
    add("--signature", default="", metavar="NAME", help="default: the only one, else serving_default")
    add("--key-field", default="", metavar="NAME", help="a column for the output, not for the model")
    add("--passthrough", action="append", default=[], metavar="NAME", help="a further column for the output")
    add("--batch-size", type=_batch_size, default=0, metavar="N|auto", help="rows of one call (default: auto)")
    add(
        "--shard-mib",
        type=_mib,
        default=64 * MIB,
        metavar="N",
        help="written and recorded at once (default: 64 of input)",
    )
    add("--max-line-bytes", type=count, default=16 * MIB, metavar="N", help="longer rows are bad (default: 16 MiB)")
    add("--max-bad-rows", default="10%", metavar="N|P%", help="with more the verdict is negative (default: 10%%)")
    add("--errors", default="", metavar="URI", help="gets the bad rows (default: OUTPUT/_lading/errors.jsonl)")
    add("--engine", choices=("tensorflow", "litert", "auto"), default="tensorflow", help="what computes")
    add("--restart", action="store_true", help="forget what an earlier run did in this output")


def _batch_size(text: str) -> int:
    return 0 if text == "auto" else _count(text, "1 or more, or auto")


def count(text: str) -> int:
    """The type of an argument that is a number from 1 on."""
    return _count(text, "1 or more")


def _count(text: str, expected: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"expected {expected}, received {text}")
    return int(text)


def _mib(text: str) -> int:
    """Bytes of so many MiB, which may be a fraction."""
    try:
        size = int(float(text) * MIB)
    except (ValueError, OverflowError):
        size = 0
    if size < 1:
        raise argparse.ArgumentTypeError(f"expected MiB above 0, received {text}")
    return size


def _options(args: argparse.Namespace) -> BatchOptions:
    return BatchOptions(
        input_format=args.input_format,
        output_format=args.output_format,
        compression=args.compression,
        signature=args.signature,
        key_field=args.key_field,
        passthrough=tuple(args.passthrough),
        batch_size=args.batch_size,
        shard_bytes=args.shard_mib,
        max_line_bytes=args.max_line_bytes,
    )


def job_of(args: argparse.Namespace) -> BatchJob:
    """What the arguments ask for.

    Raises:
        InvalidInput: options that contradict each other.
    """
    return BatchJob(
        tuple(args.input),
        args.output,
        _options(args),
        max_bad_rows=args.max_bad_rows,
        errors=args.errors,
        restart=args.restart,
    )
