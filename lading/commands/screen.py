"""Says on standard error how a run goes: a table that is drawn anew on a terminal, a line for each change elsewhere."""

import sys
import time
from collections.abc import Sequence
from typing import Any

_MARKS = {"running": "…", "succeeded": "✓", "failed": "✗", "skipped": "-", "cancelled": "-", "pending": "·"}


class Screen:
    """Shows the events of a run as ``lading.flows.run.execute`` and ``lading.flows.follow`` report them.

    Args:
        steps: Names of the steps that may run, in their order: on a terminal they stand there from the beginning.
        quiet: Say nothing.
    """

    def __init__(self, steps: Sequence[str] = (), *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._live = sys.stderr.isatty()
        self._status = dict.fromkeys(steps, "pending")
        self._started: dict[str, float] = {}
        self._seconds: dict[str, float] = {}
        self._drawn = 0

    def show(self, event: dict[str, Any]) -> None:
        """Take an event in."""
        kind, step, at = event["event"], event.get("step", ""), event.get("at", time.time())
        if kind == "started":
            self._started[step] = at
            self._set(step, "running")
        elif kind == "ended":
            self._seconds[step] = at - self._started.get(step, at)
            self._set(step, "succeeded" if event["ok"] else "failed")
        elif kind in ("skipped", "cancelled"):
            self._set(step, kind)
        elif kind == "lost":
            self.say(f"the backend does not answer, asking again: {event['problem']}")
        elif kind == "back":
            self.say("the backend answers again")
        elif self._live:
            self._draw()

    def say(self, text: str) -> None:
        """A line above the table."""
        self._erase()
        self._write(f"{text}\n")
        if self._live:
            self._draw()

    def _set(self, step: str, status: str) -> None:
        self._status[step] = status
        if self._live:
            self._draw()
        else:
            self._write(f"{self._line(step)}\n")

    def _line(self, step: str) -> str:
        status = self._status[step]
        seconds = self._seconds.get(step)
        if status == "running" and self._live:
            seconds = time.time() - self._started[step]
        return f"  {_MARKS[status]} {step}" + ("" if seconds is None else f"  {seconds:.1f} s")

    def _draw(self) -> None:
        self._erase()
        self._write("".join(f"{self._line(step)}\n" for step in self._status))
        self._drawn = 0 if self._quiet else len(self._status)

    def _erase(self) -> None:
        if self._drawn:
            self._write(f"\x1b[{self._drawn}F\x1b[J")  # ECMA-48: lines up, erase to the end of the screen
            self._drawn = 0

    def _write(self, text: str) -> None:
        if not self._quiet:
            sys.stderr.write(text)
            sys.stderr.flush()
