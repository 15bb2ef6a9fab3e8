"""What a serving process is told, from its command line and environment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lading.errors import InvalidInput

DEFAULT_PORT = 8501  # TensorFlow Serving's REST port
MAX_BODY_BYTES = 32 * 1024 * 1024  # Cloud Run's limit of an HTTP/1 request
DRAIN_SECONDS = 10.0  # Knative and Cloud Run send SIGKILL 10 s after SIGTERM


@dataclass(frozen=True)
class ServeConfig:
    """The settings of a serving process."""

    models: Mapping[str, Path]
    """A SavedModel or a version base for each model name; at least one."""
    host: str = "0.0.0.0"
    port: int = DEFAULT_PORT
    """0 lets the system choose; the log line ``listening`` names it."""
    engine: str = "tensorflow"
    revision: str = ""
    """What the platform calls this revision: sent with every answer as ``x-lading-revision``, unless empty."""
    model_diff_id: str = ""
    """Digest of the uncompressed model layer: sent with every answer as ``x-lading-model``, unless empty."""
    max_body_bytes: int = MAX_BODY_BYTES
    """A longer request is answered 413."""
    drain_seconds: float = DRAIN_SECONDS
    """After SIGTERM, how long running requests may take."""

    @classmethod
    def read(
        cls,
        models: Sequence[str],
        environ: Mapping[str, str],
        *,
        port: int | None = None,
        host: str | None = None,
        engine: str = "tensorflow",
    ) -> "ServeConfig":
        """Read the arguments of ``lading serve`` and the environment.

        Args:
            models: Each ``NAME=PATH``.
            environ: ``AIP_HTTP_PORT`` (Vertex AI) and ``PORT`` (Knative, Cloud Run) give the port, in this order;
                ``K_REVISION`` or ``AIP_DEPLOYED_MODEL_ID`` the revision; ``LADING_MODEL_DIFF_ID`` the model's digest.
            port: Before the environment's.
            host: Address to listen on. Default: all, which Knative's runtime contract asks for.
            engine: What computes.

        Raises:
            InvalidInput: every problem, in one message.
        """
        problems: list[str] = []
        found = _models(models, problems)
        chosen = _port(port, environ, problems)
        if problems:
            raise InvalidInput("; ".join(problems))
        return cls(
            models=found,
            host=host or cls.host,
            port=chosen,
            engine=engine,
            revision=environ.get("K_REVISION") or environ.get("AIP_DEPLOYED_MODEL_ID", ""),
            model_diff_id=environ.get("LADING_MODEL_DIFF_ID", ""),
        )


def _models(arguments: Sequence[str], problems: list[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    if not arguments:
        problems.append("no model: expected NAME=PATH")
    for argument in arguments:
        name, equals, path = argument.partition("=")
        if not equals or not name or not path:
            problems.append(f"{argument!r}: expected NAME=PATH")
        elif name in found:
            problems.append(f"{argument!r}: the name {name} is used twice")
        else:
            found[name] = Path(path)
    return found


def _port(flag: int | None, environ: Mapping[str, str], problems: list[str]) -> int:
    variable = next((name for name in ("AIP_HTTP_PORT", "PORT") if environ.get(name)), "")
    where, text = ("--port", str(flag)) if flag is not None else (variable, environ.get(variable, str(DEFAULT_PORT)))
    if text.isascii() and text.isdigit() and int(text) <= 65535:
        return int(text)
    problems.append(f"{where}={text!r}: expected a port number, 0 to 65535")
    return DEFAULT_PORT
