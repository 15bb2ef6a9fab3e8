"""``lading batch``: predictions for files of rows."""

import argparse
import contextlib
import json
import os
import shlex
import sys
import time
from typing import TYPE_CHECKING, Any

from lading.commands.common import add_parser, emit, table
from lading.errors import LadingError

if TYPE_CHECKING:
    from lading.batch.job import BatchJob
    from lading.batch.progress import Progress
    from lading.batches import BatchReport

_GOES_ON = "ended before it was done; the same command goes on ({})"
_MOST_SHOWN = 5
_LINE_SECONDS = 10.0
"""Where no terminal is, progress is a line as often as this."""


def register(subparsers: Any) -> None:
    """Add the command."""
    from lading.batch.arguments import add_job, count

    batch = add_parser(
        subparsers,
        "batch",
        "predict the rows of files; a run that was ended goes on",
        epilog="exit codes: 0 done, 1 too many bad rows or damaged files, 3 failed, 130 ended (run again to go on)",
    )
    add_job(batch)
    add = batch.add_argument
    add("--threads", type=count, metavar="N", help="blocks side by side (default: one for each processor and one more)")
    add("--report", metavar="FILE", help="write the verdict here, as JSON")
    add("--quiet", action="store_true", help="no progress")
    add("--beam", metavar="OPTIONS", help="on Apache Beam, with the options of its runner, as one word")
    batch.set_defaults(run=_batch)


def _batch(args: argparse.Namespace) -> int:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read by the C library when it is loaded: errors only
    from lading.batch.arguments import job_of
    from lading.files import write_atomic
    from lading.storage import local_path
    from lading.values import to_json

    job = job_of(args)
    report = _on_beam(args, job) if args.beam is not None else _here(args, job)
    if args.report:
        write_atomic(local_path(args.report), to_json(report))
    emit(args, json.loads(to_json(report)), _for_people(report))
    return 0 if report.passed else 1


def _here(args: argparse.Namespace, job: "BatchJob") -> "BatchReport":
    from lading.batch.model import open_model
    from lading.batch.run import run_batch
    from lading.framework import stderr_held

    screen = _Screen(quiet=args.quiet)
    with contextlib.ExitStack() as stack:
        with stderr_held():  # TensorFlow writes notes before it looks at TF_CPP_MIN_LOG_LEVEL
            opened = stack.enter_context(open_model(args.model, environ=os.environ, engine=args.engine))
        try:
            return run_batch(job, opened.model, opened.digest, threads=args.threads, told=screen.show)
        except (KeyboardInterrupt, SystemExit):
            screen.end()
            print(_GOES_ON.format(args.output), file=sys.stderr)
            raise
        finally:
            screen.end()


def _on_beam(args: argparse.Namespace, job: "BatchJob") -> "BatchReport":
    try:
        from lading.batch.beam import run_on_beam
    except ImportError as error:
        raise LadingError(
            "--beam needs Apache Beam, in an environment of its own: pip install 'lading[serving,beam]'"
        ) from error

    def counted(rows: int, bad: int) -> None:
        if not args.quiet:
            print(f"Beam's job: {rows:,} rows" + (f", {bad:,} bad" if bad else ""), file=sys.stderr)

    runner = shlex.split(args.beam)
    try:
        return run_on_beam(job, args.model, engine=args.engine, environ=os.environ, runner=runner, counted=counted)
    except (KeyboardInterrupt, SystemExit):
        print(_GOES_ON.format(args.output), file=sys.stderr)
        raise


def _for_people(report: "BatchReport") -> str:
    checks = [(c.name, "passed" if c.passed else "FAILED", c.expected, c.received) for c in report.checks]
    lines = [table(("check", "", "expected", "received"), checks), ""]
    lines.append(_work_done(report))
    lines += [f"output  {report.output}"]
    if report.errors:
        lines.append(f"errors  {report.errors}")
        lines += [f"        {count:,} × {reason}" for reason, count in list(report.reasons.items())[:_MOST_SHOWN]]
    if len(report.failed_files) > 1:  # a single one is named by the check
        lines += [f"damaged {reason}" for reason in list(report.failed_files.values())[:_MOST_SHOWN]]
    if len(report.failed_files) > _MOST_SHOWN:
        lines.append(f"        … and {len(report.failed_files) - _MOST_SHOWN:,} more: --json names them")
    return "\n".join(lines)


def _work_done(report: "BatchReport") -> str:
    """What there was to do, and what of it this run did."""
    rows, how = f"{report.rows:,} rows of {_files(report.files)}", f"batches of {report.batch_size}, {report.engine}"
    if report.resumed and not report.new_rows:
        return f"{rows}: an earlier run had done everything, nothing was left to do ({how})"
    work = f"in {report.seconds:.1f} s ({report.rows_per_second:,.0f} rows/s, {how})"
    return f"{rows}: {report.new_rows:,} {work}, the others by an earlier run" if report.resumed else f"{rows} {work}"


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
