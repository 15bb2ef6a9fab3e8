"""The engine litert: the same answers as TensorFlow's, and clear refusals of what it does not do."""

import json
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from lading.convert import convert_model
from lading.errors import InvalidInput, InvalidInstance, InvalidModel, ModelClosed, Unsupported
from lading.predict import Model, load_model
from lading.predict.conversion import FOLDER, MODEL, REPORT, SIGNATURES

IMAGE = np.zeros((1, 28, 28), np.float32)


@pytest.fixture(scope="module")
def lite(litert_model: Path) -> Iterator[Model]:
    with load_model(litert_model, engine="litert", threads=2) as model:
        yield model


@pytest.fixture(scope="module")
def kinds_dir(convertible_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("litert") / "kinds"
    report = convert_model(convertible_models / "kinds", directory)
    assert report.passed, report.checks
    return directory


@pytest.fixture(scope="module")
def kinds(kinds_dir: Path) -> Iterator[Model]:
    with load_model(kinds_dir, engine="litert") as model:
        yield model


@pytest.fixture
def copy(litert_model: Path, tmp_path: Path) -> Path:
    shutil.copytree(litert_model, tmp_path / "model")
    return tmp_path / "model"


def test_answers_are_those_of_tensorflow_for_every_batch_size(lite: Model, litert_model: Path) -> None:
    rng = np.random.default_rng(2)
    with load_model(litert_model) as reference:
        assert (reference.engine, lite.engine) == ("tensorflow", "litert")
        assert dict(lite.signatures) == dict(reference.signatures)  # initialisers and all that metadata tells
        for rows in (1, 3, 64, 2, 1):
            images = rng.random((rows, 28, 28), np.float32)
            expected = reference.predict({"image": images})["softmax"]
            np.testing.assert_allclose(lite.predict({"image": images})["softmax"], expected, rtol=1e-4, atol=1e-6)


def test_many_threads_with_mixed_batch_sizes_get_their_own_answers(lite: Model) -> None:
    rng = np.random.default_rng(3)
    batches = [rng.random((rows, 28, 28), np.float32) for rows in (1, 2, 5, 17) for _ in range(8)]
    alone = [lite.predict({"image": images})["softmax"] for images in batches]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda images: lite.predict({"image": images})["softmax"], batches * 20))
    for index, answer in enumerate(together):
        np.testing.assert_allclose(answer, alone[index % len(alone)], rtol=1e-6)


def test_every_signature_answers_whatever_its_types_and_shapes(kinds: Model) -> None:
    for name, signature in kinds.signatures.items():
        if name.startswith("same_"):
            values = np.array([[1, 0], [1, 1], [0, 1]]).astype(signature.inputs["x"].dtype)
            came = kinds.predict({"x": values}, signature=name)["y"]
            assert (came.dtype, came.tolist()) == (values.dtype, values.tolist()), name
    pair = kinds.predict({"count": [2, 2**40], "x": [[1, 2], [3, 4]]}, signature="pair")
    assert pair["total"].tolist() == [6.0, 7.0 * 2**40]
    assert pair["next"].tolist() == [3, 2**40 + 1]
    scalar = kinds.predict({"x": np.int64(21)}, signature="scalar")["y"]
    assert (type(scalar), scalar.shape, scalar.tolist()) == (np.ndarray, (), 42)
    assert kinds.predict({"x": np.ones((2, 3))}, signature="fixed")["y"].shape == (3, 2)
    by_zero = kinds.predict({"x": [0.0, -0.0, 4.0]}, signature="reciprocal")
    assert by_zero["y"].tolist() == [np.inf, -np.inf, 0.25]
    assert np.isnan(by_zero["nan"]).tolist() == [True, True, False]
    for length in (3, 50, 3):
        assert kinds.predict({"x": np.ones((2, length))}, signature="sequence")["y"].tolist() == [length] * 2


def test_an_answer_stays_what_it_was(lite: Model) -> None:
    first = lite.predict({"image": IMAGE})["softmax"]
    kept = first.copy()
    lite.predict({"image": IMAGE + 1})
    np.testing.assert_array_equal(first, kept)
    first[:] = 0  # nor does it belong to the engine
    np.testing.assert_array_equal(lite.predict({"image": IMAGE})["softmax"], kept)


@pytest.mark.parametrize(
    ("inputs", "signature", "error", "message"),
    [
        ({"image": IMAGE}, "nope", InvalidInstance, 'signature "nope" is not in the model'),
        (
            {"dense/MatMul:0": IMAGE},
            "serving_default",
            InvalidInstance,
            "received dense/MatMul:0",
        ),
        (
            {"image": np.zeros((1, 27, 28))},
            "serving_default",
            InvalidInstance,
            r"expects the shape \[\?, 28, 28\] in the litert engine, received \[1, 27, 28\]",
        ),
        ({"image": np.zeros((1, 784))}, "serving_default", InvalidInstance, r"received \[1, 784\]"),
        ({"image": np.zeros((0, 28, 28))}, "serving_default", Unsupported, "has no elements.*send at least one row"),
        ({"image": np.array([["a"]])}, "serving_default", InvalidInstance, 'input "image" expects float32, received'),
        ({}, "__saved_model_init_op", InvalidInstance, "cannot be called: it is an initialiser"),
    ],
)
def test_what_it_refuses_is_said_and_the_next_request_is_answered(
    lite: Model, inputs: dict, signature: str, error: type, message: str
) -> None:
    before = lite.predict({"image": IMAGE})["softmax"]
    with pytest.raises(error, match=message):
        lite.predict(inputs, signature=signature)
    np.testing.assert_array_equal(lite.predict({"image": IMAGE})["softmax"], before)


def test_what_the_graph_refuses_is_the_callers_fault_each_time_anew(kinds: Model) -> None:
    for _ in range(3):
        with pytest.raises(InvalidInstance, match='signature "pair": LiteRT refuses the input') as caught:
            kinds.predict({"x": np.ones((3, 2)), "count": [1, 2]}, signature="pair")
        assert len(str(caught.value)) < 300  # an interpreter repeats its earlier errors
        assert kinds.predict({"x": [[1, 2]], "count": [1]}, signature="pair")["total"].tolist() == [3.0]


def test_memory_does_not_grow_with_calls_and_errors(lite: Model) -> None:
    def call(times: int) -> None:
        for index in range(times):
            lite.predict({"image": np.zeros((1 + index % 16, 28, 28), np.float32)})
            with pytest.raises(InvalidInstance):
                lite.predict({"image": np.zeros((16, 3, 28), np.float32)})

    call(50)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    call(2000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10_000


def test_some_outputs_can_be_asked_for(kinds: Model) -> None:
    inputs = {"x": [[1, 2]], "count": [1]}
    assert kinds.predict(inputs, signature="pair", outputs=["next"]).keys() == {"next"}
    assert kinds.predict(inputs, signature="pair", outputs=()) == {}
    with pytest.raises(InvalidInstance, match=r'signature "pair" has no output sum \(has: next, total\)'):
        kinds.predict(inputs, signature="pair", outputs=["next", "sum"])


@pytest.mark.parametrize("engine", ["litert", "tensorflow"])
def test_closing_waits_for_running_predictions(litert_model: Path, engine: str) -> None:
    model = load_model(litert_model, engine=engine)
    images = np.zeros((200, 28, 28), np.float32)
    seen: list[object] = []

    def ask() -> None:
        try:
            while True:
                seen.append(model.predict({"image": images})["softmax"].shape)
        except ModelClosed as error:
            seen.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    while len(seen) < 20:
        threading.Event().wait(0.001)
    model.close()
    model.close()
    for thread in threads:
        thread.join(20)
    assert [type(entry) for entry in seen].count(ModelClosed) == 4
    assert {entry for entry in seen if isinstance(entry, tuple)} == {(200, 10)}


def alter_graph(model: Path) -> None:
    content = bytearray((model / "saved_model.pb").read_bytes())
    content[-3] ^= 1
    (model / "saved_model.pb").write_bytes(content)


def edit_report(model: Path, **changes: object) -> None:
    file = model / FOLDER / REPORT
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda m: shutil.rmtree(m / FOLDER), "is not converted for LiteRT: run `lading convert"),
        (alter_graph, r"made from another SavedModel .*saved_model.pb differs.*run `lading convert"),
        (lambda m: (m / "variables/variables.index").write_bytes(b"x"), "variables.index differs"),
        (lambda m: (m / "variables/variables.data-00001-of-00002").touch(), "variables.data-00001-of-00002 differs"),
        (lambda m: (m / FOLDER / MODEL).write_bytes((m / FOLDER / MODEL).read_bytes()[:900]), "missing or damaged"),
        (lambda m: (m / FOLDER / MODEL).unlink(), "model.tflite is missing or damaged"),
        (lambda m: (m / FOLDER / SIGNATURES).write_text("{}"), "signatures.json is missing or damaged"),
        (lambda m: (m / FOLDER / REPORT).write_text("{"), "cannot be read .*property name"),
        (lambda m: edit_report(m, version=99), "cannot be read .*newer lading"),
        (lambda m: edit_report(m, passed=False), "cannot be served by LiteRT"),
    ],
    ids=[
        "none", "graph", "index", "more variables", "truncated", "gone", "signatures", "no JSON", "newer", "failed",
    ],
)  # fmt: skip
def test_a_conversion_that_does_not_belong_to_its_model_is_refused(
    copy: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(copy)
    with pytest.raises(InvalidModel, match=message):
        load_model(copy, engine="litert")


def test_a_file_of_another_model_is_refused(copy: Path, kinds_dir: Path) -> None:
    other = (kinds_dir / FOLDER / MODEL).read_bytes()
    size = (copy / FOLDER / MODEL).stat().st_size
    (copy / FOLDER / MODEL).write_bytes(other.ljust(size, b"\0")[:size])
    with pytest.raises(InvalidModel, match=r"not that of its SavedModel|LiteRT refuses"):
        load_model(copy, engine="litert")
    (copy / FOLDER / MODEL).write_bytes(b"x" * size)
    with pytest.raises(InvalidModel, match=r"LiteRT refuses .*model.tflite"):
        load_model(copy, engine="litert")


def test_auto_takes_a_valid_conversion_and_else_tensorflow_with_the_reason(copy: Path, mlp_model: Path) -> None:
    with load_model(copy, engine="auto") as model:
        assert (model.engine, model.engine_note) == ("litert", "")
    with load_model(mlp_model, engine="auto") as model:
        assert (model.engine, model.engine_note) == ("tensorflow", "")
    (copy / FOLDER / MODEL).unlink()
    with load_model(copy, engine="auto") as model:
        assert model.engine == "tensorflow"
        assert "model.tflite is missing" in model.engine_note
        assert model.predict({"image": IMAGE})["softmax"].shape == (1, 10)
    with pytest.raises(InvalidInput, match="expected an engine of tensorflow, litert, auto, received 'tflite'"):
        load_model(copy, engine="tflite")


def test_it_starts_without_tensorflow_and_without_protobuf(litert_model: Path) -> None:
    code = (
        "import sys, numpy; from lading.predict import load_model; model = load_model(sys.argv[1], engine='litert');"
        "model.predict({'image': numpy.zeros((1, 28, 28))});"
        "print([name for name in ('tensorflow', 'google.protobuf', 'tqdm') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, litert_model], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"
