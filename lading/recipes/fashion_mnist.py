"""Fashion-MNIST: ten kinds of garments in grey images of 28×28 pixels, and the network of TensorFlow's tutorial.

Data: H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
Algorithms" (arXiv:1708.07747). Model: https://www.tensorflow.org/tutorials/keras/classification, the tutorial's
``probability_model``: pixels from 0 to 1 in, the probabilities ``softmax`` out.
"""

import math
import os
import secrets
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lading import storage
from lading.errors import InvalidData, InvalidInput, LadingError, NotFound
from lading.files import write_atomic
from lading.recipes import idx
from lading.recipes.contract import Trained
from lading.recipes.progress import epoch_log
from lading.wait import Deadline

if TYPE_CHECKING:
    import numpy as np

HYPERPARAMETERS = {"epochs": 3, "batch_size": 256, "learning_rate": 0.005, "seed": -1}
"""``learning_rate``: the first one, of a cosine decay to zero. ``seed``: -1 draws a new one for each run and
records it in the metrics; another value makes runs repeatable."""

CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
TRAIN_FILES = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz")
TEST_FILES = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
FILES = TRAIN_FILES + TEST_FILES
DEBIAN_DIRECTORY = Path("/usr/share/datasets/fashion-mnist")  # package dataset-fashion-mnist
ORIGIN = "https://storage.googleapis.com/tensorflow/tf-keras-datasets"  # where Keras' own loader downloads from
HOW_TO_GET = (
    "on Debian or Ubuntu: `apt-get install dataset-fashion-mnist`; "
    f"elsewhere put {', '.join(FILES)} into a directory and give it: `--set data=DIR` or `make DATA=DIR`"
)


def keras_directory() -> Path:
    """Where Keras keeps its download by default: below the home directory, or ``/tmp`` where that cannot be written.

    Source: keras/src/backend/config.py.
    """
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 (a user without a home is no error here)
    base = home if os.access(home, os.W_OK) else Path(tempfile.gettempdir())
    return base / ".keras" / "datasets" / "fashion-mnist"


def find_data(*, debian: Path = DEBIAN_DIRECTORY) -> str | None:
    """The directory of this machine that holds the four files: Keras' download, else Debian's package, else None."""
    for directory in (keras_directory(), debian):
        if all((directory / name).is_file() for name in FILES):
            return str(directory)
    return None


def download(to: Path, *, origin: str = ORIGIN, connect_seconds: float = 5.0, seconds: float = 300.0) -> str:
    """Fetch the four files, check them, and put them into ``to``.

    Args:
        to: A directory; it is made, and a file appears in it only when it is whole and readable.
        origin: URL of the directory that has them.
        connect_seconds: For the smallest file; it bounds the wait where there is no internet.
        seconds: For all files.

    Returns:
        The directory.

    Raises:
        InvalidData: they could not be fetched, or are not what they should be.
        StorageError: they could not be written.
    """
    deadline = Deadline.after(seconds)
    smallest = TEST_FILES[1]
    try:
        content = {smallest: _fetch_soon(origin, smallest, connect_seconds)}
        for name in FILES:
            content[name] = content.get(name) or _fetch(origin, name, deadline)
        for names in (TRAIN_FILES, TEST_FILES):
            _decode(content[names[0]], content[names[1]], names=(f"{origin}/{names[0]}", f"{origin}/{names[1]}"))
    except LadingError as error:
        raise InvalidData(
            f"Fashion-MNIST is not on this machine, and its download failed ({error}); {HOW_TO_GET}"
        ) from error
    for name in FILES:
        write_atomic(to / name, content[name])
    return str(to)


def _fetch(origin: str, name: str, deadline: Deadline, *, retry: bool = True) -> bytes:
    import requests

    from lading.http import Client

    # This host is on the internet, so a proxy that the environment names is wanted: an ordinary session.
    session: Any = requests.Session()
    with session:
        return Client(origin, session=session).request("GET", f"/{name}", deadline=deadline, retry=retry).content


def _fetch_soon(origin: str, name: str, seconds: float) -> bytes:
    """Fetch one file in a thread that is left behind when it is late: looking up a host name has no time limit."""
    outcome: list[bytes | LadingError] = []

    def fetch() -> None:
        try:
            outcome.append(_fetch(origin, name, Deadline.after(seconds), retry=False))
        except LadingError as error:
            outcome.append(error)

    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise InvalidData(f"{origin}: no answer within {seconds:g} s")
    if isinstance(outcome[0], LadingError):
        raise outcome[0]
    return outcome[0]


def read_set(data: str, names: tuple[str, str]) -> tuple["np.ndarray[Any, Any]", "np.ndarray[Any, Any]"]:
    """Read images and their labels.

    Args:
        data: A directory or ``gs://`` prefix.
        names: The images file and the labels file.

    Returns:
        Pixels as float32 ``(N, 28, 28)`` from 0 to 1, and labels as uint8 ``(N,)``.

    Raises:
        InvalidData: a file is missing, corrupt, truncated or mislabelled; the message names it.
    """
    uris = storage.join(data, names[0]), storage.join(data, names[1])
    try:
        images, labels = (storage.read_bytes(uri) for uri in uris)
    except NotFound as error:
        raise InvalidData(f"{error}; {HOW_TO_GET}") from error
    return _decode(images, labels, names=uris)


def _decode(
    images: bytes, labels: bytes, *, names: tuple[str, str]
) -> tuple["np.ndarray[Any, Any]", "np.ndarray[Any, Any]"]:
    import numpy as np

    pixels, classes = idx.read_images(images, name=names[0]), idx.read_labels(labels, name=names[1])
    idx.check_pair(pixels, classes, names=names)
    return pixels / np.float32(255), classes


def train(data: str, hyperparameters: Mapping[str, Any]) -> Trained:
    """Train the tutorial's network.

    Args:
        data: A directory or ``gs://`` prefix with the four IDX files; empty: what is on this machine, else a download.
        hyperparameters: See ``HYPERPARAMETERS``.

    Raises:
        InvalidData: the data is missing or cannot be used.
    """
    import keras

    seed, epochs, batch_size = (hyperparameters[name] for name in ("seed", "epochs", "batch_size"))
    if epochs < 1 or batch_size < 1:
        raise InvalidInput(f"expected at least 1 of epochs and batch_size, received {epochs} and {batch_size}")
    data = data or find_data() or download(keras_directory())
    images, labels = read_set(data, TRAIN_FILES)
    heldout_images, heldout_labels = read_set(data, TEST_FILES)
    seed = secrets.randbelow(2**31) if seed < 0 else seed
    keras.utils.set_random_seed(seed)
    image, logits = _network()
    model = keras.Model(image, logits)
    steps = epochs * math.ceil(len(images) / batch_size)
    model.compile(
        # Decayed to zero, three epochs end within a percent of each other whatever the seed; at a constant rate they
        # are up to three percent apart, more than a release may lose against its champion.
        optimizer=keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(hyperparameters["learning_rate"], steps),
        ),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,  # compiling this small graph takes longer than running it
    )
    fitted = model.fit(images, labels, batch_size=batch_size, epochs=epochs, verbose=0, callbacks=[epoch_log(epochs)])
    return Trained(
        model=keras.Model(image, keras.layers.Softmax(name="softmax")(logits)),
        heldout_inputs={"image": heldout_images},
        heldout_labels=heldout_labels,
        class_names=CLASS_NAMES,
        history=fitted.history,
        metrics={"seed": seed, "training_rows": len(images)},
    )


def _network() -> tuple[Any, Any]:
    """The tutorial's layers: the input ``image``, and the logits of the ten classes."""
    import keras

    image = keras.Input((28, 28), name="image")
    hidden = keras.layers.Dense(128, activation="relu")(keras.layers.Flatten()(image))
    return image, keras.layers.Dense(10)(hidden)


def main(arguments: Sequence[str], *, debian: Path = DEBIAN_DIRECTORY, origin: str = ORIGIN) -> int:
    """``python -m lading.recipes.fashion_mnist [DIR]``: see that the data is there, without TensorFlow.

    Args:
        arguments: A directory or ``gs://`` prefix to check; none: what is on this machine, else a download.
        debian: Where Debian's package puts the files.
        origin: URL of the directory to download them from.

    Returns:
        The exit code: 0 when the data can be used, 2 when not.
    """
    if len(arguments) > 1:
        sys.stderr.write("usage: python -m lading.recipes.fashion_mnist [DIR]\n")
        return 2
    try:
        given = "".join(arguments)
        data = given or find_data(debian=debian) or download(keras_directory(), origin=origin)
        rows = [len(read_set(data, names)[1]) for names in (TRAIN_FILES, TEST_FILES)]
    except LadingError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(f"Fashion-MNIST is in {data}: {rows[0]} images to train on, {rows[1]} held out\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
