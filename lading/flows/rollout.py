"""From an image to traffic in one call: deploy, smoke, promote in steps; or back to what served before."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from lading.deploy import deploy_candidate
from lading.errors import InvalidInput, LadingError, RolloutInProgress
from lading.judging import Limits
from lading.observe import Questions, Users, observe_step
from lading.promote import Watch, check_steps, promote_candidate
from lading.releases import Candidate, Promotion, RevisionHealth, RolloutReport, SmokeReport, StepReport
from lading.settle import settle_release
from lading.smoke import smoke_test
from lading.targets.base import Target, candidate_door
from lading.targets.settings import Settings
from lading.wait import Deadline

_SETTLE_SECONDS = 120.0
_LOOK_SECONDS = 2.0

Say = Callable[[str], None]
"""Tells a person what happens."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is rolled out, and how."""

    image: str
    """``repository@sha256:…``."""
    model_diff_id: str
    service: str
    target_name: str
    """The target as the user wrote it."""
    release_id: str
    questions: Questions
    model: str = ""
    """Name of the model on the server. Default: the last part of the image's repository."""
    settings: Settings = field(default_factory=Settings)
    steps: tuple[int, ...] = (100,)
    """Percentages of the traffic, rising to 100."""
    hold_seconds: float = 0.0
    """How long each step is watched, at least."""
    limits: Limits = field(default_factory=Limits)
    public: bool = False
    """Whether everyone may ask the service once it is promoted."""
    wait: bool = False
    """Whether to wait until another release of the service has ended; else it is refused."""


def roll_out(plan: Plan, *, target: Target, deadline: Deadline, say: Say = lambda _: None) -> RolloutReport:
    """Release an image, and restore what served before unless all of it goes well.

    Args:
        plan: What to do.
        target: Where the service lives.
        deadline: For everything together; undoing has two minutes of its own.
        say: Told each stage.

    Returns:
        The verdict. Negative: the smoke test or a step was not good enough, and the split from before is in force.

    Raises:
        RolloutInProgress: another release of the service is open.
        RevisionFailed: the candidate does not start.
        InvalidInput: steps or settings that mean nothing; nothing was begun.

        Whatever is raised, also KeyboardInterrupt and SystemExit: the release was undone before. Where that was not
        possible a note on the exception says so; the release then expires, and who comes next undoes it.
    """
    check_steps(plan.steps)
    _check_public(plan.public, target, plan.target_name)
    try:
        candidate = _deploy(plan, target, deadline, say)
        say(f"{candidate.revision} is ready, without traffic")
        asked, questions = target.capabilities.candidate, plan.questions
        own = f" and {len(questions.instances)} of your own" if questions.instances else ""
        say(f"asking it {len(questions.golden)} golden requests{own} ({asked})")
        door = candidate_door(target, candidate)
        smoke = smoke_test(candidate, questions.golden, door=door, instances=questions.instances, deadline=deadline)
        if not smoke.passed:
            done = settle_release(plan.service, target=target, release_id=plan.release_id, deadline=deadline)
            say(f"it did not answer as it should: {done}")
            return RolloutReport(passed=False, candidate=candidate, smoke=smoke, promotion=None)
        promotion = promote_watched(
            candidate,
            smoke,
            target=target,
            steps=plan.steps,
            hold_seconds=plan.hold_seconds,
            questions=plan.questions,
            limits=plan.limits,
            public=plan.public,
            deadline=deadline,
            say=say,
        )
        return RolloutReport(passed=promotion.passed, candidate=candidate, smoke=smoke, promotion=promotion)
    except BaseException as error:
        _undo(plan, target, error, say)
        raise


def _deploy(plan: Plan, target: Target, deadline: Deadline, say: Say) -> Candidate:
    told = False
    while True:
        try:
            return deploy_candidate(
                plan.image,
                plan.service,
                target=target,
                target_name=plan.target_name,
                release_id=plan.release_id,
                model_diff_id=plan.model_diff_id,
                model=plan.model,
                settings=plan.settings,
                steps=plan.steps,
                deadline=deadline,
            )
        except RolloutInProgress as error:
            if not plan.wait or deadline.passed:
                raise
            if not told:
                say(f"waiting: {error}")
            told = True
            deadline.sleep(_LOOK_SECONDS)


def promote_watched(
    candidate: Candidate,
    smoke: SmokeReport,
    *,
    target: Target,
    steps: tuple[int, ...] = (100,),
    hold_seconds: float = 0.0,
    questions: Questions | None = None,
    limits: Limits | None = None,
    public: bool = False,
    deadline: Deadline,
    say: Say = lambda _: None,
) -> Promotion:
    """Promote a candidate in steps, each of them watched.

    Args:
        candidate: What ``deploy`` returned.
        smoke: Its passing smoke report.
        target: Where the service lives.
        steps: Percentages of the traffic, rising to 100.
        hold_seconds: How long each step is watched, at least.
        questions: What is asked in a step. None: what the smoke test asked; and nothing in a single step without hold.
        limits: What is good enough.
        public: Whether everyone may ask the service from the promotion on.
        deadline: When to give up.
        say: Told each stage.

    Raises:
        InvalidInput: the target cannot make a service public.
        Others as ``promote_candidate``.
    """
    _check_public(public, target, candidate.target)
    watch = _watcher(
        candidate,
        questions or Questions.of(smoke),
        target=target,
        hold_seconds=hold_seconds,
        limits=limits or Limits(),
        deadline=deadline,
        say=say,
    )
    is_watched = questions is not None or len(steps) > 1 or hold_seconds > 0
    promotion = promote_candidate(
        candidate,
        smoke,
        target=target,
        steps=steps,
        watch=watch if is_watched else None,
        hold_seconds=hold_seconds,
        deadline=deadline,
    )
    if promotion.passed and public:
        target.set_public(candidate.service, True, deadline=deadline)
        say(f"{candidate.service} is public now: everyone may ask it")
    say(_ending(promotion))
    return promotion


def _watcher(
    candidate: Candidate,
    questions: Questions,
    *,
    target: Target,
    hold_seconds: float,
    limits: Limits,
    deadline: Deadline,
    say: Say,
) -> Watch:
    """Watches each step, and tells how it went."""
    own_door = candidate_door(target, candidate)
    service_door = target.door(candidate.service, None, url=candidate.service_url, model=candidate.model)
    before = _before(candidate, target, deadline)

    def watch(percent: int) -> StepReport:
        say(f"{percent} % of the traffic goes to {candidate.revision}")
        step = observe_step(
            candidate,
            percent,
            questions,
            candidate_door=own_door,
            service_door=service_door,
            users=Users(target, candidate, before, deadline),
            hold_seconds=hold_seconds,
            limits=limits,
            deadline=deadline,
        )
        say(f"  {_words(step.candidate)}")
        if step.users is not None:
            say(f"  its users: {_words(step.users)}" + ("" if step.users_before else " (too few to judge by)"))
        return step

    return watch


def _check_public(public: bool, target: Target, name: str) -> None:
    """See that the target can open a service, before anything is begun.

    Raises:
        InvalidInput: it cannot.
    """
    if public and not target.capabilities.public:
        raise InvalidInput(f"{name} cannot make a service public: whoever reaches it may ask it; leave --public away")


def _before(candidate: Candidate, target: Target, deadline: Deadline) -> frozenset[str]:
    """The revisions that served before the candidate's release."""
    state = target.get(candidate.service, deadline=deadline)
    lines = state.rollout.before if state and state.rollout else ()
    return frozenset(line.revision for line in lines) - {candidate.revision}


def _words(health: RevisionHealth) -> str:
    return f"{health.requests} requests, {health.errors} errors, median {health.median_milliseconds:.1f} ms"


def _ending(promotion: Promotion) -> str:
    if promotion.passed:
        return f"{promotion.revision} serves at {promotion.url}"
    split = ", ".join(f"{line.revision} {line.percent} %" for line in promotion.after) or "nothing"
    return f"not good enough {promotion.reason}; what serves now: {split}"


def _undo(plan: Plan, target: Target, error: BaseException, say: Say) -> None:
    """Restore what served before; the cause must reach the caller, whatever comes of that."""
    if isinstance(error, RolloutInProgress):
        return  # the service is somebody else's
    began = time.monotonic()
    try:
        done = settle_release(
            plan.service, target=target, release_id=plan.release_id, deadline=Deadline.after(_SETTLE_SECONDS)
        )
    except LadingError as failure:
        error.add_note(
            f"undoing the release failed after {time.monotonic() - began:.0f} s ({failure}): "
            f"`lading settle --service {plan.service} --target {plan.target_name}` does it again"
        )
        say(error.__notes__[-1])
    else:
        if not done.startswith("nothing"):
            say(f"stopped: {done}")
