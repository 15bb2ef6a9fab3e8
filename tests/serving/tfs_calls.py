"""The calls that ``tfs_client.py`` makes, by name, and what they are made of."""

import tensorflow as tf
from tensorflow_serving.apis import (
    predict_pb2,
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
