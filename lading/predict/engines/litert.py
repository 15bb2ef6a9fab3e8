"""The engine ``litert``: interpreters of ai-edge-litert on a converted model.

An interpreter computes for one thread at a time, so there is a pool of them: one for each processor, each with one
thread. That is the fastest way to answer many requests (measured with an MLP, a CNN and MobileNetV2: threads inside an
interpreter gain less than a second interpreter does).
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lading.errors import EngineError, InvalidInstance, InvalidModel, Unsupported
from lading.predict.cpus import available_cpus
from lading.predict.signature import Signature, TensorSpec

Array = npt.NDArray[Any]


def load(model: Path, signatures: Mapping[str, Signature], *, threads: int | None) -> "Interpreters":
    """Load a ``.tflite`` file.

    Args:
        model: The file; it has a subgraph for each signature that can be called.
        signatures: As the SavedModel declares them.
        threads: How many predictions run side by side. Default: the CPU quota of this process.

    Raises:
        InvalidModel: LiteRT refuses the file, or it is not that of these signatures.
        EngineError: LiteRT is not installed.
    """
    return Interpreters(model, signatures, limit=threads or available_cpus())


@dataclass
class _Plan:
    """A signature as an interpreter knows it, and the shapes that its inputs have there now."""

    signature: Signature
    subgraph: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    shapes: list[tuple[int, ...]] | None = None
    """None until memory is allocated."""


class _Interpreter:
    """One interpreter, for one thread at a time.

    The methods of ``Interpreter`` reach the first subgraph only, and its ``SignatureRunner`` allocates anew for each
    call. So the object that both call is used: set, invoke and get, each with a subgraph.
    """

    def __init__(self, model: Path, signatures: Mapping[str, Signature]) -> None:
        self._wrapper = _open(model)
        self._set, self._invoke, self._get = self._wrapper.SetTensor, self._wrapper.Invoke, self._wrapper.GetTensor
        known = self._wrapper.GetSignatureDefs() or {}
        self._plans = {
            name: _plan(self._wrapper, signature, known, model)
            for name, signature in signatures.items()
            if signature.is_callable
        }

    def run(self, signature: str, arrays: Sequence[Array]) -> list[Array]:
        # A small model computes for a few microseconds: what is added here is felt.
        plan = self._plans[signature]
        if plan.shapes != [array.shape for array in arrays]:
            self._resize(plan, arrays)
        subgraph = plan.subgraph
        for index, array in zip(plan.inputs, arrays, strict=False):
            self._set(index, array, subgraph)
        self._invoke(subgraph)
        # A copy; a tensor of rank 0 comes as a scalar.
        return [np.asarray(self._get(index, subgraph)) for index in plan.outputs]

    def _resize(self, plan: _Plan, arrays: Sequence[Array]) -> None:
        for spec, array in zip(plan.signature.inputs.values(), arrays, strict=True):
            _check_shape(spec, array)
        plan.shapes = None
        for index, array in zip(plan.inputs, arrays, strict=True):
            self._wrapper.ResizeInputTensor(index, np.array(array.shape, np.int32), True, plan.subgraph)
        self._wrapper.AllocateTensors(plan.subgraph)
        plan.shapes = [array.shape for array in arrays]


class Interpreters:
    """A pool of interpreters, made when they are first needed; ``run`` may be called by several threads at once."""

    def __init__(self, model: Path, signatures: Mapping[str, Signature], *, limit: int) -> None:
        self.signatures = signatures
        self._callable = frozenset(name for name, signature in signatures.items() if signature.is_callable)
        self._model = model
        self._limit = limit
        self._free = [_Interpreter(model, signatures)]
        self._made = 1
        self._waiting = 0
        self._changed = threading.Condition()

    def run(self, signature: str, arrays: Sequence[Array]) -> list[Array]:
        """Run a signature; arrays in the order of its inputs, of the numpy types of its specs.

        Raises:
            InvalidInstance: the graph refuses the shapes or values.
            Unsupported: an input without elements.
        """
        if signature not in self._callable:
            raise InvalidInstance(
                f'signature "{signature}" cannot be called: it is an initialiser or takes no plain tensors'
            )
        try:
            # The one used last: its shapes are likely to fit, and its memory is in the processor's cache.
            # Taking from and adding to a list are atomic; the lock is for those who find it empty.
            interpreter = self._free.pop()
        except IndexError:
            interpreter = self._wait()
        try:
            answer = interpreter.run(signature, arrays)
        except InvalidInstance:  # refused before the interpreter was touched
            self._give_back(interpreter)
            raise
        except (RuntimeError, ValueError) as error:
            # It may be left half resized, and repeats the text of this error in the next one: not used again.
            self._discard()
            raise InvalidInstance(f'signature "{signature}": LiteRT refuses the input: {error}') from error
        except BaseException:
            self._discard()
            raise
        self._give_back(interpreter)
        return answer

    def close(self) -> None:
        """Free the interpreters."""
        self._free.clear()

    def _give_back(self, interpreter: _Interpreter) -> None:
        self._free.append(interpreter)
        # Who waits has counted itself before it looked at the list for the last time: either it saw this interpreter,
        # or it is seen here.
        if self._waiting:
            with self._changed:
                self._changed.notify()

    def _wait(self) -> _Interpreter:
        """A new interpreter while there may be more, else the next that is given back."""
        with self._changed:
            self._waiting += 1
            try:
                while not self._free and self._made >= self._limit:
                    self._changed.wait()
                try:
                    return self._free.pop()
                except IndexError:
                    self._made += 1
            finally:
                self._waiting -= 1
        try:
            return _Interpreter(self._model, self.signatures)
        except InvalidModel as error:  # it could be read when it was loaded
            self._discard()
            raise EngineError(f"the model file is not what it was when it was loaded: {error}") from error
        except BaseException:
            self._discard()
            raise

    def _discard(self) -> None:
        with self._changed:
            self._made -= 1
            self._changed.notify()


def _open(model: Path) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise EngineError(
            f"the litert engine needs ai-edge-litert, which cannot be imported ({error}): pip install 'lading[litert]'"
        ) from error
    try:
        wrapper = Interpreter(model_path=str(model), num_threads=1)._interpreter
    except (RuntimeError, ValueError) as error:
        raise InvalidModel(f"LiteRT refuses {model}: {error}") from error
    except AttributeError as error:
        raise EngineError(
            f"the installed ai-edge-litert is not one that lading knows (2.1 and later): {error}"
        ) from error
    return wrapper


def _plan(wrapper: Any, signature: Signature, known: Mapping[str, Any], model: Path) -> _Plan:
    there = known.get(signature.name, {"inputs": {}, "outputs": {}})
    inputs, outputs = there["inputs"], there["outputs"]
    if inputs.keys() != signature.inputs.keys() or outputs.keys() != signature.outputs.keys():
        raise InvalidModel(
            f'{model} is not that of its SavedModel: signature "{signature.name}" has '
            f"{sorted(signature.inputs)} and {sorted(signature.outputs)} there, {sorted(inputs)} and {sorted(outputs)} "
            "here; run `lading convert` again"
        )
    subgraph = wrapper.GetSubgraphIndexFromSignature(signature.name)
    for indexes, specs in ((inputs, signature.inputs), (outputs, signature.outputs)):
        for name, spec in specs.items():
            dtype = np.dtype(wrapper.TensorType(indexes[name], subgraph))
            if dtype != spec.dtype:
                raise InvalidModel(
                    f'{model} is not that of its SavedModel: "{name}" of signature "{signature.name}" is {dtype}, '
                    f"expected {spec.dtype}; run `lading convert` again"
                )
    return _Plan(
        signature,
        subgraph,
        tuple(inputs[name] for name in signature.inputs),
        tuple(outputs[name] for name in signature.outputs),
    )


def _check_shape(spec: TensorSpec, array: Array) -> None:
    """LiteRT's kernels trust the rank and the fixed dimensions; TensorFlow's judge what comes."""
    if not array.size:
        raise Unsupported(
            f'input "{spec.name}" has no elements (its shape is {list(array.shape)}), which the litert engine does not '
            "compute: send at least one row"
        )
    if spec.shape is None or len(spec.shape) != array.ndim:
        fits = False
    else:
        fits = all(wanted in (None, came) for wanted, came in zip(spec.shape, array.shape, strict=True))
    if not fits:
        raise InvalidInstance(
            f'input "{spec.name}" expects the shape {_words(spec.shape)} in the litert engine, '
            f"received {_words(array.shape)}"
        )


def _words(shape: tuple[int | None, ...] | None) -> str:
    return "unknown" if shape is None else f"[{', '.join('?' if size is None else str(size) for size in shape)}]"
