"""What the router saw of the requests to each revision: how many, how they ended, how long the answers took.

The counters only grow, as those of Prometheus do; whoever wants a rate reads them twice. They start anew with the
target, which their ``since`` tells.
"""

import bisect
from dataclasses import dataclass, field
from typing import Any

PROBE_AGENT = "lading-probe"
"""Requests whose ``User-Agent`` begins so are lading's own, and count as nobody's (Knative does it for kube-probe)."""
BOUNDS_MILLISECONDS = tuple(round(0.25 * 1.25**step, 3) for step in range(56))
"""Upper bounds of the histogram, 0.25 ms to 53 s; a quartile read from it is right to within an eighth."""


@dataclass
class Counts:
    """Of one revision; written by the router's thread alone."""

    by_class: list[int] = field(default_factory=lambda: [0] * 6)
    """Answers by the first digit of their status."""
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_MILLISECONDS) + 1))
    """Answers by the time until they began; the last is for all that took longer."""

    def add(self, status: int, milliseconds: float) -> None:
        """Count an answer; of one that is an error the time says nothing."""
        self.by_class[status // 100] += 1
        if status < 400:
            self.buckets[bisect.bisect_left(BOUNDS_MILLISECONDS, milliseconds)] += 1

    def to_json(self) -> dict[str, Any]:
        """As the API writes them."""
        return {
            "requests": sum(self.by_class),
            "refused": self.by_class[4],
            "errors": self.by_class[5],
            "buckets": list(self.buckets),
        }
