"""Parquet files that pyarrow writes, for tests, and the reader of rows."""

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from text_rows import FLOAT, signature

from lading.batch.formats.parquet_rows import ParquetRows
from lading.batch.options import BatchOptions
from lading.predict.signature import Signature

IMAGE = signature(image=(FLOAT, (None, 2, 2)))
X = signature(x=(FLOAT, (None,)))


def reader(found: Signature = IMAGE, **options: object) -> ParquetRows:
    return ParquetRows(found, BatchOptions(**{"batch_size": 64, **options}))  # type: ignore[arg-type]


def file_of(columns: "dict[str, Any] | pa.Table", **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), sink, **options)
    return sink.getvalue()
