"""What a serving process is told, from its command line and environment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lading.errors import InvalidInput
from lading.predict.batching import BatchingConfig

DEFAULT_PORT = 8501  # TensorFlow Serving's REST port
DEFAULT_GRPC_PORT = 8500  # TensorFlow Serving's gRPC port
MAX_BODY_BYTES = 32 * 1024 * 1024  # Cloud Run's limit of an HTTP/1 request
DRAIN_SECONDS = 9.0  # Knative and Cloud Run send SIGKILL 10 s after SIGTERM
DEFAULT_MODEL = "model"  # MODEL_NAME in TensorFlow Serving's image
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
class ServeConfig:
    """The settings of a serving process."""

    models: tuple[ModelConfig, ...]
    """Names are unique. Empty if ``model_config_file`` names them."""
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
    trace_project: str = ""
    """The Google Cloud project that trace ids in the log belong to; empty for none."""
    max_body_bytes: int = MAX_BODY_BYTES
    """A longer request is answered 413."""
    max_queue: int = 256
    """So many requests may wait for a thread; the next is answered 503."""
    max_held_bytes: int = 8 * MAX_BODY_BYTES
    """So many bytes of bodies may wait or be worked on; past it requests are answered 503."""
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
    verify_models: bool = False
    """Compare every model's files with ``model_digests`` before it is loaded; what differs is refused."""
    model_digests: Path | None = None
    """The digests that an image carries: the JSON of ``lading.values.ModelDigests``."""
    warm_up: bool = True
    access_log: str = "errors"
    """Which requests get a line in the log: ``off``, ``errors`` (and slow ones), ``all``."""
    slow_seconds: float = 1.0
    """A request that takes longer is slow; 0 for never."""
    request_log: Path | None = None
    """A file to which a sample of requests and answers is written as JSON Lines."""
    request_log_rate: float = 0.01
    """The share of requests that is written, 0 to 1."""

    @property
    def said(self) -> dict[str, str]:
        """What every answer says of the process, by header (over gRPC: by the name of trailing metadata)."""
        said = {"x-lading-revision": self.revision, "x-lading-model": self.model_diff_id}
        return {name: text for name, text in said.items() if text}

    def __post_init__(self) -> None:
        least = {
            "timeout_seconds": 0.001, "max_body_bytes": 1, "max_queue": 0, "max_held_bytes": 1, "drain_seconds": 0,
            "poll_seconds": 0, "slow_seconds": 0, "model_config_poll_seconds": 0,
        }  # fmt: skip
        problems = [
            f"{name} is {getattr(self, name)}, expected {bound} or more"
            for name, bound in least.items()
            if not getattr(self, name) >= bound
        ]
        if self.threads is not None and self.threads < 1:
            problems.append(f"threads is {self.threads}, expected 1 or more")
        if self.access_log not in ("off", "errors", "all"):
            problems.append(f"access_log is {self.access_log!r}, expected off, errors or all")
        if not 0 <= self.request_log_rate <= 1:
            problems.append(f"request_log_rate is {self.request_log_rate}, expected 0 to 1")
        if self.verify_models and self.model_digests is None:
            problems.append(
                "models are to be verified, and LADING_MODEL_DIGESTS does not say where the image has its digests "
                "(`lading package` sets it)"
            )
        if self.port is None and self.grpc_port is None:
            problems.append("neither HTTP nor gRPC is to be served")
        if problems:
            raise InvalidInput("; ".join(problems))

    @classmethod
    def read(
        cls,
        models: Sequence[str],
        environ: Mapping[str, str],
        *,
        port: str | None = None,
        grpc_port: str | None = None,
        **settings: Any,
    ) -> "ServeConfig":
        """Read the arguments of ``lading serve`` and the environment.

        Args:
            models: Each ``NAME=PATH``. Without any, the settings' ``model_config_file`` names them, or else the
                environment's ``AIP_STORAGE_URI`` (Vertex AI) is served as the model ``model``.
            environ: ``AIP_HTTP_PORT`` (Vertex AI) and ``PORT`` (Knative, Cloud Run) give the port, in this order;
                ``AIP_HEALTH_ROUTE`` and ``AIP_PREDICT_ROUTE`` paths; ``K_REVISION`` or ``AIP_DEPLOYED_MODEL_ID`` the
                revision; ``LADING_MODEL_DIFF_ID`` the model's digest; ``LADING_MODEL_DIGESTS`` the file with those of
                its files, ``LADING_VERIFY_MODELS`` (1 or true) that these are compared; ``GOOGLE_CLOUD_PROJECT`` the
                project of traces.
            port: Before the environment's.
            grpc_port: A number, ``off``, or ``instead``: the port that HTTP would have. Default: 8500, and none where
                the environment gives the port, since such platforms open a single one.
            settings: Other fields of this class; None stands for the default.

        Raises:
            InvalidInput: every problem, in one message.
        """
        problems: list[str] = []
        given = {name: value for name, value in settings.items() if value is not None}
        from_environ = {
            "revision": environ.get("K_REVISION") or environ.get("AIP_DEPLOYED_MODEL_ID", ""),
            "model_diff_id": environ.get("LADING_MODEL_DIFF_ID", ""),
            "model_digests": Path(environ["LADING_MODEL_DIGESTS"]) if environ.get("LADING_MODEL_DIGESTS") else None,
            "verify_models": _switch("LADING_VERIFY_MODELS", environ, problems),
            "health_route": environ.get("AIP_HEALTH_ROUTE", ""),
            "predict_route": environ.get("AIP_PREDICT_ROUTE", ""),
            "trace_project": environ.get("GOOGLE_CLOUD_PROJECT", ""),
        }
        found = () if models == [] and "model_config_file" in given else _models(models, environ, problems)
        http, grpc = _ports(port, grpc_port, environ, problems)
        if models and "model_config_file" in given:
            problems.append("expected models either as NAME=PATH or in --model-config-file, received both")
        try:
            made = cls(
                models=found,
                port=http,
                grpc_port=grpc,
                grpc_required=grpc_port is not None,
                **{**from_environ, **given},
            )
        except InvalidInput as error:
            problems.append(str(error))
        if problems:
            raise InvalidInput("; ".join(problems))
        return made


def _switch(name: str, environ: Mapping[str, str], problems: list[str]) -> bool:
    """Whether a variable is set to true."""
    text = environ.get(name, "").lower()
    if text not in ("", "0", "1", "false", "true"):
        problems.append(f"{name}={environ[name]}: expected 1 or true, 0 or false")
    return text in ("1", "true")


def _models(arguments: Sequence[str], environ: Mapping[str, str], problems: list[str]) -> tuple[ModelConfig, ...]:
    found: dict[str, ModelConfig] = {}
    if not arguments and environ.get("AIP_STORAGE_URI"):
        return (ModelConfig(DEFAULT_MODEL, environ["AIP_STORAGE_URI"]),)
    if not arguments:
        problems.append("no model: expected NAME=PATH, --model-config-file, or AIP_STORAGE_URI in the environment")
    for argument in arguments:
        name, equals, path = argument.partition("=")
        if not equals or not name or not path:
            problems.append(f"{argument!r}: expected NAME=PATH")
        elif name in found:
            problems.append(f"{argument!r}: the name {name} is used twice")
        else:
            found[name] = ModelConfig(name, path)
    return tuple(found.values())


def _ports(
    port: str | None, grpc_port: str | None, environ: Mapping[str, str], problems: list[str]
) -> tuple[int | None, int | None]:
    """The ports of HTTP and gRPC."""
    variable = next((name for name in ("AIP_HTTP_PORT", "PORT") if environ.get(name)), "")
    where, text = ("--port", port) if port is not None else (variable, environ.get(variable, str(DEFAULT_PORT)))
    http = _port(where, text, problems)
    if grpc_port == "instead":
        return None, http
    if grpc_port is None:
        return http, None if variable or http == DEFAULT_GRPC_PORT else DEFAULT_GRPC_PORT
    grpc = None if grpc_port == "off" else _port("--grpc-port", grpc_port, problems)
    if grpc and grpc == http:
        problems.append(
            f"--grpc-port={grpc}: HTTP has this port; choose another, or `--grpc-port instead` for gRPC alone"
        )
    return http, grpc


def _port(where: str, text: str, problems: list[str]) -> int:
    if text.isascii() and text.isdigit() and int(text) <= 65535:
        return int(text)
    problems.append(f"{where}={text!r}: expected a port number, 0 to 65535")
    return DEFAULT_PORT
