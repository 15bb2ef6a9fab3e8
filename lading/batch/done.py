"""What a run has done so far: its journal."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from lading.batch.files import Outputs
from lading.batch.plan import JOURNAL, Plan

MOST_REASONS = 20
"""Kinds of reasons that are counted; the errors file has them all."""


@dataclass
class FileDone:
    """How far a file is."""

    shards: int = 0
    """Whose parts are written and recorded."""
    end: int = 0
    """Offset behind them: where the next shard starts."""
    next_row: int = 0
    """Number of the row there."""
    rows: int = 0
    bad: int = 0
    error_shards: list[int] = field(default_factory=list)
    """Shards that have bad rows."""
    reasons: Counter[str] = field(default_factory=Counter)
    is_whole: bool = False
    """Whether the final file is in its place."""


@dataclass
class Shard:
    """What was written of a file at once."""

    end: int = 0
    """Offset behind its last row."""
    next_row: int = 0
    rows: int = 0
    bad: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def frequent(self) -> dict[str, int]:
        """The reasons that are counted beyond this shard: the most frequent ones."""
        return dict(self.reasons.most_common(MOST_REASONS))

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        counts = {"end": self.end, "next_row": self.next_row, "rows": self.rows, "bad": self.bad}
        return {**counts, "reasons": self.frequent}

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> "Shard":
        """Read back what ``to_dict`` made."""
        return cls(**{**body, "reasons": Counter(body["reasons"])})


class Done:
    """The journal of a run: a line for each shard and for each file, written when its data is in its place."""

    def __init__(self, outputs: Outputs, plan: Plan) -> None:
        self._outputs = outputs
        self.files = [FileDone() for _ in plan.files]
        for line in outputs.lines(JOURNAL):
            self._take(orjson.loads(line))
        self.resumed = any(file.shards or file.is_whole for file in self.files)

    def shard(self, index: int, shard: Shard, *, whole: bool = False) -> None:
        """Record the next shard of a file, whose part is written; or, as ``whole``, is the final file."""
        record = {"file": index, "shard": shard.to_dict()}
        self._add({**record, "whole": True} if whole else record)

    def whole(self, index: int) -> None:
        """Record that a file's predictions are in their place."""
        self._add({"file": index, "whole": True})

    def again(self, index: int) -> None:
        """Record that a file has to be done again, as its output is not there any more."""
        self._add({"file": index, "again": True})

    @property
    def rows(self) -> int:
        """Of all files so far, bad ones included."""
        return sum(file.rows for file in self.files)

    @property
    def bad(self) -> int:
        """Bad rows of all files so far."""
        return sum(file.bad for file in self.files)

    def reasons(self) -> Counter[str]:
        """How often each reason was given."""
        return sum((file.reasons for file in self.files), Counter())

    def _add(self, record: dict[str, Any]) -> None:
        self._outputs.check()
        self._outputs.append(JOURNAL, orjson.dumps(record))
        self._take(record)

    def _take(self, record: dict[str, Any]) -> None:
        file = self.files[record["file"]]
        if record.get("again"):
            self.files[record["file"]] = FileDone()
            return
        file.is_whole = bool(record.get("whole"))
        if "shard" in record:
            shard = Shard.from_dict(record["shard"])
            if shard.bad:
                file.error_shards.append(file.shards)
            file.shards += 1
            file.end, file.next_row = shard.end, shard.next_row
            file.rows += shard.rows
            file.bad += shard.bad
            file.reasons.update(shard.reasons)
