"""What shape the values of one row get: what the signature declares, and what came."""

import math

from lading.predict.signature import TensorSpec

Shape = tuple[int, ...]
Declared = tuple[int | None, ...] | None


class Misfit(Exception):
    """A row does not fit the signature; the message says what was expected and what came."""


def row_shape(spec: TensorSpec) -> Declared:
    """The declared shape of one row, which has no batch axis; None for an unknown rank."""
    return None if spec.shape is None else spec.shape[1:]


def values_shape(declared: Declared, count: int) -> Shape | None:
    """The shape of a row whose values come one after the other; None if so many do not fit.

    One unknown dimension follows from the count. A row of unknown rank becomes a vector.
    """
    if declared is None:
        return (count,)
    known = math.prod(size for size in declared if size is not None)
    unknown = declared.count(None)
    fits = count == known if not unknown else unknown == 1 and (count % known == 0 if known else not count)
    if not fits:
        return None
    return tuple((count // known if known else 0) if size is None else size for size in declared)


def nested_shape(declared: Declared, came: Shape) -> Shape | None:
    """The shape of a row that came as nested lists of one shape; None if it does not fit.

    Lists of lists have to be as declared; a plain list is taken as ``values_shape`` does, so that an image may come as
    784 numbers.
    """
    if declared is None:
        return came
    if len(came) == len(declared) and all(want in (None, size) for want, size in zip(declared, came, strict=True)):
        return came
    return values_shape(declared, math.prod(came)) if len(came) < 2 else None


def shown(declared: Declared) -> str:
    """A shape in a message, for instance ``[28, ?]``."""
    if declared is None:
        return "any shape"
    return f"[{', '.join('?' if size is None else str(size) for size in declared)}]"
