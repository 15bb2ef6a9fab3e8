"""The held-out rows: what ``train`` sets aside and ``evaluate`` scores, as one ``.npz`` file.

Arrays ``input.NAME`` (``[N, …]``), ``label`` (``[N]`` integers) and ``class_names`` (strings). No pickles.
"""

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lading.errors import InvalidData
from lading.files import write_atomic

if TYPE_CHECKING:
    import numpy as np

_INPUT = "input."


@dataclass(frozen=True)
class HeldOut:
    """Rows that the model has never seen, with their true classes."""

    inputs: Mapping[str, "np.ndarray[Any, Any]"]
    """For each input of the model ``[N, …]``."""
    labels: "np.ndarray[Any, Any]"
    """``[N]`` integers: indices into ``class_names``."""
    class_names: tuple[str, ...]

    def save(self, path: Path) -> None:
        """Write the file; it appears whole or not at all.

        Raises:
            StorageError: it could not be written.
        """
        import numpy as np

        buffer = io.BytesIO()
        arrays = {f"{_INPUT}{name}": array for name, array in self.inputs.items()}
        np.savez(buffer, allow_pickle=False, label=self.labels, class_names=np.array(self.class_names), **arrays)
        write_atomic(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> "HeldOut":
        """Read the file and check that it holds together.

        Raises:
            InvalidData: it is missing, corrupt, empty, or its arrays do not fit each other.
        """
        import numpy as np

        try:
            # Opened here: numpy leaves a file open that turns out to be no archive.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        # RuntimeError: an altered byte makes zipfile believe in encryption, or in compression that it does not know.
        except (OSError, ValueError, TypeError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
            raise InvalidData(
                f"{path}: expected the held-out rows that `lading train` wrote (.npz): {error}"
            ) from error
        missing = {"label", "class_names"} - arrays.keys()
        inputs = {name.removeprefix(_INPUT): array for name, array in arrays.items() if name.startswith(_INPUT)}
        if missing or not inputs:
            raise InvalidData(
                f"{path}: expected the arrays label, class_names and {_INPUT}NAME, received {sorted(arrays) or 'none'}"
            )
        labels, names = arrays["label"], tuple(map(str, arrays["class_names"]))
        _check(path, inputs, labels, names)
        return cls(inputs, labels, names)


def _check(
    path: Path, inputs: Mapping[str, "np.ndarray[Any, Any]"], labels: "np.ndarray[Any, Any]", names: tuple[str, ...]
) -> None:
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InvalidData(f"{path}: expected label as integers [N], received {labels.dtype} {list(labels.shape)}")
    if not len(labels):
        raise InvalidData(f"{path}: expected held-out rows, received none: nothing could be judged")
    if labels.min() < 0 or labels.max() >= len(names):
        raise InvalidData(
            f"{path}: expected labels from 0 to {len(names) - 1}, received {labels.min()} to {labels.max()}"
        )
    for name, array in inputs.items():
        if not array.ndim or len(array) != len(labels):
            raise InvalidData(
                f"{path}: expected {len(labels)} rows of {_INPUT}{name}, received an array {list(array.shape)}"
            )
