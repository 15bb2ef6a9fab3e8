"""The requests, in the forms that servers take, and the check of their answers.

``bodies/mlp-1.json`` is row 69 (a bag) of Fashion-MNIST's test set, each pixel as the shortest decimal of its float32.
Larger requests are made from it.
"""

import json
import math
import random
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ONE = Path(__file__).parent / "bodies" / "mlp-1.json"
RTOL, ATOL = 1e-3, 1e-5
"""Engines differ in the last digits of float32; the digits that an answer shows differ too."""


@dataclass(frozen=True)
class Body:
    """One request: its rows, and what the model answers to them."""

    name: str
    rows: Sequence[Any]
    answer: Sequence[Sequence[float]]

    def request(self, form: str) -> tuple[bytes, dict[str, str]]:
        """The request's content and headers, in a form of ``servers.Server``."""
        if form == "v1":
            return _json({"instances": self.rows}), {"Content-Type": "application/json"}
        flat = list(_numbers(self.rows))
        tensor = {"name": "image", "shape": _shape(self.rows), "datatype": "FP32"}
        if form == "v2":
            return _json({"inputs": [{**tensor, "data": flat}]}), {"Content-Type": "application/json"}
        raw = array("f", flat).tobytes()  # this machine's order of bytes, which is little-endian as the protocol's
        head = _json({"inputs": [{**tensor, "parameters": {"binary_data_size": len(raw)}}]})
        headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
        return head + raw, headers

    def problem(self, form: str, content: bytes) -> str | None:
        """What is wrong with an answer, or None."""
        try:
            answer = json.loads(content)
            came = list(_numbers(answer["predictions"] if form == "v1" else answer["outputs"][0]["data"]))
        except (ValueError, LookupError, TypeError) as error:
            return f"not an answer ({type(error).__name__}: {error}): {content[:200]!r}"
        expected = list(_numbers(self.answer))
        if len(came) != len(expected):
            return f"expected {len(expected)} numbers, received {len(came)}"
        if not all(math.isclose(a, b, rel_tol=RTOL, abs_tol=ATOL) for a, b in zip(came, expected, strict=True)):
            return f"a wrong answer, off by up to {max(abs(a - b) for a, b in zip(came, expected, strict=True)):g}"
        return None


def fashion(count: int) -> list[Any]:
    """The committed image, and copies of it whose lines of pixels are shuffled, each in its own way."""
    (image,) = json.loads(ONE.read_text())["instances"]
    order = random.Random(count)
    return [image, *(order.sample(image, len(image)) for _ in range(count - 1))]


def photograph(side: int = 224) -> list[Any]:
    """One instance of ``side`` × ``side`` pixels of three channels, 0 to 255."""
    noise = random.Random(side)
    return [[[[noise.randrange(256) for _ in range(3)] for _ in range(side)] for _ in range(side)]]


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, list):
        for element in value:
            yield from _numbers(element)
    else:
        yield value


def _shape(value: Any) -> list[int]:
    return [len(value), *_shape(value[0])] if isinstance(value, list) else []
