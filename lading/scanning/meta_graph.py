"""What a MetaGraphDef declares beside its graph: signatures, the saver, assets, what runs when it is loaded.

Format: tensorflow/core/protobuf/{saved_model,meta_graph,saver}.proto; what a loader runs:
tensorflow/cc/saved_model/loader_util.cc (GetInitOp, GetAssetFileDefs).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from lading.scanning.graph import MAIN, Graph, GraphReader
from lading.scanning.wire import Span, Wire

INIT_SIGNATURE = "__saved_model_init_op"
_INIT_COLLECTIONS = ("saved_model_main_op", "legacy_init_op")
_ASSETS = "saved_model_assets"
_MOST_TENSORS = 100


@dataclass(frozen=True)
class Saver:
    """Names of the tensors and operations that write and read variables; empty where there are none."""

    filename: str
    save: str
    restore: str


@dataclass(frozen=True)
class Asset:
    """A file of the model whose path the loader puts into a tensor."""

    tensor: str
    filename: str
    """Below ``assets``, as it is declared."""


@dataclass(frozen=True)
class MetaGraph:
    """One graph of a SavedModel, with what is said of it."""

    tags: tuple[str, ...]
    graph: Graph
    signatures: dict[str, tuple[str, ...]]
    """For each signature that a request can name the tensors and operations that it asks for."""
    initializers: tuple[str, ...]
    """What runs when the model is loaded, besides the restoring of variables."""
    saver: Saver
    assets: tuple[Asset, ...]
    version: str
    """Of the TensorFlow that wrote it."""
    has_lambda: bool
    """Whether an object is a Keras layer with Python code of its own."""


def read_meta_graphs(wire: Wire, reader: GraphReader) -> list[MetaGraph]:
    """Read every MetaGraphDef of a SavedModel.

    Raises:
        InvalidModel: it cannot be read.
    """
    spans = list(wire.spans(wire.whole, 2))
    return [_read(wire, reader, span, several=len(spans) > 1) for span in spans]


def _read(wire: Wire, reader: GraphReader, span: Span, *, several: bool) -> MetaGraph:
    parts: dict[int, list[Span]] = {}
    for number, start, end in wire.fields(span):
        if end >= 0:
            parts.setdefault(number, []).append((start, end))
    infos = parts.get(1, [])
    tags = tuple(wire.text(tag) for info in infos for tag in wire.spans(info, 4))
    collections = dict(_entries(wire, parts.get(4, [])))
    signatures = {name: tuple(_tensors(wire, definition)) for name, definition in _entries(wire, parts.get(5, []))}
    initializers = [*signatures.pop(INIT_SIGNATURE, ())]
    for name in _INIT_COLLECTIONS:
        if name in collections:  # CollectionDef.node_list, NodeList.value
            nodes = wire.spans(collections[name], 1)
            initializers += [wire.text(value) for node_list in nodes for value in wire.spans(node_list, 1)]
    savers = parts.get(3, [])
    saver = Saver(*(_last_text(wire, savers, number) for number in (1, 2, 3)))
    declared = parts.get(6, []) or list(_collected(wire, collections.get(_ASSETS)))
    return MetaGraph(
        tags=tags,
        graph=reader.read(tuple(parts.get(2, [])), f"{MAIN} ({', '.join(tags)})" if several else MAIN),
        signatures=signatures,
        initializers=tuple(initializers),
        saver=saver,
        assets=tuple(_asset(wire, asset) for asset in declared),
        version=_last_text(wire, infos, 5),
        has_lambda=any(holds_lambda(wire, objects) for objects in parts.get(7, [])),
    )


def holds_lambda(wire: Wire, span: Span) -> bool:
    """Whether bytes hold the JSON of a Keras layer of the class Lambda, as Keras writes it."""
    return any(wire.data.find(text, *span) >= 0 for text in (b'"class_name": "Lambda"', b'"class_name":"Lambda"'))


def _entries(wire: Wire, entries: list[Span]) -> Iterator[tuple[str, Span]]:
    """The keys and values of a map; an entry without a value has the empty one."""
    for entry in entries:
        yield wire.text(wire.last(entry, 1)), wire.last(entry, 2) or (0, 0)


def _last_text(wire: Wire, messages: list[Span], number: int) -> str:
    texts = [wire.text(span) for message in messages for span in wire.spans(message, number)]
    return texts[-1] if texts else ""


def _tensors(wire: Wire, signature: Span) -> Iterator[str]:
    """The names of a signature's output tensors (SignatureDef.outputs)."""
    for _, info in _entries(wire, list(wire.spans(signature, 2))):
        yield from _names(wire, info, 0)


def _names(wire: Wire, info: Span, depth: int) -> Iterator[str]:
    """The tensors of a TensorInfo: one, or the parts of a sparse or composite one."""
    if depth > _MOST_TENSORS:
        return
    for number, start, end in wire.fields(info):
        if end < 0:
            continue
        if number == 1:
            yield wire.text((start, end))
        elif number == 4:
            yield from (wire.text(name) for part in (1, 2, 3) for name in wire.spans((start, end), part))
        elif number == 5:
            for component in wire.spans((start, end), 2):
                yield from _names(wire, component, depth + 2)


def _collected(wire: Wire, collection: Span | None) -> Iterator[Span]:
    """Assets as TensorFlow 1 declares them (CollectionDef.any_list, AnyList.value, Any.value)."""
    if collection is not None:
        for any_list in wire.spans(collection, 5):
            for packed in wire.spans(any_list, 1):
                yield from wire.spans(packed, 2)


def _asset(wire: Wire, span: Span) -> Asset:
    info = wire.last(span, 1) or (0, 0)
    return Asset(wire.text(wire.last(info, 1)), wire.text(wire.last(span, 2)))
