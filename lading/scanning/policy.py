"""What a scan lets pass: a policy, read from TOML or JSON."""

import fnmatch
import json
import tomllib
from dataclasses import dataclass, fields, replace
from typing import Any

from lading.errors import InvalidInput
from lading.results import ScanFinding

SEVERITIES = ("info", "low", "medium", "high", "critical")
"""In rising order."""

MIB = 1024 * 1024


@dataclass(frozen=True)
class Ignored:
    """Findings that are known, and why they do not count."""

    rule: str
    """Its id, or a pattern (``op/*``)."""
    reason: str
    where: str = "*"
    """Where, or a pattern."""

    def covers(self, finding: ScanFinding) -> bool:
        """Whether it is about a finding."""
        return fnmatch.fnmatchcase(finding.rule, self.rule) and fnmatch.fnmatchcase(finding.where, self.where)


@dataclass(frozen=True)
class Policy:
    """What counts against a model."""

    fail_on: str = "high"
    """The verdict is negative from this severity on."""
    allow_ops: tuple[str, ...] = ()
    deny_ops: tuple[str, ...] = ()
    allow_custom_ops: bool = False
    ignore: tuple[Ignored, ...] = ()
    max_constant_bytes: int = 10 * MIB
    """A larger constant is a finding; so are all constants together from ten times this on."""

    @classmethod
    def read(cls, text: str, *, source: str = "the policy") -> "Policy":
        """Read a policy.

        Args:
            text: A JSON object if it begins with a brace, else TOML; empty for the defaults.
            source: Where it comes from, for errors.

        Raises:
            InvalidInput: it cannot be read, a key is unknown or a value cannot be used; lists what there is.
        """
        try:
            given = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
        except ValueError as error:
            raise InvalidInput(f"{source}: expected TOML, or a JSON object: {error}") from error
        problems = _check_keys(given, {f.name for f in fields(cls)}, "key")
        exceptions = given.pop("ignore", [])
        policy, values = cls(), dict[str, Any]()
        for name, value in given.items():
            if name in policy.__dict__ and not (problem := _problem(name, value, getattr(policy, name))):
                values[name] = tuple(value) if isinstance(value, list) else value
            elif name in policy.__dict__:
                problems.append(problem)
        if isinstance(exceptions, list):
            read = [_ignored(item, problems) for item in exceptions]
            values["ignore"] = tuple(item for item in read if item)
        else:
            problems.append("ignore: expected a list of {rule, reason, where}")
        policy = cls(**values)
        both = sorted(set(policy.allow_ops) & set(policy.deny_ops))
        problems += [f"{', '.join(both)}: both allowed and denied"] if both else []
        if problems:
            raise InvalidInput(f"{source}: {'; '.join(problems)}")
        return policy

    def judge(self, finding: ScanFinding, op: str = "") -> ScanFinding:
        """The finding, with the reason why it does not count, if there is one.

        Args:
            finding: What was found.
            op: The operation that it is about.
        """
        if op and op in self.allow_ops:
            return replace(finding, accepted="the policy allows the operation")
        if finding.rule == "op/custom" and self.allow_custom_ops:
            return replace(finding, accepted="the policy allows custom operations")
        return next((replace(finding, accepted=e.reason) for e in self.ignore if e.covers(finding)), finding)

    def counts(self, finding: ScanFinding) -> bool:
        """Whether a finding makes the verdict negative."""
        return not finding.accepted and SEVERITIES.index(finding.severity) >= SEVERITIES.index(self.fail_on)


def _check_keys(given: dict[str, Any], known: set[str], what: str) -> list[str]:
    unknown = sorted(set(given) - known)
    return [f"unknown {what} {', '.join(unknown)}; there are {', '.join(sorted(known))}"] if unknown else []


def _problem(name: str, value: Any, default: Any) -> str:
    """Why a value cannot be used; empty if it can."""
    if name == "fail_on":
        return "" if value in SEVERITIES else f"fail_on: expected one of {', '.join(SEVERITIES)}, received {value!r}"
    if isinstance(default, tuple):
        fits = isinstance(value, list) and all(isinstance(item, str) for item in value)
        return "" if fits else f"{name}: expected a list of names, received {value!r}"
    if type(value) is not type(default) or (type(value) is int and value < 1):
        return f"{name}: expected {'true or false' if default is False else 'a number from 1 on'}, received {value!r}"
    return ""


def _ignored(item: Any, problems: list[str]) -> Ignored | None:
    known = {f.name for f in fields(Ignored)}
    if not isinstance(item, dict) or not all(isinstance(value, str) for value in item.values()):
        problems.append(f"ignore: expected {{rule, reason, where}} as texts, received {item!r}")
        return None
    wrong = _check_keys(item, known, "key of ignore")
    if not item.get("rule") or not item.get("reason", "").strip():
        wrong.append(f"ignore: expected a rule and a reason, received {item!r}")
    problems += wrong
    return None if wrong else Ignored(**item)
