"""What a registry's refusal means, and what to do about it."""

import re
from dataclasses import dataclass

from lading.errors import AccessDenied, LadingError, NotFound, QuotaExceeded, RemoteError

GOOGLE_HOSTS = re.compile(r"(.+\.)?(pkg\.dev|gcr\.io)(:\d+)?")
_ARTIFACT_REGISTRY = re.compile(r"(?P<location>[a-z0-9-]+)-docker\.pkg\.dev")


@dataclass(frozen=True)
class Asked:
    """What was asked of a registry, and by whom."""

    host: str
    name: str
    """The repository."""
    who: str
    """In words: ``user taxi-ci``."""
    writing: bool

    def explain(self, error: LadingError) -> LadingError:
        """The error in terms of images; the error itself when there is nothing to add."""
        where = f"{self.host}/{self.name}"
        verb = "push to" if self.writing else "read"
        if isinstance(error, AccessDenied):
            words = f"{where}: {self.who} may not {verb} it ({error}). {self._log_in()}"
            return AccessDenied(words, status=error.status)
        if isinstance(error, NotFound) and self.writing:
            return NotFound(f"{where}: the registry has no such repository ({error}). {self._create()}")
        if isinstance(error, QuotaExceeded):
            words = f"{where}: a limit of the registry is reached ({error}). Try again later, or have the limit raised"
            return QuotaExceeded(f"{words}; {self.who} is the one that counts", status=error.status)
        if isinstance(error, RemoteError) and error.status == 413:
            words = f"{where}: the registry, or a proxy before it, takes no blob of this size ({error})"
            return RemoteError(words, status=error.status)
        return error

    def _log_in(self) -> str:
        if not GOOGLE_HOSTS.fullmatch(self.host):
            host = "" if self.host.endswith("docker.io") else f" {self.host}"
            right = "push" if self.writing else "pull"
            return f"Log in with `docker login{host}`, or ask its owner for the right to {right}"
        role = "writer" if self.writing else "reader"
        return (
            f"Log in with `gcloud auth configure-docker {self.host}` or `gcloud auth application-default login`; "
            f"who does this needs roles/artifactregistry.{role}"
        )

    def _create(self) -> str:
        found, parts = _ARTIFACT_REGISTRY.fullmatch(self.host), self.name.split("/")
        if not found or len(parts) < 3:
            return "Create it first, or mend its name"
        return (
            f"Create it: `gcloud artifacts repositories create {parts[1]} --repository-format=docker "
            f"--location={found['location']} --project={parts[0]}`"
        )
