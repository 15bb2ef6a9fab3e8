"""A split by numbers of pods: a Service gives each ready pod the same share of the connections.

So the shares are those of the pods, and only approximately those of the requests.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lading.errors import InvalidInput
from lading.releases import TrafficTarget
from lading.targets.kubernetes.objects import Scale


def rounded(percent: int, pods: int, of: int) -> bool:
    """Whether a whole percent is what the share of some pods in all is rounded to; half a percent goes either way."""
    return 2 * abs(100 * pods - percent * of) <= of


def split_of(pods: Mapping[str, int], written: tuple[TrafficTarget, ...] = ()) -> tuple[TrafficTarget, ...]:
    """The split that numbers of pods make, in percents that sum to 100.

    Args:
        pods: By revision; those without pods take no traffic.
        written: The split that they were to make: if it is one that they round to, it is this one.
    """
    running = sorted((revision, number) for revision, number in pods.items() if number)
    total = sum(number for _, number in running)
    same = {line.revision for line in written} == dict(running).keys()
    if same and all(rounded(line.percent, pods[line.revision], total) for line in written):
        return written
    percents = [100 * number // total for _, number in running]
    # What rounding down left over goes to those that lost most of it.
    order = sorted(range(len(running)), key=lambda i: (-(100 * running[i][1] % total), i))
    for place in order[: 100 - sum(percents)] if running else ():
        percents[place] += 1
    return tuple(TrafficTarget(revision, percent) for (revision, _), percent in zip(running, percents, strict=True))


def pods_for(split: tuple[TrafficTarget, ...], scales: Mapping[str, Scale], *, serving: int) -> dict[str, int]:
    """How many pods each of two revisions needs, so that their shares, in whole percent, are those of a split.

    As few as do it, and all together no fewer than serve now, or than the service needs at least.

    Args:
        split: Two lines, which sum to 100.
        scales: Of each revision.
        serving: Pods that take traffic now.

    Raises:
        InvalidInput: there are other than two revisions, or their pods cannot make this split.
    """
    if len(split) != 2:
        raise InvalidInput(
            f"expected a split between at most two revisions, received {len(split)}: a Service counts pods, and cannot "
            "tell more apart; name a Gateway (LADING_GATEWAY) for splits by weight"
        )
    one, other = split
    scales_of = (scales[one.revision], scales[other.revision])
    found = _pods(one.percent, *scales_of, serving=serving)
    if found is None:
        raise InvalidInput(
            f"a split of {one.percent} to {other.percent} cannot be made of at most {scales_of[0].most} and "
            f"{scales_of[1].most} pods: {_way_out([one.percent], *scales_of, serving=serving)}"
        )
    return {one.revision: found[0], other.revision: found[1]}


def check_shares(percents: Sequence[int], *, new: Scale, old: Scale, serving: int) -> None:
    """See that a new revision can be given these shares, while an old one has the rest.

    Args:
        percents: In whole percent; 100 can always be made.
        new: Of the revision that gets them.
        old: Of the one that serves.
        serving: Its pods now.

    Raises:
        InvalidInput: some cannot be made; says which could, and what it would take.
    """
    refused = [p for p in percents if p < 100 and _pods(p, new, old, serving=serving) is None]
    if refused:
        shares = " and ".join(f"{p} %" for p in refused)
        raise InvalidInput(
            f"steps: {shares} of the traffic cannot be made of at most {new.most} pods beside at most {old.most}: "
            f"{_way_out(refused, new, old, serving=serving)}"
        )


def _pods(percent: int, one: Scale, other: Scale, *, serving: int) -> tuple[int, int] | None:
    """The fewest pods of two revisions that give the first this share; None if there are not enough."""
    most = one.most + other.most
    for total in range(min(max(2, serving, one.least, other.least), most), most + 1):
        pods = (percent * total + 50) // 100
        if rounded(percent, pods, total) and 1 <= pods <= one.most and 1 <= total - pods <= other.most:
            return pods, total - pods
    return None


def _way_out(refused: Sequence[int], new: Scale, old: Scale, *, serving: int) -> str:
    """What to do about shares that cannot be made."""
    possible = [p for p in range(1, 100) if _pods(p, new, old, serving=serving) is not None]
    nearest = sorted({min(possible, key=lambda p: (abs(p - wrong), p)) for wrong in refused}) if possible else [100]
    enough = next(
        most
        for most in range(1, 101)  # a percent of each of 100 pods
        if all(_pods(p, replace(new, most=most), replace(old, most=most), serving=0) for p in refused)
    )
    return (
        f"the nearest that can: {', '.join(map(str, nearest))} %; or {enough} as max_instances of both, or a Gateway "
        "(LADING_GATEWAY), which splits by weight"
    )
