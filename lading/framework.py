"""TensorFlow as training needs it: present, the backend of Keras, and quiet."""

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lading.errors import InvalidInput


def import_tensorflow() -> Any:
    """Import tensorflow and keras without the notes that their C++ part writes while it starts.

    TensorFlow 2.21 writes them before ``TF_CPP_MIN_LOG_LEVEL`` is looked at, so stderr is held back meanwhile; when the
    import fails, what was held is shown. Keras' progress bars are turned into log records.

    Returns:
        The module ``tensorflow``.

    Raises:
        InvalidInput: tensorflow is not installed, or Keras runs on another backend.
    """
    if "tensorflow" not in sys.modules:
        with stderr_held():
            try:
                import tensorflow
            except ImportError as error:
                raise InvalidInput(f"training needs TensorFlow: pip install 'lading[train]' ({error})") from error
            tensorflow.constant(0) + 0  # the first operation writes the rest of the notes
    try:
        import keras
        import tensorflow
    except ImportError as error:  # the library of another backend
        raise InvalidInput(f"training needs Keras on TensorFlow: set KERAS_BACKEND=tensorflow ({error})") from error

    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise InvalidInput(f"expected Keras on TensorFlow, received {backend!r}: set KERAS_BACKEND=tensorflow")
    for name in ("absl", "tensorflow"):  # their notes about names and assets on each export
        logging.getLogger(name).setLevel(logging.ERROR)
    keras.config.disable_interactive_logging()
    return tensorflow


@contextmanager
def stderr_held() -> Iterator[None]:
    """Hold back what this process writes to file descriptor 2; show it only when the block fails."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(kept, 2)
            held.seek(0)
            os.write(2, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
