"""What an engine is to a model."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy.typing as npt

from lading.predict.signature import Signature


class Engine(Protocol):
    """What computes. Its methods are called from several threads at once, and release the GIL while they compute."""

    signatures: Mapping[str, Signature]

    def run(self, signature: str, arrays: Sequence[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """Compute the outputs of a signature, in its order, from its inputs, in its order."""

    def close(self) -> None:
        """Free what the engine holds; nothing runs any more."""


@runtime_checkable
class TogetherEngine(Engine, Protocol):
    """An engine that also computes several requests together: ``lading.predict.batching.BatchingEngine``."""

    def run_together(
        self,
        signature: str,
        requests: Sequence[Sequence[npt.NDArray[Any]]],
        *,
        since: Sequence[float],
        until: float,
    ) -> list[list[npt.NDArray[Any]] | Exception | None]:
        """The outputs of each request, or what it raises; None for what it does not compute now."""
