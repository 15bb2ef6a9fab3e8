"""What the files of a run are called."""

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from lading.batch.options import BatchOptions

_GZIP = ".gz"
_FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tfrecord": "tfrecord",
    ".tfrecords": "tfrecord",
    ".parquet": "parquet",
}


def format_of(name: str, options: BatchOptions) -> str:
    """The format of an input file: what the options say, else by its name, else JSON Lines."""
    if options.input_format != "auto":
        return options.input_format
    return _FORMATS.get(PurePosixPath(name.removesuffix(_GZIP)).suffix.lower(), "jsonl")


def output_names(names: Sequence[str], options: BatchOptions, suffix: str) -> list[str]:
    """The output file of each input file, below the output directory.

    JSON Lines keep the tree and the names of the input, as embedded-tf does; other formats get their own ending. AI
    Platform's results are numbered: https://docs.cloud.google.com/ai-platform/prediction/docs/batch-predict.

    Args:
        names: Of the input files, below the input directory.
        options: Of the run.
        suffix: Of the output format, for instance ``.csv``.
    """
    if options.output_format == "ai-platform":
        end = _GZIP if options.compression == "gzip" else ""
        return [f"prediction.results-{shard_of(index, len(names))}{end}" for index in range(len(names))]
    wanted = [_renamed(name, options, suffix) for name in names]
    taken = Counter(wanted)
    # data.csv and data.parquet would both become data.jsonl.
    apart = [new if taken[new] == 1 else f"{name}{suffix}" for name, new in zip(names, wanted, strict=True)]
    # And beside them there may be a data.csv.jsonl.
    return apart if len(set(apart)) == len(apart) else [f"{name}{suffix}" for name in names]


def errors_stats_name(index: int, count: int) -> str:
    """AI Platform's file of errors beside the results of the file ``index`` of ``count``."""
    return f"prediction.errors_stats-{shard_of(index, count)}"


def shard_of(index: int, count: int) -> str:
    """Apache Beam's name of a shard: ``00000-of-00003``."""
    return f"{index:05d}-of-{count:05d}"


def _renamed(name: str, options: BatchOptions, suffix: str) -> str:
    plain = name.removesuffix(_GZIP)
    end = _GZIP if options.compression == "gzip" else ""
    if options.output_format == format_of(name, options):
        return plain + end
    ending = PurePosixPath(plain).suffix
    stem = plain.removesuffix(ending) if ending.lower() in _FORMATS else plain
    return stem + suffix + end
