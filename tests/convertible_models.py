"""Builds models that show what converts for LiteRT, and what does not: ``python convertible_models.py DIRECTORY``."""

import sys
from pathlib import Path

import keras
import tensorflow as tf

from lading.export import Servable, write_saved_model
from lading.recipes.contract import Trained

KINDS = ("float16", "float32", "float64", "complex64", "bool", "int8", "int16", "int32", "int64", "uint8", "uint32")


def build_gradients(directory: Path) -> None:
    """What ``lading train`` exports: ``serving_default`` and, through a relu, ``input_gradients``."""
    keras.utils.set_random_seed(3)
    features = keras.Input((8,), name="features")
    hidden = keras.layers.Dense(16, activation="relu")(features)
    model = keras.Model(features, keras.layers.Dense(3, activation="softmax", name="softmax")(hidden))
    export(model, directory)


def build_pictures(directory: Path) -> None:
    """Gradients of what convolutional networks are made of, a window that does not divide the picture among them."""
    keras.utils.set_random_seed(4)
    image = keras.Input((16, 16, 1), name="image")
    hidden = keras.layers.ReLU(6.0)(keras.layers.Conv2D(4, 3)(image))
    hidden = keras.layers.AveragePooling2D(2)(keras.layers.MaxPooling2D(3)(hidden))
    hidden = keras.layers.Dense(6, activation="elu")(keras.layers.Flatten()(hidden))
    export(keras.Model(image, keras.layers.Dense(3, activation="softmax", name="softmax")(hidden)), directory)


def export(model: keras.Model, directory: Path) -> None:
    rows = {
        tensor.name: tf.random.stateless_uniform((40, *tensor.shape[1:]), (1, 2)).numpy() for tensor in model.inputs
    }
    labels = tf.random.stateless_uniform((40,), (1, 2), 0, 3, tf.int64).numpy()
    trained = Trained(
        model=model,
        heldout_inputs=rows,
        heldout_labels=labels,
        class_names=("a", "b", "c"),
        history={},
        metrics={},
    )
    directory.mkdir()
    write_saved_model(Servable(trained, "test"), directory, gradients=True)


class Kinds(tf.Module):
    """Signatures of every type that LiteRT takes, several inputs, no batch axis, an axis of any length."""

    @tf.function(
        input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x"), tf.TensorSpec([None], tf.int64, name="count")]
    )
    def pair(self, x, count):
        return {"total": tf.reduce_sum(x, axis=1) * tf.cast(count, tf.float32), "next": count + 1}

    @tf.function(input_signature=[tf.TensorSpec([], tf.int64, name="x")])
    def scalar(self, x):
        return {"y": x * 2}

    @tf.function(input_signature=[tf.TensorSpec([2, 3], tf.float32, name="x")])
    def fixed(self, x):
        return {"y": tf.transpose(x) * 2.0}

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, name="x")])
    def sequence(self, x):
        return {"y": tf.reduce_sum(x, axis=1), "running": tf.cumsum(x, axis=1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def reciprocal(self, x):
        """Infinity and NaN come out when 0 goes in."""
        return {"y": 1.0 / x, "nan": x / x}


def build_kinds(directory: Path) -> None:
    module = Kinds()
    signatures = {name: getattr(module, name) for name in ("pair", "scalar", "fixed", "sequence", "reciprocal")}
    for name in KINDS:
        spec = tf.TensorSpec([None, 2], getattr(tf, name), name="x")
        signatures[f"same_{name}"] = tf.function(lambda x: {"y": tf.identity(x)}, input_signature=[spec])
        signatures[f"same_{name}"] = signatures[f"same_{name}"].get_concrete_function()
    tf.saved_model.save(module, str(directory), signatures)


def build_small(directory: Path) -> None:
    """One model for each thing that stands in the way."""
    numbers, strings = tf.TensorSpec([None, 2], tf.float32, name="x"), tf.TensorSpec([None], tf.string, name="x")

    def upper(x):
        return {"y": tf.strings.upper(x)}

    def double(x):
        return {"y": x * 2.0}

    def cholesky(x):
        return {"y": tf.linalg.cholesky(x[:, :, None] * x[:, None, :] + tf.eye(2))}

    def noise(x):
        return {"y": x + tf.random.uniform(tf.shape(x))}

    for name, functions in {
        "strings": {"serving_default": (upper, strings), "numbers": (double, numbers)},
        "lacking": {"serving_default": (cholesky, numbers), "double": (double, numbers)},
        "random": {"serving_default": (noise, numbers)},
    }.items():
        signatures = {
            key: tf.function(function, input_signature=[spec]).get_concrete_function()
            for key, (function, spec) in functions.items()
        }
        tf.saved_model.save(tf.Module(), str(directory / name), signatures)


if __name__ == "__main__":
    build_gradients(Path(sys.argv[1]) / "gradients")
    build_pictures(Path(sys.argv[1]) / "pictures")
    build_kinds(Path(sys.argv[1]) / "kinds")
    build_small(Path(sys.argv[1]))
