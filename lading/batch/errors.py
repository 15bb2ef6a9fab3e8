"""The file of bad rows."""

from lading.batch.done import Done
from lading.batch.files import Outputs, open_outputs
from lading.batch.plan import ERROR_PARTS, ERRORS
from lading.batch.writing import part_name


def write_errors(done: Done, outputs: Outputs, uri: str) -> str:
    """Put the bad rows of all files into one file, in their order.

    Args:
        done: What was written.
        outputs: Where.
        uri: The file; empty for the usual place.

    Returns:
        The URI; empty when no row was bad.

    Raises:
        AccessDenied, StorageError: it cannot be written.
    """
    parts = [
        part_name(ERROR_PARTS, index, number) for index, file in enumerate(done.files) for number in file.error_shards
    ]
    if not parts:
        return ""
    if not uri:
        outputs.concatenate(parts, ERRORS)
        return f"{outputs.uri}/{ERRORS}"
    directory, _, name = uri.rpartition("/")
    elsewhere = open_outputs(directory or ".")
    elsewhere.write(name, (piece for part in parts for piece in outputs.stream(part)))
    return uri
