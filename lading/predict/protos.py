"""TensorFlow's protocol buffers, in a descriptor pool of their own.

In protobuf's default pool they would clash with the same files of the Python package tensorflow, if that is imported
in the same process ("duplicate symbol").
"""

import functools
from typing import Any

from google.protobuf import descriptor_pool, message_factory


@functools.cache
def _pool() -> descriptor_pool.DescriptorPool:
    # Here, so that the generator of this file can run when the file is not there.
    from lading.predict.compiled.tensorflow_descriptors import FILES

    pool = descriptor_pool.DescriptorPool()
    for serialized in FILES.values():
        pool.AddSerializedFile(serialized)
    return pool


@functools.cache
def message(name: str) -> Any:
    """The class of a message, for instance ``tensorflow.MetaGraphDef``."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(name))
