"""Whether a model is the one that was scanned, file by file."""

from collections.abc import Mapping
from pathlib import Path

from lading.errors import InvalidInput, InvalidModel, StorageError
from lading.results import ScanReport
from lading.scanning.plain import plain
from lading.values import FileDigest, from_json

MOST_NAME = 4096
"""Longer names are cut in a report; Linux has none."""
_SHOWN = 5


def read_report(path: Path) -> ScanReport:
    """Read the report of a scan.

    Raises:
        InvalidInput: it is not one.
        StorageError: it cannot be read.
    """
    try:
        return from_json(path.read_bytes(), ScanReport)
    except OSError as error:
        raise StorageError(f"cannot read the scan report {path}: {error.strerror}") from error


def check_scanned(report: ScanReport, files: Mapping[str, FileDigest], given: str) -> None:
    """See that a model is what a report says it was, and that the report lets it pass.

    Args:
        report: The verdict, with the digest of every file.
        files: Of the model as it is now, by path.
        given: The model, as messages show it.

    Raises:
        InvalidInput: the verdict is negative.
        InvalidModel: a file was changed, appeared or vanished since; the message names it.
    """
    if not report.passed:
        raise InvalidInput(f"expected the report of a scan that passed, received one that rejects {given}")
    now = {plain(name, MOST_NAME): digest for name, digest in files.items()}
    if len(now) != len(files):  # a report has them as they may be shown
        raise InvalidModel(f"{given} has files whose names cannot be told apart in a scan report: rename them")
    then = report.files
    told = [f"{name} was changed" for name in sorted(now.keys() & then.keys()) if now[name] != then[name]]
    told += [f"{name} appeared" for name in sorted(now.keys() - then.keys())]
    told += [f"{name} vanished" for name in sorted(then.keys() - now.keys())]
    if told:
        more = f" and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
        raise InvalidModel(
            f"{given} is not the model that was scanned: {', '.join(told[:_SHOWN])}{more}. Nothing was packaged: scan "
            "it again, and find out who wrote to it"
        )
