"""What the attributes of an operation hold: names of functions, strings, constants.

Format: tensorflow/core/framework/{attr_value,tensor,types}.proto.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from lading.errors import InvalidModel
from lading.scanning.wire import MAX_DEPTH, VARINT, Span, Wire

DT_STRING = 7
_SIZES = {1: 4, 2: 8, 3: 4, 4: 1, 5: 2, 6: 1, 8: 8, 9: 8, 10: 1, 11: 1, 12: 1, 13: 4, 14: 2, 15: 2, 16: 2, 17: 2}
_SIZES |= {18: 16, 19: 2, 22: 4, 23: 8, 24: 1, 25: 1}
"""Bytes of an element, by DataType; of what is not here (strings, resources) nothing is said."""
_MOST_STRINGS = 1000


@dataclass
class Value:
    """An attribute's value, as far as a scan asks for it."""

    functions: list[str] = field(default_factory=list)
    strings: list[Span] = field(default_factory=list)
    tensors: list[Span] = field(default_factory=list)


def read_value(wire: Wire, span: Span, *, into: Value | None = None, depth: int = 0) -> Value:
    """Read an AttrValue, and what its functions' own attributes hold.

    Raises:
        InvalidModel: values are nested deeper than protobuf allows.
    """
    value = into or Value()
    if depth > MAX_DEPTH:
        raise InvalidModel(
            f"attributes are nested more than {MAX_DEPTH} deep (byte {span[0]}): TensorFlow refuses them"
        )
    for number, start, end in wire.fields(span):
        if end < 0:
            continue
        if number == 2:
            value.strings.append((start, end))
        elif number == 8:
            value.tensors.append((start, end))
        elif number == 10:
            _read_function(wire, (start, end), value, depth)
        elif number == 1:
            for kind, item, item_end in wire.fields((start, end)):
                if item_end < 0:
                    continue
                if kind == 2:
                    value.strings.append((item, item_end))
                elif kind == 8:
                    value.tensors.append((item, item_end))
                elif kind == 9:
                    _read_function(wire, (item, item_end), value, depth)
    return value


def _read_function(wire: Wire, span: Span, value: Value, depth: int) -> None:
    """A NameAttrList: the name of a function, and attributes to call it with."""
    for number, start, end in wire.fields(span):
        if number == 1 and end >= 0:
            value.functions.append(wire.text((start, end)))
        elif number == 2 and end >= 0:
            for content in wire.spans((start, end), 2):
                read_value(wire, content, into=value, depth=depth + 3)  # entry, value, list: messages in messages


@dataclass(frozen=True)
class Tensor:
    """A constant."""

    dtype: int
    stored: int
    """Bytes in the file."""
    expanded: int
    """Bytes in memory, by type and shape; 0 when that is not known."""


def read_tensor(wire: Wire, span: Span) -> Tensor:
    """How large a TensorProto is. A short one may be large: the last of its values stands for all that are missing."""
    dtype, elements = 0, 1
    for number, start, end in wire.fields(span):
        if number == 1 and end == VARINT:
            dtype = start
        elif number == 2 and end >= 0:
            for dimension in wire.spans((start, end), 2):
                for kind, size, how in wire.fields(dimension):
                    if kind == 1 and how == VARINT:
                        elements *= size if size < 1 << 63 else 0  # negative: not known
    return Tensor(dtype, span[1] - span[0], elements * _SIZES.get(dtype, 0))


def string_spans(wire: Wire, span: Span) -> Iterator[Span]:
    """Where the strings of a TensorProto lie; of packed ones a single one is found."""
    for number, start, end in wire.fields(span):
        if number == 8 and end >= 0:
            yield start, end
        elif number == 4 and end > start:
            inner = _packed_string(wire, (start, end))
            if inner is not None:
                yield inner


def read_strings(wire: Wire, span: Span) -> list[bytes] | None:
    """The strings of a constant, the first bytes of each; None when they are packed, or too many.

    Where ``tensor_content`` is not empty it counts, and ``string_val`` does not (Tensor::FromProto).
    """
    found: list[bytes] = []
    for number, start, end in wire.fields(span):
        if number == 4 and end > start:
            inner = _packed_string(wire, (start, end))
            return None if inner is None else [wire.bytes(inner)]
        if number == 8 and end >= 0:
            if len(found) == _MOST_STRINGS:
                return None
            found.append(wire.bytes((start, end)))
    return found


def _packed_string(wire: Wire, span: Span) -> Span | None:
    """The only string in ``tensor_content``: its length, then its bytes (core::DecodeStringList); None if not one."""
    size = shift = 0
    for at in range(span[0], min(span[1], span[0] + 5)):
        size |= (wire.data[at] & 127) << shift
        shift += 7
        if wire.data[at] < 128:
            return (at + 1, span[1]) if at + 1 + size == span[1] else None
    return None
