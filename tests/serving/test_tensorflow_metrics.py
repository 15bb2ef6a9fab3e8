"""TensorFlow Serving's metrics of models and batches, under its names."""

import threading
from pathlib import Path

import pytest
from prometheus_page import Samples, read, value
from served import serving

from lading.serving.metrics import Metrics

LATENCY, EXAMPLES = ":tensorflow:serving:runtime_latency", ":tensorflow:serving:request_example_counts"
WARM_UP, BATCHES = ":tensorflow:serving:model_warmup_latency", ":tensorflow:serving:batching_session:"


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(lambda: ["taxi"])


def bounds(samples: Samples, name: str) -> list[str]:
    return [dict(labels)["le"] for labels in samples[f"{name}_bucket"]]


def test_what_a_model_computed(metrics: Metrics) -> None:
    of = metrics.tensorflow.of("taxi")
    of.ran("Predict", 0.000015)
    of.ran("Predict", 0.000300)
    metrics.tensorflow.of("taxi").ran("Regress", 0.002)
    types, samples = read(metrics.render())
    labels = {"model_name": "taxi", "API": "Predict", "runtime": "TF1"}
    assert types[LATENCY] == "histogram"
    assert value(samples, f"{LATENCY}_count", **labels) == 2
    assert value(samples, f"{LATENCY}_sum", **labels) == pytest.approx(315)  # microseconds
    assert value(samples, f"{LATENCY}_bucket", **labels, le="18") == 1
    assert value(samples, f"{LATENCY}_count", **{**labels, "API": "Regress"}) == 1
    assert len(bounds(samples, LATENCY)) == 2 * 34


def test_examples(metrics: Metrics) -> None:
    _, samples = read(metrics.render())
    assert f"{EXAMPLES}_count" not in samples  # nothing was counted
    for count in (1, 3, 5000):
        metrics.tensorflow.of("taxi").examples(count)
    types, samples = read(metrics.render())
    total = ":tensorflow:serving:request_example_count_total"
    assert (types[total], value(samples, total, model="taxi")) == ("counter", 5004)
    assert value(samples, f"{EXAMPLES}_bucket", model="taxi", le="4") == 2
    assert bounds(samples, EXAMPLES) == [*(str(2**n) for n in range(15)), "+Inf"]


def test_warm_ups_and_the_request_log(metrics: Metrics) -> None:
    metrics.tensorflow.warmed_up("gs://b/taxi/3", records=7, seconds=0.5)
    metrics.tensorflow.logged("taxi", "OK")
    _, samples = read(metrics.render())
    labels = {"model_path": "gs://b/taxi/3", "status": "OK"}
    assert value(samples, f"{WARM_UP}_sum", **labels) == 500_000
    assert value(samples, ":tensorflow:serving:model_warmup_records_read", **labels) == 7
    assert value(samples, ":tensorflow:serving:request_log_count", model_name="taxi", status_code="OK") == 1


def test_batches(metrics: Metrics) -> None:
    batching = metrics.tensorflow.batching
    batching.queued(3, 2)
    batching.ran(8, 5, [0.0002, 0.0001])
    batching.ran(4, 0, [3.0])
    types, samples = read(metrics.render())
    assert types[f"{BATCHES}wrapped_run_count"] == "counter"
    assert value(samples, f"{BATCHES}wrapped_run_count") == 2
    assert value(samples, f"{BATCHES}queuing_latency_count", thread_pool_name="") == 3
    assert value(samples, f"{BATCHES}queuing_latency_sum", thread_pool_name="") == pytest.approx(3_000_300)
    assert value(samples, f"{BATCHES}input_batch_size_count") == 2
    assert value(samples, f"{BATCHES}processed_batch_size_sum") == 12
    assert value(samples, f"{BATCHES}padding_size_sum", execution_batch_size="8") == 5
    assert value(samples, f"{BATCHES}padding_size_count", execution_batch_size="4") == 1
    assert bounds(samples, f"{BATCHES}queuing_latency")[:4] == ["100", "120", "144", "172.8"]
    assert len(bounds(samples, f"{BATCHES}queuing_latency")) == 53
    assert len(bounds(samples, f"{BATCHES}processed_batch_size")) == 15


def test_no_run_is_lost_between_threads(metrics: Metrics) -> None:
    def work() -> None:
        for _ in range(5000):
            metrics.tensorflow.of("taxi").ran("Predict", 0.001)
        metrics.render()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _, samples = read(metrics.render())
    assert value(samples, f"{LATENCY}_count", model_name="taxi", API="Predict", runtime="TF1") == 20_000


def test_a_server_counts_them(mlp_model: Path, examples_model: Path, tmp_path: Path) -> None:
    log = tmp_path / "requests.jsonl"
    words = (f"fashion={mlp_model}", f"examples={examples_model}")
    image = [[0.5] * 28] * 28
    with serving(*words, "--port", "0", "--request-log", str(log), "--request-log-rate", "1") as served:
        assert served.post("/v1/models/fashion:predict", {"instances": [image]}).ok
        tensor = {"name": "image", "shape": [1, 28, 28], "datatype": "FP32", "data": [0.5] * 784}
        assert served.post("/v2/models/fashion/infer", {"inputs": [tensor]}).ok
        assert served.post("/v1/endpoints/1/deployedModels/2:predict", {"instances": [image]}).ok
        assert served.post("/v1/models/fashion:predict", {"instances": [[1]]}).status_code == 400
        assert served.post("/v1/models/nobody:predict", {"instances": [[1]]}).status_code == 404
        classified = {"signature_name": "classify", "examples": [{"x": 0.5}, {"x": 0.25}]}
        assert served.post("/v1/models/examples:classify", classified).ok
        assert served.post("/v1/models/examples:regress", {"examples": [{"x": 0.5}]}).ok
        _, samples = read(served.get("/metrics").content)
    runs = {
        (dict(labels)["model_name"], dict(labels)["API"]): count
        for labels, count in samples[f"{LATENCY}_count"].items()
    }
    assert runs == {("fashion", "Predict"): 3, ("examples", "Classify"): 1, ("examples", "Regress"): 1}
    assert value(samples, ":tensorflow:serving:request_example_count_total", model="examples") == 3
    logged = {dict(labels)["model_name"]: n for labels, n in samples[":tensorflow:serving:request_log_count"].items()}
    assert logged == {"fashion": 4, "examples": 2, "": 1}
