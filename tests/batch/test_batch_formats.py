"""Whole runs over the same rows in every input format, into every output format."""

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tf_record_files import example, file_of

from lading.batch.job import BatchJob
from lading.batch.model import OpenModel
from lading.batch.options import BatchOptions
from lading.batch.run import run_batch
from lading.batches import BatchReport

ROWS = 200


@pytest.fixture(scope="module")
def images() -> np.ndarray:  # type: ignore[type-arg]
    return np.random.default_rng(0).random((ROWS, 28, 28), np.float32)


@pytest.fixture(scope="module")
def expected(mlp: OpenModel, images: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return mlp.model.predict({"image": images})["softmax"]


def run(opened: OpenModel, source: Path, output: Path, **options: object) -> BatchReport:
    settings = BatchOptions(**{"batch_size": 32, "shard_bytes": 1 << 17, **options})  # type: ignore[arg-type]
    return run_batch(BatchJob((str(source),), str(output), settings), opened.model, opened.digest)


def write(path: Path, images: np.ndarray) -> None:  # type: ignore[type-arg]
    """All rows with a key, but for the third: its image is too short."""
    rows = [image.reshape(-1).tolist() for image in images]
    rows[2] = rows[2][:5]
    if ".tfrecord" in path.name:
        content = file_of(*(example(image=row, id=[b"k%d" % index]) for index, row in enumerate(rows)))
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    else:
        table = {"id": [f"k{index}" for index in range(len(rows))], "image": pa.array(rows, pa.list_(pa.float32()))}
        pq.write_table(pa.table(table), path, row_group_size=70)


@pytest.mark.parametrize("name", ["rows.tfrecord", "rows.tfrecord.gz", "rows.parquet"])
def test_binary_rows_are_predicted(
    mlp: OpenModel,
    images: np.ndarray,  # type: ignore[type-arg]
    expected: np.ndarray,  # type: ignore[type-arg]
    tmp_path: Path,
    name: str,
) -> None:
    write(tmp_path / name, images)
    report = run(mlp, tmp_path / name, tmp_path / "out", key_field="id")
    assert (report.rows, report.bad_rows) == (ROWS, 1)
    (error,) = (json.loads(line) for line in Path(report.errors).read_text().splitlines())
    assert error["row"] == 3
    assert "expected" in error["reason"]
    rows = [json.loads(line) for line in Path(report.outputs[0]).read_text().splitlines()]
    good = [index for index in range(ROWS) if index != 2]
    assert [row["id"] for row in rows] == [f"k{index}" for index in good]
    np.testing.assert_allclose([row["prediction"] for row in rows], expected[good], rtol=1e-5, atol=1e-7)


def test_every_output_format_holds_the_same(
    mlp: OpenModel,
    images: np.ndarray,  # type: ignore[type-arg]
    expected: np.ndarray,  # type: ignore[type-arg]
    tmp_path: Path,
) -> None:
    source = tmp_path / "rows.parquet"
    write(source, images)
    good = [index for index in range(ROWS) if index != 2]
    keys, found = [f"k{index}" for index in good], {}

    def output(format: str, compression: str = "none") -> Path:
        to = tmp_path / f"{format}-{compression}"
        report = run(mlp, source, to, key_field="id", output_format=format, compression=compression)
        return Path(report.outputs[0])

    table = pq.read_table(output("parquet"))
    assert table["id"].to_pylist() == keys
    found["parquet"] = table["softmax"].to_pylist()
    for compression in ("none", "gzip"):
        path = output("csv", compression)
        with gzip.open(path, "rt") if compression == "gzip" else path.open() as file:
            rows = list(csv.DictReader(file))
        assert [row.pop("id") for row in rows] == keys
        found[f"csv {compression}"] = [[float(value) for value in row.values()] for row in rows]
        path = output("ai-platform", compression)
        assert path.name.startswith("prediction.results-00000-of-00001")
        text = gzip.decompress(path.read_bytes()) if compression == "gzip" else path.read_bytes()
        lines = [json.loads(line) for line in text.splitlines()]
        assert [line["id"] for line in lines] == keys
        found[f"ai-platform {compression}"] = [line["softmax"] for line in lines]
    for name, values in found.items():
        np.testing.assert_allclose(np.float32(values), expected[good], rtol=1e-5, atol=1e-7, err_msg=name)
    stats = (tmp_path / "ai-platform-none/prediction.errors_stats-00000-of-00001").read_text()
    assert stats.startswith("('")
    assert stats.endswith("', 1)\n")


def test_a_packed_parquet_file_is_named_in_the_verdict(mlp: OpenModel, tmp_path: Path) -> None:
    (tmp_path / "rows.parquet.gz").write_bytes(gzip.compress(b"PAR1"))
    report = run(mlp, tmp_path / "rows.parquet.gz", tmp_path / "out")
    assert not report.passed
    (reason,) = report.failed_files.values()
    assert "expected a Parquet file, received a gzip file" in reason
