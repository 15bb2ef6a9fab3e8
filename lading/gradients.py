"""Gradients that LiteRT has no operation for, made of operations that it has.

The signature ``input_gradients`` of nearly every model needs one of these. In a copy of the SavedModel each such node
becomes a call of a function that gives the same result; the converter inlines it.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any


def rewrite(model_dir: Path, scratch: Path) -> tuple[Path, dict[str, int]]:
    """A SavedModel without the gradients that LiteRT lacks and that can be expressed otherwise.

    Args:
        model_dir: Holds ``saved_model.pb``.
        scratch: An empty directory, filled when something is replaced.

    Returns:
        ``model_dir`` when nothing had to be replaced, else ``scratch``; and how many nodes were, by operation.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel.FromString((model_dir / "saved_model.pb").read_bytes())
    counts: dict[str, int] = {}
    for library in (meta.graph_def.library for meta in model.meta_graphs):
        made: dict[tuple[str, str], str] = {}
        nodes = [node for function in library.function for node in function.node_def if node.op in _REPLACEMENTS]
        for node in nodes:
            key = node.op, str(sorted((name, str(value)) for name, value in node.attr.items() if name[0] != "_"))
            if key not in made:
                function = _REPLACEMENTS[node.op](node)
                if function is None:
                    continue
                made[key] = f"lading_{node.op}_{len(made)}"
                library.function.append(_definition(function, name=made[key], result=_RESULTS[node.op]))
            counts[node.op] = counts.get(node.op, 0) + 1
            node.op = made[key]
            for name in list(node.attr):  # those of the operation, which the function does not have
                del node.attr[name]
    if not counts:
        return model_dir, counts
    for entry in model_dir.iterdir():
        if entry.name != "saved_model.pb":
            (scratch / entry.name).symlink_to(entry.resolve())
    (scratch / "saved_model.pb").write_bytes(model.SerializeToString())
    return scratch, counts


def _definition(function: Any, *, name: str, result: str) -> Any:
    """The FunctionDef of a function with one result. Nodes around keep calling the result by the operation's name."""
    from tensorflow.core.framework import function_pb2

    concrete = function.get_concrete_function()
    definition = function_pb2.FunctionDef.FromString(concrete.function_def.SerializeToString())
    (output,) = definition.signature.output_arg
    tensor = definition.ret.pop(output.name)
    definition.signature.name = name
    output.name = result
    definition.ret[result] = tensor
    definition.arg_attr.clear()
    return definition


def _function(compute: Callable[..., Any], node: Any, **first: Any) -> Any:
    """The function of tensors of the node's type; ``first`` gives the types of other tensors that come before."""
    import inspect

    import tensorflow as tf

    # A SavedModel leaves out attributes that have the operation's default, which is float for the pools.
    kind = tf.as_dtype(node.attr["T"].type or tf.float32.as_datatype_enum)
    names = inspect.signature(compute).parameters
    return tf.function(compute, input_signature=[tf.TensorSpec(None, first.get(name, kind), name) for name in names])


def _relu(node: Any) -> Any:
    import tensorflow as tf

    return _function(lambda gradients, features: gradients * tf.cast(features > 0, gradients.dtype), node)


def _relu6(node: Any) -> Any:
    import tensorflow as tf

    def compute(gradients: Any, features: Any) -> Any:
        return gradients * tf.cast((features > 0) & (features < 6), gradients.dtype)

    return _function(compute, node)


def _elu(node: Any) -> Any:
    import tensorflow as tf

    # Of the outputs, not of the inputs: exp(x) is y + 1.
    return _function(lambda gradients, outputs: tf.where(outputs < 0, gradients * (outputs + 1), gradients), node)


def _max_pool(node: Any) -> Any:
    """The first of the largest in each window gets the gradient (tensorflow/core/kernels/maxpooling_op.cc)."""
    import tensorflow as tf

    block = _block(node)

    def compute(orig_input: Any, orig_output: Any, grad: Any) -> Any:
        size = tf.shape(orig_output)
        parts, free = [], tf.ones_like(orig_output, tf.bool)
        inside = orig_input[:, : size[1] * block, : size[2] * block]
        for row, column in _places(block):
            largest = free & (inside[:, row::block, column::block] == orig_output)
            free = free & ~largest
            parts.append(tf.where(largest, grad, tf.zeros_like(grad)))
        return _spread(parts, block, tf.shape(orig_input))

    return _function(compute, node) if block else None


def _average_pool(node: Any) -> Any:
    import tensorflow as tf

    block = _block(node)

    def compute(orig_input_shape: Any, grad: Any) -> Any:
        return _spread([grad / block**2] * block**2, block, orig_input_shape)

    return _function(compute, node, orig_input_shape=tf.int32) if block else None


def _block(node: Any) -> int:
    """The side of windows that are square, lie side by side and inside the image; 0 when they do not."""
    window, strides = list(node.attr["ksize"].list.i), list(node.attr["strides"].list.i)
    plain = window == strides and window[0] == window[3] == 1 and window[1] == window[2] > 1
    inside = node.attr["padding"].s == b"VALID" and node.attr["data_format"].s in (b"NHWC", b"")
    return int(window[1]) if plain and inside else 0


def _places(block: int) -> Iterator[tuple[int, int]]:
    return ((row, column) for row in range(block) for column in range(block))


def _spread(parts: list[Any], block: int, shape: Any) -> Any:
    """Put the parts, one for each place in a window, back to their places; 0 where no window reaches."""
    import tensorflow as tf

    whole = tf.nn.depth_to_space(tf.concat(parts, axis=3), block)
    rest = shape - tf.shape(whole)
    return tf.pad(whole, tf.stack([tf.zeros_like(rest), rest], axis=1))


_REPLACEMENTS: Mapping[str, Callable[[Any], Any]] = {
    "ReluGrad": _relu,
    "Relu6Grad": _relu6,
    "EluGrad": _elu,
    "MaxPoolGrad": _max_pool,
    "AvgPoolGrad": _average_pool,
}
"""For an operation what makes the function from its node; None when that case is not covered."""

_RESULTS = {
    "ReluGrad": "backprops",
    "Relu6Grad": "backprops",
    "EluGrad": "backprops",
    "MaxPoolGrad": "output",
    "AvgPoolGrad": "output",
}
"""What tensorflow/core/ops/nn_ops.cc calls the result."""
