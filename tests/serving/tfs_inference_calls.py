"""Classify, Regress and MultiInference."""

import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    regression_pb2,
)
from tfs_calls import call, example, spec


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
