"""Requests that are replayed when a model is loaded."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from model_places import factor, logged, put, serving, settings

from lading.errors import EngineError
from lading.predict.protos import message
from lading.predict.tf_record import masked_crc32c
from lading.serving.config import ModelConfig
from lading.serving.metrics import Metrics
from lading.serving.models import Models

SIGNATURES = {"predict": "", "classify": "classify", "regress": "regress"}


def record(kind: str, signature: str | None = None, *, name: str = "x") -> Any:
    """A PredictionLog for the model ``scale``."""
    log = message("tensorflow.serving.PredictionLog")()
    request = getattr(log, f"{kind}_log").request
    if kind == "multi_inference":
        for method in ("classify", "regress"):
            task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
            task.model_spec.signature_name = signature or method
    else:
        request.model_spec.name = "another"  # TensorFlow Serving does not look at it either
        request.model_spec.signature_name = SIGNATURES[kind] if signature is None else signature
    if kind == "predict":
        tensor = request.inputs[name]
        tensor.dtype = 1
        tensor.tensor_shape.dim.add(size=2)
        tensor.float_val.extend([1.0, 2.0])
    else:
        example = request.input.example_list.examples.add()
        example.features.feature["x"].float_list.value.append(3.0)
    return log


def frame(data: bytes) -> bytes:
    head = struct.pack("<Q", len(data))
    return head + struct.pack("<I", masked_crc32c(head)) + data + struct.pack("<I", masked_crc32c(data))


@pytest.fixture
def warmed(scale_versions: Path, tmp_path: Path) -> Callable[[bytes], ModelConfig]:
    """A model with this content in its file of recorded requests."""

    def make(content: bytes) -> ModelConfig:
        (tmp_path / "base").mkdir()
        extra = put(scale_versions / "1", tmp_path / "base", "1") / "assets.extra"
        extra.mkdir()
        (extra / "tf_serving_warmup_requests").write_bytes(content)
        return ModelConfig("m", str(tmp_path / "base"))

    return make


def written(*logs: Any) -> bytes:
    return b"".join(frame(log.SerializeToString()) for log in logs)


def test_all_kinds_of_recorded_requests_are_replayed(
    warmed: Callable[[bytes], ModelConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = ("predict", "classify", "regress", "multi_inference")
    metrics = Metrics(lambda: ["m"])
    config = warmed(written(*[record(kind) for kind in kinds]))
    with serving(settings(config), metrics=metrics) as models:
        assert factor(models) == 1.0
    (loaded,) = [line for line in logged(capsys) if line["message"] == "model loaded"]
    assert loaded["warm_up_seconds"] is not None
    labels = f'{{model_path="{config.base_path}/1",status="OK"}}'
    page = metrics.render().decode().splitlines()
    assert f":tensorflow:serving:model_warmup_latency_count{labels} 1" in page
    assert f":tensorflow:serving:model_warmup_records_read{labels} 4" in page


def test_an_empty_file_is_fine(warmed: Callable[[bytes], ModelConfig]) -> None:
    with serving(settings(warmed(b""))) as models:
        assert models.is_ready()


def session_run() -> Any:
    log = message("tensorflow.serving.PredictionLog")()
    log.session_run_log.SetInParent()
    return log


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            lambda: written(record("predict"), record("predict", name="z")),
            "record 2: .* takes the inputs x, received z",
        ),
        (lambda: written(record("predict", "nope")), 'record 1: signature "nope" is not in the model'),
        (lambda: written(record("regress", "serving_default")), "record 1: No regression inputs found"),
        (lambda: written(record("multi_inference", "nope")), "record 1: No signature was found with the name: nope"),
        (lambda: written(session_run()), "record 1: expected a log of predict_log, .*received session_run_log"),
        (lambda: frame(b"\xff\xff"), "record 1: expected a PredictionLog"),
        (lambda: frame(b""), "record 1: expected a log of .*received an empty one"),
        (lambda: written(record("predict"))[:-1], "record 1 at byte 0: the file ends within the record"),
        (lambda: written(*[record("predict")] * 1001), "expected at most 1000 records"),
    ],
)
def test_a_recorded_request_that_fails_fails_the_load(
    warmed: Callable[[bytes], ModelConfig], content: Callable[[], bytes], reason: str
) -> None:
    config = warmed(content())
    models = Models(settings(config))
    with pytest.raises(EngineError, match=f"the warm-up failed: .*tf_serving_warmup_requests.*{reason}"):
        models.load()
    with serving(settings(config, warm_up=False)) as unwarmed:
        assert factor(unwarmed) == 1.0


def test_golden_requests_warm_up_too(mlp_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for warm_up in (True, False):
        with serving(settings(ModelConfig("m", str(mlp_model)), warm_up=warm_up)):
            (loaded,) = [line for line in logged(capsys) if line["message"] == "model loaded"]
            assert (loaded["warm_up_seconds"] is not None) is warm_up


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "golden requests, line 1"),
        ('{"signature": "no", "request": {}, "response": {}, "rtol": 0, "atol": 0}', 'signature "no", which the model'),
        ('{"signature": "serving_default", "request": {"x": "a"}, "response": {}, "rtol": 0, "atol": 0}', "float"),
        ("\xff", "codec can't decode"),
    ],
)
def test_a_golden_request_that_fails_fails_the_load(
    scale_versions: Path, tmp_path: Path, line: str, reason: str
) -> None:
    (tmp_path / "base").mkdir()
    place = put(scale_versions / "1", tmp_path / "base", "1") / "assets.extra" / "lading"
    place.mkdir(parents=True)
    (place / "golden.jsonl").write_text(line, encoding="latin-1")
    models = Models(settings(ModelConfig("m", str(tmp_path / "base"))))
    with pytest.raises(EngineError, match=f"the warm-up failed: .*golden.jsonl: .*{reason}"):
        models.load()
