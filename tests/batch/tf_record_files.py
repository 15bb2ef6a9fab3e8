"""Writes TFRecord files and examples."""

import struct

from lading.predict.protos import message
from lading.predict.tf_record import masked_crc32c

Feature = list[float] | list[int] | list[bytes] | None


def frame(data: bytes) -> bytes:
    head = struct.pack("<Q", len(data))
    return head + struct.pack("<I", masked_crc32c(head)) + data + struct.pack("<I", masked_crc32c(data))


def example(**features: Feature) -> bytes:
    """A serialized example; the type of the first element decides, an empty list is a list of floats, None no kind."""
    proto = message("tensorflow.Example")()
    for name, values in features.items():
        feature = proto.features.feature[name]
        if values is None:
            continue
        kind = {int: "int64_list", bytes: "bytes_list"}.get(type(values[0]) if values else float, "float_list")
        getattr(feature, kind).SetInParent()
        getattr(feature, kind).value.extend(values)
    return bytes(proto.SerializeToString())


def file_of(*records: bytes) -> bytes:
    return b"".join(map(frame, records))
