"""Judges the operations of a model: what reaches beyond it, by whom it is run, and on which paths."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from lading.results import ScanFinding
from lading.scanning import op_groups
from lading.scanning.graph import Node, Scope
from lading.scanning.meta_graph import MetaGraph
from lading.scanning.op_groups import Group, Where
from lading.scanning.plain import plain
from lading.scanning.reach import SAVER_RESTORE, Reach
from lading.scanning.sources import Source, Sources

_SAVE = frozenset({"Save", "SaveSlices", "SaveV2", "MergeV2Checkpoints"})
_RESTORE = frozenset({"Restore", "RestoreSlice", "RestoreV2"})
_TABLE = frozenset({"InitializeTableFromTextFile", "InitializeTableFromTextFileV2"})
_CACHE = frozenset({"CacheDataset", "CacheDatasetV2"})
_DEBUG = frozenset(
    {"DebugIdentity", "DebugIdentityV2", "DebugIdentityV3", "DebugNanCount", "DebugNumericSummary", "Copy", "CopyHost"}
)
_PROTO = frozenset({"DecodeProtoV2", "EncodeProto"})
_MOST_FINDINGS = 1000
"""From here on operations of one kind are counted, wherever they are."""


@dataclass(frozen=True)
class Found:
    """A finding, and the operation that it is about."""

    finding: ScanFinding
    op: str


@dataclass(frozen=True)
class _Use:
    """One operation where it stands."""

    scope: Scope
    node: Node
    group: Group
    where: Where
    served: str
    """The signature that runs it, or loading; empty if none does."""
    saver: str
    sources: Sources

    @property
    def place(self) -> str:
        ways = [self.served or self.saver, self.scope.place, self.node.name]
        return plain(" › ".join(way for way in ways if way))

    @cached_property
    def texts(self) -> set[Source]:
        """Where the path or address of the operation comes from."""
        if isinstance(self.where, int):
            return self.sources.of_input(self.scope, self.node, self.where)
        strings = self.scope.attribute(self.node, self.where).strings if self.where else ()
        return {Source("constant", self.scope.wire.text(string)) for string in strings}

    def finding(self, *, severity: str = "", text: str = "", advice: str = "") -> ScanFinding:
        """What to tell; by default as the group has it, with the paths."""
        if not text:
            text = f"{plain(self.node.op)} {self.group.can}"
            paths = sorted(map(str, self.texts))
            text += f"; here: {plain(', '.join(paths[:5]))}" if paths else ""
            text += "" if self.served else "; no signature comes to it, a program that loads the model in Python can"
        return ScanFinding(
            self.group.rule, severity or self.group.severity, self.place, text, advice or self.group.advice
        )


def judge_operations(meta: MetaGraph, deny: tuple[str, ...]) -> Iterator[Found]:
    """What is worth a look among the operations of a MetaGraphDef; findings that are alike in one place are one.

    Args:
        meta: The graph, read with ``is_noted``.
        deny: Operations that the policy denies besides.

    Raises:
        InvalidModel: the graph cannot be read.
    """
    reach, sources = Reach(meta), Sources(meta)
    alike: dict[tuple[str, ...], ScanFinding] = {}
    counts: Counter[tuple[str, ...]] = Counter()
    for scope in meta.graph.scopes():
        for op, spans in scope.noted.items():
            group, where = (op_groups.DENIED, None) if op in deny else op_groups.group_of(op)
            if group is None or (group is op_groups.CUSTOM and op in scope.graph.functions):
                continue
            key: tuple[str, ...] = ()
            # Where it depends each one is judged; of others there are soon more than anyone reads.
            judged = spans if op in _CONDITIONAL else spans[:_MOST_FINDINGS]
            for span in judged:
                node = scope.read(span)
                served, saver = reach.served(scope, node.name), reach.saver(scope, node.name)
                finding = _judge(_Use(scope, node, group, where, served, saver, sources))
                if finding is not None:
                    key = (op, finding.rule, finding.severity, finding.text, scope.place)
                    if len(alike) >= _MOST_FINDINGS and key not in alike:
                        key = key[:3]
                    alike.setdefault(key, finding)
                    counts[key] += 1
            counts[key] += len(spans) - len(judged)
    for key, finding in alike.items():
        yield Found(replace(finding, count=counts[key]), key[0])


def is_noted(op: str, deny: tuple[str, ...]) -> bool:
    """Whether ``judge_operations`` asks about operations of a kind."""
    return op in deny or op_groups.group_of(op)[0] is not None


def _judge(use: _Use) -> ScanFinding | None:
    """The finding about an operation; None when it is harmless where it stands."""
    for ops, judge in _CONDITIONS:
        if use.node.op in ops and use.group is not op_groups.DENIED:
            return judge(use)
    return use.finding()


def _judge_saver(use: _Use) -> ScanFinding | None:
    """Checkpoints are written and read by the saver, on its own file name; whatever else does so is suspicious."""
    away = any(source.leads_away for source in use.texts)
    if use.served or (use.saver == SAVER_RESTORE and use.node.op in _SAVE):
        return use.finding()
    if use.saver:
        own = {source.kind for source in use.texts} <= {"saver", "constant", "asset"}
        has_name = Source("saver") in use.texts
        return None if own and has_name and not away else use.finding()
    # Graphs of TensorFlow 1 may have several savers (save, save_1), of which one is declared.
    left = any(source.kind in ("input", "saver") for source in use.texts) and not away
    return use.finding(severity="low" if left else "")


def _judge_print(use: _Use) -> ScanFinding | None:
    streams = [source.text for source in use.texts]
    if any(stream.startswith("file://") for stream in streams):
        return use.finding()
    log = replace(use, group=op_groups.LOG)
    return log.finding(text=f"{use.node.op} {op_groups.LOG.can}")


def _judge_table(use: _Use) -> ScanFinding | None:
    texts = use.texts
    return None if texts and all(source.kind == "asset" for source in texts) else use.finding()


def _judge_path(use: _Use) -> ScanFinding | None:
    """Harmless with an empty path."""
    texts = use.texts
    return None if all(source == Source("constant", "") for source in texts) and texts else use.finding()


def _judge_attribute(use: _Use) -> ScanFinding | None:
    """Harmless without a path, which is an attribute that has an empty default."""
    return use.finding() if any(source.text for source in use.texts) else None


def _judge_debug(use: _Use) -> ScanFinding | None:
    if any("://" in source.text for source in use.texts):
        return use.finding()
    return None


def _judge_proto(use: _Use) -> ScanFinding | None:
    """Descriptors come from a file unless the source says ``local://`` or holds them (``bytes://``)."""
    named = [source.text for source in use.texts]
    return use.finding() if any(n and not n.startswith(("local://", "bytes://")) for n in named) else None


_CONDITIONS: tuple[tuple[frozenset[str], Callable[[_Use], ScanFinding | None]], ...] = (
    (_SAVE | _RESTORE, _judge_saver),
    (frozenset({"PrintV2"}), _judge_print),
    (_TABLE, _judge_table),
    (_CACHE, _judge_path),
    (_DEBUG, _judge_debug),
    (_PROTO, _judge_proto),
    (frozenset({"FixedUnigramCandidateSampler"}), _judge_attribute),
)
_CONDITIONAL = frozenset().union(*(ops for ops, _ in _CONDITIONS))
