"""Golden requests: rows whose answers are known from training, and the proof that a SavedModel still gives them.

``python -m lading.golden DIRECTORY`` replays them in a process of its own, as a server would: what the training process
has loaded (Python, Keras, operations that only they register) cannot help the model there.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lading.errors import EngineError, InvalidData, InvalidModel, InvalidRecipe, LadingError
from lading.values import GoldenRequest

if TYPE_CHECKING:
    import numpy as np

FILE = "assets.extra/lading/golden.jsonl"
"""Where a SavedModel carries them."""
MIN_ROWS = 32
"""Rows asked of ``serving_default``: enough to meet every class of a small problem."""
RTOL, ATOL = 1e-4, 1e-5
"""float32 kernels differ between batch sizes, threads and processors in the last digits."""
HALF_RTOL, HALF_ATOL = 2e-2, 2e-3
"""The same for models that compute in 16 bits: float16 has three decimal digits, bfloat16 two."""
MIN_SPREAD = 1e-3
"""How far answers must lie apart, at least: far above the tolerance, so that a swapped answer is noticed."""

Arrays = Mapping[str, "np.ndarray[Any, Any]"]


def choose_rows(labels: "np.ndarray[Any, Any]", count: int = MIN_ROWS) -> list[int]:
    """Rows that meet the classes in turn: the first of each class, then the second of each, and so on.

    Args:
        labels: ``[N]`` class indices.
        count: How many rows.

    Raises:
        InvalidData: there are fewer rows than that.
    """
    if len(labels) < count:
        raise InvalidData(f"expected at least {count} held-out rows for the golden requests, received {len(labels)}")
    seen: dict[int, int] = {}
    turns = []
    for row, label in enumerate(labels.tolist()):
        turns.append((seen.get(label, 0), row))
        seen[label] = seen.get(label, 0) + 1
    return [row for _, row in sorted(turns)[:count]]


def make_requests(
    signature: str, inputs: Arrays, outputs: Arrays, *, half_precision: bool = False
) -> Iterator[GoldenRequest]:
    """One golden request for each row.

    Args:
        signature: Name of the signature.
        inputs: For each input ``[N, …]``.
        outputs: For each output ``[N, …]``.
        half_precision: Whether the model computes in 16 bits.
    """
    rtol, atol = (HALF_RTOL, HALF_ATOL) if half_precision else (RTOL, ATOL)
    requests = {name: _plain(array) for name, array in inputs.items()}
    responses = {name: _plain(array) for name, array in outputs.items()}
    for row in range(len(next(iter(inputs.values())))):
        yield GoldenRequest(
            signature,
            request={name: rows[row : row + 1] for name, rows in requests.items()},
            response={name: rows[row : row + 1] for name, rows in responses.items()},
            rtol=rtol,
            atol=atol,
        )


def _plain(array: "np.ndarray[Any, Any]") -> list[Any]:
    """Nested lists whose JSON is short and exact: a float32 as its shortest decimal, 0.1 rather than 0.10000000149."""
    values: list[Any] = (array.astype(str).astype(float) if array.dtype.kind == "f" else array).tolist()
    return values


def require_variation(outputs: Arrays, judged: str, *, recipe: str) -> None:
    """Refuse a model whose golden answers could not tell it from another.

    Args:
        outputs: For each output ``[N, …]``, numbers.
        judged: The output that must differ between rows; another could repeat an input.
        recipe: The recipe's name, for the message.

    Raises:
        InvalidRecipe: answers are not finite, or hardly differ between the rows.
    """
    import numpy as np

    for name, array in outputs.items():
        if not np.isfinite(array).all():
            raise InvalidRecipe(
                f"{recipe}: the model's output {name!r} has NaN or infinity: the training diverged; "
                "lower the learning rate, or look at the data"
            )
    spread = float(np.ptp(outputs[judged], axis=0).max())
    if spread < MIN_SPREAD:
        raise InvalidRecipe(
            f"{recipe}: the model gives every row the same answer (they differ by {spread:.1g}, expected at least "
            f"{MIN_SPREAD:g}): it has learned nothing, and golden requests would prove nothing"
        )


def write_text(requests: Sequence[GoldenRequest]) -> str:
    """The content of a ``golden.jsonl``."""
    return "".join(f"{request.to_line()}\n" for request in requests)


def replay(model_directory: Path) -> tuple[str, ...]:
    """Ask a SavedModel its own golden requests through ``lading.predict``.

    Returns:
        What did not agree, in words; empty when all did.

    Raises:
        InvalidModel: it cannot be loaded, or carries no golden requests.
        EngineError: it failed while it was loaded or run.
    """
    from lading.predict import load_model

    path = model_directory / FILE
    if not path.is_file():
        raise InvalidModel(f"{model_directory}: expected golden requests in {FILE}, found none")
    problems = []
    with load_model(model_directory) as model:
        for number, golden in enumerate(GoldenRequest.read_all(path.read_text()), start=1):
            found = model.predict(golden.request, signature=golden.signature)
            problems += [f"request {number} ({golden.signature}): {text}" for text in differences(golden, found)]
    return tuple(problems)


def differences(golden: GoldenRequest, outputs: Arrays) -> Iterator[str]:
    """What an answer does not have in common with the golden one, in words.

    Args:
        golden: The request with its known answer.
        outputs: For each output ``[1, …]``.
    """
    import numpy as np

    if outputs.keys() != golden.response.keys():
        yield f"expected outputs {sorted(golden.response)}, received {sorted(outputs)}"
        return
    for name, value in golden.response.items():
        expected, received = np.asarray(value), outputs[name]
        if expected.shape != received.shape:
            yield f"{name}: expected shape {list(expected.shape)}, received {list(received.shape)}"
        elif not np.allclose(received, expected, rtol=golden.rtol, atol=golden.atol):
            apart = float(np.abs(received.astype(float) - expected).max())
            yield f"{name}: expected the answer from training, received one that is off by {apart:.2g}"


def verify(model_directory: Path, *, timeout_seconds: float = 600.0) -> None:
    """Replay the golden requests in a fresh process, and insist that all agree.

    Raises:
        InvalidModel: an answer differs, or the model cannot be loaded by a server.
        EngineError: the process ended without an answer.
    """
    command = [sys.executable, "-m", "lading.golden", str(model_directory)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_seconds, check=False)
        problems = json.loads(done.stdout)
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"the exported model did not answer within {timeout_seconds:g} s") from error
    except ValueError as error:
        raise EngineError(
            f"the check of the exported model ended with exit code {done.returncode}: {done.stderr.strip()[-2000:]}"
        ) from error
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise InvalidModel(f"the exported model does not answer as it did in training: {problems[0]}{more}")


def main(arguments: Sequence[str]) -> int:
    """Print the problems of one SavedModel as a JSON list."""
    try:
        problems = replay(Path(arguments[0]))
    except LadingError as error:
        problems = (str(error),)
    sys.stdout.write(json.dumps(problems))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
