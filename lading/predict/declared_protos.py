"""Protocol buffers that no installed wheel carries, declared here for ``compile_protos``; never imported when serving.

A declaration says what a ``.proto`` file says, for messages only: generating code from ``.proto`` files would need
protoc, whose descriptors change from version to version. Sources, all Apache-2.0:
``open_inference_grpc.proto`` of kserve/open-inference-protocol, ``grpc/health/v1/health.proto`` of grpc/grpc-proto,
``tensorflow_serving/config/monitoring_config.proto`` and, for ``BatchingParameters``,
``tensorflow_serving/servables/tensorflow/session_bundle_config.proto`` of tensorflow/serving.
"""

from collections.abc import Mapping, Sequence

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    EnumValueDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)

Fields = Sequence[tuple[str, str, int]]
"""Type, name and number. A type is a scalar, a message of the same package, a full name (from a dot), or one of these
behind ``repeated ``, or behind ``map ``, which means from strings."""

_TENSOR: Fields = (
    ("string", "name", 1),
    ("string", "datatype", 2),
    ("repeated int64", "shape", 3),
    ("map InferParameter", "parameters", 4),
    ("InferTensorContents", "contents", 5),
)
_METADATA: Fields = (("string", "name", 1), ("string", "datatype", 2), ("repeated int64", "shape", 3))

# A nested message stands behind its outer one, with a dot.
INFERENCE: Mapping[str, Fields] = {
    "InferParameter": (
        ("bool", "parameter_choice/bool_param", 1),
        ("int64", "parameter_choice/int64_param", 2),
        ("string", "parameter_choice/string_param", 3),
        ("double", "parameter_choice/double_param", 4),
        ("uint64", "parameter_choice/uint64_param", 5),
    ),
    "InferTensorContents": (
        ("repeated bool", "bool_contents", 1),
        ("repeated int32", "int_contents", 2),
        ("repeated int64", "int64_contents", 3),
        ("repeated uint32", "uint_contents", 4),
        ("repeated uint64", "uint64_contents", 5),
        ("repeated float", "fp32_contents", 6),
        ("repeated double", "fp64_contents", 7),
        ("repeated bytes", "bytes_contents", 8),
    ),
    "ServerLiveRequest": (),
    "ServerLiveResponse": (("bool", "live", 1),),
    "ServerReadyRequest": (),
    "ServerReadyResponse": (("bool", "ready", 1),),
    "ModelReadyRequest": (("string", "name", 1), ("string", "version", 2)),
    "ModelReadyResponse": (("bool", "ready", 1),),
    "ServerMetadataRequest": (),
    "ServerMetadataResponse": (("string", "name", 1), ("string", "version", 2), ("repeated string", "extensions", 3)),
    "ModelMetadataRequest": (("string", "name", 1), ("string", "version", 2)),
    "ModelMetadataResponse": (
        ("string", "name", 1),
        ("repeated string", "versions", 2),
        ("string", "platform", 3),
        ("repeated ModelMetadataResponse.TensorMetadata", "inputs", 4),
        ("repeated ModelMetadataResponse.TensorMetadata", "outputs", 5),
    ),
    "ModelMetadataResponse.TensorMetadata": _METADATA,
    "ModelInferRequest": (
        ("string", "model_name", 1),
        ("string", "model_version", 2),
        ("string", "id", 3),
        ("map InferParameter", "parameters", 4),
        ("repeated ModelInferRequest.InferInputTensor", "inputs", 5),
        ("repeated ModelInferRequest.InferRequestedOutputTensor", "outputs", 6),
        ("repeated bytes", "raw_input_contents", 7),
    ),
    "ModelInferRequest.InferInputTensor": _TENSOR,
    "ModelInferRequest.InferRequestedOutputTensor": (("string", "name", 1), ("map InferParameter", "parameters", 2)),
    "ModelInferResponse": (
        ("string", "model_name", 1),
        ("string", "model_version", 2),
        ("string", "id", 3),
        ("map InferParameter", "parameters", 4),
        ("repeated ModelInferResponse.InferOutputTensor", "outputs", 5),
        ("repeated bytes", "raw_output_contents", 6),
    ),
    "ModelInferResponse.InferOutputTensor": _TENSOR,
}

HEALTH: Mapping[str, Fields] = {
    "HealthCheckRequest": (("string", "service", 1),),
    "HealthCheckResponse": ((".grpc.health.v1.HealthCheckResponse.ServingStatus", "status", 1),),
}
SERVING_STATUS = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
"""``grpc.health.v1.HealthCheckResponse.ServingStatus``, from 0."""

MONITORING: Mapping[str, Fields] = {
    "PrometheusConfig": (("bool", "enable", 1), ("string", "path", 2)),
    "MonitoringConfig": (("PrometheusConfig", "prometheus_config", 1),),
}

BATCHING: Mapping[str, Fields] = {
    "BatchingParameters": (
        (".google.protobuf.Int64Value", "max_batch_size", 1),
        (".google.protobuf.Int64Value", "batch_timeout_micros", 2),
        (".google.protobuf.Int64Value", "max_enqueued_batches", 3),
        (".google.protobuf.Int64Value", "num_batch_threads", 4),
        (".google.protobuf.StringValue", "thread_pool_name", 5),
        ("repeated int64", "allowed_batch_sizes", 6),
        ("bool", "pad_variable_length_inputs", 7),
        (".google.protobuf.BoolValue", "enable_large_batch_splitting", 8),
        (".google.protobuf.Int64Value", "max_execution_batch_size", 9),
    ),
}


def declared_files() -> dict[str, FileDescriptorProto]:
    """The files of this module, by name."""
    health = _file("grpc/health/v1/health.proto", "grpc.health.v1", HEALTH)
    response = next(found for found in health.message_type if found.name == "HealthCheckResponse")
    response.enum_type.append(
        EnumDescriptorProto(
            name="ServingStatus",
            value=[EnumValueDescriptorProto(name=name, number=number) for number, name in enumerate(SERVING_STATUS)],
        )
    )
    response.field[0].type = FieldDescriptorProto.TYPE_ENUM
    files = (
        _file("open_inference_grpc.proto", "inference", INFERENCE),
        health,
        _file("tensorflow_serving/config/monitoring_config.proto", "tensorflow.serving", MONITORING),
        _file(
            "tensorflow_serving/servables/tensorflow/session_bundle_config.proto",
            "tensorflow.serving",
            BATCHING,
            imports=["google/protobuf/wrappers.proto"],
        ),
    )
    return {file.name: file for file in files}


def _file(
    name: str, package: str, messages: Mapping[str, Fields], *, imports: Sequence[str] = ()
) -> FileDescriptorProto:
    file = FileDescriptorProto(name=name, package=package, syntax="proto3", dependency=imports)
    found: dict[str, DescriptorProto] = {}
    for path, fields in messages.items():
        outer, _, short = path.rpartition(".")
        place = found[outer].nested_type if outer else file.message_type
        found[path] = place.add(name=short)
        for kind, field, number in fields:
            _add(found[path], kind, field, number=number, scope=f".{package}", path=path)
    return file


def _add(message: DescriptorProto, kind: str, name: str, *, number: int, scope: str, path: str) -> None:
    oneof, _, name = name.rpartition("/")
    label, _, kind = kind.rpartition(" ")
    field = message.field.add(name=name, number=number)
    field.label = FieldDescriptorProto.LABEL_REPEATED if label else FieldDescriptorProto.LABEL_OPTIONAL
    if oneof:
        if not message.oneof_decl:
            message.oneof_decl.add(name=oneof)
        field.oneof_index = 0
    if label == "map":
        entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
        entry.options.map_entry = True
        _add(entry, "string", "key", number=1, scope=scope, path=path)
        _add(entry, kind, "value", number=2, scope=scope, path=path)
        kind = f"{scope}.{path}.{entry.name}"
    scalar = FieldDescriptorProto.Type.DESCRIPTOR.values_by_name.get(f"TYPE_{kind.upper()}")
    if scalar is not None:
        field.type = scalar.number
    else:
        field.type = FieldDescriptorProto.TYPE_MESSAGE
        field.type_name = kind if kind.startswith(".") else f"{scope}.{kind}"
