"""Whether a converted model answers as the SavedModel it was made from: the rows that are asked, the comparison."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lading import golden
from lading.errors import EngineError, InvalidInstance
from lading.predict.jsonvalues import to_inputs
from lading.results import SignatureParity
from lading.values import GoldenRequest

if TYPE_CHECKING:
    import numpy as np

    from lading.predict import Model, Signature, TensorSpec

    Arrays = Mapping[str, "np.ndarray[Any, Any]"]

MIN_ROWS = 100
"""Rows that must have been compared for each signature."""
BATCHES = (1, 2, 7, 32)
LENGTHS = (8, 64, 224)
"""Tried for dimensions that vary, besides the batch axis, where no golden request gives one."""
SEED = 20
_TINY = 1e-100
"""Stands for 0 where something is divided by it."""
_CALLS_WITHOUT_BATCH = 20
"""Of each kind, for a signature whose inputs have no batch axis: every call is one row."""


@dataclass(frozen=True)
class Kind:
    """How the numbers of a request are drawn."""

    name: str
    batches: tuple[int, ...]
    integers: tuple[int, int]
    """The least and the greatest, where no golden request shows which are taken (classes, words of a vocabulary)."""
    low: float = 0.0
    high: float = 0.0
    normal: float = 0.0
    """Standard deviation of normal numbers; 0 for numbers spread evenly from ``low`` to ``high``."""
    far: bool = False
    """Far from what models are trained on: sums of large terms cancel out, so errors are judged against the largest
    answer of the whole request, not of the row."""


KINDS = (
    Kind("zeros", (1,), (0, 0)),
    Kind("ones", (2,), (1, 1), 1, 1),
    Kind("0 to 1", BATCHES, (0, 1), 0, 1),
    Kind("normal", BATCHES, (0, 1), normal=1),
    Kind("-1 to 1", (7, 32), (0, 1), -1, 1),
    Kind("normal × 1e-6", (7,), (0, 9), normal=1e-6),
    Kind("0 to 255", (7,), (0, 255), 0, 255, far=True),
    Kind("normal × 1000", (7,), (-1000, 1000), normal=1e3, far=True),
    Kind("normal × 1e6", (7,), (-(10**6), 10**6), normal=1e6, far=True),
)
"""NaN, infinity and what overflows are not asked: TensorFlow's own kernels differ in how they pass them on."""


@dataclass(frozen=True)
class Call:
    """One request to both models."""

    what: str
    inputs: "Arrays"
    rows: int
    far: bool = False
    golden: GoldenRequest | None = None


@dataclass
class _Tally:
    """What was seen so far."""

    rtol: float
    atol: float
    rows: int = 0
    golden: int = 0
    refused: int = 0
    max_abs: float = 0.0
    max_rel: float = 0.0
    ranges: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    """For each output the least and the greatest that each of its numbers was in any row."""
    worst: tuple[float, str] = (-1.0, "")
    """The largest error as a share of what is allowed, and the request it was seen in."""
    problems: list[str] = field(default_factory=list)


def compare_signature(
    reference: "Model", converted: "Model", name: str, *, requests: Sequence[GoldenRequest], rtol: float, atol: float
) -> SignatureParity:
    """Ask both models the same, and compare.

    Args:
        reference: The SavedModel in the engine ``tensorflow``.
        converted: The same signatures in another engine.
        name: Of the signature.
        requests: Golden requests for it; each must also be met within its own tolerance.
        rtol: Answers may differ by ``atol + rtol × m``, where m is the largest magnitude in the same row of the same
            output; integers, booleans, NaN and infinity may not differ.
        atol: See ``rtol``.
    """
    signature = reference.signatures[name]
    tally = _Tally(rtol, atol)
    for call in _calls(signature, requests, reference):
        _compare_call(reference, converted, call, name, tally)
    if problem := _inconstant(reference, name, requests, signature):
        tally.problems.insert(0, problem)
    if tally.rows < MIN_ROWS and not tally.problems:
        tally.problems.append(
            f"{tally.rows} rows could be compared, expected at least {MIN_ROWS}: TensorFlow refused {tally.refused}; "
            f"give the model golden requests ({golden.FILE})"
        )
    more = f" (and {len(tally.problems) - 1} more)" if len(tally.problems) > 1 else ""
    return SignatureParity(
        signature=name,
        passed=not tally.problems,
        rows=tally.rows,
        golden=tally.golden,
        refused=tally.refused,
        max_abs_error=tally.max_abs,
        max_rel_error=tally.max_rel,
        spread=_spread(tally),
        worst=tally.worst[1],
        problem=f"{tally.problems[0]}{more}" if tally.problems else "",
    )


def _compare_call(reference: "Model", converted: "Model", call: Call, name: str, tally: _Tally) -> None:
    expected, refusal = _ask(reference, call, name)
    received, refused = _ask(converted, call, name)
    tally.golden += call.golden is not None
    if refusal and refused and not call.golden:
        tally.refused += call.rows
    elif refusal or refused:
        who, said = ("TensorFlow", refusal) if refusal else ("LiteRT", refused)
        tally.problems.append(f"{call.what}: {who} refuses what the other answers: {said}")
    else:
        tally.rows += call.rows
        for output, array in expected.items():
            if array.size:
                _widen(tally, output, array)
            if problem := _compare(array, received[output], f"{output}, {call.what}", call.far, tally):
                tally.problems.append(problem)
        if call.golden:
            problems = [f"{call.what}: {text}" for text in golden.differences(call.golden, received)]
            tally.problems += problems


def _ask(model: "Model", call: Call, name: str) -> "tuple[Arrays, str]":
    """The answer, or why there is none."""
    try:
        return model.predict(call.inputs, signature=name), ""
    except (InvalidInstance, EngineError) as error:
        return {}, str(error) or type(error).__name__


def _compare(expected: Any, received: Any, where: str, far: bool, tally: _Tally) -> str:
    """Count one output of one request; what is wrong with it, in words."""
    import numpy as np

    if expected.shape != received.shape or expected.dtype != received.dtype:
        return f"{where}: expected {expected.dtype}{list(expected.shape)}, {received.dtype}{list(received.shape)} came"
    if expected.dtype.kind not in "fc":
        wrong = int((expected != received).sum())
        return f"{where}: {wrong} of {expected.size} values differ" if wrong else ""
    expected, received = (a.astype(np.complex128 if a.dtype.kind == "c" else np.float64) for a in (expected, received))
    finite = np.isfinite(expected)
    same = np.array_equal(expected[~finite], received[~finite], equal_nan=True)
    if not same or not np.isfinite(received[finite]).all():
        return f"{where}: NaN or infinity in other places"
    axes = tuple(range(0 if far or not expected.ndim else 1, expected.ndim))
    scale = np.abs(np.where(finite, expected, 0)).max(axis=axes, keepdims=True, initial=0.0)
    apart = np.abs(np.where(finite, received, 0) - np.where(finite, expected, 0))
    allowed = np.broadcast_to(tally.atol + tally.rtol * scale, apart.shape)
    tally.max_abs = max(tally.max_abs, float(apart.max(initial=0.0)))
    # Answers that vanish within the absolute tolerance have no relative error worth the name.
    tally.max_rel = max(tally.max_rel, float((apart / np.maximum(scale, max(tally.atol, _TINY))).max(initial=0.0)))
    share = apart / np.maximum(allowed, _TINY)
    tally.worst = max(tally.worst, (float(share.max(initial=0.0)), where))
    if not (apart > allowed).any():
        return ""
    place = np.unravel_index(share.argmax(), share.shape)
    return f"{where}: {apart[place]:.3g} apart where {allowed[place]:.3g} is allowed"


def _widen(tally: _Tally, output: str, array: Any) -> None:
    """Keep how far each number of an output reaches; dimensions that differ between requests are left out."""
    import numpy as np

    numbers = (np.abs(array) if array.dtype.kind == "c" else array).astype(np.float64)
    numbers = np.clip(np.nan_to_num(numbers), -1 / _TINY, 1 / _TINY)  # infinity is no distance
    low, high = (numbers.min(axis=0), numbers.max(axis=0)) if array.ndim else (numbers, numbers)
    before = tally.ranges.get(output, (low, high))
    if before[0].shape == low.shape:
        tally.ranges[output] = (np.minimum(before[0], low), np.maximum(before[1], high))


def _spread(tally: _Tally) -> float:
    return max((float((high - low).max(initial=0.0)) for low, high in tally.ranges.values()), default=0.0)


def _calls(signature: "Signature", requests: Sequence[GoldenRequest], reference: "Model") -> Iterator[Call]:
    known = [to_inputs(request.request, signature) for request in requests]
    for number, (request, inputs) in enumerate(zip(requests, known, strict=True), start=1):
        yield Call(f"golden request {number}", inputs, 1, golden=request)
    rng = _generator()
    batched = _is_batched(signature)
    if known and batched:
        yield from _stacked(signature, known)
    length = _length(signature, known, reference)
    for kind in KINDS:
        for batch in kind.batches if batched else (1,) * _CALLS_WITHOUT_BATCH:
            inputs = {
                spec.name: _draw(spec, kind, _shape(spec, batch, length, known), rng, known)
                for spec in signature.inputs.values()
            }
            yield Call(f"{kind.name}, {batch} row{'s' * (batch > 1)}", inputs, batch, far=kind.far)


def _stacked(signature: "Signature", known: "Sequence[Arrays]") -> Iterator[Call]:
    """Golden rows in batches, where they are all of one shape."""
    import numpy as np

    if any(len({row[name].shape for row in known}) > 1 for name in signature.inputs):
        return
    batched = {name for name, spec in signature.inputs.items() if spec.shape and spec.shape[0] is None}
    for batch in BATCHES[1:]:
        chosen = [known[index % len(known)] for index in range(batch)]
        inputs = {
            name: np.concatenate([row[name] for row in chosen]) if name in batched else known[0][name]
            for name in signature.inputs
        }
        yield Call(f"{batch} golden rows", inputs, batch)


def _is_batched(signature: "Signature") -> bool:
    return any(spec.shape and spec.shape[0] is None for spec in signature.inputs.values())


def _length(signature: "Signature", known: "Sequence[Arrays]", reference: "Model") -> int:
    """For dimensions that vary besides the batch: the first length that TensorFlow takes."""
    if known or not any(None in (spec.shape or ())[1:] for spec in signature.inputs.values()):
        return LENGTHS[0]
    for length in LENGTHS:
        inputs = {
            spec.name: _draw(spec, KINDS[1], _shape(spec, 2, length, known), _generator(), known)
            for spec in signature.inputs.values()
        }
        if not _ask(reference, Call("", inputs, 2), signature.name)[1]:
            return length
    return LENGTHS[0]


def _shape(spec: "TensorSpec", batch: int, length: int, known: "Sequence[Arrays]") -> tuple[int, ...]:
    like = known[0][spec.name].shape if known else ()
    return tuple(
        size if size is not None else batch if axis == 0 else like[axis] if axis < len(like) else length
        for axis, size in enumerate(spec.shape or ())
    )


def _draw(spec: "TensorSpec", kind: Kind, shape: tuple[int, ...], rng: Any, known: "Sequence[Arrays]") -> Any:
    """Random numbers of a kind; integers only from the range that golden requests have, if there are any."""
    import numpy as np

    dtype = spec.dtype
    assert dtype is not None, "a signature that can be called has numbers"
    if dtype.kind == "b":
        return rng.random(shape) < (0.5 if kind.normal or kind.low < kind.high else kind.low)
    if dtype.kind in "iu":
        seen = [row[spec.name] for row in known]
        low, high = (min(s.min() for s in seen), max(s.max() for s in seen)) if seen else kind.integers
        bounds = np.iinfo(dtype)
        return rng.integers(max(bounds.min, int(low)), min(bounds.max, int(high)), shape, endpoint=True).astype(dtype)
    most = float(np.finfo(dtype).max) ** 0.4  # products of two such numbers, and sums of many, stay finite
    values = rng.standard_normal(shape) * kind.normal if kind.normal else rng.uniform(kind.low, kind.high, shape)
    if dtype.kind == "c":
        values = values + 1j * rng.permutation(values.ravel()).reshape(shape)
        return values.astype(dtype)
    return np.clip(values, -most, most).astype(dtype)


def _inconstant(reference: "Model", name: str, requests: Sequence[GoldenRequest], signature: "Signature") -> str:
    """Whether TensorFlow itself gives two answers to one request, in words."""
    import numpy as np

    call = next(call for call in _calls(signature, requests, reference) if call.what.startswith(("golden", "0 to 1")))
    first, second = (_ask(reference, call, name)[0] for _ in range(2))
    if all(np.allclose(first[key], second[key], rtol=1e-3, atol=1e-6, equal_nan=True) for key in first):
        return ""
    return "TensorFlow gives two answers to the same request: the signature is random, or keeps state between requests"


def _generator() -> Any:
    import numpy as np

    return np.random.default_rng(SEED)
