"""TensorFlow's converter to LiteRT, in a process of its own.

``python -m lading.tflite SAVED_MODEL FILE SIGNATURE…`` writes the file, or tells as JSON which signatures do not
convert and why. The converter writes pages of notes to standard error, and can end its process when it fails.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lading.errors import EngineError, InvalidInput
from lading.files import storage_errors

_UNSUPPORTED = re.compile(r"^(?:TF Select|Custom) ops: (.+)$", re.MULTILINE)
_MOST_CHARACTERS = 400
_CRASHES = (signal.SIGABRT, signal.SIGSEGV, signal.SIGFPE, signal.SIGILL, signal.SIGBUS)
"""A failed check in the converter's C++, or a worse fault: the model's doing. SIGKILL is that of a lack of memory."""


@dataclass(frozen=True)
class Converted:
    """What came of a conversion."""

    problems: dict[str, str] = field(default_factory=dict)
    """Why a signature does not convert, by its name; with any of them no file was written."""
    rewritten: dict[str, int] = field(default_factory=dict)
    """How many operations were replaced before, by the operation's name."""
    version: str = ""
    """TensorFlow's."""


def convert_signatures(
    model_dir: Path, file: Path, signatures: Sequence[str], *, timeout_seconds: float = 3600.0
) -> Converted:
    """Convert signatures of a SavedModel into one ``.tflite`` file, in a fresh process.

    Args:
        model_dir: Holds ``saved_model.pb``.
        file: Written only when every signature converts.
        signatures: Their names, at least one.
        timeout_seconds: For all of it.

    Raises:
        InvalidInput: TensorFlow is not installed.
        EngineError: the process ended without an answer, or took too long.
    """
    command = [sys.executable, "-m", "lading.tflite", str(model_dir), str(file), *signatures]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_seconds, check=False)
        answer = json.loads(done.stdout)
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"the conversion of {model_dir} took longer than {timeout_seconds:g} s") from error
    except ValueError as error:
        if -done.returncode in _CRASHES:
            crash = f"TensorFlow's converter crashes on the model ({signal.Signals(-done.returncode).name})"
            return Converted(dict.fromkeys(signatures, crash))
        raise EngineError(
            f"the conversion of {model_dir} ended with exit code {done.returncode}: {done.stderr.strip()[-2000:]}"
        ) from error
    if "missing" in answer:
        raise InvalidInput(answer["missing"])
    return Converted(**answer)


def main(arguments: Sequence[str]) -> int:
    """Convert, and print a ``Converted`` as JSON."""
    model_dir, file, *signatures = arguments
    # What TensorFlow prints goes to standard error: standard output is for the answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with answers:
        try:
            answers.write(json.dumps(asdict(_convert(Path(model_dir), Path(file), signatures))))
        except InvalidInput as error:
            answers.write(json.dumps({"missing": str(error)}))
    return 0


def _convert(model_dir: Path, file: Path, signatures: Sequence[str]) -> Converted:
    from lading.framework import import_tensorflow
    from lading.gradients import rewrite

    version = import_tensorflow().__version__
    with tempfile.TemporaryDirectory() as scratch:
        place, rewritten = rewrite(model_dir, Path(scratch))
        model, problem = _attempt(place, signatures)
        problems = {}
        if problem:
            alone = {name: _attempt(place, [name])[1] for name in signatures} if len(signatures) > 1 else {}
            problems = {name: text for name, text in alone.items() if text} or {signatures[0]: problem}
    if not problems:
        with storage_errors(file):
            file.write_bytes(model)
    return Converted(problems, rewritten, version)


def _attempt(model_dir: Path, signatures: Sequence[str]) -> tuple[bytes, str]:
    """The model, or why there is none."""
    import tensorflow as tf

    try:
        converter = tf.lite.TFLiteConverter.from_saved_model(str(model_dir), signature_keys=list(signatures))
        return converter.convert(), ""
    except Exception as error:  # the converter, and the Python around it, raise whatever comes to them
        return b"", _reason(error)


def _reason(error: Exception) -> str:
    """Why a conversion failed: the operations that LiteRT lacks, else the first line of what the converter said."""
    text = str(error)
    operations = sorted({name.strip() for found in _UNSUPPORTED.findall(text) for name in found.split(",")})
    if operations:
        return f"LiteRT has no operation {', '.join(operations)}"
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return f"the converter failed: {type(error).__name__}: {line[:_MOST_CHARACTERS]}"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
