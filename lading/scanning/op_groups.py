"""Which of TensorFlow's operations reach beyond the model, and what they can do.

Allowed is what TensorFlow has registered (``tensorflow_ops.txt``) and no group below names. The groups were made by
reading the names, inputs and attributes of all registered operations for files, paths, addresses and programs; those
that are registered by libraries that load themselves into TensorFlow are named for a better message.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

OP_LIST = Path(__file__).parent / "tensorflow_ops.txt"


@dataclass(frozen=True)
class Group:
    """Operations that can do the same."""

    rule: str
    severity: str
    can: str
    """What they can do: ``writes files``."""
    advice: str


_REMOVE = "Take it out of what is exported; if the model needs it and you trust where it comes from, allow it by name."

FILE_WRITE = Group("op/file-write", "critical", "writes any file that the server may write", _REMOVE)
FILE_READ = Group("op/file-read", "high", "reads any file that the server may read, and can answer with it", _REMOVE)
NETWORK = Group("op/network", "critical", "opens connections to other machines", _REMOVE)
PYTHON = Group("op/python", "critical", "calls Python code of the process that loads the model", _REMOVE)
PROCESS = Group("op/process", "high", "ends or reconfigures the process that serves", _REMOVE)
NATIVE = Group("op/native-code", "high", "calls native code by a name that the model gives", _REMOVE)
HIDDEN = Group(
    "op/hidden-program", "high", "runs a program that it gets as data, where a scan does not see all of it", _REMOVE
)
COMPILED = Group(
    "op/compiled-module",
    "low",
    "holds a compiled module (StableHLO, as JAX exports) that is not looked into",
    "Nothing, if you know where the model comes from.",
)
DISTRIBUTED = Group(
    "op/distributed",
    "medium",
    "exchanges tensors with other devices or machines; one server has none",
    "Export the model from a program that is not distributed, or leave the training functions out.",
)
INTERNAL = Group(
    "op/internal",
    "medium",
    "is put in by TensorFlow's own optimizer, and does not belong into a saved graph",
    "Save the model anew, from before its graph was optimized.",
)
LOG = Group("op/log", "low", "writes what it is given to the server's log", "Leave tf.print out of what is exported.")
CUSTOM = Group(
    "op/custom",
    "high",
    "is no operation of TensorFlow, nor a function of the model: it needs a library that lading does not load",
    "Export without it; where you serve with that library, set allow_custom_ops, or allow it by name.",
)
DENIED = Group("op/denied", "high", "is denied by the policy", "Take it out of what is exported.")

Where = int | str | None
"""Where an operation gets its path or address: the input of this number, the attribute of this name, or nowhere."""

_OPS: dict[Group, dict[str, Where]] = {
    FILE_WRITE: {
        "WriteFile": 0, "Save": 0, "SaveSlices": 0, "SaveV2": 0, "MergeV2Checkpoints": 1, "DistributedSave": 1,
        "SaveDataset": 1, "SaveDatasetV2": 1, "SnapshotDataset": 1, "SnapshotDatasetV2": 1, "CacheDataset": 1,
        "CacheDatasetV2": 1, "DatasetToTFRecord": 1, "ExperimentalDatasetToTFRecord": 1, "CreateSummaryFileWriter": 1,
        "CreateSummaryDbWriter": 1, "SqlDataset": 1, "ExperimentalSqlDataset": 1, "DumpTensor": "log_dir_path",
        "CalibrationStatisticsSaver": "output_file_path", "PrintV2": "output_stream", "DebugIdentity": "debug_urls",
        "DebugIdentityV2": "debug_urls", "DebugIdentityV3": "debug_urls", "DebugNanCount": "debug_urls",
        "DebugNumericSummary": "debug_urls", "Copy": "debug_ops_spec", "CopyHost": "debug_ops_spec",
    },
    FILE_READ: {
        "ReadFile": 0, "MatchingFiles": 0, "MatchingFilesDataset": 0, "ExperimentalMatchingFilesDataset": 0,
        "Restore": 0, "RestoreSlice": 0, "RestoreV2": 0, "DTensorRestoreV2": 0, "LoadAndRemapMatrix": 0,
        "TextLineDataset": 0, "TFRecordDataset": 0, "TFRecordDatasetV2": 0, "FixedLengthRecordDataset": 0,
        "FixedLengthRecordDatasetV2": 0, "CSVDataset": 0, "CSVDatasetV2": 0, "ExperimentalCSVDataset": 0,
        "LMDBDataset": 0, "ExperimentalLMDBDataset": 0, "LoadDataset": 0, "SnapshotDatasetReader": 0,
        "SnapshotChunkDataset": 0, "ListSnapshotChunksDataset": 0, "GenerateVocabRemapping": 0,
        "InitializeTableFromTextFile": 1, "InitializeTableFromTextFileV2": 1, "WholeFileReader": None,
        "WholeFileReaderV2": None, "TextLineReader": None, "TextLineReaderV2": None, "TFRecordReader": None,
        "TFRecordReaderV2": None, "FixedLengthRecordReader": None, "FixedLengthRecordReaderV2": None,
        "LMDBReader": None, "RecordInput": "file_pattern", "Skipgram": "filename",
        "ImmutableConst": "memory_region_name", "FixedUnigramCandidateSampler": "vocab_file",
        "DecodeProtoV2": "descriptor_source", "EncodeProto": "descriptor_source",
    },
    NETWORK: {
        "DataServiceDataset": 2, "DataServiceDatasetV2": 2, "DataServiceDatasetV3": 2, "DataServiceDatasetV4": 2,
        "RegisterDataset": 1, "RegisterDatasetV2": 1, "RpcClient": 0, "RpcServer": 0, "RpcServerStart": None,
        "RpcServerRegister": None, "RpcCall": None, "RpcGetValue": None, "WorkerHeartbeat": None,
        "BigQueryReader": None, "BigtableClient": None, "KafkaDataset": None, "Rpc": 0, "TryRpc": 0,
    },
    PYTHON: {"PyFunc": "token", "PyFuncStateless": "token", "EagerPyFunc": "token"},
    PROCESS: {"Abort": "error_msg", "FileSystemSetConfiguration": 0},
    NATIVE: {"XlaCustomCall": "target_name", "XlaCustomCallV2": "call_target_name", "TRTEngineOp": None},
    HIDDEN: {
        "DatasetFromGraph": None, "MlirPassthroughOp": None, "RemoteFusedGraphExecute": None, "TPUCompile": None,
        "TPUExecute": None, "TPUExecuteAndUpdateVariables": None,
    },
    COMPILED: {"XlaCallModule": None},
    DISTRIBUTED: {"Send": None, "Recv": None, "RemoteCall": 0, "_Send": None, "_Recv": None},
    LOG: {"Print": None},
}  # fmt: skip

_PREFIXES = {
    "Collective": DISTRIBUTED,
    "Nccl": DISTRIBUTED,
    "IO>": NETWORK,  # tensorflow-io: file formats, databases, queues
    "Bigtable": NETWORK,
}

_BY_NAME = {name: (group, where) for group, names in _OPS.items() for name, where in names.items()}


@functools.cache
def registered() -> frozenset[str]:
    """TensorFlow's operations, as ``tensorflow_ops.txt`` lists them."""
    return frozenset(line for line in OP_LIST.read_text().splitlines() if not line.startswith("#"))


@functools.cache
def op_list_source() -> str:
    """Where the list comes from: ``tensorflow-cpu 2.21.0``."""
    comments = [line for line in OP_LIST.read_text().splitlines() if line.startswith("#")]
    return comments[-1].rpartition("the wheel ")[2].rstrip(".")


def group_of(op: str) -> tuple[Group | None, Where]:
    """The group of an operation, and where it gets its path; None for what is allowed."""
    if op in _BY_NAME:
        return _BY_NAME[op]
    for prefix, group in _PREFIXES.items():
        if op.startswith(prefix):
            return group, None
    if op not in registered():
        return CUSTOM, None
    return (INTERNAL if op.startswith("_") else None), None


def is_known(op: str) -> bool:
    """Whether an operation is TensorFlow's, or one that a group names."""
    return op in registered() or op in _BY_NAME


def named_ops() -> dict[str, Group]:
    """Every operation that a group names."""
    return {name: group for name, (group, _) in _BY_NAME.items()}
