"""The private descriptor pool: what it holds, and that it gets along with the packages that hold the same."""

import importlib
import itertools
import subprocess
import sys

import pytest

from lading.errors import InvalidInput
from lading.predict.compile_protos import SERVING_TARGET, generate_serving, installed_serving_version, installed_version
from lading.predict.protos import message, parse_text


def test_the_compiled_protocol_buffers_are_what_the_packages_ship() -> None:
    compiled = importlib.import_module("lading.predict.compiled.serving_descriptors")
    core = importlib.import_module("lading.predict.compiled.tensorflow_descriptors")
    for installed, used in (
        (installed_serving_version(), compiled.SERVING_VERSION),
        (installed_version(), core.TENSORFLOW_VERSION),
    ):
        if installed != used:
            pytest.skip(f"compiled from {used}, {installed} is installed")
    assert SERVING_TARGET.read_text() == generate_serving(), "stale: run `python -m lading.predict.compile_protos`"


def test_a_wire_format_of_each_service() -> None:
    """Bytes written by hand from the published .proto files, so that a wrong number in a declaration shows."""
    tensor = b"\x0a\x01x\x12\x04FP32\x1a\x01\x02\x2a\x0a\x32\x08" + b"\0\0\x80\x3f\0\0\0\x40"
    parameter = b"\x22\x08\x0a\x01k\x12\x03\x1a\x01v"
    wire = b"\x0a\x01m\x12\x011\x1a\x02id" + parameter + b"\x2a" + bytes([len(tensor)]) + tensor
    wire += b"\x32\x03\x0a\x01y\x3a\x01r"
    request = message("inference.ModelInferRequest").FromString(wire)
    assert (request.model_name, request.model_version, request.id) == ("m", "1", "id")
    assert request.parameters["k"].WhichOneof("parameter_choice") == "string_param"
    assert list(request.inputs[0].contents.fp32_contents) == [1, 2]
    assert (request.outputs[0].name, list(request.raw_input_contents)) == ("y", [b"r"])
    answer = message("inference.ModelInferResponse").FromString(b"\x2a" + bytes([len(tensor)]) + tensor + b"\x32\x01r")
    assert (answer.outputs[0].datatype, list(answer.raw_output_contents)) == ("FP32", [b"r"])
    assert message("grpc.health.v1.HealthCheckResponse")(status="SERVING").SerializeToString() == b"\x08\x01"


def test_configuration_files_are_read() -> None:
    text = """
    # as in TensorFlow Serving's documentation
    max_batch_size { value: 128 }
    batch_timeout_micros { value: 0 }
    allowed_batch_sizes: 32
    allowed_batch_sizes: 128
    enable_large_batch_splitting { value: true }
    """
    batching = parse_text(text, "tensorflow.serving.BatchingParameters", source="batching.txt")
    assert (batching.max_batch_size.value, list(batching.allowed_batch_sizes)) == (128, [32, 128])
    assert batching.HasField("batch_timeout_micros")
    assert not batching.HasField("num_batch_threads")
    monitoring = parse_text(
        'prometheus_config { enable: true, path: "/m" }', "tensorflow.serving.MonitoringConfig", source="monitoring.txt"
    )
    assert (monitoring.prometheus_config.enable, monitoring.prometheus_config.path) == (True, "/m")
    models = parse_text(
        'model_config_list { config { name: "m" base_path: "/b" model_version_policy { specific { versions: 3 } } '
        'version_labels { key: "stable" value: 3 } } }',
        "tensorflow.serving.ModelServerConfig",
        source="models.config",
    )
    (config,) = models.model_config_list.config
    assert list(config.model_version_policy.specific.versions) == [3]
    assert dict(config.version_labels) == {"stable": 3}


@pytest.mark.parametrize("text", ["prometheus_config {\n enabled: true }", "prometheus_config {\n enable: 3.5 }"])
def test_an_error_in_a_configuration_file_has_its_place(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"monitoring\.txt: expected a .*MonitoringConfig.*: 2:\d+ : "):
        parse_text(text, "tensorflow.serving.MonitoringConfig", source="monitoring.txt")


def test_what_loads_a_model_does_not_load_the_services() -> None:
    program = """
import sys
from lading.predict.protos import message
message("tensorflow.MetaGraphDef")
assert "lading.predict.compiled.serving_descriptors" not in sys.modules
message("tensorflow.Example")
assert "lading.predict.compiled.serving_descriptors" in sys.modules
"""
    run(program)


# Each costs an import of TensorFlow: by default lading comes first, and second; last it does in test_model.py.
BY_DEFAULT = {("lading", "tensorflow", "tensorflow_serving"), ("tensorflow_serving", "lading", "tensorflow")}
ORDERS = [
    pytest.param(order, id=" ".join(order), marks=[] if order in BY_DEFAULT else [pytest.mark.slow])
    for order in itertools.permutations(("lading", "tensorflow", "tensorflow_serving"))
]


@pytest.mark.parametrize("order", ORDERS)
def test_lading_and_tensorflow_share_a_process_in_every_order(order: tuple[str, ...]) -> None:
    steps = {
        "lading": "from lading.predict.protos import message; Ours = message('tensorflow.serving.PredictRequest')",
        "tensorflow": "import tensorflow as tf",
        "tensorflow_serving": "from tensorflow_serving.apis import predict_pb2",
    }
    program = "\n".join(steps[name] for name in order)
    program += """
theirs = predict_pb2.PredictRequest()
theirs.inputs["x"].CopyFrom(tf.make_tensor_proto([1.0]))
ours = Ours.FromString(theirs.SerializeToString())
assert list(ours.inputs["x"].float_val) == [1.0]
"""
    run(program)


def run(program: str) -> None:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False)
    assert not done.returncode, done.stderr
