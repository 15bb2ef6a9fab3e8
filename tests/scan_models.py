"""Builds the SavedModels that the tests of `scan` look into: ``python scan_models.py DIRECTORY``.

Each module does one thing that a model should not do, or one that only looks so.
"""

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

FLOATS = [tf.TensorSpec([None], tf.float32, name="x")]


class Module(tf.Module):
    """Has a variable, so that there is a saver, and one signature: ``x`` to ``y``."""

    def __init__(self, body):
        super().__init__()
        self.factor = tf.Variable(2.0)
        self.body = body

    @tf.function(input_signature=FLOATS)
    def serve(self, x):
        return {"y": self.body(x) * self.factor}


def write_file(x):
    tf.io.write_file("/tmp/written", "x")
    return x


def read_file(x):
    return x + tf.cast(tf.strings.length(tf.io.read_file("/etc/hostname")), tf.float32)


def write_in_loop(x):
    def body(i, value):
        tf.io.write_file(tf.strings.join(["/tmp/", "written"]), "x")
        return i + 1, value + 1.0

    return tf.while_loop(lambda i, _: i < 1, body, [tf.constant(0), x])[1]


@tf.function
def inner(x):
    tf.io.write_file("written", tf.strings.as_string(tf.reduce_sum(x)))
    return x


@tf.function
def outer(x):
    return inner(x) + 1.0


def write_in_function(x):
    return outer(x)


def print_to_file(x):
    tf.print("x", output_stream="file:///tmp/printed")
    return x


def print_to_log(x):
    tf.print("x")
    return x


def raw_save(x):
    tf.raw_ops.Save(filename="/tmp/saved", tensor_names=["x"], data=[x])
    return x


def raw_restore(x):
    return (
        x + tf.raw_ops.RestoreV2(prefix="/tmp/other", tensor_names=["a"], shape_and_slices=[""], dtypes=[tf.float32])[0]
    )


def python_call(x):
    return tf.ensure_shape(tf.numpy_function(lambda value: value, [x], tf.float32), [None])


def big_constant(x):
    return x + tf.reduce_sum(tf.constant(np.arange(3 << 20, dtype=np.float32)))


def cache_in_memory(x):
    return x + tf.data.Dataset.range(3).cache().reduce(0.0, lambda total, v: total + tf.cast(v, tf.float32))


def cache_in_file(x):
    return x + tf.data.Dataset.range(3).cache("/tmp/cache").reduce(0.0, lambda total, v: total + tf.cast(v, tf.float32))


BODIES = (
    write_file, read_file, write_in_loop, write_in_function, print_to_file, print_to_log, raw_save, raw_restore,
    python_call, big_constant, cache_in_memory, cache_in_file,
)  # fmt: skip


class Words(tf.Module):
    """A vocabulary: from a file that is an asset of the model."""

    def __init__(self, path):
        super().__init__()
        self.path = tf.saved_model.Asset(path)
        source = tf.lookup.TextFileInitializer(
            self.path, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
        )
        self.table = tf.lookup.StaticHashTable(source, -1)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="x")])
    def serve(self, x):
        return {"y": self.table.lookup(x)}


def build_keras(directory):
    """Convolutions, recurrence, normalisation and dropout: what usual models have."""
    image = keras.Input((8, 8, 3))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3, activation="relu")(image))
    x = keras.layers.LSTM(4)(keras.layers.Reshape((36, 4))(keras.layers.Dropout(0.5)(x)))
    model = keras.Model(image, keras.layers.Dense(2, activation="softmax")(x))
    model.export(str(directory), verbose=False)


def build_mobilenet(directory):
    keras.applications.MobileNetV2(weights=None, input_shape=(96, 96, 3), alpha=0.35).export(
        str(directory), verbose=False
    )


def build_two_graphs(directory):
    """Two MetaGraphDefs with different tags; the second writes a file."""
    v1 = tf.compat.v1
    builder = v1.saved_model.Builder(str(directory))
    for tag, writes in (("serve", False), ("train", True)):
        with tf.Graph().as_default(), v1.Session() as session:
            x = v1.placeholder(tf.float32, [None], name="x")
            v = v1.get_variable("v", initializer=1.0)
            y = tf.multiply(x, v, name="y")
            if writes:
                with tf.control_dependencies([tf.raw_ops.WriteFile(filename="/tmp/w", contents="x", name="w")]):
                    y = tf.identity(y)
            session.run(v1.global_variables_initializer())
            info = v1.saved_model.build_signature_def(
                {"x": v1.saved_model.build_tensor_info(x)}, {"y": v1.saved_model.build_tensor_info(y)}
            )
            if writes:
                builder.add_meta_graph([tag], {"serving_default": info})
            else:
                builder.add_meta_graph_and_variables(session, [tag], {"serving_default": info})
    builder.save()


def build_all(directory):
    for body in BODIES:
        module = Module(body)
        tf.saved_model.save(module, str(directory / body.__name__), {"serving_default": module.serve})
    (directory / "words.txt").write_text("one\ntwo\n")
    words = Words(str(directory / "words.txt"))
    tf.saved_model.save(words, str(directory / "vocabulary"), {"serving_default": words.serve})
    build_keras(directory / "keras")
    build_mobilenet(directory / "mobilenet")
    build_two_graphs(directory / "two_graphs")


if __name__ == "__main__":
    build_all(Path(sys.argv[1]))
