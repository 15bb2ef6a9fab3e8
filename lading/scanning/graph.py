"""The graphs of a SavedModel: which operations they hold, and which functions these call.

Format: tensorflow/core/framework/{graph,node_def,function}.proto. A graph is read twice: once to count its operations
and note those that are asked about, and again, part by part, where the way to one of them is looked for.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from lading.errors import InvalidModel
from lading.scanning.attributes import Tensor, Value, read_tensor, read_value, string_spans
from lading.scanning.wire import Span, Wire

MAX_NODES = 1_000_000
MAX_NESTED = 4
MAIN = "main graph"
_SHORTEST_GRAPH = 8
"""No serialized graph with an operation is shorter."""
_MOST_REMEMBERED, _MOST_REMEMBERED_BYTES = 10_000, 200
_SHORTEST_VALUE = 5
"""No AttrValue that names a function or holds a string that matters is shorter."""


@dataclass(frozen=True)
class Node:
    """An operation of a graph."""

    name: str
    op: str
    inputs: tuple[str, ...]
    span: Span


@dataclass
class Scope:
    """What names of operations are unique in: a graph's top level, or the body of a function."""

    wire: Wire
    place: str
    """For people: ``main graph``, or the function's name."""
    graph: "Graph"
    spans: tuple[Span, ...]
    """Of several the file is one message all the same: protobuf merges them."""
    number: int
    """Of the field that holds the operations: 1 in a GraphDef, 3 in a FunctionDef."""
    ops: Counter[str] = field(default_factory=Counter)
    refs: set[str] = field(default_factory=set)
    """Functions that operations here name."""
    calling: set[int] = field(default_factory=set)
    """Where the operations begin that do so."""
    noted: dict[str, list[Span]] = field(default_factory=dict)
    """Operations that are asked about, by kind."""
    large: list[tuple[Span, Tensor]] = field(default_factory=list)
    """Constants that are larger than asked for, with their operations."""

    def read(self, span: Span) -> Node:
        """Read one operation, without its attributes."""
        name = op = ""
        inputs: list[str] = []
        for number, start, end in self.wire.fields(span):
            if end < 0:
                continue
            if number == 1:
                name = self.wire.text((start, end))
            elif number == 2:
                op = self.wire.text((start, end))
            elif number == 3:
                inputs.append(self.wire.text((start, end)))
        return Node(name, op, tuple(inputs), span)

    def attribute(self, node: Node, name: str) -> Value:
        """An attribute of an operation; one that is not there is empty."""
        found = Value()
        for entry in self.wire.spans(node.span, 5):
            value = self.wire.last(entry, 2)
            if value is not None and self.wire.text(self.wire.last(entry, 1)) == name:
                found = read_value(self.wire, value)
        return found

    @cached_property
    def nodes(self) -> dict[str, Node]:
        """Every operation, by name."""
        return {node.name: node for node in map(self.read, self.fields(self.number))}

    def fields(self, number: int) -> Iterator[Span]:
        """The contents of its fields of a number."""
        for span in self.spans:
            yield from self.wire.spans(span, number)

    @cached_property
    def arguments(self) -> dict[str, int]:
        """The positions of a function's arguments, by name (FunctionDef.signature, OpDef.input_arg)."""
        if self.number == 1:
            return {}
        names = [self.wire.text(self.wire.last(a, 1)) for s in self.fields(1) for a in self.wire.spans(s, 2)]
        return {name: position for position, name in enumerate(names)}

    @cached_property
    def results(self) -> list[str]:
        """What a function gives back: the names inside it, in the order of its outputs (OpDef.output_arg, ret)."""
        given = {}
        for entry in self.fields(4):
            given[self.wire.text(self.wire.last(entry, 1))] = self.wire.text(self.wire.last(entry, 2))
        outputs = [o for s in self.fields(1) for o in self.wire.spans(s, 3)]
        return [given.get(self.wire.text(self.wire.last(output, 1)), "") for output in outputs]

    def calls(self, node: Node) -> list[str]:
        """The functions that an operation names, also as its kind."""
        named = [node.op]
        if node.span[0] in self.calling:
            values = (self.wire.last(entry, 2) for entry in self.wire.spans(node.span, 5))
            named += (name for value in values if value for name in read_value(self.wire, value).functions)
        return [name for name in named if name in self.graph.functions]


@dataclass
class Graph:
    """A GraphDef: its top level, its functions, and graphs that lie in its attributes."""

    place: str
    """For people: ``main graph``."""
    functions: dict[str, Scope] = field(default_factory=dict)
    doubles: list[Scope] = field(default_factory=list)
    """Functions whose name another one has; TensorFlow takes them if they are equal."""
    nested: "list[Graph]" = field(default_factory=list)
    constant_bytes: int = 0
    """What its constants take in the file."""

    main: Scope = field(init=False)

    def scopes(self) -> Iterator[Scope]:
        """The top level, every function, and those of graphs inside."""
        yield self.main
        yield from self.functions.values()
        yield from self.doubles
        for graph in self.nested:
            yield from graph.scopes()


class GraphReader:
    """Reads graphs.

    Args:
        wire: Of the file.
        is_noted: Whether operations of a kind are asked about.
        is_known: Whether a kind is an operation of TensorFlow: what tells a graph in an attribute from other bytes.
        large_bytes: Constants from this size on are noted.
    """

    def __init__(
        self, wire: Wire, *, is_noted: Callable[[str], bool], is_known: Callable[[str], bool], large_bytes: int
    ) -> None:
        self._wire, self._is_noted, self._is_known, self._large = wire, is_noted, is_known, large_bytes
        self._kinds: dict[bytes, tuple[str, bool]] = {}
        self._harmless: set[bytes] = set()
        self.nodes = 0
        """Operations that were read."""

    def read(self, spans: tuple[Span, ...], place: str, *, depth: int = 0) -> Graph:
        """Read a GraphDef.

        Args:
            spans: Where it lies; one that stands in the file in several pieces is one graph.
            place: Its name for people.
            depth: In so many other graphs it lies.

        Raises:
            InvalidModel: it cannot be read, or is too large to be looked at.
        """
        if depth > MAX_NESTED:
            raise InvalidModel(f"{place}: graphs lie in the attributes of graphs more than {MAX_NESTED} deep")
        wire, graph = self._wire, Graph(place)
        graph.main = Scope(wire, place, graph, spans, 1)
        self._scan(graph.main, depth)
        for library in graph.main.fields(2):
            for function in wire.spans(library, 1):
                name = wire.text(wire.last(wire.last(function, 1) or (0, 0), 1))
                scope = Scope(wire, f"{place} › {name}" if depth else name, graph, (function,), 3)
                self._scan(scope, depth)
                if name in graph.functions:
                    graph.doubles.append(scope)
                else:
                    graph.functions[name] = scope
        for scope in list(graph.functions.values()) + graph.doubles:
            scope.refs.update(name for name in scope.ops if name in graph.functions)
        return graph

    def _scan(self, scope: Scope, depth: int) -> None:
        wire, kinds, ops = self._wire, self._kinds, scope.ops
        for node in scope.fields(scope.number):
            self.nodes += 1
            if self.nodes > MAX_NODES:
                raise InvalidModel(f"the SavedModel has more than {MAX_NODES:,} operations: too many to be looked at")
            raw = b""
            for number, start, end in wire.fields(node):
                if number == 5 and end >= start + _SHORTEST_VALUE and wire.data[start:end] not in self._harmless:
                    self._scan_attribute(scope, node, (start, end), depth)
                elif number == 2 and end >= 0:
                    raw = wire.bytes((start, end), most=1024)
            kind = kinds.get(raw)
            if kind is None:
                op = raw.decode(errors="replace")
                kind = kinds[raw] = op, self._is_noted(op)
            ops[kind[0]] += 1
            if kind[1]:
                scope.noted.setdefault(kind[0], []).append(node)

    def _scan_attribute(self, scope: Scope, node: Span, entry: Span, depth: int) -> None:
        for span in self._wire.spans(entry, 2):
            if span[1] - span[0] < _SHORTEST_VALUE:
                continue
            value = read_value(self._wire, span)
            if not (value.functions or value.tensors or any(map(self._may_be_graph, value.strings))):
                self._remember(entry)
                continue
            if value.functions:
                scope.refs.update(value.functions)
                scope.calling.add(node[0])
            strings = value.strings
            for place in value.tensors:
                tensor = read_tensor(self._wire, place)
                scope.graph.constant_bytes += tensor.stored
                if max(tensor.stored, tensor.expanded) >= self._large:
                    scope.large.append((node, tensor))
                strings += string_spans(self._wire, place)
            for string in strings:
                if self._may_be_graph(string):
                    self._read_nested(scope, node, string, depth)

    def _remember(self, entry: Span) -> None:
        """Attributes are much the same from operation to operation: what holds nothing need not be read again."""
        if entry[1] - entry[0] <= _MOST_REMEMBERED_BYTES and len(self._harmless) < _MOST_REMEMBERED:
            self._harmless.add(self._wire.data[entry[0] : entry[1]])

    def _may_be_graph(self, span: Span) -> bool:
        """Whether bytes begin as a message that holds messages; quick, since most strings are none."""
        size = span[1] - span[0]
        if size < _SHORTEST_GRAPH:
            return False
        data, at = self._wire.data, span[0]
        kind, length = data[at] & 7, data[at + 1]
        return kind in (0, 5, 1) or data[at] > 127 or (kind == 2 and (length > 127 or length + 2 <= size))

    def _read_nested(self, scope: Scope, node: Span, span: Span, depth: int) -> None:
        place = f"{scope.place} › {scope.read(node).name} › graph inside"
        if not self._holds_operations(span):
            return
        scope.graph.nested.append(self.read((span,), place, depth=depth + 1))

    def _holds_operations(self, span: Span) -> bool:
        """Whether bytes are a GraphDef in which an operation, or one of a function, is known."""
        wire = self._wire
        try:
            libraries = [function for library in wire.spans(span, 2) for function in wire.spans(library, 1)]
            nodes = [*wire.spans(span, 1), *(node for function in libraries for node in wire.spans(function, 3))]
            ops = {wire.text(wire.last(node, 2)) for node in nodes}
        except InvalidModel:
            return False
        return any(self._is_known(op) for op in ops)
