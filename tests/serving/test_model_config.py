"""Configuration files in TensorFlow Serving's text formats."""

from pathlib import Path

import pytest

from lading.errors import InvalidInput
from lading.serving.config import METRICS_PATH, ModelConfig, VersionPolicy
from lading.serving.model_config import (
    parse_model_config,
    read_batching_parameters,
    read_model_config,
    read_monitoring_config,
)

CONFIG = """
# As in TensorFlow Serving's documentation.
model_config_list {
  config {
    name: 'first'
    base_path: '/models/first'
    model_platform: 'tensorflow'
  }
  config {
    name: "second" base_path: "gs://bucket/second"
    model_version_policy { specific { versions: 42 versions: 43 } }
    version_labels { key: 'stable' value: 42 }
    version_labels { key: 'canary' value: 43 }
  }
  config: { name: "third", base_path: "/models/third", model_version_policy: { all: {} } }
  config { name: "fourth" base_path: "/models/fourth" model_version_policy { latest { num_versions: 3 } } }
  config { name: "fifth" base_path: "/models/fifth" model_version_policy { latest {} } }
}
"""


def test_a_model_configuration(tmp_path: Path) -> None:
    (tmp_path / "models.config").write_text(CONFIG)
    assert read_model_config(tmp_path / "models.config") == (
        ModelConfig("first", "/models/first", VersionPolicy(latest=1)),
        ModelConfig(
            "second", "gs://bucket/second", VersionPolicy(None, specific=(42, 43)), {"stable": 42, "canary": 43}
        ),
        ModelConfig("third", "/models/third", VersionPolicy(latest=None)),
        ModelConfig("fourth", "/models/fourth", VersionPolicy(latest=3)),
        ModelConfig("fifth", "/models/fifth", VersionPolicy(latest=1)),
    )


def test_an_empty_list_is_no_models() -> None:
    assert parse_model_config(b"model_config_list {}", source="x") == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "expected a model_config_list"),
        ("custom_model_config {}", "expected a model_config_list"),
        ("model_config_list { config { nam", "models.config: expected a tensorflow.serving.ModelServerConfig"),
        ("model_config_list { config { name: 'a' base_path: 'a' } }", '"a": expected an absolute base_path or gs://…'),
        ("model_config_list { config { name: 'a' } }", 'the model "a" has no base_path'),
        ("model_config_list { config { base_path: '/a' } }", "a model has no name"),
        (
            "model_config_list { config { name: 'a' base_path: '/a' } config { name: 'a' base_path: '/b' } }",
            'the name "a" is used twice',
        ),
        (
            "model_config_list { config { name: 'a' base_path: '/a' model_platform: 'torch' } }",
            "expected the model_platform \"tensorflow\", received 'torch'",
        ),
        (
            "model_config_list { config { name: 'a' base_path: '/a' version_labels { key: 'l' value: -1 } } }",
            "received a negative one",
        ),
        (
            "model_config_list { config { name: 'a' base_path: '/a' model_version_policy { specific {} } } }",
            "names no versions",
        ),
    ],
)
def test_a_model_configuration_that_cannot_be_served_says_why(text: str, problem: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        parse_model_config(text.encode(), source="models.config")
    assert problem in str(raised.value)
    assert "models.config" in str(raised.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"cannot read .*nope: No such file"):
        read_model_config(tmp_path / "nope")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInput, match="binary: expected text in UTF-8"):
        read_model_config(tmp_path / "binary")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('prometheus_config { enable: true path: "/metrics/x" }', "/metrics/x"),
        ("prometheus_config { enable: true }", METRICS_PATH),
        ('prometheus_config { enable: false path: "/x" }', ""),
        ("", ""),
    ],
)
def test_a_monitoring_configuration(tmp_path: Path, text: str, path: str) -> None:
    (tmp_path / "monitoring.config").write_text(text)
    assert read_monitoring_config(tmp_path / "monitoring.config") == path


def test_a_monitoring_path_begins_with_a_slash(tmp_path: Path) -> None:
    (tmp_path / "monitoring.config").write_text('prometheus_config { enable: true path: "x" }')
    with pytest.raises(InvalidInput, match="starts with /, received 'x'"):
        read_monitoring_config(tmp_path / "monitoring.config")


def test_batching_parameters(tmp_path: Path) -> None:
    file = tmp_path / "batching.config"
    file.write_text(
        "max_batch_size { value: 128 } batch_timeout_micros { value: 0 } max_enqueued_batches { value: 100 }"
        " num_batch_threads { value: 8 } allowed_batch_sizes: 8 allowed_batch_sizes: 128"
        ' pad_variable_length_inputs: true thread_pool_name { value: "mine" }'
    )
    read = read_batching_parameters(file)
    assert (read.max_batch_size, read.batch_timeout_micros, read.max_enqueued_batches) == (128, 0, 100)
    assert (read.num_batch_threads, read.allowed_batch_sizes, read.pad_variable_length_inputs) == (8, (8, 128), True)
    assert not read.enable_large_batch_splitting
    file.write_text(
        "max_batch_size { value: 128 } enable_large_batch_splitting { value: true } "
        "max_execution_batch_size { value: 32 }"
    )
    read = read_batching_parameters(file)
    assert (read.enable_large_batch_splitting, read.largest_batch) == (True, 32)
    file.write_text("max_batch_size { value: 128 } enable_large_batch_splitting { value: true }")
    assert read_batching_parameters(file).largest_batch == 128
    file.write_text("")
    assert read_batching_parameters(file) == type(read)()
    file.write_text("max_batch_size { value: 0 }")
    with pytest.raises(InvalidInput, match=r"batching\.config: .*max_batch_size is 0"):
        read_batching_parameters(file)
