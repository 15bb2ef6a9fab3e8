"""A page of metrics, read as Prometheus reads it."""

import re

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
_SAMPLE = re.compile(rf"({_NAME})(?:\{{((?:{_LABEL}(?:,{_LABEL})*)?)\}})? (\S+)")

Samples = dict[str, dict[frozenset[tuple[str, str]], float]]


def read(page: bytes) -> tuple[dict[str, str], Samples]:
    """The types and the samples of a page, by the rules of the text format 0.0.4."""
    types: dict[str, str] = {}
    samples: Samples = {}
    text = page.decode()
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types, f"two groups of {name}"
            assert kind in ("counter", "gauge", "histogram")
            types[name] = kind
        elif not line.startswith("# HELP "):
            matched = _SAMPLE.fullmatch(line)
            assert matched, line
            labels = [tuple(label.split("=", 1)) for label in re.findall(_LABEL, matched[2] or "")]
            plain = frozenset((key, re.sub(r"\\(.)", unescape, value[1:-1])) for key, value in labels)
            assert len(plain) == len(labels)
            family = re.sub(r"_(bucket|sum|count)$", "", matched[1])
            assert types.get(matched[1]) or types.get(family) == "histogram", f"{matched[1]} has no type"
            at = samples.setdefault(matched[1], {})
            assert plain not in at, f"twice: {line}"
            at[plain] = float(matched[3])
    for name, kind in types.items():
        if kind == "histogram":
            check_histogram(name, samples)
    return types, samples


def unescape(matched: "re.Match[str]") -> str:
    return "\n" if matched[1] == "n" else matched[1]


def check_histogram(name: str, samples: Samples) -> None:
    series: dict[frozenset[tuple[str, str]], list[tuple[float, float]]] = {}
    for labels, count in samples.get(f"{name}_bucket", {}).items():
        bound = float(dict(labels)["le"])
        series.setdefault(frozenset(each for each in labels if each[0] != "le"), []).append((bound, count))
    assert series.keys() == samples.get(f"{name}_count", {}).keys() == samples.get(f"{name}_sum", {}).keys()
    for labels, buckets in series.items():
        counts = [count for _, count in sorted(buckets)]
        assert counts == sorted(counts), "buckets add up"
        assert max(buckets)[0] == float("inf")
        assert counts[-1] == samples[f"{name}_count"][labels]


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name][frozenset(labels.items())]
