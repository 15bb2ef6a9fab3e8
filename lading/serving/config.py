"""What a serving process is told, from its command line and environment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lading.errors import InvalidInput

DEFAULT_PORT = 8501  # TensorFlow Serving's REST port
DEFAULT_GRPC_PORT = 8500  # TensorFlow Serving's gRPC port
MAX_BODY_BYTES = 32 * 1024 * 1024  # Cloud Run's limit of an HTTP/1 request
DRAIN_SECONDS = 10.0  # Knative and Cloud Run send SIGKILL 10 s after SIGTERM
METRICS_PATH = "/monitoring/prometheus/metrics"


@dataclass(frozen=True)
class VersionPolicy:
    """Which versions of a model are served.

    Source: ServableVersionPolicy in tensorflow_serving/sources/storage_path/file_system_storage_path_source.proto.
    """

    latest: int | None = 1
    """So many of the highest numbers; None for all, or for ``specific``."""
    specific: tuple[int, ...] = ()
    """These numbers; empty for ``latest``, or for all."""


@dataclass(frozen=True)
class ModelConfig:
    """One model of a serving process."""

    name: str
    base_path: str
    """A version base (``<base>/<number>/saved_model.pb``) or one SavedModel; a local path or ``gs://…``."""
    policy: VersionPolicy = VersionPolicy()
    labels: Mapping[str, int] = field(default_factory=dict)
    """Version numbers by label."""


@dataclass(frozen=True)
class BatchingConfig:
    """How requests are put together. Names and defaults: TensorFlow Serving's BatchingParameters."""

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = 0
    """0: as many as there are processors."""
    allowed_batch_sizes: tuple[int, ...] = ()
    """Ascending, the last is ``max_batch_size``; batches are padded to one of these."""
    pad_variable_length_inputs: bool = False


@dataclass(frozen=True)
class ServeConfig:
    """The settings of a serving process."""

    models: tuple[ModelConfig, ...]
    """At least one; names are unique."""
    host: str = "0.0.0.0"
    port: int | None = DEFAULT_PORT
    """0 lets the system choose (the log line ``listening`` names it); None: no HTTP."""
    grpc_port: int | None = None
    """0 lets the system choose; None: no gRPC."""
    grpc_required: bool = True
    """False: a gRPC port that is in use is a warning."""
    engine: str = "tensorflow"
    threads: int | None = None
    """For predictions; None: the CPU quota."""
    revision: str = ""
    """What the platform calls this revision: sent with every answer as ``x-lading-revision``, unless empty."""
    model_diff_id: str = ""
    """Digest of the uncompressed model layer: sent with every answer as ``x-lading-model``, unless empty."""
    health_route: str = ""
    """Vertex AI's ``AIP_HEALTH_ROUTE``; empty for none."""
    predict_route: str = ""
    """Vertex AI's ``AIP_PREDICT_ROUTE``; empty for none."""
    max_body_bytes: int = MAX_BODY_BYTES
    """A longer request is answered 413."""
    max_queue: int = 256
    """So many requests may wait for a thread; the next is answered 503."""
    timeout_seconds: float = 30.0
    """A prediction that is not made within is answered 504. TensorFlow Serving: ``--rest_api_timeout_in_ms``."""
    drain_seconds: float = DRAIN_SECONDS
    """After SIGTERM, how long running requests may take."""
    batching: BatchingConfig | None = None
    metrics_path: str = METRICS_PATH
    """TensorFlow Serving's path for metrics, beside ``/metrics``; empty: no metrics."""
    model_config_file: Path | None = None
    model_config_poll_seconds: float = 0.0
    """How often the file is read again; 0 for never."""
    poll_seconds: float = 1.0
    """How often base paths are looked at for new versions; 0 for once."""
    warm_up: bool = True
    request_log: Path | None = None
    """A file to which a sample of requests and answers is written as JSON Lines."""
    request_log_rate: float = 0.01
    """The share of requests that is written, 0 to 1."""

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


def _models(arguments: Sequence[str], problems: list[str]) -> tuple[ModelConfig, ...]:
    found: dict[str, ModelConfig] = {}
    if not arguments:
        problems.append("no model: expected NAME=PATH")
    for argument in arguments:
        name, equals, path = argument.partition("=")
        if not equals or not name or not path:
            problems.append(f"{argument!r}: expected NAME=PATH")
        elif name in found:
            problems.append(f"{argument!r}: the name {name} is used twice")
        else:
            found[name] = ModelConfig(name, path)
    return tuple(found.values())


def _port(flag: int | None, environ: Mapping[str, str], problems: list[str]) -> int:
    variable = next((name for name in ("AIP_HTTP_PORT", "PORT") if environ.get(name)), "")
    where, text = ("--port", str(flag)) if flag is not None else (variable, environ.get(variable, str(DEFAULT_PORT)))
    if text.isascii() and text.isdigit() and int(text) <= 65535:
        return int(text)
    problems.append(f"{where}={text!r}: expected a port number, 0 to 65535")
    return DEFAULT_PORT
