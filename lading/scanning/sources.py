"""Where the text of a tensor comes from: a constant, an asset, the saver's file name, or something computed.

This follows strings through calls, joins and choices. What it does not know is ``computed``: never taken for harmless.
"""

from dataclasses import dataclass
from functools import cached_property

from lading.scanning.attributes import read_strings
from lading.scanning.graph import Node, Scope
from lading.scanning.meta_graph import MetaGraph
from lading.scanning.reach import node_of

_MOST_STEPS = 2000
_MOST_STEPS_IN_ALL = 500_000
_FIRST = frozenset(
    {"Identity", "ShardedFilename", "ShardedFilespec", "Reshape", "Squeeze", "ExpandDims", "Enter", "RefEnter", "Exit"}
    | {"RefExit", "NextIteration", "RefNextIteration", "Switch", "RefSwitch", "StopGradient", "EnsureShape"}
)
_ALL = frozenset({"StringJoin", "Pack", "Merge", "RefMerge"})
_CHOICE = frozenset({"Select", "SelectV2"})
_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
_BEFORE_ARGUMENTS = {"If": 1, "StatelessIf": 1, "Case": 1, "StatelessCase": 1, "While": 0, "StatelessWhile": 0}


@dataclass(frozen=True)
class Source:
    """Where a text, or a part of it, comes from."""

    kind: str
    """``constant``, ``asset``, ``saver``, ``input``, ``variable`` (a handle of one) or ``computed``."""
    text: str = ""
    """The constant; the file of the asset; the name of the input or of the operation."""

    @property
    def leads_away(self) -> bool:
        """Whether it is a constant that makes a path lead to a place of its own choice."""
        text = self.text.replace("\\", "/")
        return self.kind == "constant" and (text.startswith(("/", "~")) or "://" in text or ".." in text.split("/"))

    def __str__(self) -> str:
        words = {"constant": repr(self.text), "asset": f"the asset {self.text!r}", "saver": "the saver's file name"}
        return words.get(self.kind, f"{'an input' if self.kind == 'input' else self.kind} ({self.text})")


_UNKNOWN = Source("variable")


class Sources:
    """Finds sources of texts in a MetaGraphDef."""

    def __init__(self, meta: MetaGraph) -> None:
        self._meta = meta
        self._steps = 0
        self._assets = {node_of(asset.tensor): asset.filename for asset in meta.assets}

    def of_input(self, scope: Scope, node: Node, index: int) -> set[Source]:
        """The sources of an operation's input."""
        inputs = [name for name in node.inputs if not name.startswith("^")]
        if index >= len(inputs):
            return {Source("computed", "an input that is missing")}
        return self._of_tensor(scope, inputs[index])

    def _of_tensor(self, scope: Scope, tensor: str, *, is_handle: bool = False) -> set[Source]:
        """The sources of a tensor; of a handle those of variables' values are not looked for."""
        found: set[Source] = set()
        seen: set[tuple[int, str]] = set()
        waiting = [(scope, tensor)]
        while waiting:
            here, tensor = waiting.pop()
            if (id(here), tensor) in seen:
                continue
            seen.add((id(here), tensor))
            self._steps += 1
            if len(seen) > _MOST_STEPS or self._steps > _MOST_STEPS_IN_ALL:
                return found | {Source("computed", "a very long way")}
            sources, further = self._step(here, tensor, is_handle=is_handle)
            found |= sources
            waiting += further
        return found

    def _step(self, scope: Scope, tensor: str, *, is_handle: bool) -> tuple[set[Source], list[tuple[Scope, str]]]:
        """The sources that a tensor has itself, and the tensors that it is made of."""
        name = node_of(tensor)
        at_top = scope is self._meta.graph.main
        if at_top and name == node_of(self._meta.saver.filename):
            return {Source("saver")}, []
        if at_top and name in self._assets:
            return {Source("asset", self._assets[name])}, []
        if ":" not in tensor and name in scope.arguments:
            return self._from_callers(scope, name)
        node = scope.nodes.get(name)
        if node is None:
            return {Source("computed", "an operation that is missing")}, []
        if node.op == "ReadVariableOp" and node.inputs and not is_handle:
            return self._assigned(self._of_tensor(scope, node.inputs[0], is_handle=True))
        return self._through(scope, node, tensor)

    def _through(self, scope: Scope, node: Node, tensor: str) -> tuple[set[Source], list[tuple[Scope, str]]]:
        inputs = [name for name in node.inputs if not name.startswith("^")]
        if node.op == "Const":
            return self._constants(scope, node), []
        if node.op in _FIRST:
            return set(), [(scope, name) for name in inputs[:1]]
        if node.op in _ALL:
            return set(), [(scope, name) for name in inputs]
        if node.op in _CHOICE:
            return set(), [(scope, name) for name in inputs[1:3]]
        if node.op == "Placeholder":
            return {Source("input", node.name)}, []
        if node.op == "PlaceholderWithDefault":
            return {Source("input", node.name)}, [(scope, name) for name in inputs[:1]]
        if node.op == "VarHandleOp":
            return {Source("variable", self._variable(scope, node))}, []
        called = scope.calls(node)
        if len(called) == 1 and (node.op in _CALLS or node.op == called[0]):
            function, index = scope.graph.functions[called[0]], tensor.rpartition(":")[2]
            position = int(index) if index.isdecimal() else 0
            if position < len(function.results) and function.results[position]:
                return set(), [(function, function.results[position])]
        return {Source("computed", node.op)}, []

    def _constants(self, scope: Scope, node: Node) -> set[Source]:
        tensors = scope.attribute(node, "value").tensors
        if len(tensors) != 1:
            return {Source("computed", "Const")}
        strings = read_strings(scope.wire, tensors[0])
        if strings is None:
            return {Source("computed", "Const")}
        return {Source("constant", string.decode(errors="replace")) for string in strings or [b""]}

    def _variable(self, scope: Scope, node: Node) -> str:
        """What makes two handles the same variable: ``shared_name``, else the name of the operation."""
        shared = [scope.wire.text(span) for span in scope.attribute(node, "shared_name").strings]
        return "".join(shared) or node.name

    def _assigned(self, handles: set[Source]) -> tuple[set[Source], list[tuple[Scope, str]]]:
        """What is put into a variable, wherever that is."""
        (handle,) = handles if len(handles) == 1 else [Source("computed", "several variables")]
        if handle.kind != "variable":
            return {Source("computed", "a variable")}, []
        values = [*self._assignments.get(handle, []), *self._assignments.get(_UNKNOWN, [])]
        return (set(), values) if values else ({Source("computed", f"the variable {handle.text}")}, [])

    @cached_property
    def _assignments(self) -> dict[Source, list[tuple[Scope, str]]]:
        """For each variable the tensors that are put into it; those of which it is not known where under _UNKNOWN."""
        found: dict[Source, list[tuple[Scope, str]]] = {}
        for scope in (self._meta.graph.main, *self._meta.graph.functions.values()):
            for node in scope.nodes.values() if "AssignVariableOp" in scope.ops else ():
                if node.op == "AssignVariableOp" and len(node.inputs) > 1:
                    for handle in self._of_tensor(scope, node.inputs[0], is_handle=True):
                        key = handle if handle.kind == "variable" else _UNKNOWN
                        found.setdefault(key, []).append((scope, node.inputs[1]))
        return found

    def _from_callers(self, scope: Scope, argument: str) -> tuple[set[Source], list[tuple[Scope, str]]]:
        callers = self._callers.get(scope.place, [])
        further = []
        for caller, node in callers:
            offset = 0 if node.op in _CALLS or node.op == scope.place else _BEFORE_ARGUMENTS.get(node.op)
            inputs = [name for name in node.inputs if not name.startswith("^")]
            position = -1 if offset is None else offset + scope.arguments[argument]
            if not 0 <= position < len(inputs):
                return {Source("computed", f"an argument of {node.op}")}, []
            further.append((caller, inputs[position]))
        return (set(), further) if further else ({Source("input", argument)}, [])

    @cached_property
    def _callers(self) -> dict[str, list[tuple[Scope, Node]]]:
        """Who calls each function of the MetaGraphDef's graph."""
        found: dict[str, list[tuple[Scope, Node]]] = {}
        graph = self._meta.graph
        for scope in (graph.main, *graph.functions.values()):
            if scope.refs:
                for node in scope.nodes.values():
                    for name in scope.calls(node):
                        found.setdefault(name, []).append((scope, node))
        return found
