"""A split by numbers of pods: a Service gives each ready pod the same share of the connections.

So the shares are those of the pods, and only approximately those of the requests.
"""

from collections.abc import Mapping

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
    most = scales[one.revision].most, scales[other.revision].most
    least = max(2, serving, *(scales[line.revision].least for line in split))
    for total in range(min(least, sum(most)), sum(most) + 1):
        pods = (one.percent * total + 50) // 100
        if rounded(one.percent, pods, total) and 1 <= pods <= most[0] and 1 <= total - pods <= most[1]:
            return {one.revision: pods, other.revision: total - pods}
    raise InvalidInput(
        f"a split of {one.percent} to {other.percent} cannot be made of at most {most[0]} and {most[1]} pods: choose "
        "another (50, 25, 10), raise max_instances, or name a Gateway (LADING_GATEWAY) for splits by weight"
    )
