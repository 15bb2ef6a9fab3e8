"""A client of TensorFlow Serving, with the stubs of tensorflow-serving-api: ``python tfs_client.py PORT``.

Prints one JSON object: for each call below what it returned, or the code and text of its error.
"""

import json
import sys

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

CALLS = {}


def call(function):
    CALLS[function.__name__] = function
    return function


def tensors(response):
    return {name: tf.make_ndarray(tensor).tolist() for name, tensor in response.outputs.items()}


def spec(model_spec):
    return [model_spec.name, model_spec.version.value, model_spec.signature_name]


def predict(stub, model, inputs, *, signature="", outputs=(), version=None, label=None):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    if version is not None:
        request.model_spec.version.value = version
    if label is not None:
        request.model_spec.version_label = label
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(value)
    request.output_filter.extend(outputs)
    return stub.Predict(request, 10)


def example(**features):
    made = tf.train.Example()
    for name, value in features.items():
        made.features.feature[name].float_list.value.append(value)
    return made


@call
def toy(stub, models):
    response = predict(stub, "half", {"x": tf.make_tensor_proto([1.0, 2.0, 5.0])})
    # What the reference's own test reads.
    return [list(response.outputs["y"].float_val), spec(response.model_spec)]


@call
def content(stub, models):
    import numpy as np

    return tensors(predict(stub, "half", {"x": tf.make_tensor_proto(np.float32([[1], [2]]))}))


@call
def several(stub, models):
    inputs = {
        "x": tf.make_tensor_proto([[1.0, 2.0], [3.0, 4.0]]),
        "count": tf.make_tensor_proto([1, 2], dtype=tf.int64),
        "text": tf.make_tensor_proto(["a", "b"]),
    }
    response = predict(stub, "mixed", inputs, outputs=["text", "total"])
    return {name: repr(value) for name, value in tensors(response).items()}


@call
def every_type(stub, models):
    found = {}
    for name in ("float16", "bfloat16", "float64", "complex64", "bool", "int8", "uint16", "uint32", "uint64", "string"):
        dtype = getattr(tf, name)
        value = [b"a", b""] if name == "string" else [1, 0]
        proto = tf.make_tensor_proto(tf.cast(value, dtype) if name != "string" else value, dtype=dtype)
        back = predict(stub, "mixed", {"x": proto}, signature=f"identity_{name}").outputs["y"]
        found[name] = [back.dtype == proto.dtype, repr(tf.make_ndarray(back).tolist())]
    return found


@call
def default_input(stub, models):
    given = {"x": tf.make_tensor_proto([1.0, 2.0])}
    both = {**given, "by": tf.make_tensor_proto(2.0)}
    return [tensors(predict(stub, "examples", inputs, signature="scale")) for inputs in (given, both)]


@call
def missing_without_default(stub, models):
    predict(stub, "examples", {"by": tf.make_tensor_proto(2.0)}, signature="scale")


@call
def version(stub, models):
    return spec(predict(stub, "half", {"x": tf.make_tensor_proto([1.0])}, version=7).model_spec)


@call
def labelled(stub, models):
    return spec(predict(stub, "half", {"x": tf.make_tensor_proto([1.0])}, label="stable").model_spec)


@call
def unknown_model(stub, models):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "intentionally_missing_model"
    stub.Predict(request, 10)


@call
def unknown_version(stub, models):
    predict(stub, "half", {}, version=99)


@call
def unknown_label(stub, models):
    predict(stub, "half", {}, label="canary")


@call
def no_spec(stub, models):
    stub.Predict(predict_pb2.PredictRequest(), 10)


@call
def no_name(stub, models):
    predict(stub, "", {}, version=1)


@call
def unknown_signature(stub, models):
    predict(stub, "half", {}, signature="nope")


@call
def wrong_inputs(stub, models):
    predict(stub, "half", {"a": tf.make_tensor_proto(1.0), "x": tf.make_tensor_proto(1.0)})


@call
def missing_inputs(stub, models):
    predict(stub, "mixed", {"x": tf.make_tensor_proto([[1.0, 2.0]])})


@call
def other_input(stub, models):
    predict(stub, "half", {"z": tf.make_tensor_proto(1.0)})


@call
def wrong_type(stub, models):
    predict(stub, "half", {"x": tf.make_tensor_proto(["a"])})


@call
def wrong_shape(stub, models):
    inputs = {
        "x": tf.make_tensor_proto([[1.0, 2.0], [3.0, 4.0]]),
        "count": tf.make_tensor_proto([1, 2, 3], dtype=tf.int64),
        "text": tf.make_tensor_proto(["a"]),
    }
    predict(stub, "mixed", inputs)


@call
def unknown_output(stub, models):
    predict(stub, "half", {"x": tf.make_tensor_proto([1.0])}, outputs=["z"])


@call
def repeated_output(stub, models):
    predict(stub, "half", {"x": tf.make_tensor_proto([1.0])}, outputs=["y", "y"])


@call
def long_text(stub, models):
    predict(stub, "half", {}, signature="n" * 2000)


@call
def classify(stub, models):
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name = "examples"
    request.model_spec.signature_name = "classify"
    request.input.example_list.examples.extend([example(x=0.25), example(x=1.0)])
    response = stub.Classify(request, 10)
    rows = [[[c.label, c.score] for c in row.classes] for row in response.result.classifications]
    return [rows, spec(response.model_spec)]


@call
def classify_scores_only(stub, models):
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name = "half"
    request.model_spec.signature_name = "classify_x_to_y"
    request.input.example_list.examples.extend([example(x=2.0)])
    response = stub.Classify(request, 10)
    return [[[c.label, c.score] for c in row.classes] for row in response.result.classifications]


def _classify_error(stub, model, signature, examples):
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    request.input.example_list.examples.extend(examples)
    stub.Classify(request, 10)


@call
def classify_empty(stub, models):
    _classify_error(stub, "examples", "classify", [])


@call
def classify_unknown(stub, models):
    _classify_error(stub, "examples", "nope", [example(x=1.0)])


@call
def classify_by_regression(stub, models):
    _classify_error(stub, "examples", "regress", [example(x=1.0)])


@call
def classify_flat(stub, models):
    _classify_error(stub, "examples", "flat", [example(x=1.0)])


@call
def classify_binary_labels(stub, models):
    _classify_error(stub, "examples", "labels", [example(x=1.0)])


@call
def classify_two_inputs(stub, models):
    _classify_error(stub, "examples", "scale", [example(x=1.0)])


@call
def classify_other_feature_type(stub, models):
    made = tf.train.Example()
    made.features.feature["x"].int64_list.value.append(1)
    _classify_error(stub, "examples", "classify", [made])


@call
def regress(stub, models):
    request = regression_pb2.RegressionRequest()
    request.model_spec.name = "half"
    request.model_spec.signature_name = "regress_x_to_y"
    request.input.example_list.examples.extend([example(x=2.0), example(x=4.0)])
    response = stub.Regress(request, 10)
    return [[r.value for r in response.result.regressions], spec(response.model_spec)]


@call
def regress_with_context(stub, models):
    request = regression_pb2.RegressionRequest()
    request.model_spec.name = "examples"
    request.input.example_list_with_context.context.CopyFrom(example(x=5.0))
    request.input.example_list_with_context.examples.extend([example(), example(x=1.0)])
    response = stub.Regress(request, 10)
    return [[r.value for r in response.result.regressions], spec(response.model_spec)]


def _inference(stub, *tasks):
    request = inference_pb2.MultiInferenceRequest()
    request.input.example_list.examples.extend([example(x=2.0)])
    for model, signature, method in tasks:
        task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name = model
        task.model_spec.signature_name = signature
    return stub.MultiInference(request, 10)


@call
def multi_inference(stub, models):
    response = _inference(stub, ("half", "regress_x_to_y", "regress"), ("half", "classify_x_to_y", "classify"))
    first, second = response.results
    return [
        [r.value for r in first.regression_result.regressions],
        [c.score for c in second.classification_result.classifications[0].classes],
        spec(first.model_spec),
        spec(second.model_spec),
    ]


@call
def multi_inference_other_model(stub, models):
    _inference(stub, ("half", "regress_x_to_y", "regress"), ("examples", "classify", "classify"))


@call
def multi_inference_twice(stub, models):
    _inference(stub, ("half", "regress_x_to_y", "regress"), ("half", "regress_x_to_y", "regress"))


@call
def multi_inference_unknown(stub, models):
    _inference(stub, ("half", "nope", "regress"))


@call
def multi_inference_predict(stub, models):
    _inference(stub, ("half", "regress_x_to_y", "predict"))


@call
def multi_inference_none(stub, models):
    _inference(stub)


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


def main():
    channel = grpc.insecure_channel(f"localhost:{sys.argv[1]}")
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    models = model_service_pb2_grpc.ModelServiceStub(channel)
    found = {}
    for name, function in CALLS.items():
        try:
            found[name] = {"value": function(stub, models)}
        except grpc.RpcError as error:
            found[name] = {"code": error.code().name, "text": error.details()}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
