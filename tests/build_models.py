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


if __name__ == "__main__":
    build_mlp(Path(sys.argv[1]) / "mlp")
    build_mixed(Path(sys.argv[1]) / "mixed")
