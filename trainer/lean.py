"""The quantised graph of a DistilBERT without what its answers do not need: two fifths of the nodes.

As exported, most nodes prepare or undo something around the products. Here tokens are rows from the first layer to the
last, positions before texts, so that attention reads queries, keys and values where they lie and the first tokens are
the first rows. Weights, and what is quantised, are those of the graph it is made of. Sums are rounded otherwise, which
now and then moves a quantised value by one step.
"""

from typing import Any, NamedTuple

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, load_from_string, numpy_helper

from trainer.pooling import MASK, POOLED, STEPS, TOKENS
from trainer.quantise import ACTIVATION_LIMIT, LEAST_SCALE, MICROSOFT, ZERO_POINT

OPSET = 20  # the first with Gelu
IR_VERSION = 9
NORM = 1e-12  # what DistilBERT adds to a variance
GELU_FALLS_TO = 0.17  # below 0, and no further: a row's largest size is its maximum, unless that is even smaller
MASKED = 1e9  # off the scores of what is padding: their exponential is 0


def lean(content: bytes, heads: int) -> bytes:
    """Return the graph *content*, which `quantise` made of a DistilBERT with Gelu and so many *heads*, written anew.

    Inputs and outputs are the same.
    """
    source = load_from_string(content)
    writer = _Writer(source, heads)
    writer.write()
    tensors = list(writer.constants.values())
    graph = helper.make_graph(writer.nodes, "distilbert", source.graph.input, source.graph.output, tensors)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
    written: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION).SerializeToString()
    return written


class _Rows(NamedTuple):
    """Names of an activation and of what quantising it takes."""

    name: str  # float32 [rows, K]
    points: str  # uint8 [rows]: their zero points


class _Quantised(NamedTuple):
    """Names of an activation in eight bits."""

    rows: str  # uint8 [rows, K]
    scale: str  # float32 [rows, 1]


class _Writer:
    """Writes nodes in the order in which they run; each method returns the name of what its nodes compute."""

    def __init__(self, source: ModelProto, heads: int) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, TensorProto] = {}
        self._source = {tensor.name: tensor for tensor in source.graph.initializer}
        self._width = int(self._source["distilbert.embeddings.LayerNorm.weight"].dims[0])
        self._layers = sum(name.endswith(".ffn.lin1.bias") for name in self._source)
        self._head_width = self._width // heads
        texts = self._add("Shape", "input_ids", end=1)
        tail = self._constant("heads", np.array([heads, self._head_width], np.int64))
        self._by_head = self._add("Concat", self._whole(-1), texts, tail, axis=0)  # [positions, texts, heads, width]
        self._by_text = self._add("Concat", self._whole(-1), texts, self._whole(self._width), axis=0)
        self._texts = texts
        self._first = self._add("Mul", texts, self._whole(TOKENS))  # how many rows the first tokens are
        self._masked = self._off()

    def write(self) -> None:
        """Write the embeddings, the layers, the last of them for the first tokens alone, and both outputs."""
        hidden = self._rows(self._embeddings())
        for layer in range(self._layers - 1):
            hidden = hidden._replace(name=self._layer(layer, hidden, hidden))
        first = self._rows(self._add("Slice", hidden.name, self._whole(0), self._first))
        self._head(self._layer(self._layers - 1, first, hidden))
        self._pooled(hidden.name)

    def _embeddings(self) -> str:
        table = "distilbert.embeddings.word_embeddings.weight"
        ids = self._add("Transpose", "input_ids", perm=[1, 0])
        steps = self._add("Cast", self._add("Gather", self._kept(f"{table}.int8"), ids), to=TensorProto.FLOAT)
        words = self._add("Mul", steps, self._add("Gather", self._kept(f"{table}.scale"), ids))
        places = self._kept("distilbert.embeddings.position_embeddings.weight")
        used = self._add("Slice", places, self._whole(0), self._add("Shape", "input_ids", start=1))
        placed = self._add("Add", words, self._add("Unsqueeze", used, self._whole(1)))
        return self._flat(self._norm(placed, "distilbert.embeddings.LayerNorm"))

    def _off(self) -> str:
        """Return what is added to the scores [texts, heads, positions that ask, positions]: 0, or minus `MASKED`."""
        seen = self._add("Cast", MASK, to=TensorProto.FLOAT)
        off = self._add("Mul", self._add("Sub", seen, self._real(1)), self._real(MASKED))
        return self._add("Unsqueeze", off, self._constant("one and two", np.array([1, 2], np.int64)))

    def _layer(self, number: int, asking: _Rows, told: _Rows) -> str:
        """Return the next hidden state of the rows *asking*, which look at the rows *told*."""
        name = f"distilbert.transformer.layer.{number}"
        found = asking._replace(name=self._attention(f"{name}.attention", asking, told))
        mixed = self._dense(f"{name}.attention.out_lin", self._quantised(found))
        seen = self._norm(self._add("Add", mixed, asking.name), f"{name}.sa_layer_norm")
        inner = self._dense(f"{name}.ffn.lin1", self._quantised(asking._replace(name=seen)))
        active = asking._replace(name=self._add("Gelu", inner))
        outer = self._dense(f"{name}.ffn.lin2", self._quantised(active, falls_to=GELU_FALLS_TO))
        return self._norm(self._add("Add", outer, seen), f"{name}.output_layer_norm")

    def _attention(self, name: str, asking: _Rows, told: _Rows) -> str:
        """Return what each row gets [rows, width]. The bias of the keys moves all scores of a row alike: left out."""
        rows = self._quantised(told)
        queries = rows if asking is told else self._quantised(asking)
        query = self._add("Reshape", self._dense(f"{name}.q_lin", queries), self._by_head)
        key = self._add("Reshape", self._product(f"{name}.k_lin", rows), self._by_head)
        value = self._add("Reshape", self._dense(f"{name}.v_lin", rows), self._by_head)
        scale = float(self._head_width**-0.5)
        scores = self._fused("FusedMatMul", query, key, transBatchA=1, transBatchB=1, transB=1, alpha=scale)
        weights = self._add("Softmax", self._add("Add", scores, self._masked), axis=-1)
        found = self._fused("FusedMatMul", weights, value, transBatchB=1)
        return self._flat(self._add("Transpose", found, perm=[2, 0, 1, 3]))

    def _quantised(self, rows: _Rows, falls_to: float | None = None) -> _Quantised:
        """Return *rows* in steps of each one's own scale; *falls_to* is what they are never further below 0 than."""
        sizes = self._add("Abs", rows.name) if falls_to is None else rows.name
        least = self._real(ACTIVATION_LIMIT * LEAST_SCALE if falls_to is None else falls_to)
        largest = self._add("Max", self._add("ReduceMax", sizes, self._whole(-1), keepdims=1), least)
        scale = self._add("Mul", largest, self._real(1 / ACTIVATION_LIMIT))
        scales = self._add("Reshape", scale, self._whole(-1))
        return _Quantised(self._add("QuantizeLinear", rows.name, scales, rows.points, axis=0), scale)

    def _rows(self, name: str) -> _Rows:
        point = helper.make_tensor("value", TensorProto.UINT8, [1], [ZERO_POINT])
        return _Rows(name, self._add("ConstantOfShape", self._add("Shape", name, end=1), value=point))

    def _dense(self, name: str, rows: _Quantised) -> str:
        return self._add("Add", self._product(name, rows), self._kept(f"{name}.bias"))

    def _product(self, name: str, rows: _Quantised) -> str:
        made = f"/{name.replace('.', '/').replace('layer/', 'layer.')}/MatMul"  # as the exporter names it
        weight, scale = self._kept(f"{made}.weight"), self._kept(f"{made}.scale")
        point = self._constant("zero point", np.uint8(ZERO_POINT))
        product = self._fused("MatMulIntegerToFloat", rows.rows, weight, self._real(1), scale, point)
        return self._add("Mul", product, rows.scale)

    def _norm(self, rows: str, name: str) -> str:
        weight, bias = self._kept(f"{name}.weight"), self._kept(f"{name}.bias")
        return self._add("LayerNormalization", rows, weight, bias, axis=-1, epsilon=NORM)

    def _head(self, first: str) -> None:
        token = self._add("Slice", first, self._whole(0), self._texts)
        weight, bias = self._kept("pre_classifier.weight"), self._kept("pre_classifier.bias")
        inner = self._add("Relu", self._add("Gemm", token, weight, bias, transB=1))
        weight, bias = self._kept("classifier.weight"), self._kept("classifier.bias")
        self._add("Gemm", inner, weight, bias, output="logits", transB=1)

    def _pooled(self, hidden: str) -> None:
        """Write the mean over each text's tokens, of whole numbers: see trainer/pooling.py."""
        seen = self._add("Cast", MASK, to=TensorProto.FLOAT)
        steps = self._add("Round", self._add("Mul", hidden, self._real(STEPS)))
        each = self._add("Reshape", steps, self._by_text)
        row = self._add("Unsqueeze", seen, self._whole(1))
        total = self._add("Squeeze", self._fused("FusedMatMul", row, each, transBatchB=1), self._whole(1))
        count = self._add("ReduceSum", seen, self._whole(1), keepdims=1)
        self._add("Div", total, self._add("Mul", count, self._real(STEPS)), output=POOLED)

    def _flat(self, activation: str) -> str:
        return self._add("Reshape", activation, self._constant("rows", np.array([-1, self._width], np.int64)))

    def _fused(self, operator: str, *inputs: str, **attributes: Any) -> str:
        return self._add(operator, *inputs, domain=MICROSOFT, **attributes)

    def _add(self, operator: str, *inputs: str, output: str = "", domain: str = "", **attributes: Any) -> str:
        name = f"{operator}.{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output or name], name, domain=domain, **attributes))
        return output or name

    def _kept(self, name: str) -> str:
        self.constants[name] = self._source[name]
        return name

    def _whole(self, number: int) -> str:
        return self._constant(f"[{number}]", np.array([number], np.int64))

    def _real(self, number: float) -> str:
        return self._constant(f"{number:g}", np.float32(number))

    def _constant(self, name: str, value: Any) -> str:
        self.constants[name] = numpy_helper.from_array(np.asarray(value), name)
        return name
