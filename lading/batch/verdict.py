"""The verdict on a run, and the file of its bad rows."""

from collections.abc import Mapping

from lading.batch.done import Done
from lading.batch.files import Outputs, open_outputs
from lading.batch.limit import Limit
from lading.batch.parts import part_name
from lading.batch.plan import ERROR_PARTS, ERRORS, Plan
from lading.batches import MOST_LISTED, BatchReport
from lading.values import Check


def make_report(
    plan: Plan, done: Done, outputs: Outputs, limit: Limit, *, failed: Mapping[int, str], errors: str
) -> BatchReport:
    """Judge what was done, and write the errors file.

    Args:
        plan: What was to be done.
        done: What was.
        outputs: Where.
        limit: On bad rows.
        failed: Files that could not be read to their end, by index, and why.
        errors: URI of the errors file; empty for the usual place.

    Raises:
        AccessDenied, StorageError: the errors file cannot be written.
    """
    damaged = {plan.files[index].file.uri: reason for index, reason in failed.items()}
    checks = (
        limit.check(done.bad, done.rows, ended_early=False),
        Check("files", not damaged, "every file can be read to its end", _damaged_words(damaged)),
    )
    written = [planned.output for planned, file in zip(plan.files, done.files, strict=True) if file.is_whole]
    return BatchReport(
        passed=all(check.passed for check in checks),
        checks=checks,
        rows=done.rows,
        bad_rows=done.bad,
        files=len(plan.files),
        output=outputs.uri,
        outputs=tuple(f"{outputs.uri}/{name}" for name in written[:MOST_LISTED]),
        errors=_write_errors(done, outputs, errors),
        reasons=dict(done.reasons().most_common(MOST_LISTED)),
        failed_files=damaged,
        model=plan.model,
        engine=plan.engine,
        signature=plan.signature,
        batch_size=plan.batch_size,
        resumed=done.resumed,
    )


def _write_errors(done: Done, outputs: Outputs, uri: str) -> str:
    """Put the bad rows of all files into one file, in their order; its URI, empty when no row was bad."""
    parts = [
        part_name(ERROR_PARTS, index, number) for index, file in enumerate(done.files) for number in file.error_shards
    ]
    if not parts:
        return ""
    if not uri:
        outputs.concatenate(parts, ERRORS)
        return f"{outputs.uri}/{ERRORS}"
    directory, _, name = uri.rpartition("/")
    open_outputs(directory or ".").write(name, (piece for part in parts for piece in outputs.stream(part)))
    return uri


def _damaged_words(damaged: Mapping[str, str]) -> str:
    if not damaged:
        return "all were"
    reason = next(iter(damaged.values()))  # which names the file
    return f"{len(damaged)} could not: {reason}" if len(damaged) == 1 else f"{len(damaged)} could not"
