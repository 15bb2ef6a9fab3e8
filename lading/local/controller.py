"""Makes what is so what was asked for: services become revisions, processes and routes, and their status says so.

One thread works through a queue of services. The split in force is ``status.traffic``; it changes only when every
revision of the new split is ready, so a new split, a slow start or a failing revision never costs a request.
"""

import logging
import queue
import threading
from collections.abc import Iterator, Mapping

from lading.errors import LadingError
from lading.local import ports, process
from lading.local.collecting import remove_log, remove_unpacked, superfluous
from lading.local.conditions import Outcome, revision_status, service_status
from lading.local.images import Host
from lading.local.objects import (
    API_VERSION,
    CONFIGURATION_LABEL,
    GENERATION_LABEL,
    REVISIONS,
    SERVICE_LABEL,
    SERVICES,
    TEMPLATE_ANNOTATION,
    Key,
    Object,
    condition,
    key_of,
    service_key,
    template_digest,
    with_times,
)
from lading.local.router import Router
from lading.local.runner import Runner, State
from lading.local.store import Store
from lading.local.traffic import Line, ports_in, resolve, revisions_of, shares
from lading.wait import Deadline

_LOG = logging.getLogger(__name__)

_RETRY_SECONDS = 1.0
_STOP_DRAIN_SECONDS = 5.0
_STOP_SECONDS = 30.0


class Controller:
    """Watches a store and acts on it.

    Args:
        store: The objects.
        router: Gets the routes.
        host: This machine.
    """

    def __init__(self, store: Store, router: Router, host: Host) -> None:
        self._store, self._router, self._host, self._layout = store, router, host, host.layout
        self._runners: dict[str, Runner] = {}
        self._routed: dict[Key, dict[str, int]] = {}
        self._seen: dict[Key, int] = {}
        self._queue: queue.SimpleQueue[Key | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._main, name="controller", daemon=True)
        self._ending: list[Runner] = []
        store.subscribe(self._noticed)

    def start(self) -> None:
        """Take up what the store holds, and go on from there."""
        revisions = self._store.list(REVISIONS)
        for revision in revisions:
            self._runner(revision)
        # Also of services that are gone: a server killed in the middle of a deletion leaves their revisions.
        for key in {*map(key_of, self._store.list(SERVICES)), *map(service_key, revisions)}:
            self._queue.put(key)
        for record in self._layout.processes.glob("*.json"):
            if record.stem not in self._runners and (left := process.adopt(record)):
                left.end()
        self._remove_unpacked()
        self._thread.start()

    def stop(self) -> None:
        """End every process; the store stays as it is."""
        self._queue.put(None)
        self._thread.join()
        for runner in (*self._runners.values(), *self._ending):
            runner.finish(drain_seconds=_STOP_DRAIN_SECONDS)
        deadline = Deadline.after(_STOP_SECONDS)
        for runner in (*self._runners.values(), *self._ending):
            runner.join(deadline)

    def runner_of(self, revision: Object) -> Runner | None:
        """The runner of a revision."""
        return self._runners.get(revision["metadata"]["uid"])

    def _noticed(self, plural: str, key: Key) -> None:
        """An object was written or deleted: have its service looked at."""
        if plural == SERVICES:
            self._queue.put(key)
        elif self._store.find(plural, key) is None:
            for runner in tuple(self._runners.values()):
                if runner.key == key:
                    self._queue.put(runner.service)

    def _main(self) -> None:
        while (key := self._queue.get()) is not None:
            try:
                service = self._store.find(SERVICES, key)
                if service is None:
                    self._clean_up(key)
                else:
                    self._reconcile(service)
            except LadingError as error:
                _LOG.warning("service %s: %s", key, error)
                self._problem(key, str(error))
                self._again(key)
            except Exception as error:
                _LOG.exception("service %s", key)
                self._problem(key, repr(error))
                self._again(key)

    def _again(self, key: Key) -> None:
        timer = threading.Timer(_RETRY_SECONDS, self._queue.put, (key,))
        timer.daemon = True
        timer.start()

    def _reconcile(self, service: Object) -> None:
        key = key_of(service)
        latest = self._latest_revision(service)
        status = service.get("status", {})
        in_force = resolve(status.get("traffic", []), latest)
        wanted = resolve(service["spec"]["traffic"], latest)
        revisions = {r["metadata"]["name"]: r for r in self._revisions(key)}
        self._follow_generation(service, wanted, revisions)
        if in_force and key not in self._routed:  # after a restart: the same ports, at once
            self._apply(key, in_force, ports_in(status), revisions)
        old, new = revisions_of(in_force), revisions_of(wanted)
        # The newest revision must show that it can run, also when nothing is sent to it.
        probing = {latest} if status.get("latestReadyRevisionName") != latest else set()
        for name in old | new | probing:
            self._runner(revisions[name]).want(keep=name in old)
        states = {name: self._runner(revisions[name]) for name in new | probing}
        # A revision in force that crashes again and again must not hold up the one that is meant to replace it.
        crashing = [n for n, runner in states.items() if n in old and runner.state is State.FAILING]
        failed = [n for n, runner in states.items() if runner.state is State.FAILED or _crashes(n, runner, old)]
        settled = not failed and all(n in crashing or runner.state is State.READY for n, runner in states.items())
        if settled or new <= old:
            known = ports_in(status)
            in_force = wanted
            taken = {line.tag: known.get(line.tag) or ports.pick() for line in wanted if line.tag}
            self._apply(key, wanted, {"": known.get("") or ports.pick(), **taken}, revisions)
            if settled:
                for name in revisions.keys() - revisions_of(wanted):
                    self._runner(revisions[name]).unwant()
        for revision in revisions.values():
            self._revision_status(revision, self._runner(revision))
        ended = {name: states[name].message for name in (*failed, *crashing)}
        outcome = Outcome(latest, settled, tuple(failed), ended)
        self._store.update_status(SERVICES, key, service_status(service, outcome, in_force, self._routed.get(key)))
        self._collect(key)

    def _follow_generation(self, service: Object, wanted: tuple[Line, ...], revisions: Mapping[str, Object]) -> None:
        """What was asked for changed: a revision that failed and is asked for again gets another try."""
        key, generation = key_of(service), service["metadata"]["generation"]
        if self._seen.get(key) != generation:
            self._seen[key] = generation
            for name in revisions_of(wanted):
                self._runner(revisions[name]).retry()

    def _latest_revision(self, service: Object) -> str:
        """The name of the revision that the service's template stands for; it is made if it does not exist."""
        metadata, template = service["metadata"], service["spec"]["template"]
        digest, named = template_digest(template), (template.get("metadata") or {}).get("name")
        key = key_of(service)
        created = service.get("status", {}).get("latestCreatedRevisionName")
        name = named or created
        known = self._store.find(REVISIONS, Key(key.namespace, name)) if name else None
        if known and known["metadata"]["annotations"][TEMPLATE_ANNOTATION] == digest:
            return str(name)
        name = named or f"{key.name}-{metadata['generation']:05d}"
        labels = {SERVICE_LABEL: key.name, CONFIGURATION_LABEL: key.name, GENERATION_LABEL: str(metadata["generation"])}
        inner = template.get("metadata") or {}
        self._store.create(
            REVISIONS,
            {
                "apiVersion": API_VERSION,
                "kind": "Revision",
                "metadata": {
                    "name": name,
                    "namespace": key.namespace,
                    "labels": {**(inner.get("labels") or {}), **labels},
                    "annotations": {**(inner.get("annotations") or {}), TEMPLATE_ANNOTATION: digest},
                },
                "spec": template["spec"],
            },
        )
        return str(name)

    def _revisions(self, key: Key) -> list[Object]:
        return [r for r in self._store.list(REVISIONS, key.namespace) if service_key(r) == key]

    def _runner(self, revision: Object) -> Runner:
        uid, key = revision["metadata"]["uid"], service_key(revision)
        if uid not in self._runners:
            spec = revision["spec"]
            self._router.limit(uid, concurrency=spec["containerConcurrency"], seconds=spec["timeoutSeconds"])
            self._runners[uid] = Runner(
                revision,
                host=self._host,
                backends=self._router,
                changed=lambda: self._queue.put(key),
            )
        return self._runners[uid]

    def _apply(
        self, key: Key, lines: tuple[Line, ...], taken: Mapping[str, int], revisions: Mapping[str, Object]
    ) -> None:
        """Route the service's port, and that of each tag."""
        uid = {name: revision["metadata"]["uid"] for name, revision in revisions.items()}
        routes = {taken[""]: {uid[name]: share for name, share in shares(lines).items()}}
        routes |= {taken[line.tag]: {uid[line.revision]: 100} for line in lines if line.tag}
        for port, split in routes.items():
            self._router.route(port, split, counted=port == taken[""])
        for port in set(self._routed.get(key, {}).values()) - set(routes):
            self._router.unroute(port)
        self._routed[key] = {"": taken[""], **{line.tag: taken[line.tag] for line in lines if line.tag}}

    def _revision_status(self, revision: Object, runner: Runner) -> None:
        key = key_of(revision)
        log = self._layout.log(key.namespace, key.name)
        self._store.update_status(REVISIONS, key, revision_status(revision, runner.state, runner.message, log))

    def _problem(self, key: Key, message: str) -> None:
        """Say in the status that the service could not be worked on."""
        service = self._store.find(SERVICES, key)
        if service is None:
            return
        status = service.get("status", {})
        conditions = with_times([condition("Ready", False, "InternalError", message)], status.get("conditions", []))
        generation = service["metadata"]["generation"]
        try:
            self._store.update_status(
                SERVICES, key, {**status, "observedGeneration": generation, "conditions": conditions}
            )
        except LadingError as error:  # a full disk: the log has it, and the next try says it again
            _LOG.warning("service %s: its status cannot be written: %s", key, error)

    def _collect(self, key: Key) -> None:
        """Remove the revisions of a service that nobody would miss, and end those that somebody deleted."""
        with self._store.lock:  # nobody can give one of them traffic meanwhile
            service, revisions = self._store.find(SERVICES, key), self._revisions(key)
            old = superfluous(service, revisions) if service else []
            for revision in old:
                self._store.delete(REVISIONS, key_of(revision))
                remove_log(self._layout, revision)
        kept = {revision["metadata"]["uid"] for revision in revisions} - {r["metadata"]["uid"] for r in old}
        gone = [runner for uid, runner in self._runners.items() if runner.service == key and uid not in kept]
        for runner in gone:
            self._finish(runner)
        if gone:
            self._remove_unpacked()

    def _clean_up(self, key: Key) -> None:
        """The service was deleted: end what belonged to it."""
        for port in self._routed.pop(key, {}).values():
            self._router.unroute(port)
        self._seen.pop(key, None)
        for revision in self._revisions(key):
            self._store.delete(REVISIONS, key_of(revision))
        self._collect(key)

    def _finish(self, runner: Runner) -> None:
        """End the process of a revision that is no more."""
        runner.finish()
        self._ending.append(self._runners.pop(runner.uid))

    def _remove_unpacked(self) -> None:
        for runner in self._ending:
            if runner.over:
                self._router.forget(runner.uid)
        self._ending = [runner for runner in self._ending if not runner.over]

        def used() -> Iterator[str]:
            yield from (runner.image for runner in self._ending)
            yield from (revision["spec"]["containers"][0]["image"] for revision in self._store.list(REVISIONS))

        remove_unpacked(self._layout, used())


def _crashes(name: str, runner: Runner, old: frozenset[str]) -> bool:
    """Whether a revision that is not in force yet crashes again and again."""
    return runner.state is State.FAILING and name not in old
