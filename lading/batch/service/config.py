"""What a batch service is told, from its command line and environment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lading.batch.options import BatchOptions
from lading.batch.service.access import Access
from lading.batch.service.memory import run_bytes, usable_bytes
from lading.errors import InvalidInput
from lading.predict.cpus import available_cpus

DEFAULT_PORT = 8080  # embedded-tf's, and Cloud Run's
DRAIN_SECONDS = 9.0  # Knative and Cloud Run send SIGKILL 10 s after SIGTERM
MOST_LINE_BYTES = 4 << 20
"""Of a line, where a request does not say; runs are accounted by it. embedded-tf's lines have at most 64 KiB."""


@dataclass(frozen=True)
class ServiceConfig:
    """The settings of a batch service."""

    environ: Mapping[str, str] = field(repr=False)
    """For credentials, and where this user's image store lies."""
    memory_bytes: int
    """What runs and models may take together."""
    max_runs: int
    """So many runs work at a time."""
    host: str = "0.0.0.0"
    port: int = DEFAULT_PORT
    """0 lets the system choose (the log line ``listening`` names it)."""
    access: Access = field(default_factory=Access)
    engine: str = "tensorflow"
    threads: int = 2
    """Blocks side by side in a run."""
    max_queue: int = 64
    """So many runs wait for their turn; the next is answered 503."""
    max_line_bytes: int = MOST_LINE_BYTES
    """Where a request does not say."""
    drain_seconds: float = DRAIN_SECONDS
    """After SIGTERM, how long runs may take to reach the end of a block, and answers to be read."""
    access_log: str = "errors"
    """Which requests get a line in the log: ``off``, ``errors`` (and slow ones), ``all``."""
    revision: str = ""
    """What the platform calls this revision: sent with every answer as ``x-lading-revision``, unless empty."""
    trace_project: str = ""
    """The Google Cloud project that trace ids in the log belong to; empty for none."""

    def __post_init__(self) -> None:
        least = {
            "memory_bytes": 1, "max_runs": 1, "threads": 1, "max_queue": 1, "max_line_bytes": 1, "drain_seconds": 0,
        }  # fmt: skip
        problems = [
            f"{name} is {getattr(self, name)}, expected {bound} or more"
            for name, bound in least.items()
            if not getattr(self, name) >= bound
        ]
        if self.access_log not in ("off", "errors", "all"):
            problems.append(f"access_log is {self.access_log!r}, expected off, errors or all")
        if not problems and self.memory_bytes < (least_run := run_bytes(BatchOptions(max_line_bytes=1), self.threads)):
            problems.append(
                f"memory_bytes is {self.memory_bytes}, and a run with {self.threads} threads needs {least_run}: give "
                "the service more memory, or fewer --threads"
            )
        if problems:
            raise InvalidInput("; ".join(problems))

    @classmethod
    def read(cls, environ: Mapping[str, str], *, port: str | None = None, **settings: Any) -> "ServiceConfig":
        """Read the arguments of ``lading batch-service`` and the environment.

        Args:
            environ: ``PORT`` (Knative, Cloud Run) gives the port; ``K_REVISION`` the revision; ``GOOGLE_CLOUD_PROJECT``
                the project of traces.
            port: Before the environment's.
            settings: Other fields of this class; None stands for the default: of ``memory_bytes`` what this process may
                use, less what it needs itself; of ``max_runs`` its processors, of ``threads`` one more.

        Raises:
            InvalidInput: a number that cannot be.
        """
        given = {name: value for name, value in settings.items() if value is not None}
        where, text = ("--port", port) if port is not None else ("PORT", environ.get("PORT") or str(DEFAULT_PORT))
        if not (text.isascii() and text.isdigit() and int(text) <= 65535):
            raise InvalidInput(f"{where}={text!r}: expected a port number, 0 to 65535")
        chosen = {
            "memory_bytes": usable_bytes() if "memory_bytes" not in given else 0,
            "max_runs": available_cpus(),
            "threads": available_cpus() + 1,
            "revision": environ.get("K_REVISION", ""),
            "trace_project": environ.get("GOOGLE_CLOUD_PROJECT", ""),
        }
        return cls(environ=environ, port=int(text), **{**chosen, **given})
