"""Eight-bit weights and activations, with a scale for every row, so that no text changes another's answer.

Ordinary dynamic int8 takes one scale from the whole batch: 2 % of the labels then depend on who shares it. Here each
token has its own scale, and a sum of integers is the same in any order. Needs no calibration data.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, load_from_string, numpy_helper

# Without VNNI a processor adds two products of uint8 and int8 in 16 bits, saturating. 2 x 255 x 64 still fits, so
# every processor gives the same answer; with 127 this model's answers would depend on the machine.
WEIGHT_LIMIT = 64
ACTIVATION_LIMIT = 127
EMBEDDING_LIMIT = 127  # never multiplied in integers
ZERO_POINT = 128
LEAST_SCALE = 1e-12  # a row of zeros has no scale of its own
MICROSOFT = "com.microsoft"


class _Rows(NamedTuple):
    """Names of an activation's quantised rows."""

    quantised: str  # uint8 [rows, K]
    scale: str  # float32 [rows, 1]
    leading: str  # int64: the activation's shape without its last dimension


def quantise(content: bytes) -> bytes:
    """Return the graph *content* with int8 matrix products and token embeddings."""
    model = load_from_string(content)
    quantiser = _Quantiser(model)
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        nodes += quantiser.replacement(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    _drop_unused_initializers(model)
    if not any(opset.domain == MICROSOFT for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    small: bytes = model.SerializeToString()
    return small


class _Quantiser:
    """Knows the constants of one graph and which activations are quantised already."""

    def __init__(self, model: ModelProto) -> None:
        self._graph = model.graph
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self._rows: dict[str, _Rows] = {}
        self._add("row8.one", np.float32(1))
        self._add("row8.least", np.float32(LEAST_SCALE))
        self._add("row8.activation_step", np.float32(1 / ACTIVATION_LIMIT))
        self._add("row8.zero_point", np.uint8(ZERO_POINT))
        self._add("row8.flat", np.array([-1], np.int64))
        self._add("row8.last_axis", np.array([-1], np.int64))
        self._add("row8.first", np.array([0], np.int64))

    def replacement(self, node: NodeProto) -> list[NodeProto]:
        """Return what stands for *node*: itself where there is nothing to quantise."""
        constant = next((name for name in node.input if name in self._constants), None)
        if constant is None or len(self._constants[constant].dims) != 2:  # noqa: PLR2004 a matrix
            return [node]
        if node.op_type == "MatMul" and node.input[1] == constant:
            return self._product(node)
        if node.op_type == "Gather" and "word_embeddings" in constant:
            return self._embedding(node)
        return [node]

    def _product(self, node: NodeProto) -> list[NodeProto]:
        activation, weight = node.input
        name = node.name or node.output[0]
        matrix = numpy_helper.to_array(self._constants[weight])
        quantised, scale = _by_row(matrix.T, WEIGHT_LIMIT)
        self._add(f"{name}.weight", np.ascontiguousarray(quantised.T))
        self._add(f"{name}.scale", scale)
        self._add(f"{name}.width", np.array([matrix.shape[1]], np.int64))
        shared = [] if activation in self._rows else self._quantise_rows(activation, matrix.shape[0])
        rows = self._rows[activation]
        product = [rows.quantised, f"{name}.weight", "row8.one", f"{name}.scale", "row8.zero_point"]
        return [
            *shared,
            helper.make_node("MatMulIntegerToFloat", product, [f"{name}.product"], f"{name}.product", domain=MICROSOFT),
            _node("Mul", [f"{name}.product", rows.scale], f"{name}.scaled"),
            _node("Concat", [rows.leading, f"{name}.width"], f"{name}.shape", axis=0),
            _node("Reshape", [f"{name}.scaled", f"{name}.shape"], node.output[0]),
        ]

    def _quantise_rows(self, activation: str, width: int) -> list[NodeProto]:
        base = f"{activation}.row8"
        self._add(f"{base}.matrix", np.array([-1, width], np.int64))
        self._rows[activation] = _Rows(f"{base}.quantised", f"{base}.scale", f"{base}.leading")
        point = helper.make_tensor("value", TensorProto.UINT8, [1], [ZERO_POINT])
        return [
            _node("Shape", [activation], f"{base}.leading", end=-1),
            _node("Reshape", [activation, f"{base}.matrix"], f"{base}.rows"),
            _node("Abs", [f"{base}.rows"], f"{base}.sizes"),
            _node("ReduceMax", [f"{base}.sizes", "row8.last_axis"], f"{base}.largest", keepdims=1),
            _node("Mul", [f"{base}.largest", "row8.activation_step"], f"{base}.step"),
            _node("Max", [f"{base}.step", "row8.least"], f"{base}.scale"),
            _node("Reshape", [f"{base}.scale", "row8.flat"], f"{base}.scales"),
            _node("Shape", [f"{base}.scales"], f"{base}.count"),
            _node("ConstantOfShape", [f"{base}.count"], f"{base}.points", value=point),
            _node("QuantizeLinear", [f"{base}.rows", f"{base}.scales", f"{base}.points"], f"{base}.quantised", axis=0),
        ]

    def _embedding(self, node: NodeProto) -> list[NodeProto]:
        table, ids = node.input
        quantised, scale = _by_row(numpy_helper.to_array(self._constants[table]), EMBEDDING_LIMIT)
        self._add(f"{table}.int8", quantised)
        self._add(f"{table}.scale", scale[:, None])
        return [
            _node("Gather", [f"{table}.int8", ids], f"{table}.found"),
            _node("Cast", [f"{table}.found"], f"{table}.float", to=TensorProto.FLOAT),
            _node("Gather", [f"{table}.scale", ids], f"{table}.factor"),
            _node("Mul", [f"{table}.float", f"{table}.factor"], node.output[0]),
        ]

    def _add(self, name: str, value: "NDArray[Any] | np.generic") -> None:
        self._graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))


def _by_row(matrix: NDArray[np.float32], limit: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return *matrix* in steps of each row's scale, at most *limit* of them either side of 0, and those scales."""
    scale = np.maximum(np.abs(matrix).max(axis=1) / limit, LEAST_SCALE).astype(np.float32)
    return np.rint(matrix / scale[:, None]).clip(-limit, limit).astype(np.int8), scale


def _node(operator: str, inputs: list[str], output: str, **attributes: Any) -> NodeProto:
    return helper.make_node(operator, inputs, [output], output, **attributes)


def _drop_unused_initializers(model: ModelProto) -> None:
    used = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
