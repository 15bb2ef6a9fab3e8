"""What /metrics says, read as Prometheus reads it."""

import os
import re
import resource
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest
from prometheus_page import read, value
from served import serving

from lading.serving.errors import Code
from lading.serving.metrics import Metrics

DOCS = Path(__file__).parents[2] / "docs" / "operations.md"


def answered(
    metrics: Metrics, *, model: str = "taxi", code: Code = Code.OK, seconds: float = 0.003, entrypoint: str = "REST"
) -> None:
    metrics.request(
        model=model,
        api="predict" if entrypoint == "REST" else "Predict",
        entrypoint=entrypoint,
        code=code,
        seconds=seconds,
    )


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(lambda: ["taxi"], info={"version": "1.2", "engine": "litert", "revision": 'a"b\\c\nd'})


def test_tensorflow_servings_names_labels_and_buckets(metrics: Metrics) -> None:
    answered(metrics, seconds=0.000015)
    answered(metrics, seconds=0.003, entrypoint="GRPC")
    answered(metrics, code=Code.INVALID_ARGUMENT)
    types, samples = read(metrics.render())
    assert types[":tensorflow:serving:request_count"] == "counter"
    assert value(samples, ":tensorflow:serving:request_count", model_name="taxi", status="OK") == 2
    assert value(samples, ":tensorflow:serving:request_count", model_name="taxi", status="INVALID_ARGUMENT") == 1
    name, labels = ":tensorflow:serving:request_latency", {"model_name": "taxi", "API": "predict", "entrypoint": "REST"}
    assert types[name] == "histogram"
    assert value(samples, f"{name}_sum", **labels) == pytest.approx(15)  # microseconds
    assert value(samples, f"{name}_bucket", **labels, le="10") == 0
    assert value(samples, f"{name}_bucket", **labels, le="18") == 1
    bounds = [dict(each)["le"] for each in samples[f"{name}_bucket"] if ("entrypoint", "REST") in each]
    assert bounds[:6] == ["10", "18", "32.4", "58.32", "104.976", "188.957"]
    assert len(bounds) == 34
    grpc = {"model_name": "taxi", "API": "Predict", "entrypoint": "GRPC"}
    assert value(samples, f"{name}_count", **grpc) == 1
    assert sum(samples[f"{name}_count"].values()) == 2, "successes only"
    assert b"# HELP :tensorflow" not in metrics.render()


def test_our_own_names(metrics: Metrics) -> None:
    answered(metrics, seconds=0.004)
    answered(metrics, seconds=31, code=Code.DEADLINE_EXCEEDED)
    metrics.batch(model="taxi", rows=7, queued_seconds=0.002)
    metrics.loaded(model="taxi", version=12, seconds=0.25)
    metrics.gauge("lading_queue_length", "Requests that wait.", lambda: 5)
    metrics.gauge("lading_request_log_dropped_total", "Lost lines.", lambda: 2)
    types, samples = read(metrics.render())
    kind = {"model": "taxi", "api": "predict", "entrypoint": "REST"}
    assert value(samples, "lading_requests_total", **kind, code="OK") == 1
    assert value(samples, "lading_requests_total", **kind, code="DEADLINE_EXCEEDED") == 1
    assert value(samples, "lading_request_seconds_bucket", **kind, le="0.005") == 1
    assert value(samples, "lading_request_seconds_bucket", **kind, le="30") == 1
    assert value(samples, "lading_request_seconds_count", **kind) == 2
    assert value(samples, "lading_batch_rows_bucket", model="taxi", le="4") == 0
    assert value(samples, "lading_batch_rows_bucket", model="taxi", le="8") == 1
    assert value(samples, "lading_queue_seconds_sum", model="taxi") == 0.002
    assert value(samples, "lading_model_load_seconds", model="taxi", version="12") == 0.25
    assert value(samples, "lading_info", version="1.2", engine="litert", revision='a"b\\c\nd') == 1
    assert (value(samples, "lading_queue_length"), types["lading_queue_length"]) == (5, "gauge")
    assert types["lading_request_log_dropped_total"] == "counter"


def test_this_process(metrics: Metrics) -> None:
    _, samples = read(metrics.render())
    assert value(samples, "process_resident_memory_bytes") > 10e6
    assert value(samples, "process_virtual_memory_bytes") > value(samples, "process_resident_memory_bytes")
    assert abs(value(samples, "process_start_time_seconds") - Path("/proc/self").stat().st_ctime) < 3600
    assert value(samples, "process_start_time_seconds") < time.time()
    used = resource.getrusage(resource.RUSAGE_SELF)
    assert 0 < value(samples, "process_cpu_seconds_total") <= used.ru_utime + used.ru_stime
    with Path("/dev/null").open(), Path("/dev/null").open():
        assert value(read(metrics.render())[1], "process_open_fds") == value(samples, "process_open_fds") + 2
    assert value(samples, "process_open_fds") == len(os.listdir("/proc/self/fd")) - 1


def test_names_that_anybody_may_send_do_not_grow_the_page(metrics: Metrics) -> None:
    answered(metrics)
    answered(metrics, model="no such model", code=Code.NOT_FOUND)
    lines = metrics.render().count(b"\n")
    for number in range(1000):
        answered(metrics, model=f"model-{number}", code=Code.NOT_FOUND)
    assert metrics.render().count(b"\n") == lines
    _, samples = read(metrics.render())
    assert value(samples, ":tensorflow:serving:request_count", model_name="", status="NOT_FOUND") == 1001


def test_a_model_that_is_configured_later_counts_under_its_name() -> None:
    names: list[str] = []
    metrics = Metrics(lambda: names)
    answered(metrics)
    names.append("taxi")
    answered(metrics)
    _, samples = read(metrics.render())
    assert value(samples, ":tensorflow:serving:request_count", model_name="", status="OK") == 1
    assert value(samples, ":tensorflow:serving:request_count", model_name="taxi", status="OK") == 1


def test_no_count_is_lost_between_threads(metrics: Metrics) -> None:
    def work() -> None:
        for _ in range(5000):
            answered(metrics)
        metrics.render()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _, samples = read(metrics.render())
    assert value(samples, ":tensorflow:serving:request_count", model_name="taxi", status="OK") == 40_000
    assert value(samples, "lading_request_seconds_count", model="taxi", api="predict", entrypoint="REST") == 40_000


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool, of Debian's package prometheus")
def test_promtool_reads_it(metrics: Metrics) -> None:
    answered(metrics)
    metrics.batch(model="taxi", rows=7, queued_seconds=0.002)
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=metrics.render(), capture_output=True, check=False, timeout=60
    )
    # TensorFlow Serving's names break the conventions: that is no error of reading (1), only of style (3).
    assert checked.returncode in (0, 3), checked.stderr
    assert [line for line in checked.stderr.decode().splitlines() if not line.startswith(":tensorflow:")] == []


def test_the_table_of_metrics_is_what_a_server_says(mlp_model: Path, tmp_path: Path) -> None:
    log = tmp_path / "requests.jsonl"
    with serving(f"fashion={mlp_model}", "--port", "0", "--request-log", str(log)) as served:
        served.post("/v1/models/fashion:predict", {})
        types, _ = read(served.get("/metrics").content)
        assert served.get("/metrics").headers["content-type"].startswith("text/plain; version=0.0.4")
    assert dict(re.findall(r"^\| `([a-z_:]+)` \| (counter|gauge|histogram) \|", DOCS.read_text(), re.M)) == types
