"""A few held-out rows, sent to the promoted service: what a user would see."""

import json
from pathlib import Path
from typing import Any

from lading.errors import LadingError
from lading.run_report import Example
from lading.targets.door import Door
from lading.wait import Deadline

_SECONDS = 10.0


def ask_examples(heldout: Path, door: Door, *, count: int = 5) -> tuple[Example, ...]:
    """Send the first rows of each of the first classes to a service.

    Args:
        heldout: The npz that ``train`` wrote: ``input.NAME``, ``label``, ``class_names``.
        door: Leads to the service by its split.
        count: How many rows, each of another class as far as there are so many.

    Raises:
        LadingError: the service does not answer, or not with one probability for each class.
    """
    import numpy as np

    with np.load(heldout) as rows:
        labels, names = rows["label"], [str(name) for name in rows["class_names"]]
        inputs = {key.removeprefix("input."): rows[key] for key in rows.files if key.startswith("input.")}
    chosen = [int(np.argmax(labels == label)) for label in np.unique(labels)[:count]]
    return tuple(
        _ask(door, {name: _short(array[row : row + 1]) for name, array in inputs.items()}, names, labels[row])
        for row in chosen
    )


def _ask(door: Door, request: dict[str, Any], names: list[str], label: int) -> Example:
    answer = door.predict({"inputs": request}, deadline=Deadline.after(_SECONDS)).json()
    outputs = answer.get("outputs")
    probabilities = outputs[0] if isinstance(outputs, list) and outputs else None
    if not isinstance(probabilities, list) or len(probabilities) != len(names):
        raise LadingError(f"expected {len(names)} probabilities, received {json.dumps(answer)[:200]}")
    best = max(range(len(names)), key=lambda index: float(probabilities[index]))
    return Example(request, names[int(label)], names[best], float(probabilities[best]))


def _short(array: Any) -> Any:
    """Nested lists; floats with four digits, which is plenty to look at and to paste."""
    if array.dtype.kind != "f":
        return array.tolist()
    return json.loads(json.dumps(array.tolist()), parse_float=lambda text: float(f"{float(text):.4g}"))
