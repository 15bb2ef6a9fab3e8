"""How many bad rows a run may have."""

from dataclasses import dataclass

from lading.errors import InvalidInput
from lading.values import Check

HOPELESS_ROWS = 1000
"""When so many rows at the beginning of an attempt are bad, all of them, the run ends: format or model are wrong."""


@dataclass(frozen=True)
class Limit:
    """A count, or a share of all rows."""

    text: str
    count: int | None
    share: float | None

    @classmethod
    def parse(cls, text: str) -> "Limit":
        """Read ``100`` or ``1%``.

        Raises:
            InvalidInput: it is neither.
        """
        plain = text.strip()
        try:
            if plain.endswith("%"):
                share = float(plain[:-1]) / 100
                if 0 <= share <= 1:
                    return cls(plain, None, share)
            elif plain.isascii() and plain.isdigit():
                return cls(plain, int(plain), None)
        except ValueError:
            pass
        raise InvalidInput(f"expected as most bad rows a count, or a share as 1%, received {text!r}")

    def is_exceeded(self, bad: int, rows: int) -> bool:
        """Whether so many bad rows of all rows are too many."""
        if self.count is not None:
            return bad > self.count
        return bad > (self.share or 0.0) * rows

    def ends_run(self, bad: int, rows: int) -> bool:
        """Whether the verdict is known to be negative before all rows are read.

        A share is of all rows, so it is judged at the end; but a run in which nothing can be read is not continued.
        """
        if self.count is not None:
            return bad > self.count
        return bad == rows and rows >= HOPELESS_ROWS and self.is_exceeded(bad, rows)

    def check(self, bad: int, rows: int, *, ended_early: bool) -> Check:
        """The verdict on the bad rows."""
        received = f"{bad:,} of {rows:,}" + (
            ", where the run was ended: run again with a higher limit to go on from here" if ended_early else ""
        )
        return Check("bad rows", not self.is_exceeded(bad, rows), f"at most {self.text}", received)
