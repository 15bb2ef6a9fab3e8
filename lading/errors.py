"""Every error that lading raises on purpose.

::

    LadingError                     a failure: the command ends with exit code 3
    ├── InvalidInput                what the caller gave is wrong: exit code 2
    │   ├── InvalidReference        an image reference, a target or a URI that cannot be read
    │   ├── InvalidRecipe           a training recipe that is unknown, altered, or breaks its contract
    │   ├── InvalidData             training or test data that is missing, empty, corrupt or mislabelled
    │   ├── InvalidModel            a directory that is not a servable SavedModel
    │   └── InvalidInstance         a prediction request that does not fit the model's signature
    │       └── Unsupported         one that asks for what lading, or the engine, does not do
    ├── Rejected                    a verdict was negative and the caller asked to stop for it: exit code 1
    ├── RolloutInProgress           another release holds the service
    ├── RunInProgress               another run of batch prediction writes to the same output
    ├── NotFound                    a service, revision, image or model that should be there is not
    ├── RemoteError                 a server answered, with an error
    │   ├── Conflict                the object changed since it was read (HTTP 409, 412)
    │   ├── AccessDenied            who asks is not known, or may not (HTTP 401, 403)
    │   └── QuotaExceeded           a limit of the server is reached (HTTP 429)
    ├── ServiceUnreachable          nothing answered
    ├── DeadlineExceeded            the time allowed for an operation is over
    ├── RevisionFailed              the platform could not start the revision
    ├── EngineError                 the model was loaded, or run, and failed
    │   └── ModelClosed             it was unloaded in the meantime
    ├── NotReady                    a model is known, and not loaded yet, or not any more
    ├── Overloaded                  more work is waiting than may wait: try again later
    └── StorageError                reading or writing files failed (a full disk, a missing permission)

A message says what was expected, what came, and what to do. A verdict (a model that scores badly, a smoke test that
fails) is a value, not an error; see ``lading.values``.
"""


class LadingError(Exception):
    """Anything that lading reports about the world or its input."""


class InvalidInput(LadingError):
    """What the caller gave cannot be used."""


class InvalidReference(InvalidInput):
    """An image reference, target or URI that cannot be read."""


class InvalidRecipe(InvalidInput):
    """A recipe that is unknown, whose digest differs, or that breaks the recipe contract."""


class InvalidData(InvalidInput):
    """Data that is missing, empty, corrupt, truncated or mislabelled."""


class InvalidModel(InvalidInput):
    """Not a SavedModel that can be served."""


class InvalidInstance(InvalidInput):
    """A prediction request that does not fit the signature."""


class Unsupported(InvalidInstance):
    """A request for what lading, or the engine that serves, does not do."""


class Rejected(LadingError):
    """A negative verdict that ends a run."""


class RolloutInProgress(LadingError):
    """Another release of the same service has not ended yet."""


class RunInProgress(LadingError):
    """Another run of batch prediction writes to the same output."""


class NotFound(LadingError):
    """Something that should exist does not."""


class RemoteError(LadingError):
    """A server answered with an error status.

    Attributes:
        status: HTTP status code.
    """

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class Conflict(RemoteError):
    """The object changed since it was read; read it again and decide anew."""


class AccessDenied(RemoteError):
    """Who asks is not known to the server (401: no token, or an expired one), or may not do this (403)."""


class QuotaExceeded(RemoteError):
    """A limit of the server is reached: requests a minute, or the quota of a project."""


class ServiceUnreachable(LadingError):
    """Nothing answered at the address."""


class DeadlineExceeded(LadingError):
    """The time allowed for an operation is over."""


class RevisionFailed(LadingError):
    """The platform reports that the revision will not become ready."""


class EngineError(LadingError):
    """The model failed while it was loaded or run.

    Attributes:
        code: The canonical code of the failure, by name (google/rpc/code.proto).
    """

    def __init__(self, message: str, *, code: str = "INTERNAL") -> None:
        super().__init__(message)
        self.code = code


class ModelClosed(EngineError):
    """The model was unloaded while, or before, it was asked."""


class NotReady(LadingError):
    """A model that is known and not loaded."""


class Overloaded(LadingError):
    """More work is waiting than may wait."""


class StorageError(LadingError):
    """Files could not be read or written."""
