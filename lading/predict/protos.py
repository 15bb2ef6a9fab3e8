"""TensorFlow's and TensorFlow Serving's protocol buffers, and those of gRPC services, in a private descriptor pool.

In protobuf's default pool they would clash with the same files of the Python packages tensorflow and
tensorflow-serving-api, if these are imported in the same process ("duplicate symbol").
"""

import functools
import threading
from typing import Any

from google.protobuf import descriptor_pool, message_factory

from lading.errors import InvalidInput

_lock = threading.RLock()


@functools.cache
def message(name: str) -> Any:
    """The class of a message, for instance ``tensorflow.MetaGraphDef``.

    What loads and runs models is there at once; the first name of ``compiled/serving_descriptors.py``
    (``tensorflow.Example``, ``tensorflow.serving.…``, ``inference.…``, ``grpc.health.v1.…``) loads that file.
    """
    with _lock:  # two threads that find no pool yet would make two, whose messages do not mix
        try:
            descriptor = _pool().FindMessageTypeByName(name)
        except KeyError:
            _add_serving()
            descriptor = _pool().FindMessageTypeByName(name)
        return message_factory.GetMessageClass(descriptor)


def parse_text(text: str, name: str, *, source: str) -> Any:
    """Read a message in protobuf's text format.

    Args:
        text: All of it.
        name: Of the message, for instance ``tensorflow.serving.ModelServerConfig``.
        source: Where the text comes from, for errors.

    Raises:
        InvalidInput: it is not such a message; names the source, the line and the column.
    """
    from google.protobuf import text_format

    try:
        return text_format.Parse(text, message(name)(), descriptor_pool=_pool())
    except text_format.ParseError as error:
        # protobuf's own text starts with line and column, if it knows them.
        raise InvalidInput(f"{source}: expected a {name} in protobuf's text format: {error}") from error


@functools.cache
def _pool() -> descriptor_pool.DescriptorPool:
    # Here, so that the generator of this file can run when the file is not there.
    from lading.predict.compiled.tensorflow_descriptors import FILES

    pool = descriptor_pool.DescriptorPool()
    for serialized in FILES.values():
        pool.AddSerializedFile(serialized)
    return pool


@functools.cache
def _add_serving() -> None:
    from lading.predict.compiled.serving_descriptors import FILES

    for serialized in FILES.values():
        _pool().AddSerializedFile(serialized)
