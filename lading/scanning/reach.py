"""Who runs what: which operations a request, the loading, or the saving of a model comes to."""

from collections import deque
from collections.abc import Iterable
from functools import cached_property

from lading.scanning.graph import Graph, Scope
from lading.scanning.meta_graph import MetaGraph

LOADING = "when the model is loaded"
SAVER_SAVE, SAVER_RESTORE = "saver: save", "saver: restore"


class Reach:
    """What each way into a MetaGraphDef comes to, at the top level and in functions."""

    def __init__(self, meta: MetaGraph) -> None:
        self._graph = meta.graph
        ways = {f"signature {name}": tensors for name, tensors in meta.signatures.items()}
        self._serving = {**ways, LOADING: meta.initializers}
        self._saver = {SAVER_SAVE: (meta.saver.save,), SAVER_RESTORE: (meta.saver.restore,)}

    @cached_property
    def _served(self) -> dict[tuple[str, str], str]:
        return _spread(self._graph, self._serving.items())

    @cached_property
    def _saved(self) -> dict[tuple[str, str], str]:
        return _spread(self._graph, [(SAVER_SAVE, self._saver[SAVER_SAVE])])

    @cached_property
    def _restored(self) -> dict[tuple[str, str], str]:
        return _spread(self._graph, [(SAVER_RESTORE, self._saver[SAVER_RESTORE])])

    def served(self, scope: Scope, node: str) -> str:
        """The signature (one of them) or loading that comes to an operation; empty if none does."""
        return "" if scope.graph is not self._graph else self._served.get(_key(scope, node), "")

    def saver(self, scope: Scope, node: str) -> str:
        """The saver's restoring, else its saving, if it comes to an operation; else empty."""
        if scope.graph is not self._graph:
            return ""
        key = _key(scope, node)
        return self._restored.get(key, "") or self._saved.get(key, "")


def _key(scope: Scope, node: str) -> tuple[str, str]:
    """In a function every operation counts as run: side effects are, whether anything needs their result or not."""
    return ("", node) if scope.number == 1 else (scope.place, "")


def _spread(graph: Graph, ways: Iterable[tuple[str, Iterable[str]]]) -> dict[tuple[str, str], str]:
    """For each operation at the top level, and each function, the first way that comes to it."""
    found: dict[tuple[str, str], str] = {}
    waiting: deque[tuple[str, str]] = deque()

    def come_to(key: tuple[str, str], way: str) -> None:
        if key not in found:
            found[key] = way
            waiting.append(key)

    for way, names in ways:
        for name in names:
            if name:
                come_to(("", node_of(name)), way)
    while waiting:
        function, name = key = waiting.popleft()
        way = found[key]
        if function:
            for called in graph.functions[function].refs:
                if called in graph.functions:
                    come_to((called, ""), way)
            continue
        node = graph.main.nodes.get(name)
        if node is None:
            continue
        for source in node.inputs:
            come_to(("", node_of(source)), way)
        for called in graph.main.calls(node):
            come_to((called, ""), way)
    return found


def node_of(tensor: str) -> str:
    """The operation that gives a tensor: ``^name``, ``name:0`` and ``name:output:0`` are all of ``name``."""
    return tensor.removeprefix("^").partition(":")[0]
