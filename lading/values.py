"""The values that steps hand to each other, and their one JSON form.

Every value is a frozen dataclass. ``to_json`` writes it with its ``kind`` and ``version``; ``from_json`` reads it back
and refuses another kind. Only digests cross a boundary: an image is ``repository@sha256:…``, never a tag.
"""

import dataclasses
import json
import re
import types
import typing
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from lading.errors import InvalidInput, InvalidReference

VERSION = 1
"""Version of the JSON form of every value here. A reader refuses a newer one."""

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

V = TypeVar("V")


@dataclass(frozen=True)
class ImageRef:
    """An image by digest: ``repository@sha256:…``."""

    repository: str
    """Registry host and path, for instance ``europe-docker.pkg.dev/p/r/taxi`` or ``lading.local/taxi``."""
    digest: str
    """Digest of the manifest: ``sha256:`` and 64 hex digits."""

    @classmethod
    def parse(cls, text: str) -> "ImageRef":
        """Read ``repository@sha256:…``.

        Raises:
            InvalidReference: there is no digest, or it is malformed.
        """
        repository, at, digest = text.partition("@")
        if not at or not repository or not DIGEST.fullmatch(digest):
            raise InvalidReference(
                f"expected an image by digest (repository@sha256:<64 hex digits>), received {text!r}: "
                "a tag can move, so give the digest that `lading package` printed"
            )
        return cls(repository, digest)

    def __str__(self) -> str:
        return f"{self.repository}@{self.digest}"


@dataclass(frozen=True)
class GoldenRequest:
    """One request whose right answer is known: a line of ``golden.jsonl``."""

    signature: str
    """Name of the signature, for instance ``serving_default``."""
    request: dict[str, Any]
    """For each input its value as nested lists, with a leading batch axis of 1."""
    response: dict[str, Any]
    """For each output its value as nested lists, with a leading batch axis of 1."""
    rtol: float
    """Relative tolerance, as in ``numpy.isclose``."""
    atol: float
    """Absolute tolerance, as in ``numpy.isclose``."""

    def to_line(self) -> str:
        """The request as one line of JSON, without the newline."""
        return json.dumps(dataclasses.asdict(self), separators=(",", ":"), allow_nan=False)

    @classmethod
    def read_all(cls, text: str) -> tuple["GoldenRequest", ...]:
        """Read a ``golden.jsonl``; blank lines are skipped.

        Raises:
            InvalidInput: names the line that is not a golden request.
        """
        found = []
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                try:
                    found.append(_build(cls, json.loads(line)))
                except (ValueError, InvalidInput) as error:
                    raise InvalidInput(f"golden requests, line {number}: {error}") from error
        return tuple(found)


@dataclass(frozen=True)
class Check:
    """One question of a verdict, with what was expected and what came."""

    name: str
    passed: bool
    expected: str
    received: str


@dataclass(frozen=True)
class ClassScore:
    """How well one class is recognised."""

    name: str
    precision: float
    recall: float
    support: int
    """Held-out rows whose true class this is."""


@dataclass(frozen=True)
class EvaluationReport:
    """The verdict on a model, scored as it will serve."""

    passed: bool
    checks: tuple[Check, ...]
    rows: int
    """Held-out rows scored."""
    accuracy: float
    """Share of the rows whose most probable class is the true one, 0 to 1."""
    log_loss: float
    """Mean negative log of the probability given to the true class, in nats."""
    per_class: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...]
    """Row: true class, column: predicted class, in the order of ``per_class``."""
    champion: str
    """The model compared with: the serving image by digest, or ``none`` on a first release."""
    champion_accuracy: float | None = None
    """The champion's accuracy on the same rows."""

    def metrics(self) -> dict[str, float]:
        """The numbers by name, for a metrics artifact."""
        numbers = {"accuracy": self.accuracy, "log_loss": self.log_loss, "rows": float(self.rows)}
        return numbers if self.champion_accuracy is None else {**numbers, "champion_accuracy": self.champion_accuracy}


@dataclass(frozen=True)
class FileDigest:
    """What a file was when it was read."""

    size: int
    """In bytes."""
    sha256: str
    """64 hex digits."""


@dataclass(frozen=True)
class SignatureParity:
    """How near the converted model's answers to one signature are to those of the SavedModel."""

    signature: str
    passed: bool
    rows: int
    """Rows that both answered and that were compared; golden requests count among them."""
    golden: int
    """Golden requests asked."""
    refused: int
    """Rows that both refused."""
    max_abs_error: float
    """The largest difference, in the output's unit; where one answer is finite and the other is not it is left out."""
    max_rel_error: float
    """The largest difference as a share of the largest magnitude in the same answer."""
    spread: float
    """How far an output's numbers lie apart between the rows, at most; near 0 the rows could not show much."""
    worst: str
    """The request whose answers lie farthest apart, in words; empty when nothing was compared."""
    problem: str = ""
    """Why it does not convert, or where the answers differ; empty when it passed."""


@dataclass(frozen=True)
class ConvertReport:
    """The verdict on a conversion: does the LiteRT model answer as the SavedModel that it was made from?"""

    passed: bool
    checks: tuple[Check, ...]
    """One for each signature, in words."""
    signatures: tuple[SignatureParity, ...]
    """Every signature that can be called."""
    rtol: float
    atol: float
    """Answers may differ by ``atol`` plus ``rtol`` times the largest magnitude in the answer."""
    source: dict[str, FileDigest]
    """``saved_model.pb`` and the files of variables that it was made from."""
    converted: dict[str, FileDigest]
    """The files beside this report; empty when the verdict is negative."""
    rewritten: dict[str, int]
    """Operations that were replaced by others of the same result before the conversion, with their number."""
    versions: dict[str, str]
    """Of lading, tensorflow and ai-edge-litert."""
    seconds: float
    """Wall-clock time."""


@dataclass(frozen=True)
class Candidate:
    """A deployed revision that takes no public traffic yet."""

    service: str
    target: str
    release_id: str
    image: str
    """``repository@sha256:…``."""
    model_diff_id: str
    """Digest of the uncompressed model layer: what the revision must say of itself."""
    revision: str
    url: str
    """Where the candidate alone answers."""
    service_url: str
    """Where the service answers, by its traffic split."""
    first_release: bool
    """Whether the service did not exist before this release."""


@dataclass(frozen=True)
class SmokeAnswer:
    """One golden request that was sent, and what came back."""

    signature: str
    passed: bool
    milliseconds: float
    problem: str = ""
    """What was expected and what came; empty when it passed."""
    request: dict[str, Any] = dataclasses.field(default_factory=dict)
    response: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class SmokeReport:
    """The verdict on a running revision: does it answer as the model did when it was trained?"""

    passed: bool
    image: str
    revision: str
    url: str
    checks: tuple[Check, ...]
    answers: tuple[SmokeAnswer, ...]
    median_milliseconds: float


@dataclass(frozen=True)
class TrafficTarget:
    """One line of a traffic split."""

    revision: str
    percent: int
    """0 to 100; the lines of a service sum to 100."""
    tag: str = ""
    url: str = ""
    """Where the tagged revision alone answers; empty without a tag."""


@dataclass(frozen=True)
class Promotion:
    """A change of traffic, as it was read back from the target."""

    service: str
    target: str
    release_id: str
    revision: str
    url: str
    before: tuple[TrafficTarget, ...]
    after: tuple[TrafficTarget, ...]
    reason: str


@dataclass(frozen=True)
class PackagedImage:
    """An image that was made of a model."""

    image: str
    """``repository@sha256:…``."""
    model_diff_id: str
    """Digest of the uncompressed model layer: the identity of the model, whatever its compression."""
    model_bytes: int
    """Size of the model layer."""


@dataclass(frozen=True)
class StepRecord:
    """One step of a run."""

    name: str
    status: str
    """``succeeded``, ``failed``, ``skipped``, ``cancelled``, or ``running`` (cut off by an interruption)."""
    seconds: float
    verdict: str = ""
    """What the step decided, in a few words: ``accuracy 0.88``, ``34 of 34 answers right``."""


@dataclass(frozen=True)
class Example:
    """A held-out row that was sent to the promoted service, for people to look at."""

    request: dict[str, Any]
    """For each input its value as nested lists, with a leading batch axis of 1."""
    true: str
    """Name of the true class."""
    predicted: str
    """Name of the most probable class."""
    probability: float
    """What the model gives the predicted class, 0 to 1."""


@dataclass(frozen=True)
class RunReport:
    """What a run of the release pipeline did."""

    run_id: str
    pipeline: str
    outcome: str
    """``promoted``, ``rejected``, ``failed`` or ``cancelled``."""
    started: str
    """ISO 8601, UTC."""
    seconds: float
    parameters: dict[str, str]
    steps: tuple[StepRecord, ...]
    problem: str = ""
    """Why it did not end well; empty when it did."""
    evaluation: EvaluationReport | None = None
    packaged: PackagedImage | None = None
    candidate: Candidate | None = None
    smoke: SmokeReport | None = None
    promotion: Promotion | None = None
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True)
class LocalEndpoint:
    """Where the embedded target listens, and the token it wants; kept in a file that only its owner can read."""

    url: str
    token: str = dataclasses.field(repr=False)
    pid: int = 0


@dataclass(frozen=True)
class ModelFacts:
    """What a model says of itself, in a file that its SavedModel carries."""

    FILE: ClassVar[str] = "assets.extra/lading/model.json"

    recipe: str
    """The built-in name or the URI it was trained by."""
    recipe_sha256: str
    """Of the recipe's source: 64 hex digits."""
    hyperparameters: dict[str, Any]
    """As they were used: defaults and what the caller gave."""
    class_names: tuple[str, ...]
    """In the order of the model's output."""
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    """Of lading, tensorflow and keras."""


@dataclass(frozen=True)
class TrainingReport:
    """What one training run did."""

    recipe: str
    recipe_sha256: str
    hyperparameters: dict[str, Any]
    """As they were used: defaults and what the caller gave."""
    class_names: tuple[str, ...]
    metrics: dict[str, float]
    """The last epoch's figures, and what the recipe adds: its seed, the number of training rows."""
    history: dict[str, tuple[float, ...]]
    """One figure per epoch."""
    heldout_rows: int
    """Rows kept for the evaluation."""
    seconds: float
    """Wall-clock time, from reading the data to the verified SavedModel."""
    signatures: dict[str, Any]
    """For each signature ``{"inputs": {NAME: {"dtype", "shape"}}, "outputs": …}``; null is a dimension that varies."""


def to_json(value: Any) -> str:
    """The JSON text of a value of this module, with its kind and version."""
    body = {"kind": type(value).__name__, "version": VERSION, **dataclasses.asdict(value)}
    return json.dumps(body, indent=1, allow_nan=False)


def from_json(text: str | bytes, kind: type[V]) -> V:
    """Read back what ``to_json`` wrote.

    Raises:
        InvalidInput: the text is not JSON, is of another kind or a newer version, or lacks a field.
    """
    try:
        body = json.loads(text)
    except ValueError as error:
        raise InvalidInput(
            f"expected the JSON of a {kind.__name__}, received text that is not JSON: {error}"
        ) from error
    came = body.pop("kind", None) if isinstance(body, dict) else None
    if came != kind.__name__:
        raise InvalidInput(f"expected the JSON of a {kind.__name__}, received kind {came!r}")
    if body.pop("version", 0) > VERSION:
        raise InvalidInput(f"this {kind.__name__} was written by a newer lading: upgrade lading to read it")
    value: V = _build(kind, body)
    return value


Verdict = EvaluationReport | SmokeReport | ConvertReport


def verdict_from_json(text: str | bytes) -> Verdict:
    """Read back a verdict of any kind.

    Raises:
        InvalidInput: the text is not the JSON of a verdict.
    """
    start = (text if isinstance(text, str) else text.decode())[:100]
    if f'"kind": "{SmokeReport.__name__}"' in start:
        return from_json(text, SmokeReport)
    if f'"kind": "{ConvertReport.__name__}"' in start:
        return from_json(text, ConvertReport)
    return from_json(text, EvaluationReport)


def _build(kind: Any, body: Any) -> Any:
    """Make ``kind`` (a dataclass, or a type made of dataclasses, tuples and dicts) out of parsed JSON."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return None if body is None else _build(next(a for a in inner if a is not types.NoneType), body)
    if origin is tuple:
        return tuple(_build(inner[0], item) for item in body)
    if origin is dict:
        return {key: _build(inner[1], item) for key, item in body.items()}
    if not dataclasses.is_dataclass(kind):
        return float(body) if kind is float else body
    hints = typing.get_type_hints(kind)
    known = {field.name: field for field in dataclasses.fields(kind)}
    missing = [
        name
        for name, field in known.items()
        if name not in body and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise InvalidInput(f"{getattr(kind, '__name__', kind)} lacks {', '.join(missing)}")
    # Fields of a newer minor release are ignored, so that an older reader still works.
    make: Any = kind
    return make(**{name: _build(hints[name], body[name]) for name in known if name in body})
