"""``lading submit | follow | cancel``: a pipeline on Kubeflow Pipelines or Vertex AI, to its verdict."""

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from lading.commands.common import add_parser, emit, table

if TYPE_CHECKING:
    from lading.backends.base import Backend
    from lading.flows.follow import Followed

_EXIT_BY_OUTCOME = {"promoted": 0, "succeeded": 0, "rejected": 1, "failed": 3, "cancelled": 130}
_CANCEL_SECONDS = 600.0


def register(subparsers: Any) -> None:
    """Add the three commands."""
    from lading.commands.submission import add_backend, add_submission

    submit = add_parser(
        subparsers,
        "submit",
        "send a pipeline to Kubeflow Pipelines or Vertex AI, and follow it to its verdict",
        epilog="exit codes: 0 promoted (or sent, with --no-wait), 1 rejected, 3 failed, 130 cancelled",
    )
    add_submission(submit)
    submit.add_argument("--no-wait", action="store_true", help="print the URL of the run and end")
    _add_following(submit)
    submit.set_defaults(run=_submit)

    follow = add_parser(subparsers, "follow", "follow a run that was sent earlier to its verdict")
    follow.add_argument("id", metavar="RUN", help="what `lading submit` printed")
    add_backend(follow)
    _add_following(follow)
    follow.set_defaults(run=_follow)

    cancel = add_parser(subparsers, "cancel", "end a run that was sent earlier")
    cancel.add_argument("id", metavar="RUN", help="what `lading submit` printed")
    add_backend(cancel)
    cancel.set_defaults(run=_cancel)


def _add_following(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout", type=float, default=86400.0, metavar="SECONDS", help="follow no longer (default: a day)"
    )
    parser.add_argument(
        "--on-interrupt",
        choices=("ask", "cancel", "leave"),
        default="ask",
        help="what Ctrl-C does to the run (default: ask on a terminal, else leave it)",
    )


def _submit(args: argparse.Namespace) -> int:
    from lading.commands.submission import REQUEST_SECONDS, prepare
    from lading.spec.ir import Pipeline
    from lading.wait import Deadline

    backend, submission = prepare(args)
    run = backend.submit(submission, deadline=Deadline.after(REQUEST_SECONDS))
    if args.no_wait:
        emit(args, {"run": run.id, "url": run.url}, f"{run.id}\n{run.url}")
        return 0
    pipeline = Pipeline(submission.spec, submission.platform, args.pipeline)
    steps = [step.name for step in pipeline.steps()]
    return _Following(args, backend, run.id, steps, {**pipeline.defaults, **submission.parameters}).to_the_end()


def _follow(args: argparse.Namespace) -> int:
    from lading.backends.connect import connect

    backend = connect(args.to, environ=os.environ, namespace=args.namespace)
    return _Following(args, backend, args.id, [], {}).to_the_end()


def _cancel(args: argparse.Namespace) -> int:
    from lading.backends.connect import connect
    from lading.commands.submission import REQUEST_SECONDS
    from lading.wait import Deadline

    backend = connect(args.to, environ=os.environ, namespace=args.namespace)
    backend.cancel(args.id, deadline=Deadline.after(REQUEST_SECONDS))
    emit(args, {"run": args.id, "cancelling": True}, f"run {args.id} is being cancelled")
    return 0


class _Following:
    """A run that is watched from a terminal or by a machine."""

    def __init__(
        self, args: argparse.Namespace, backend: "Backend", run_id: str, steps: list[str], parameters: dict[str, Any]
    ) -> None:
        from lading.commands.screen import Screen
        from lading.flows.follow import Follower

        self._args, self._backend, self._id, self._parameters = args, backend, run_id, parameters
        self._screen = Screen(steps, quiet=args.json)
        self._follower = Follower(backend, run_id, self._screen.show)

    def to_the_end(self) -> int:
        from lading.errors import LadingError
        from lading.wait import Deadline

        try:
            self._screen.say(f"run {self._id}\n{self._backend.url(self._id)}")
            done = self._follower.follow(Deadline.after(self._args.timeout))
        except KeyboardInterrupt:
            done = self._interrupted()
        except (LadingError, SystemExit):
            self._screen.say(f"The run goes on. Follow it again: {self._again('follow')}")
            raise
        undone = self._undo() if done.outcome in ("cancelled", "failed") else ""
        self._print(done, undone)
        return _EXIT_BY_OUTCOME[done.outcome]

    def _interrupted(self) -> "Followed":
        """Ctrl-C: the run is cancelled if the user wants that, else it goes on without being followed."""
        from lading.commands.submission import REQUEST_SECONDS
        from lading.wait import Deadline

        choice = self._args.on_interrupt
        if choice == "ask":
            choice = "cancel" if sys.stdin.isatty() and self._asked() else "leave"
        if choice == "leave":
            words = f"Follow it again: {self._again('follow')}\nEnd it: {self._again('cancel')}"
            self._screen.say(f"The run goes on. {words}")
            raise KeyboardInterrupt
        self._screen.say("cancelling the run")
        self._backend.cancel(self._id, deadline=Deadline.after(REQUEST_SECONDS))
        return self._follower.follow(Deadline.after(_CANCEL_SECONDS))

    def _asked(self) -> bool:
        sys.stderr.write("\nCancel the run too? [y/N] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    def _again(self, command: str) -> str:
        namespace = f" --namespace {self._args.namespace}" if self._args.namespace else ""
        return f"lading {command} {self._id} --to {self._args.to}{namespace}"

    def _undo(self) -> str:
        """Undo what the run left open: a cancelled run's exit handler did not run."""
        from lading.flows.ending import undo_open_release

        done, problem = undo_open_release(self._parameters, lambda release: self._id in release, environ=os.environ)
        return done or problem

    def _print(self, done: "Followed", undone: str) -> None:
        data = {
            "run": self._id,
            "url": self._backend.url(self._id),
            "outcome": done.outcome,
            "problem": done.problem,
            "undone": undone,
            "steps": [{"name": s.name, "status": s.status, "seconds": s.seconds} for s in done.steps],
            "log": list(done.log),
        }
        if self._args.json:
            print(json.dumps(data, indent=1))
            return
        parts = []
        if done.log and done.outcome == "failed":
            parts.append("\n".join(["the step's last lines:", *(f"  {line}" for line in done.log)]))
        parts.append(table(("step", "status", "time"), [(s.name, s.status, f"{s.seconds:.1f} s") for s in done.steps]))
        repeats = done.problem.startswith(done.outcome)
        parts.append(done.problem if repeats else f"{done.outcome}: {done.problem}" if done.problem else done.outcome)
        if undone:
            parts.append(f"The service: {undone}.")
        parts.append(f"run       {self._backend.url(self._id)}")
        print("\n\n".join(parts))
