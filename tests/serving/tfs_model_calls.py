"""Metadata, status, and another configuration."""

import sys

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
)
from tfs_calls import call, predict, spec, tensors


def _metadata(stub, model, *fields):
    request = get_model_metadata_pb2.GetModelMetadataRequest()
    request.model_spec.name = model
    request.metadata_field.extend(fields)
    return stub.GetModelMetadata(request, 10)


@call
def metadata(stub, models):
    response = _metadata(stub, "half", "signature_def")
    found = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(found)
    serving = found.signature_def["serving_default"]
    return [
        spec(response.model_spec),
        sorted(found.signature_def),
        serving.method_name,
        [serving.inputs["x"].name, serving.inputs["x"].dtype, [d.size for d in serving.inputs["x"].tensor_shape.dim]],
        [serving.outputs["y"].name, serving.outputs["y"].tensor_shape.unknown_rank],
    ]


@call
def metadata_defaults(stub, models):
    response = _metadata(stub, "examples", "signature_def")
    found = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(found)
    return {name: float(tf.make_ndarray(t)) for name, t in found.signature_def["scale"].defaults.items()}


@call
def metadata_no_field(stub, models):
    _metadata(stub, "half")


@call
def metadata_other_field(stub, models):
    _metadata(stub, "half", "graph")


@call
def metadata_unknown_model(stub, models):
    _metadata(stub, "nope", "signature_def")


def _status(models, name, version=None):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = name
    if version is not None:
        request.model_spec.version.value = version
    response = models.GetModelStatus(request, 10)
    return [
        [s.version, get_model_status_pb2.ModelVersionStatus.State.Name(s.state), s.status.error_code]
        for s in response.model_version_status
    ]


@call
def status(stub, models):
    return [_status(models, "half"), _status(models, "half", 7)]


@call
def status_unknown(stub, models):
    _status(models, "nope")


@call
def status_unknown_version(stub, models):
    _status(models, "half", 99)


@call
def reload_other_config(stub, models):
    models.HandleReloadConfigRequest(model_management_pb2.ReloadConfigRequest(), 10)


@call
def reload(stub, models):
    """Last: the server has one model afterwards, under another name."""
    half = get_model_status_pb2.GetModelStatusRequest()
    half.model_spec.name = "half"
    request = model_management_pb2.ReloadConfigRequest()
    request.config.model_config_list.config.add(name="renamed", base_path=sys.argv[2], model_platform="tensorflow")
    response = models.HandleReloadConfigRequest(request, 60)
    answered = predict(stub, "renamed", {"x": tf.make_tensor_proto([1.0])})
    try:
        predict(stub, "half", {"x": tf.make_tensor_proto([1.0])})
    except grpc.RpcError as error:
        return [response.status.error_code, tensors(answered), error.code().name]
