"""Is a candidate as good as what served before? Judged by probes, and by how its users fared."""

import math
from dataclasses import dataclass

from lading.releases import RevisionHealth
from lading.values import Check

ENOUGH_PROBES = 20
"""From so many answers on the latency of what served before is a measure."""
ENOUGH_USERS = 100
"""The users' requests are judged from so many on, to the candidate and to what served before."""
CHANCE = 0.001
"""What chance would bring about more often than that is not held against a candidate."""
CHANCE_EARLY = CHANCE / 100
"""As above, to end a step before its time: who looks often sees much that is chance."""
_SLACK_MILLISECONDS = 10.0


@dataclass(frozen=True)
class Limits:
    """When a step of a rollout is good enough."""

    probes: int = 500
    """Requests to the candidate in each step: of a fault in 1 % of the answers one among them is all but certain."""
    max_error_rate: float = 0.001
    """The candidate's share of errors may exceed that of what served before by so much."""
    max_latency_ratio: float = 3.0
    """The candidate's median latency may be so many times that of what served before, and 10 ms more."""


def judge_probes(ours: RevisionHealth, others: RevisionHealth, limits: Limits) -> tuple[Check, ...]:
    """Whether a candidate answered lading's own requests well enough; they are known, so that chance plays no part."""
    allowed = others.error_rate + limits.max_error_rate
    first = f"; first: {ours.problem}" if ours.problem else ""
    checks = [
        Check(
            "answers",
            ours.requests > ours.errors and not ours.wrong,
            "every answer right",
            f"{ours.requests - ours.errors - ours.wrong} of {ours.requests - ours.errors} right"
            + (first if ours.wrong else ""),
        ),
        Check(
            "errors",
            ours.error_rate <= allowed,
            f"at most {allowed:.2%} of the requests",
            f"{ours.errors} of {ours.requests}" + (first if ours.errors else ""),
        ),
    ]
    if others.requests - others.errors >= ENOUGH_PROBES:
        checks.append(_latency("latency", ours, others, limits))
    return tuple(checks)


def judge_users(
    ours: RevisionHealth, others: RevisionHealth, limits: Limits, *, beside: bool, chance: float = CHANCE
) -> tuple[Check, ...]:
    """Whether a candidate's users fared as well as those of what served before; no checks where there were too few.

    Errors count, and requests that the candidate refuses (status 400 to 499) and what served before took: golden
    requests are the new model's own, and do not show that it wants other inputs.

    Args:
        ours: The candidate, in this step.
        others: What served before.
        limits: What is good enough.
        beside: Whether the others were seen at the same time, so that their latency can be compared.
        chance: What chance would bring about more often than that is let pass.
    """
    if ours.requests < ENOUGH_USERS or others.requests < ENOUGH_USERS:
        return ()
    checks = [
        _share("users' errors", (ours.errors, ours.requests), (others.errors, others.requests), limits, chance),
        _share("users' refusals", (ours.refused, ours.requests), (others.refused, others.requests), limits, chance),
    ]
    if beside:
        checks.append(_latency("users' latency", ours, others, limits))
    return tuple(checks)


def _latency(name: str, ours: RevisionHealth, others: RevisionHealth, limits: Limits) -> Check:
    most = others.median_milliseconds * limits.max_latency_ratio + _SLACK_MILLISECONDS
    received = f"median {ours.median_milliseconds:.1f} ms, beside {others.median_milliseconds:.1f} ms before"
    return Check(name, ours.median_milliseconds <= most, f"median ≤ {most:.1f} ms", received)


def _share(name: str, ours: tuple[int, int], others: tuple[int, int], limits: Limits, chance: float) -> Check:
    allowed = others[0] / others[1] + limits.max_error_rate
    passed = ours[0] / ours[1] <= allowed or by_chance(*ours, *others) >= chance
    return Check(
        name,
        passed,
        f"at most {allowed:.2%} of the requests, but for chance",
        f"{ours[0]} of {ours[1]}, beside {others[0]} of {others[1]} before",
    )


def by_chance(ours: int, of: int, others: int, of_others: int) -> float:
    """How often chance alone gives one of two groups that are alike so many of all errors, or more.

    Fisher's exact test, one-sided: the tail of the hypergeometric distribution.

    Args:
        ours: Errors in the one group.
        of: Its size.
        others: Errors in the other.
        of_others: Its size.
    """
    errors, requests = ours + others, of + of_others
    whole = _log_choose(requests, of)
    return math.fsum(
        math.exp(_log_choose(errors, k) + _log_choose(requests - errors, of - k) - whole)
        for k in range(ours, min(errors, of) + 1)
        if of - k <= requests - errors
    )


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
