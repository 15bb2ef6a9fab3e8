"""What goes wrong, in the words of the API: a status code, a reason, and a ``Status`` object.

Source: Kubernetes API conventions, "Response Status Kind".
"""

from lading.errors import Conflict, InvalidInput, LadingError, NotFound, StorageError
from lading.local.objects import Object
from lading.local.store import Expired


class Refused(LadingError):
    """A request that is not let in, or that nothing answers to."""

    def __init__(self, message: str, *, code: int, reason: str) -> None:
        super().__init__(message)
        self.code, self.reason = code, reason


def status_of(error: LadingError) -> tuple[int, str]:
    """The status code of an error, and its reason in one word."""
    if isinstance(error, Refused):
        return error.code, error.reason
    if isinstance(error, Conflict):
        return 409, "AlreadyExists" if "already exists" in str(error) else "Conflict"
    for kind, code, reason in _CODES:
        if isinstance(error, kind):
            return code, reason
    return 500, "InternalError"


_CODES = (
    (NotFound, 404, "NotFound"),
    (Expired, 410, "Expired"),
    (InvalidInput, 422, "Invalid"),
    (StorageError, 507, "InsufficientStorage"),
)


def failure(message: str, code: int, reason: str) -> Object:
    """A ``Status`` object; under ``error`` the same as Google's APIs write it, which is where gcloud reads it.

    Source: https://cloud.google.com/apis/design/errors.
    """
    return {
        "apiVersion": "v1",
        "kind": "Status",
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
        "error": {"code": code, "message": message, "status": reason},
    }
