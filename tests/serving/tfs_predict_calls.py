"""Predict: what is asked of it, and what it refuses."""

import tensorflow as tf
from tensorflow_serving.apis import (
    predict_pb2,
)
from tfs_calls import call, predict, spec, tensors


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
