"""Loading a SavedModel and asking it, through TensorFlow's C library."""

import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from lading.errors import EngineError, InvalidInput, InvalidInstance, InvalidModel
from lading.predict import Model, load_model
from lading.predict.effort import is_unbounded
from lading.predict.jsonvalues import to_inputs
from lading.values import GoldenRequest


@pytest.fixture(scope="module")
def mlp(mlp_model: Path) -> Iterator[Model]:
    with load_model(mlp_model) as model:
        yield model


@pytest.fixture(scope="module")
def mixed(mixed_model: Path) -> Iterator[Model]:
    with load_model(mixed_model) as model:
        yield model


def test_answers_are_those_of_keras(mlp: Model, mlp_model: Path) -> None:
    golden = GoldenRequest.read_all((mlp_model / "assets.extra/lading/golden.jsonl").read_text())
    assert len(golden) == 32
    for request in golden:
        inputs = to_inputs(request.request, mlp.signatures["serving_default"])
        np.testing.assert_allclose(mlp.predict(inputs)["softmax"], request.response["softmax"], rtol=1e-4, atol=1e-6)


def test_signatures_name_types_and_shapes(mlp: Model) -> None:
    signature = mlp.signatures["serving_default"]
    image, softmax = signature.inputs["image"], signature.outputs["softmax"]
    assert (image.dtype, image.shape) == (np.float32, (None, 28, 28))
    assert softmax.shape == (None, 10)
    assert signature.method_name == "tensorflow/serving/predict"


def test_several_inputs_with_strings_and_integers(mixed: Model) -> None:
    answer = mixed.predict(
        {
            "x": np.array([[1, 2], [3, 4]], np.float32),
            "count": np.array([2, 2**40]),
            "text": np.array(["ü", b"\x00\xff"], object),
        },
        signature="several",
    )
    assert answer["count"].tolist() == [3, 2**40 + 1]
    assert answer["total"].tolist() == [6.0, 7.0 * 2**40]
    assert answer["text"].tolist() == ["ü-ü".encode(), b"\x00\xff-\x00\xff"]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("float16", [0.5, -2.0]), ("bfloat16", [0.5, 256.0]), ("float32", [0.1, -1e30]), ("float64", [0.1, 1e300]),
        ("complex64", [1 + 2j]), ("complex128", [1 - 2j]), ("bool", [True, False]), ("int8", [-128, 127]),
        ("int16", [-(2**15)]), ("int32", [2**31 - 1]), ("int64", [-(2**63), 2**63 - 1]), ("uint8", [255]),
        ("uint16", [65535]), ("uint32", [2**32 - 1]), ("uint64", [2**64 - 1]),
        ("string", [b"", b"long" * 100, "text"]),
    ],
)  # fmt: skip
def test_every_type_passes_through(mixed: Model, kind: str, values: list) -> None:
    spec = mixed.signatures[f"identity_{kind}"].inputs["x"]
    array = np.array(values, spec.dtype).reshape(1, -1)
    came = mixed.predict({"x": array}, signature=f"identity_{kind}")["y"]
    expected = [v.encode() if isinstance(v, str) else v for v in array.ravel().tolist()]
    assert came.ravel().tolist() == expected
    assert came.shape == array.shape


@pytest.mark.parametrize("shape", [(0,), (0, 3), (), (2, 1, 2)])
@pytest.mark.parametrize("kind", ["float32", "string"])
def test_any_shape_passes_through(mixed: Model, kind: str, shape: tuple[int, ...]) -> None:
    array = np.zeros(shape, np.float32) if kind == "float32" else np.full(shape, b"x", object)
    came = mixed.predict({"x": array}, signature=f"identity_{kind}")["y"]
    assert came.shape == shape
    assert came.tolist() == array.tolist()


@pytest.mark.parametrize(
    ("inputs", "signature", "message"),
    [
        (
            {"image": np.zeros((1, 28, 28), np.float32)},
            "nope",
            r'signature "nope" is not in the model \(has: .*serving_default',
        ),
        ({}, "serving_default", r"takes the inputs image, received \(none\)"),
        ({"image": np.zeros((1, 28, 28)), "b": 1}, "serving_default", "takes the inputs image, received image, b"),
        ({"image": np.array([["a"]])}, "serving_default", 'input "image" expects float32, received'),
        ({"image": np.zeros((1, 27, 28), np.float32)}, "serving_default", "756|Matrix size-incompatible|reshape"),
    ],
)
def test_what_does_not_fit_is_the_callers_fault(mlp: Model, inputs: dict, signature: str, message: str) -> None:
    with pytest.raises(InvalidInstance, match=message):
        mlp.predict(inputs, signature=signature)


def test_an_integer_beyond_its_type_is_refused_and_not_wrapped(mixed: Model) -> None:
    with pytest.raises(InvalidInstance, match="beyond the range of int8"):
        mixed.predict({"x": np.array([300])}, signature="identity_int8")


def test_many_threads_get_their_own_answers(mlp: Model) -> None:
    images = np.random.default_rng(1).random((64, 1, 28, 28), np.float32)
    alone = [mlp.predict({"image": image})["softmax"] for image in images]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda image: mlp.predict({"image": image})["softmax"], list(images) * 8))
    for index, answer in enumerate(together):
        np.testing.assert_array_equal(answer, alone[index % 64])


def test_memory_does_not_grow_with_calls(mixed: Model, mlp: Model) -> None:
    image, text = np.zeros((16, 28, 28), np.float32), np.full((1000,), b"x" * 100, object)

    def call(times: int) -> None:
        for _ in range(times):
            mlp.predict({"image": image})
            mixed.predict({"x": text}, signature="identity_string")
            with pytest.raises(InvalidInstance):
                mlp.predict({"image": image[:, :3]})

    call(50)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    call(400)  # 400 × (50 kB + 100 kB): 60 MB if a tensor of each call stayed
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000


def test_a_closed_model_says_so(mlp_model: Path) -> None:
    model = load_model(mlp_model)
    model.close()
    model.close()
    with pytest.raises(EngineError, match="was closed"):
        model.predict({"image": np.zeros((1, 28, 28), np.float32)})


def test_the_highest_version_of_a_base_is_taken(mlp_model: Path, tmp_path: Path) -> None:
    for name in ("2", "10", "notes"):
        shutil.copytree(mlp_model, tmp_path / name)
    with load_model(tmp_path) as model:
        assert (model.version, model.path) == (10, tmp_path / "10")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda m: shutil.rmtree(m), "found nothing"),
        (lambda m: (m / "saved_model.pb").unlink(), "it has no saved_model.pb"),
        (lambda m: (m / "saved_model.pb").write_bytes(b"nonsense"), "nonsense|parse|read|SavedModel"),
        (lambda m: (m / "saved_model.pb").write_bytes((m / "saved_model.pb").read_bytes()[:500]), "SavedModel"),
        (lambda m: shutil.rmtree(m / "variables"), "variables"),
        (lambda m: (m / "variables" / "variables.index").unlink(), "variables"),
        (lambda m: (m / "variables" / "variables.data-00000-of-00001").write_bytes(b"short"), "Read less bytes"),
    ],
    ids=["gone", "no graph", "garbage", "truncated", "no variables", "no index", "truncated variables"],
)
def test_a_damaged_model_is_refused_by_name(mlp_model: Path, tmp_path: Path, damage: object, message: str) -> None:
    model = tmp_path / "damaged"
    shutil.copytree(mlp_model, model)
    damage(model)  # type: ignore[operator]
    with pytest.raises(InvalidModel, match=message) as caught:
        load_model(model)
    assert str(model) in str(caught.value)


def test_an_unknown_engine_is_refused(mlp_model: Path) -> None:
    with pytest.raises(InvalidInput, match="expected an engine of tensorflow, litert, auto, received 'torch'"):
        load_model(mlp_model, engine="torch")


BOTH = """
import sys, numpy as np
first, second, path = sys.argv[1:]
__import__(first); __import__(second)
import tensorflow as tf
from lading.predict import load_model
from lading.predict.protos import message
x = np.random.default_rng(0).random((2, 28, 28), np.float32)
ours = load_model(path).predict({"image": x})["softmax"]
theirs = tf.saved_model.load(path).signatures["serving_default"](image=tf.constant(x))["softmax"].numpy()
np.testing.assert_allclose(ours, theirs, rtol=1e-5)
"""


# By default TensorFlow comes first; the other order is that of test_protos.py, without a model.
@pytest.mark.parametrize(
    "order",
    [
        pytest.param(("lading.predict.protos", "tensorflow"), marks=pytest.mark.slow),
        ("tensorflow", "lading.predict.protos"),
    ],
)
def test_python_tensorflow_may_be_in_the_same_process(mlp_model: Path, order: tuple[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BOTH, *order, mlp_model], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr


def test_loading_never_imports_python_tensorflow(mlp_model: Path) -> None:
    code = (
        "import sys; from lading.predict import load_model; load_model(sys.argv[1]); print('tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, mlp_model], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "False\n"


def test_a_model_with_loops_gives_up_after_its_time(mixed_model: Path) -> None:
    with load_model(mixed_model, timeout_seconds=0.3) as model:
        for _ in range(3):
            assert model.predict({"rounds": 10}, signature="spin")["rounds"] == 10
        with pytest.raises(EngineError) as raised:
            model.predict({"rounds": 2**40}, signature="spin")
        assert raised.value.code == "DEADLINE_EXCEEDED"
        assert model.predict({"rounds": 10}, signature="spin")["rounds"] == 10


def test_what_a_graph_computes_without_loops_is_bounded(mlp_model: Path, mixed_model: Path) -> None:
    assert [is_unbounded(path / "saved_model.pb") for path in (mlp_model, mixed_model)] == [False, True]
