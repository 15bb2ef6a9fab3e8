"""Builds one SavedModel: ``python -m benchmarks.serving.build_models NAME DIRECTORY`` (a process of its own: Keras).

``mlp`` is Fashion-MNIST's model, trained by ``lading train`` for one epoch. The others have random weights, which cost
as much to compute: ``cnn``, three blocks as in VGG over the same images (0.12 billion multiplications), and
``mobilenetv2`` (0.3 billion).
"""

import json
import subprocess
import sys
from pathlib import Path

SEED = 7


def build_mlp(directory: Path) -> None:
    training = directory.with_name("training")
    words = ["train", "--out", str(training), "--hyperparameters", json.dumps({"epochs": 1, "seed": SEED})]
    subprocess.run([sys.executable, "-m", "lading", *words], check=True, stdout=subprocess.DEVNULL)
    (training / "model").rename(directory)


def build_cnn(directory: Path) -> None:
    from keras import Input, Sequential, layers

    network = [
        Input((28, 28), name="image"),
        layers.Reshape((28, 28, 1)),
        *(layer for filters in (64, 128, 256) for layer in _block(filters)),
        layers.GlobalAveragePooling2D(),
        layers.Dense(10, activation="softmax"),
    ]
    _export(Sequential(network), directory)


def _block(filters: int) -> list[object]:
    from keras import layers

    convolutions = [layers.Conv2D(filters, 3, padding="same", activation="relu") for _ in range(2)]
    return [*convolutions, layers.MaxPooling2D()]


def build_mobilenetv2(directory: Path) -> None:
    from keras import Input, Model, applications, layers

    image = Input((224, 224, 3), name="image")
    network = applications.MobileNetV2(weights=None)
    # As Keras' applications want it: pixels from 0 to 255 come in, the model scales them.
    _export(Model(image, network(layers.Rescaling(1 / 127.5, offset=-1)(image))), directory)


def _export(model: object, directory: Path) -> None:
    """As ``lading train`` exports: the signature takes ``image``, and the variables are found through it."""
    from keras.export import ExportArchive
    from tensorflow import TensorSpec

    archive = ExportArchive()
    archive.track(model)
    shape = (None, *model.inputs[0].shape[1:])
    archive.add_endpoint(
        "serving_default", lambda image: model(image, training=False), [TensorSpec(shape, name="image")]
    )
    archive.write_out(str(directory), verbose=False)


def main(name: str, directory: Path) -> None:
    if name != "mlp":
        import keras

        keras.utils.set_random_seed(SEED)
    {"mlp": build_mlp, "cnn": build_cnn, "mobilenetv2": build_mobilenetv2}[name](directory)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
