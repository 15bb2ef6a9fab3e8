"""Makes what is so what was asked for: services become revisions, processes and routes, and their status says so.

One thread works through a queue of services. The split in force is ``status.traffic``; it changes only when every
revision of the new split is ready, so a new split, a slow start or a failing revision never costs a request.
"""

import logging
import queue
import threading
from collections.abc import Mapping

from lading.errors import LadingError
from lading.local import ports, process
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
from lading.local.state import Layout
from lading.local.store import Store
from lading.local.traffic import Line, ports_in, resolve, revisions_of, shares, status_of, url_of
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
        layout: Where images, logs and process records are.
        env: The environment that every process gets, under its image's.
    """

    def __init__(self, store: Store, router: Router, layout: Layout, env: Mapping[str, str]) -> None:
        self._store, self._router, self._layout, self._env = store, router, layout, env
        self._runners: dict[str, Runner] = {}
        self._routed: dict[Key, dict[str, int]] = {}
        self._seen: dict[Key, int] = {}
        self._queue: queue.SimpleQueue[Key | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._main, name="controller", daemon=True)
        store.subscribe(lambda plural, key: self._queue.put(key) if plural == SERVICES else None)

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
        self._thread.start()

    def stop(self) -> None:
        """End every process; the store stays as it is."""
        self._queue.put(None)
        self._thread.join()
        for runner in self._runners.values():
            runner.finish(drain_seconds=_STOP_DRAIN_SECONDS)
        deadline = Deadline.after(_STOP_SECONDS)
        for runner in self._runners.values():
            runner.join(deadline)

    def runner_of(self, revision: Object) -> Runner | None:
        """The runner of a revision."""
        return self._runners.get(revision["metadata"]["uid"])

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
        self._service_status(service, latest, in_force, settled=settled, failed=failed, ended=ended)

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
            self._runners[uid] = Runner(
                revision,
                layout=self._layout,
                env=self._env,
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
            self._router.route(port, split)
        for port in set(self._routed.get(key, {}).values()) - set(routes):
            self._router.unroute(port)
        self._routed[key] = {"": taken[""], **{line.tag: taken[line.tag] for line in lines if line.tag}}

    def _revision_status(self, revision: Object, runner: Runner) -> None:
        healthy, reason = _health(runner.state)
        conditions = [
            condition("Ready", healthy, reason, runner.message),
            condition("ContainerHealthy", healthy, reason, runner.message),
            condition("ResourcesAvailable", True if healthy else None),
        ]
        before = revision.get("status", {}).get("conditions", [])
        log = self._layout.log(revision["metadata"]["namespace"], revision["metadata"]["name"])
        status = {"observedGeneration": 1, "conditions": with_times(conditions, before), "logUrl": log.as_uri()}
        self._store.update_status(REVISIONS, key_of(revision), status)

    def _service_status(
        self,
        service: Object,
        latest: str,
        lines: tuple[Line, ...],
        *,
        settled: bool,
        failed: list[str],
        ended: Mapping[str, str],
    ) -> None:
        """Write the status.

        Args:
            service: As it was read.
            latest: The newest revision.
            lines: The split in force.
            settled: Whether the split that was asked for is in force.
            failed: Revisions that keep it from being so.
            ended: For these, and for those in force that crash, what they died of.
        """
        key, old = key_of(service), service.get("status", {})
        message = "; ".join(f'Revision "{name}" failed: {why}' for name, why in ended.items())
        changed = False if failed else True if settled else None
        reason = "RevisionFailed" if ended else "" if settled else "Deploying"
        conditions = [
            condition("Ready", False if ended else changed, reason, message),
            condition("ConfigurationsReady", changed, reason if changed is not True else "", message if failed else ""),
            condition("RoutesReady", True if settled else None),
        ]
        status: Object = {
            "observedGeneration": service["metadata"]["generation"],
            "conditions": with_times(conditions, old.get("conditions", [])),
            "latestCreatedRevisionName": latest,
        }
        if settled:
            status["latestReadyRevisionName"] = latest
        elif old.get("latestReadyRevisionName"):
            status["latestReadyRevisionName"] = old["latestReadyRevisionName"]
        if key in self._routed:
            url = url_of(self._routed[key][""])
            status |= {"url": url, "address": {"url": url}, "traffic": status_of(lines, self._routed[key])}
        self._store.update_status(SERVICES, key, status)

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

    def _clean_up(self, key: Key) -> None:
        """The service was deleted: end what belonged to it."""
        for port in self._routed.pop(key, {}).values():
            self._router.unroute(port)
        self._seen.pop(key, None)
        for revision in self._revisions(key):
            self._store.delete(REVISIONS, key_of(revision))
            runner = self._runners.pop(revision["metadata"]["uid"], None)
            if runner:
                runner.finish()


def _crashes(name: str, runner: Runner, old: frozenset[str]) -> bool:
    """Whether a revision that is not in force yet crashes again and again."""
    return runner.state is State.FAILING and name not in old


def _health(state: State) -> tuple[bool | None, str]:
    if state is State.READY:
        return True, ""
    if state in (State.FAILED, State.FAILING):
        return False, "ContainerFailed" if state is State.FAILED else "CrashLoop"
    return (None, "Stopped") if state is State.STOPPED else (None, "Deploying")
