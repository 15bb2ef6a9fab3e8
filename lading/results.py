"""What steps result in: verdicts, and what they made; values, as ``lading.values`` says.

Apart from it because a server needs none of them to start, and Python takes a millisecond to make each class.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from lading.batches import BatchReport, VertexBatchReport
from lading.releases import Promotion, SmokeReport
from lading.values import Check, FileDigest, from_json


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
class ScanFinding:
    """Something in a model that is worth a look."""

    rule: str
    """What kind of thing: ``op/file-write``, ``files/symlink``."""
    severity: str
    """``info``, ``low``, ``medium``, ``high`` or ``critical``."""
    where: str
    """A file, or signature, function and operation: ``signature serving_default › __inference_f_7 › WriteFile``."""
    text: str
    """What it is, and what it can do."""
    advice: str
    """What to do about it."""
    count: int = 1
    """How many there are like it, in the same place."""
    accepted: str = ""
    """Why it does not count; empty when it does."""


@dataclass(frozen=True)
class ScanReport:
    """The verdict on what a SavedModel holds, read without running it."""

    passed: bool
    checks: tuple[Check, ...]
    """One for each part of the model, in words."""
    findings: tuple[ScanFinding, ...]
    """The gravest first."""
    engine: str
    """What is to run it: ``tensorflow`` or ``litert``."""
    fail_on: str
    """The verdict is negative from this severity on."""
    operations: dict[str, int]
    """How often each operation occurs, in all graphs and functions."""
    functions: int
    signatures: tuple[str, ...]
    files: dict[str, FileDigest]
    """Every file, by its path in the model."""
    versions: dict[str, str]
    """Of lading, of the list of operations, and of the TensorFlow that wrote the model."""
    seconds: float
    """Wall-clock time."""


@dataclass(frozen=True)
class PackagedImage:
    """An image that was made of a model."""

    image: str
    """``repository@sha256:…``."""
    model_diff_id: str
    """Digest of the uncompressed model layer: the identity of the model, whatever its compression."""
    model_bytes: int
    """Size of the model layer."""
    base: str = ""
    """The image below, ``repository@sha256:…``; empty for the base ``host``."""
    runtime: str = "host"
    """The server in the image: ``host``, ``lading`` or ``tf-serving``."""
    sent_bytes: int = 0
    """What had to be moved to where the image is; the rest was there."""


@dataclass(frozen=True)
class SignedImage:
    """An image that bears a signature."""

    image: str
    """``repository@sha256:…``."""
    key: str
    """SHA-256 of the public key: 64 hex digits."""
    signed: bool
    """False when it bore the key's signatures before."""


@dataclass(frozen=True)
class VerifyReport:
    """The verdict on where an image comes from: is it signed, are the statements about it, and is all of it there?"""

    passed: bool
    checks: tuple[Check, ...]
    image: str
    """``repository@sha256:…``."""
    key: str
    """SHA-256 of the public key that had to vouch for it: 64 hex digits."""


@dataclass(frozen=True)
class PushedImage:
    """An image that was copied from one place to another."""

    image: str
    """``repository@sha256:…``, where it is now; the digest is the same as before."""
    statements: int = 0
    """Signatures, SBOMs and the like that were attached to it, and were copied too."""
    sent_bytes: int = 0
    """What had to be moved."""
    found_bytes: int = 0
    """What was there, or the registry took from another of its repositories."""


@dataclass(frozen=True)
class LocalEndpoint:
    """Where the embedded target listens, and the token it wants; kept in a file that only its owner can read."""

    url: str
    token: str = field(repr=False)
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
    versions: dict[str, str] = field(default_factory=dict)
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


Verdict = (
    EvaluationReport
    | SmokeReport
    | ConvertReport
    | ScanReport
    | VerifyReport
    | Promotion
    | BatchReport
    | VertexBatchReport
)


def verdict_from_json(text: str | bytes) -> Verdict:
    """Read back a verdict of any kind.

    Raises:
        InvalidInput: the text is not the JSON of a verdict.
    """
    start = (text if isinstance(text, str) else text.decode())[:100]
    kinds: tuple[type[Verdict], ...] = (
        SmokeReport,
        ConvertReport,
        ScanReport,
        Promotion,
        VerifyReport,
        BatchReport,
        VertexBatchReport,
    )
    for kind in kinds:
        if f'"kind": "{kind.__name__}"' in start:
            return from_json(text, kind)
    return from_json(text, EvaluationReport)
