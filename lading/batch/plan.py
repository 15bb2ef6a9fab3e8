"""What a run is to do, written down before it begins; a later attempt goes on only with the same."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from lading.batch.files import InputFile, Outputs
from lading.batch.options import BatchOptions
from lading.errors import InvalidInput, NotFound

NOTES = "_lading"
"""Below the output: the notes of a run. Names that begin with ``_`` are no data to Spark, Hive and Beam."""
MANIFEST, PLANNED, JOURNAL = f"{NOTES}/manifest.json", f"{NOTES}/inputs.jsonl", f"{NOTES}/progress.jsonl"
PARTS, ERROR_PARTS, ERRORS = f"{NOTES}/parts", f"{NOTES}/error-parts", f"{NOTES}/errors.jsonl"
REPORT = f"{NOTES}/report.json"
"""There when the run is complete."""
VERSION = 1


@dataclass(frozen=True)
class PlannedFile:
    """An input file, and where its predictions go."""

    file: InputFile
    format: str
    output: str
    """Its name below the output directory."""


@dataclass(frozen=True)
class Plan:
    """A run."""

    files: tuple[PlannedFile, ...]
    options: BatchOptions
    batch_size: int
    signature: str
    model: str
    """Its digest."""
    engine: str

    @property
    def bytes(self) -> int:
        """Of all files, as they lie there."""
        return sum(planned.file.size for planned in self.files)

    def store(self, outputs: Outputs) -> None:
        """Write it down; it is there when the manifest is."""
        outputs.write(PLANNED, b"".join(orjson.dumps(_to_dict(planned)) + b"\n" for planned in self.files))
        outputs.write(MANIFEST, orjson.dumps(self._head(), option=orjson.OPT_INDENT_2))

    @classmethod
    def load(cls, outputs: Outputs) -> "Plan":
        """Read back what ``store`` wrote.

        Raises:
            NotFound: nothing is planned at this output.
            AccessDenied, StorageError: it cannot be read.
        """
        stored = outputs.read(MANIFEST)
        if stored is None:
            raise NotFound(f"no run is planned in {outputs.uri}: its {MANIFEST} is gone")
        head = orjson.loads(stored)
        files = tuple(_from_dict(orjson.loads(line)) for line in (outputs.read(PLANNED) or b"").splitlines())
        options = BatchOptions.from_members(head["options"])
        return cls(files, options, head["batch_size"], head["signature"], head["model"], head["engine"])

    def _head(self) -> dict[str, Any]:
        options = dataclasses.asdict(self.options)
        return {
            "kind": "BatchManifest",
            "version": VERSION,
            "model": self.model,
            "engine": self.engine,
            "signature": self.signature,
            "batch_size": self.batch_size,
            "files": len(self.files),
            "options": {**options, "passthrough": list(self.options.passthrough)},
        }

    def difference(self, outputs: Outputs) -> str | None:
        """What an earlier plan at the same output has otherwise, in words; empty if nothing, None if there is none."""
        stored = outputs.read(MANIFEST)
        if stored is None:
            return None
        try:
            head = orjson.loads(stored)
            lines = (outputs.read(PLANNED) or b"").splitlines()
            planned = [orjson.loads(line) for line in lines]
        except ValueError as error:
            raise InvalidInput(
                f"{outputs.uri}/{MANIFEST} cannot be read ({error}): start afresh with --restart"
            ) from error
        if not isinstance(head, dict) or head.get("version", 0) > VERSION:
            return "it was begun by a newer lading"
        for name, ours in self._head().items():
            if name != "files" and head.get(name) != ours:
                return f"{name}: {_shown(head.get(name), ours)}"
        return _changed_files(planned, [_to_dict(one) for one in self.files])


def _to_dict(planned: PlannedFile) -> dict[str, Any]:
    return {**dataclasses.asdict(planned.file), "format": planned.format, "output": planned.output}


def _from_dict(body: Mapping[str, Any]) -> PlannedFile:
    file = InputFile(**{field.name: body[field.name] for field in dataclasses.fields(InputFile)})
    return PlannedFile(file, body["format"], body["output"])


def _shown(theirs: Any, ours: Any) -> str:
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        names = [name for name in {**theirs, **ours} if theirs.get(name) != ours.get(name)]
        return ", ".join(f"{name} was {theirs.get(name)!r} and is {ours.get(name)!r}" for name in names)
    return f"was {theirs!r} and is {ours!r}"


def _changed_files(theirs: list[dict[str, Any]], ours: list[dict[str, Any]]) -> str:
    before, now = ({one["uri"]: one for one in files} for files in (theirs, ours))
    for uri in sorted(before.keys() | now.keys()):
        if uri not in before:
            return f"the input {uri} is new"
        if uri not in now:
            return f"the input {uri} is gone"
        if before[uri] != now[uri]:
            return f"the input {uri} was changed"
    return "" if theirs == ours else "the inputs have another order"
