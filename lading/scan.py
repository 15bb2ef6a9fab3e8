"""Read a SavedModel without running it, and judge what it could do to whoever serves it."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from lading import __version__
from lading.errors import InvalidInput, InvalidModel
from lading.results import ScanFinding, ScanReport
from lading.scanning import op_groups
from lading.scanning.compare import MOST_NAME
from lading.scanning.directory import CHUNKED_GRAPH, GRAPH, TEXT_GRAPH, Directory, judge_assets, read_directory
from lading.scanning.graphs import Graphs, file_holds_lambda, read_graphs
from lading.scanning.operations import Found
from lading.scanning.plain import plain
from lading.scanning.policy import SEVERITIES, Policy
from lading.scanning.tflite import SUFFIX, judge_litert
from lading.values import Check

ENGINES = ("tensorflow", "litert")
_MOST_LIKE = 50
"""Findings of one rule that are listed; the report says how many more there are."""
_PARTS = {
    "operations": ("op/", "litert/"),
    "format": ("format/",),
    "files": ("files/",),
    "assets": ("assets/",),
    "constants": ("constants/",),
    "objects": ("objects/",),
}
"""The checks of the report, with the rules that belong to each."""


def scan_model(model: Path, *, engine: str = "tensorflow", policy: Policy | None = None) -> ScanReport:
    """Judge a SavedModel by what it holds. Nothing of it is run or imported.

    Args:
        model: A SavedModel, or a version base (the highest version is read).
        engine: What is to run it: ``tensorflow`` or ``litert``.
        policy: What counts; by default everything of the severity ``high`` or ``critical``.

    Raises:
        InvalidModel: there is no SavedModel, or its file is cut off, is something else, or has more parts than can be
            looked at.
        StorageError: a file cannot be read.
    """
    if engine not in ENGINES:
        raise InvalidInput(f"expected one of the engines {', '.join(ENGINES)}, received {engine!r}")
    started, policy = time.perf_counter(), policy or Policy()
    root = _find(model)
    directory = read_directory(root)
    graphs = read_graphs(directory.files[GRAPH], policy) if GRAPH in directory.files else Graphs()
    found = [*graphs.found, *_judge_inner(directory.files, policy)]
    judged = [policy.judge(finding) for finding in _judge_files(root, directory, graphs, engine)]
    judged += [policy.judge(one.finding, one.op) for one in found]
    return ScanReport(
        passed=not any(map(policy.counts, judged)),
        checks=_checks(judged, policy),
        findings=tuple(_listed(judged)),
        engine=engine,
        fail_on=policy.fail_on,
        operations={plain(op): count for op, count in sorted(graphs.operations.items())},
        functions=graphs.functions,
        signatures=tuple(plain(name) for meta in graphs.metas for name in sorted(meta.signatures)),
        files={plain(name, MOST_NAME): digest for name, digest in directory.digests().items()},
        versions={
            "lading": __version__,
            "operations": op_groups.op_list_source(),
            "written by": plain(", ".join(sorted({meta.version for meta in graphs.metas}))),
        },
        seconds=round(time.perf_counter() - started, 3),
    )


def _find(model: Path) -> Path:
    """The directory that holds the graph in any of its forms."""
    names = (GRAPH, TEXT_GRAPH, CHUNKED_GRAPH)
    if any((model / name).is_file() for name in names):
        return model
    if not model.is_dir():
        raise InvalidModel(
            f"expected a SavedModel directory at {model}, found {'a file' if model.exists() else 'nothing'}"
        )
    # As in a version base of TensorFlow Serving: the highest number, not the last by name.
    versions = [entry for entry in model.iterdir() if entry.name.isascii() and entry.name.isdigit()]
    newest = max(versions, key=lambda entry: int(entry.name), default=None)
    if newest is None or not any((newest / name).is_file() for name in names):
        raise InvalidModel(
            f"expected a SavedModel at {newest or model}: it has no {GRAPH}, and no sub-directory that is named by a "
            "version number and has one"
        )
    return newest


def _judge_files(root: Path, directory: Directory, graphs: Graphs, engine: str) -> Iterator[ScanFinding]:
    """All but the operations of the graphs."""
    if GRAPH in directory.files:
        yield from directory.findings
        for meta in graphs.metas:
            yield from judge_assets(meta.assets, directory)
    else:
        yield from (finding for finding in directory.findings if finding.rule != "format/other-graph")
        yield _no_graph(root)
    yield from _judge_keras(directory.files, graphs)
    for name, path in directory.files.items():
        if name.endswith(SUFFIX):
            yield from judge_litert(path, name, engine=engine)


def _no_graph(root: Path) -> ScanFinding:
    return ScanFinding(
        "format/no-graph",
        "critical",
        next((name for name in (TEXT_GRAPH, CHUNKED_GRAPH) if (root / name).is_file()), GRAPH),
        f"there is no {GRAPH} that belongs to the model: what TensorFlow loads instead was not read",
        f"Load the model where you trust it, and save it anew: that writes {GRAPH}.",
    )


def _judge_inner(files: dict[str, Path], policy: Policy) -> Iterator[Found]:
    """SavedModels somewhere inside of the model: who is given the path of one serves it."""
    for name, path in files.items():
        if not name.endswith(f"/{GRAPH}"):
            continue
        try:
            found = read_graphs(path, policy).found
        except InvalidModel as error:
            text = f"a graph that cannot be read ({plain(str(error))})"
            yield Found(ScanFinding("format/inner", "medium", plain(name), text, "Remove it: no model needs it."), "")
            continue
        for one in found:
            yield replace(one, finding=replace(one.finding, where=plain(f"{name} › {one.finding.where}")))


def _judge_keras(files: dict[str, Path], graphs: Graphs) -> Iterator[ScanFinding]:
    """Layers with Python code, which Keras would run when it loads the model; a server does not use Keras."""
    path = files.get("keras_metadata.pb")
    if any(meta.has_lambda for meta in graphs.metas) or (path and file_holds_lambda(path)):
        yield ScanFinding(
            "objects/lambda",
            "info",
            "keras_metadata.pb" if path else GRAPH,
            "a Keras layer of the class Lambda: it holds Python code, which Keras runs when it loads the model; "
            "lading and TensorFlow Serving do not",
            "Do not load it with Keras unless you trust where it comes from; write the layer as a class.",
        )


def _checks(findings: list[ScanFinding], policy: Policy) -> tuple[Check, ...]:
    made = []
    for name, prefixes in _PARTS.items():
        mine = [finding for finding in findings if finding.rule.startswith(prefixes)]
        against = sorted(filter(policy.counts, mine), key=_gravity)
        if against:
            more = f" (and {len(against) - 3} more)" if len(against) > 3 else ""
            received = "; ".join(f"{f.severity}: {f.where}: {f.text}" for f in against[:3]) + more
        else:
            received = f"{len(mine)} of less weight, or accepted" if mine else "none"
        made.append(Check(name, not against, f"no finding that is {policy.fail_on} or graver", received))
    return tuple(made)


def _gravity(finding: ScanFinding) -> tuple[int, bool]:
    return -SEVERITIES.index(finding.severity), bool(finding.accepted)


def _listed(findings: list[ScanFinding]) -> Iterator[ScanFinding]:
    """The gravest first; of those of one rule and severity not too many."""
    seen: Counter[tuple[str, str, bool]] = Counter()
    for finding in sorted(findings, key=_gravity):
        seen[key := (finding.rule, finding.severity, bool(finding.accepted))] += 1
        if seen[key] <= _MOST_LIKE:
            yield finding
    for (rule, severity, accepted), count in seen.items():
        if count > _MOST_LIKE:
            yield ScanFinding(
                rule, severity, "elsewhere", f"{count - _MOST_LIKE} more of this rule are not listed", "See above.",
                count - _MOST_LIKE, "as those above" if accepted else "",
            )  # fmt: skip
