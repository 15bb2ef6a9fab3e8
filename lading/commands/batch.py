"""``lading batch``: predictions for files of rows."""

import argparse
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from lading.commands.common import add_parser, emit, table

if TYPE_CHECKING:
    from lading.batch.options import BatchOptions
    from lading.batch.progress import Progress
    from lading.batches import BatchReport

_MIB = 1 << 20
_LINE_SECONDS = 10.0
"""Where no terminal is, progress is a line as often as this."""


def register(subparsers: Any) -> None:
    """Add the command."""
    batch = add_parser(
        subparsers,
        "batch",
        "predict the rows of files; a run that was ended goes on",
        epilog="exit codes: 0 done, 1 too many bad rows or damaged files, 3 failed, 130 interrupted (run again to go on)",
    )
    add_job(batch)
    add = batch.add_argument
    add("--engine", choices=("tensorflow", "litert", "auto"), default="tensorflow", help="what computes")
    add("--threads", type=int, metavar="N", help="blocks side by side (default: one for each processor and one more)")
    add("--report", metavar="FILE", help="write the verdict here, as JSON")
    add("--quiet", action="store_true", help="no progress")
    batch.set_defaults(run=_batch)


def add_job(parser: argparse.ArgumentParser) -> None:
    """The arguments that say what is to be done."""
    from lading.batch.options import COMPRESSIONS, INPUT_FORMATS, OUTPUT_FORMATS

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
    add("--shard-mib", type=float, default=64, metavar="N", help="written and recorded at once (default: 64 of input)")
    add("--max-line-bytes", type=int, default=16 * _MIB, metavar="N", help="longer rows are bad (default: 16 MiB)")
    add("--max-bad-rows", default="10%", metavar="N|P%", help="with more the verdict is negative (default: 10%%)")
    add("--errors", default="", metavar="URI", help="gets the bad rows (default: OUTPUT/_lading/errors.jsonl)")
    add("--restart", action="store_true", help="forget what an earlier run did in this output")


def _batch_size(text: str) -> int:
    if text == "auto":
        return 0
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, or auto, received {text}")
    return number


def _options(args: argparse.Namespace) -> "BatchOptions":
    from lading.batch.options import BatchOptions

    return BatchOptions(
        input_format=args.input_format,
        output_format=args.output_format,
        compression=args.compression,
        signature=args.signature,
        key_field=args.key_field,
        passthrough=tuple(args.passthrough),
        batch_size=args.batch_size,
        shard_bytes=max(1, int(args.shard_mib * _MIB)),
        max_line_bytes=args.max_line_bytes,
    )


def _batch(args: argparse.Namespace) -> int:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read by the C library when it is loaded: errors only
    from lading.batch.model import open_model
    from lading.batch.run import BatchJob, run_batch
    from lading.files import write_atomic
    from lading.storage import local_path
    from lading.values import to_json

    job = BatchJob(
        tuple(args.input),
        args.output,
        _options(args),
        max_bad_rows=args.max_bad_rows,
        errors=args.errors,
        restart=args.restart,
    )
    screen = _Screen(quiet=args.quiet)
    with open_model(args.model, environ=os.environ, engine=args.engine) as opened:
        try:
            report = run_batch(job, opened.model, opened.digest, threads=args.threads, told=screen.show)
        except (KeyboardInterrupt, SystemExit):
            screen.end()
            print(f"ended before it was done; the same command goes on ({args.output})", file=sys.stderr)
            raise
        finally:
            screen.end()
    if args.report:
        write_atomic(local_path(args.report), to_json(report))
    emit(args, json.loads(to_json(report)), _for_people(report))
    return 0 if report.passed else 1


def _for_people(report: "BatchReport") -> str:
    checks = [(c.name, "passed" if c.passed else "FAILED", c.expected, c.received) for c in report.checks]
    lines = [table(("check", "", "expected", "received"), checks), ""]
    lines.append(
        f"{report.rows:,} rows of {_files(report.files)} in {report.seconds:.1f} s "
        f"({report.rows_per_second:,.0f} rows/s, batches of {report.batch_size}, {report.engine})"
        + (", after an earlier attempt" if report.resumed else "")
    )
    lines += [f"output  {report.output}"]
    if report.errors:
        lines.append(f"errors  {report.errors}")
        lines += [f"        {count:,} × {reason}" for reason, count in list(report.reasons.items())[:5]]
    lines += [f"damaged {uri}: {reason}" for uri, reason in list(report.failed_files.items())[:5]]
    return "\n".join(lines)


def _files(number: int) -> str:
    return "1 file" if number == 1 else f"{number:,} files"


class _Screen:
    """Progress on standard error: one line that is written anew on a terminal, now and then a line elsewhere."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._live = sys.stderr.isatty()
        self._last = time.monotonic()
        self._drawn = False

    def show(self, progress: "Progress") -> None:
        if self._quiet:
            return
        now = time.monotonic()
        if self._live:
            sys.stderr.write(f"\r\x1b[2K{_line(progress)}")
            sys.stderr.flush()
            self._drawn = True
        elif now - self._last >= _LINE_SECONDS:
            self._last = now
            print(_line(progress), file=sys.stderr)

    def end(self) -> None:
        if self._drawn:
            sys.stderr.write("\n")
            self._drawn = False


def _line(progress: "Progress") -> str:
    left = "" if progress.seconds_left is None else f", {_time(progress.seconds_left)} left"
    bad = f", {progress.bad_rows:,} bad" if progress.bad_rows else ""
    return (
        f"{progress.share:4.0%}  {progress.rows:,} rows{bad}, {progress.rows_per_second:,.0f} rows/s, "
        f"{progress.files_done:,} of {progress.files:,} files{left}"
    )


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
