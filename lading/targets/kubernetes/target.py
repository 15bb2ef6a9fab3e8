"""Services on plain Kubernetes: a Deployment for each revision, and one object that carries split and release.

That object, the front, is the Service of the same name, or an HTTPRoute where a Gateway is named. Everything is
written by server-side apply, and stays in one namespace.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lading.errors import InvalidInput, NotFound, RemoteError, RevisionFailed
from lading.http import Client
from lading.releases import TrafficTarget
from lading.targets.base import CANDIDATE_TAG, Capabilities, Phase, Rollout, ServiceState, remembered
from lading.targets.defaults import Defaults
from lading.targets.door import HttpDoor
from lading.targets.kubernetes.api import Cluster, Object
from lading.targets.kubernetes.door import ProxyDoor
from lading.targets.kubernetes.front import Front, ServiceFront
from lading.targets.kubernetes.objects import Revision, Scale, given_labels, revision_of
from lading.targets.kubernetes.record import Entry, Record
from lading.targets.kubernetes.replicas import check_shares
from lading.targets.kubernetes.revisions import Revisions, replicas
from lading.targets.kubernetes.routes import GatewayName, RouteFront
from lading.targets.settings import Settings
from lading.wait import Deadline, poll

_FIND_SECONDS = 30.0  # to find the way to a service: one request


class KubernetesTarget(Defaults):
    """A ``Target`` on one namespace.

    Args:
        client: Reaches the API server and carries its credentials.
        namespace: Where the services live.
        gateway: Splits by weight through this Gateway; None: by the numbers of pods behind a Service.
    """

    def __init__(self, client: Client, namespace: str, *, gateway: GatewayName | None = None) -> None:
        self._cluster = Cluster(client, namespace)
        self._revisions = Revisions(self._cluster)
        self._front: Front = RouteFront(self._cluster, gateway) if gateway else ServiceFront(self._cluster)
        self._record = Record(self._cluster, self._front)

    @property
    def capabilities(self) -> Capabilities:
        """See ``Target.capabilities``."""
        revision = {"env", "secrets", "cpu", "memory", "max_instances", "service_account", "startup_seconds"}
        return Capabilities(
            settings=frozenset(revision | {"min_instances", "labels"}),
            candidate="through the API server's service proxy, with the credentials of the kubeconfig",
            public=False,
            private=False,
        )

    def get(self, service: str, *, deadline: Deadline) -> ServiceState | None:
        """See ``Target.get``.

        Raises:
            InvalidInput: an object of this name is there, and is not lading's, or not for this kind of split.
        """
        body = self._record.read(service, deadline=deadline)
        return None if body is None else self._state(body, deadline)

    def check_steps(
        self,
        service: str,
        image: str,
        steps: Sequence[int],
        *,
        settings: Settings,
        known: ServiceState | None,
        deadline: Deadline,
    ) -> None:
        """See ``Target.check_steps``: by numbers of pods not every percentage can be made."""
        before = known.serving() if known else ()
        if len(before) != 1 or not self._front.by_pods:
            return  # nothing serves; or a split is refused as a whole, by ``deploy``
        new, old = revision_of(service, image, settings), before[0].revision
        there = self._revisions.all(service, deadline=deadline).get(old)
        if there is not None and new.name != old:  # what serves already has all of it
            check_shares(steps, new=new.scale, old=Scale.of(there), serving=replicas(there))

    def deploy(
        self,
        service: str,
        image: str,
        *,
        settings: Settings,
        rollout: Rollout,
        known: ServiceState | None,
        deadline: Deadline,
    ) -> tuple[ServiceState, TrafficTarget]:
        """See ``Target.deploy``; also the first revision of a service takes no traffic before ``shift``."""
        revision = revision_of(service, image, settings)
        there = self._revisions.all(service, deadline=deadline)
        split = rollout.before or (known.serving() if known else ())
        if self._front.holds_all_pods(split) and revision.name not in {line.revision for line in split}:
            raise InvalidInput(
                f"service {service} is split between {' and '.join(line.revision for line in split)} by the numbers of "
                "their pods, so those of a candidate would take traffic: give one of them all of it first"
            )
        self._revisions.check(revision, deadline=deadline)
        before = known or self._state(self._record.create(service, deadline=deadline), deadline)
        entry = Entry(split, rollout, revision.name, before.history)
        written = self._record.write(before, entry, deadline=deadline)
        try:
            self._revisions.bring_up(revision, there, deadline=deadline)
        except (RevisionFailed, RemoteError):
            if known is None:
                self.delete(service, deadline=deadline)
            else:
                self._take_back(known, revision, there, written=written, deadline=deadline)
            raise
        if not rollout.before:
            written = self._record.label(service, settings.labels, deadline=deadline)
        state = self._state(written, deadline)
        return state, next(line for line in state.traffic if line.tag == CANDIDATE_TAG)

    def shift(
        self, known: ServiceState, traffic: tuple[TrafficTarget, ...], rollout: Rollout | None, *, deadline: Deadline
    ) -> ServiceState:
        """See ``Target.shift``.

        What gets more traffic has its pods ready before; what gets none any more loses its pods once the release has
        ended.

        Raises:
            InvalidInput: the split cannot be made (``replicas.pods_for``).
            RevisionFailed: a revision that is to get more traffic does not become ready; the split is as it was.
        """
        self._record.current(known, deadline=deadline)
        there = self._revisions.all(known.name, deadline=deadline)
        split = tuple(TrafficTarget(line.revision, line.percent) for line in traffic if line.percent)
        candidate = next((line.revision for line in traffic if line.tag == CANDIDATE_TAG), "")
        if gone := [line.revision for line in split if line.revision not in there]:
            raise NotFound(f"service {known.name} has no revision {', '.join(gone)} any more (has: {', '.join(there)})")
        held = {candidate, *_held(rollout), *(line.revision for line in split)}
        pods, fixed = self._pods(known, split, there)
        if self._front.holds_all_pods(split):
            self._clear(split, there, held, deadline=deadline)
        self._make_ready(known, split, there, pods=pods, fixed=fixed, deadline=deadline)
        entry = Entry(split, rollout, candidate, remembered(known, split, rollout))
        written = self._record.write(known, entry, deadline=deadline)
        there = self._revisions.all(known.name, deadline=deadline)
        for name, number in pods.items():
            if fixed or not Scale.of(there[name]).automatic:
                self._revisions.resize(there[name], number, fixed=fixed, deadline=deadline)
        if fixed or split != known.serving():
            self._front.wait_in_force(written, pods if fixed else dict.fromkeys(pods, 0), deadline=deadline)
        self._revisions.rest(there, but=held, deadline=deadline)
        if rollout is not None and rollout.phase is Phase.PROMOTED:
            most = max(split, key=lambda line: line.percent).revision
            written = self._record.label(known.name, given_labels(there[most]), deadline=deadline)
        if rollout is None or not rollout.open:
            kept = held | _remembered(self._record.state(written, there, deadline=deadline))
            self._revisions.forget(there, but=kept, deadline=deadline)
        return self._state(written, deadline)

    def door(self, service: str, line: TrafficTarget | None, *, url: str, model: str) -> HttpDoor:
        """See ``Target.door``."""
        if line is not None:
            return ProxyDoor(self._cluster.through_proxy(line.revision), model)
        return HttpDoor(self._front.client(service, deadline=Deadline.after(_FIND_SECONDS)), model)

    def set_public(self, service: str, public: bool, *, deadline: Deadline) -> None:
        """See ``Target.set_public``."""
        raise InvalidInput(
            "kubernetes: neither opens nor closes services: whoever reaches the Service or the Gateway may ask; use "
            "NetworkPolicies, or what your Gateway has"
        )

    def delete(self, service: str, *, deadline: Deadline) -> None:
        """See ``Target.delete``."""
        if self._record.read(service, deadline=deadline) is not None:
            self._cluster.delete(self._front.kind, service, deadline=deadline)
        for name in self._revisions.all(service, deadline=deadline):
            self._revisions.remove(name, deadline=deadline)

        def gone() -> bool | None:
            left = self._record.read(service, deadline=deadline) or self._revisions.all(service, deadline=deadline)
            return None if left else True

        poll(gone, deadline=deadline, what=f"service {service} to be deleted")

    def _state(self, body: Object, deadline: Deadline) -> ServiceState:
        there = self._revisions.all(body["metadata"]["name"], deadline=deadline)
        return self._record.state(body, there, deadline=deadline)

    def _pods(
        self, known: ServiceState, split: tuple[TrafficTarget, ...], there: Mapping[str, Object]
    ) -> tuple[dict[str, int], bool]:
        """How many pods each revision of a split shall have, and whether the number must stay as it is."""
        scales = {line.revision: Scale.of(there[line.revision]) for line in split}
        before = {line.revision: line.percent for line in known.serving()}
        serving = [there[name] for name in before if name in there]
        # What an autoscaler has found to be needed is needed after the change as well.
        needed = sum(map(replicas, serving)) if any(Scale.of(one).automatic for one in serving) else 0
        exact = self._front.pods(split, scales, serving=needed)
        if exact is not None:
            return exact, True
        found = {}
        for line in split:
            scale, now = scales[line.revision], replicas(there[line.revision])
            if not scale.automatic:
                found[line.revision] = scale.least
            elif line.percent > before.get(line.revision, 0):
                wanted = -(-needed * line.percent // 100)
                found[line.revision] = min(scale.most, max(scale.least, wanted, now))
            else:
                found[line.revision] = max(scale.least, now)
        return found, False

    def _make_ready(
        self,
        known: ServiceState,
        split: tuple[TrafficTarget, ...],
        there: Mapping[str, Object],
        *,
        pods: Mapping[str, int],
        fixed: bool,
        deadline: Deadline,
    ) -> None:
        """Have the pods that a split needs more of, and wait for those that get more traffic."""
        before = {line.revision: line.percent for line in known.serving()}
        for name, number in pods.items():
            if number >= replicas(there[name]):
                self._revisions.resize(there[name], number, fixed=fixed, deadline=deadline)
        for line in split:
            grows = line.percent > before.get(line.revision, 0)
            if grows or pods[line.revision] > replicas(there[line.revision]):
                self._revisions.wait(line.revision, pods[line.revision], deadline=deadline)

    def _clear(
        self, split: tuple[TrafficTarget, ...], there: Mapping[str, Object], held: set[str], *, deadline: Deadline
    ) -> None:
        """See that no other revision has pods before all pods of the service take traffic."""
        names = {line.revision for line in split}
        if others := sorted(name for name in held - names if name in there and replicas(there[name])):
            raise InvalidInput(
                f"a split between {' and '.join(sorted(names))} by the numbers of their pods would give traffic to "
                f"{', '.join(others)}, too, which the open release needs: end it first"
            )
        self._revisions.rest(there, but=names, deadline=deadline)

    def _take_back(
        self,
        known: ServiceState,
        revision: Revision,
        there: Mapping[str, Object],
        *,
        written: Object,
        deadline: Deadline,
    ) -> None:
        """Remove a revision that would not start; what served before still serves."""
        ours = replace(known, version=self._record.version(written))
        candidate = next((line.revision for line in known.traffic if line.tag == CANDIDATE_TAG), "")
        self._record.write(ours, Entry(known.serving(), known.rollout, candidate, known.history), deadline=deadline)
        if revision.name not in there:
            self._revisions.remove(revision.name, deadline=deadline)
        elif not replicas(there[revision.name]):
            now = self._revisions.all(known.name, deadline=deadline)
            self._revisions.rest(now, but=now.keys() - {revision.name}, deadline=deadline)


def _held(rollout: Rollout | None) -> set[str]:
    """The revisions that an open release may still have to give traffic to."""
    return {line.revision for line in (*rollout.before, *rollout.after)} if rollout and rollout.open else set()


def _remembered(state: ServiceState) -> set[str]:
    """The revisions that somebody may want to go back to."""
    lines = [line for change in state.history for line in change.traffic]
    if state.rollout:
        lines += [*state.rollout.before, *state.rollout.after]
    return {line.revision for line in lines}
