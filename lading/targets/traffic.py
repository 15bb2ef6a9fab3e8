"""What a target saw of the users' requests to a revision, where it sees them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any


@dataclass(frozen=True)
class TrafficSeen:
    """Users' requests to one revision, without lading's own. Counted from ``since`` on, or between two looks."""

    since: str
    """Names the time from which on the target counts: counters of another one cannot be compared."""
    requests: int
    """Those that were answered."""
    refused: int
    """Answers of status 400 to 499: the revision did not want the request."""
    errors: int
    """Answers of status 500 or more, and those that broke off or came too late."""
    bounds: tuple[float, ...]
    """Upper bounds of the histogram's buckets, in milliseconds."""
    buckets: tuple[int, ...]
    """Right answers by the time until they began; one more than bounds: for all that took longer."""

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> "dict[str, TrafficSeen]":
        """By revision, as the local target writes it (``lading.local.counts``)."""
        since, bounds = body["since"], tuple(body["boundsMilliseconds"])
        return {
            name: cls(since, one["requests"], one["refused"], one["errors"], bounds, tuple(one["buckets"]))
            for name, one in body["revisions"].items()
        }

    @classmethod
    def of_all(cls, several: "Iterable[TrafficSeen]") -> "TrafficSeen | None":
        """What was seen of several revisions together; None of none."""
        total: TrafficSeen | None = None
        for one in several:
            total = one if total is None else total._with(one, 1)
        return total

    def after(self, before: "TrafficSeen | None") -> "TrafficSeen":
        """What came after an earlier look; everything, if the target began to count anew since."""
        return self if before is None or before.since != self.since else self._with(before, -1)

    def quantile_milliseconds(self, share: float) -> float:
        """The time that this share of the right answers did not exceed; 0 without any.

        Between the bounds of a bucket it is interpolated, as Prometheus' ``histogram_quantile`` does.
        """
        wanted = share * sum(self.buckets)
        for place, reached in enumerate(accumulate(self.buckets)):
            if reached and reached >= wanted:
                if place == len(self.bounds):
                    break
                low = self.bounds[place - 1] if place else 0.0
                part = 1 - (reached - wanted) / self.buckets[place] if self.buckets[place] else 0.0
                return low + (self.bounds[place] - low) * part
        return self.bounds[-1] if any(self.buckets) else 0.0

    def _with(self, other: "TrafficSeen", sign: int) -> "TrafficSeen":
        return TrafficSeen(
            self.since,
            self.requests + sign * other.requests,
            self.refused + sign * other.refused,
            self.errors + sign * other.errors,
            self.bounds,
            tuple(a + sign * b for a, b in zip(self.buckets, other.buckets, strict=True)),
        )
