"""Builds the SavedModels of the tests: ``python build_models.py DIRECTORY``."""

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from lading.values import GoldenRequest


def build_mlp(directory: Path) -> None:
    """A Keras MLP with random weights and its own golden requests."""
    keras.utils.set_random_seed(7)
    image = keras.Input((28, 28), name="image")
    hidden = keras.layers.Dense(64, activation="relu")(keras.layers.Flatten()(image))
    model = keras.Model(image, {"softmax": keras.layers.Dense(10, activation="softmax")(hidden)})
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serving_default", model.call, [tf.TensorSpec([None, 28, 28], tf.float32, name="image")])
    archive.write_out(str(directory), verbose=False)

    images = np.random.default_rng(7).random((32, 28, 28), np.float32).round(3)
    golden = [
        GoldenRequest(
            "serving_default",
            {"image": [row.tolist()]},
            {"softmax": model.predict(row[None], verbose=0)["softmax"].tolist()},
            1e-3,
            1e-5,
        )
        for row in images
    ]
    place = directory / "assets.extra" / "lading"
    place.mkdir(parents=True)
    (place / "golden.jsonl").write_text("".join(request.to_line() + "\n" for request in golden))


class Mixed(tf.Module):
    """One signature for each thing that a codec or an engine can get wrong."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 2], tf.float32),
            tf.TensorSpec([None], tf.int64),
            tf.TensorSpec([None], tf.string),
        ]
    )
    def several(self, x, count, text):
        """Several inputs and outputs, one with binary data."""
        return {
            "total": tf.reduce_sum(x, axis=1) * tf.cast(count, tf.float32),
            "count": count + 1,
            "text": tf.strings.join([text, text], "-"),
            "raw_bytes": text,
        }

    @tf.function(input_signature=[tf.TensorSpec(None, tf.string)])
    def same(self, text):
        """Strings of any shape."""
        return {"text": tf.identity(text)}

    @tf.function(input_signature=[tf.TensorSpec([], tf.int64)])
    def spin(self, rounds):
        """Takes long on purpose: rounds times a matrix product."""
        start = tf.eye(64)
        return {
            "rounds": rounds
            + tf.cast(
                tf.reduce_sum(
                    tf.while_loop(
                        lambda i, _: i < rounds, lambda i, m: (i + 1, m @ start), [tf.constant(0, tf.int64), start]
                    )[1]
                )
                * 0,
                tf.int64,
            )
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
    def reciprocal(self, x):
        """Infinity and NaN come out when 0 goes in."""
        return {"y": 1.0 / x, "nan": x / x}


TYPES = (
    "float16",
    "bfloat16",
    "float32",
    "float64",
    "complex64",
    "complex128",
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "string",
)


def build_mixed(directory: Path) -> None:
    """Also one identity signature for each type: ``identity_float32`` and so on, ``x`` to ``y``."""
    module = Mixed()
    signatures = {name: getattr(module, name) for name in ("several", "same", "spin", "reciprocal")}
    signatures["serving_default"] = module.several
    for name in TYPES:
        identity = tf.function(
            lambda x: {"y": tf.identity(x)}, input_signature=[tf.TensorSpec(None, getattr(tf, name), name="x")]
        )
        signatures[f"identity_{name}"] = identity.get_concrete_function()
    tf.saved_model.save(module, str(directory), signatures)


class Scale(tf.Module):
    """Times a number: a version of a model can be told from another by what it answers."""

    def __init__(self, factor):
        super().__init__()
        self.factor = tf.Variable(factor)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def scale(self, x):
        return {"y": x * self.factor}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def regress(self, inputs):
        parsed = tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([], tf.float32)})
        return {"outputs": parsed["x"] * self.factor}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def classify(self, inputs):
        return {"scores": tf.reshape(self.regress(inputs)["outputs"], [-1, 1])}


def build_scale(directory: Path) -> None:
    """Versions 1, 2 and 3 of a model; each times ``x`` by its number."""
    for number in (1, 2, 3):
        module = Scale(float(number))
        signatures = {"serving_default": module.scale, "regress": module.regress, "classify": module.classify}
        tf.saved_model.save(module, str(directory / str(number)), signatures)


THREE = tf.constant(3.0)


class Examples(tf.Module):
    """Signatures that take serialized examples with a float feature ``x``, 0 where it is missing."""

    def parse(self, inputs):
        return tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([1], tf.float32, default_value=[0.0])})["x"]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def classify(self, inputs):
        """Labels and scores of two classes."""
        x = self.parse(inputs)
        labels = tf.repeat([["low", "hoch ä"]], tf.shape(x)[0], axis=0)
        return {"classes": labels, "scores": tf.concat([1.0 - x, x], axis=1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def labels(self, inputs):
        """Labels without scores, which are bytes that are no text."""
        return {"classes": tf.repeat([[b"\xff"]], tf.shape(inputs)[0], axis=0)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def flat(self, inputs):
        """Scores without the axis of classes."""
        return {"scores": self.parse(inputs)[:, 0]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def regress(self, inputs):
        """One value for each example."""
        return {"outputs": 2.0 * self.parse(inputs)[:, 0]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32), tf.TensorSpec([], tf.float32)])
    def scale(self, x, by=THREE):
        """An input that a request may leave out."""
        return {"y": x * by}


def build_examples(directory: Path) -> None:
    """Classification and regression; ``scale`` has a default for ``by``."""
    module = Examples()
    names = ("classify", "labels", "flat", "regress", "scale")
    signatures = {name: getattr(module, name) for name in names}
    tf.saved_model.save(module, str(directory), {"serving_default": module.regress, **signatures})


def build_half_plus_two(directory: Path) -> None:
    """TensorFlow Serving's toy, as its test data has it: a graph of TensorFlow 1, whose input is an inner tensor."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        a, b, c = (v1.get_variable(name, initializer=value) for name, value in (("a", 0.5), ("b", 2.0), ("c", 3.0)))
        serialized = v1.placeholder(tf.string, [None], name="tf_example")
        features = {name: tf.io.FixedLenFeature([1], tf.float32, [0.0]) for name in ("x", "x2")}
        parsed = v1.parse_example(serialized, features)
        x, x2 = tf.identity(parsed["x"], name="x"), tf.identity(parsed["x2"], name="x2")
        y, y2, y3 = tf.add(a * x, b, name="y"), tf.add(a * x, c, name="y2"), tf.add(a * x2, c, name="y3")

        def signature(method, source, target):
            output = {"predict": "y", "regress": "outputs", "classify": "scores"}[method]
            return v1.saved_model.signature_def_utils.build_signature_def(
                {"x" if method == "predict" else "inputs": v1.saved_model.build_tensor_info(source)},
                {output: v1.saved_model.build_tensor_info(target)},
                f"tensorflow/serving/{method}",
            )

        builder = v1.saved_model.Builder(str(directory))
        session.run(v1.global_variables_initializer())
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            {
                "serving_default": signature("predict", x, y),
                "regress_x_to_y": signature("regress", serialized, y),
                "regress_x_to_y2": signature("regress", serialized, y2),
                "regress_x2_to_y3": signature("regress", x2, y3),
                "classify_x_to_y": signature("classify", serialized, y),
                "classify_x2_to_y3": signature("classify", x2, y3),
            },
        )
        builder.save()


class Fixed(tf.Module):
    """A signature for four rows a call; the others are not for batches."""

    @tf.function(input_signature=[tf.TensorSpec([4, 2], tf.float32, name="x")])
    def four(self, x):
        return {"sum": tf.reduce_sum(x, axis=1)}

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def total(self, x):
        return {"sum": tf.reduce_sum(x)}


def build_fixed(directory: Path) -> None:
    """Models whose batch axis is not free."""
    module = Fixed()
    tf.saved_model.save(module, str(directory), {"serving_default": module.four, "total": module.total})


if __name__ == "__main__":
    build_fixed(Path(sys.argv[1]) / "fixed")
    build_mlp(Path(sys.argv[1]) / "mlp")
    build_mixed(Path(sys.argv[1]) / "mixed")
    build_scale(Path(sys.argv[1]) / "scale")
    build_examples(Path(sys.argv[1]) / "examples")
    build_half_plus_two(Path(sys.argv[1]) / "half_plus_two")
