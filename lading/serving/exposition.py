"""Prometheus' text format: lines of samples, and histograms that become such lines.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/ (version 0.0.4).
"""

from bisect import bisect_left
from itertools import accumulate

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = tuple[tuple[str, str], ...]


class Histogram:
    """Counts by bucket; the caller holds a lock."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float, count: int = 1) -> None:
        """Count one value, or the same one so many times."""
        self.counts[bisect_left(self.bounds, value)] += count
        self.total += value * count

    def plus(self, other: "Histogram") -> "Histogram":
        """The counts of two histograms with the same bounds."""
        both = Histogram(self.bounds)
        both.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        both.total = self.total + other.total
        return both

    def lines(self, name: str, labels: Labels) -> list[str]:
        """Its samples."""
        bounds = [*(f"{bound:g}" for bound in self.bounds), "+Inf"]
        cumulated = list(accumulate(self.counts))
        buckets = zip(bounds, cumulated, strict=True)
        lines = [sample(f"{name}_bucket", (*labels, ("le", bound)), count) for bound, count in buckets]
        return [*lines, sample(f"{name}_sum", labels, self.total), sample(f"{name}_count", labels, cumulated[-1])]


def head(name: str, kind: str, meaning: str = "") -> list[str]:
    """What stands before the samples of a name: its type, and what it means unless that is empty."""
    helped = [f"# HELP {name} {meaning}"] if meaning else []
    return [*helped, f"# TYPE {name} {kind}"]


def sample(name: str, labels: Labels, value: float) -> str:
    """One sample's line."""
    shown = ",".join(f'{key}="{_escape(text)}"' for key, text in labels)
    return f"{name}{{{shown}}} {value!r}" if shown else f"{name} {value!r}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
