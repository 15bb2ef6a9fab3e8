"""Reads the configuration files of TensorFlow Serving, in protobuf's text format.

Messages: tensorflow_serving/config/{model_server_config,monitoring_config}.proto, and BatchingParameters in
tensorflow_serving/servables/tensorflow/session_bundle_config.proto.
"""

from pathlib import Path
from typing import Any

from lading.errors import InvalidInput
from lading.predict.batching import BatchingConfig
from lading.predict.protos import parse_text
from lading.serving.config import METRICS_PATH, ModelConfig, VersionPolicy

PLATFORM = "tensorflow"


def read_model_config(path: Path) -> tuple[ModelConfig, ...]:
    """The models of a file that holds a ``ModelServerConfig`` (``--model_config_file``).

    Raises:
        InvalidInput: it cannot be read, or is no configuration that can be served; names every problem.
    """
    return parse_model_config(read_file(path), source=str(path))


def parse_model_config(content: bytes, *, source: str) -> tuple[ModelConfig, ...]:
    """As ``read_model_config``, from the file's content."""
    parsed = parse_text(_text(content, source), "tensorflow.serving.ModelServerConfig", source=source)
    try:
        return to_model_configs(parsed)
    except InvalidInput as error:
        raise InvalidInput(f"{source}: {error}") from error


def to_model_configs(message: Any) -> tuple[ModelConfig, ...]:
    """The models of a ``tensorflow.serving.ModelServerConfig``.

    Raises:
        InvalidInput: it has no ``model_config_list``, a name is missing or used twice, a base path is not absolute, a
            platform is not ``tensorflow``, or a version is negative; names every problem.
    """
    if message.WhichOneof("config") != "model_config_list":
        raise InvalidInput("expected a model_config_list, the only configuration that is supported")
    problems: list[str] = []
    configs: dict[str, ModelConfig] = {}
    for model in message.model_config_list.config:
        problems += _problems(model)
        if model.name in configs:
            problems.append(f'the name "{model.name}" is used twice')
        configs[model.name] = ModelConfig(
            model.name, model.base_path, _policy(model.model_version_policy), dict(model.version_labels)
        )
    if problems:
        raise InvalidInput("; ".join(problems))
    return tuple(configs.values())


def read_monitoring_config(path: Path) -> str:
    """The path for metrics of a file that holds a ``MonitoringConfig`` (``--monitoring_config_file``).

    Returns:
        The path, TensorFlow Serving's own if the file names none; empty if metrics are not enabled.

    Raises:
        InvalidInput: it cannot be read, or is no such configuration.
    """
    source = str(path)
    parsed = parse_text(_text(read_file(path), source), "tensorflow.serving.MonitoringConfig", source=source)
    if not parsed.prometheus_config.enable:
        return ""
    found: str = parsed.prometheus_config.path or METRICS_PATH
    if not found.startswith("/"):
        raise InvalidInput(f"{source}: expected a path that starts with /, received {found!r}")
    return found


def read_batching_parameters(path: Path) -> BatchingConfig:
    """The settings of a file that holds ``BatchingParameters`` (``--batching_parameters_file``).

    Raises:
        InvalidInput: it cannot be read, or its numbers make no sense together; names every problem.
    """
    source = str(path)
    parsed = parse_text(_text(read_file(path), source), "tensorflow.serving.BatchingParameters", source=source)
    given = {
        name: getattr(parsed, name).value
        for name in (
            *("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads"),
            *("enable_large_batch_splitting", "max_execution_batch_size"),
        )
        if parsed.HasField(name)
    }
    try:
        return BatchingConfig(
            **given,
            allowed_batch_sizes=tuple(parsed.allowed_batch_sizes),
            pad_variable_length_inputs=parsed.pad_variable_length_inputs,
        )
    except InvalidInput as error:
        raise InvalidInput(f"{source}: {error}") from error


def _problems(model: Any) -> list[str]:
    who = f'the model "{model.name}"'
    found = [] if model.name else ["a model has no name"]
    if not model.base_path:
        found.append(f"{who} has no base_path")
    elif not model.base_path.startswith(("/", "gs://", "file:///")):
        found.append(f"{who}: expected an absolute base_path or gs://…, received {model.base_path!r}")
    if model.model_platform not in ("", PLATFORM):
        found.append(f'{who}: expected the model_platform "{PLATFORM}", received {model.model_platform!r}')
    versions = [*model.model_version_policy.specific.versions, *model.version_labels.values()]
    if any(version < 0 for version in versions):
        found.append(f"{who}: expected version numbers, received a negative one")
    if model.model_version_policy.HasField("specific") and not model.model_version_policy.specific.versions:
        found.append(f"{who}: its model_version_policy is specific, and names no versions")
    return found


def _policy(message: Any) -> VersionPolicy:
    kind = message.WhichOneof("policy_choice")
    if kind == "all":
        return VersionPolicy(latest=None)
    if kind == "specific":
        return VersionPolicy(latest=None, specific=tuple(message.specific.versions))
    # "latest {}" is one version: file_system_storage_path_source.cc takes the larger of 1 and num_versions.
    return VersionPolicy(latest=max(1, message.latest.num_versions))


def read_file(path: Path) -> bytes:
    """The content of a configuration file.

    Raises:
        InvalidInput: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror or error}") from error


def _text(content: bytes, source: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{source}: expected text in UTF-8: {error}") from error
