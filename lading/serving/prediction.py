"""A request whose body was read: what is to be computed for it, and how that becomes its answer."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy.typing as npt

from lading.predict import Signature
from lading.serving.answers import Answer
from lading.serving.loading import Arrays
from lading.serving.models import Served


class Prediction:
    """What a request asks of a model.

    Attributes:
        served: The model.
        signature: One of the model's.
        arrays: In the order of its inputs; they fit.
        encode: Makes the answer of the outputs.
    """

    __slots__ = ("arrays", "encode", "served", "signature")

    def __init__(
        self,
        served: Served,
        signature: Signature,
        arrays: Sequence[npt.NDArray[Any]],
        encode: Callable[[Arrays], Answer],
    ) -> None:
        self.served, self.signature, self.arrays, self.encode = served, signature, arrays, encode

    def answer(self) -> Answer:
        """Compute, and answer.

        Raises:
            LadingError: what the model says.
        """
        return self.encode(self.served.run(self.signature, self.arrays))
