"""What is read from an encoder's graph: the first token's answer, and for the monitor one vector a text.

The answer comes from the first token alone, so the last layer of a DistilBERT is computed for the first two: an eighth
of the time less, and no bit of the answer changed. For one alone the processor would add up in another order, which
depends on the padding. The vector is the mean over the tokens one layer earlier, where a text's kind shows no less.
"""

import re

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper, load_from_string, numpy_helper

from broker.errors import ObservaError

POOLED = "pooled"
TOKENS = 2  # a product of one row adds up in an order that depends on its length, one of two rows does not
QUERY = re.compile(r"/distilbert/transformer/layer\.(\d+)/attention/q_lin/MatMul$")
MASK = "attention_mask"
# Of a hidden value's unit. Whole numbers below 2^24 add up exactly in single precision, so the mean is the same however
# the processor orders a sum: whoever shares the batch. 512 tokens of size 32 still do.
STEPS = 1024.0


class NoHiddenStateError(ObservaError):
    """A graph does not take its answer from the first token of a sequence."""


def with_pooled(content: bytes) -> bytes:
    """Return the graph *content* with a second output ``pooled``, float32 [texts, width].

    It is the mean of a hidden state over the tokens that the mask shows: of the last that is computed for all of them.
    The logits are those of *content*.

    Raises:
        NoHiddenStateError: no node picks the first token.

    """
    model = load_from_string(content)
    graph = model.graph
    if any(output.name == POOLED for output in graph.output):
        return content
    hidden = _for_the_first_tokens(graph) or _hidden_state(graph)
    graph.initializer.append(helper.make_tensor("pooled.axis", TensorProto.INT64, [1], [1]))
    graph.initializer.append(helper.make_tensor("pooled.steps", TensorProto.FLOAT, [1], [STEPS]))
    graph.node.extend(
        [
            helper.make_node("Cast", [MASK], ["pooled.mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["pooled.mask", "pooled.axis"], ["pooled.row"]),
            helper.make_node("Mul", [hidden, "pooled.steps"], ["pooled.scaled"]),
            helper.make_node("Round", ["pooled.scaled"], ["pooled.whole"]),
            helper.make_node("MatMul", ["pooled.row", "pooled.whole"], ["pooled.product"]),
            helper.make_node("Squeeze", ["pooled.product", "pooled.axis"], ["pooled.sum"]),
            helper.make_node("ReduceSum", ["pooled.mask", "pooled.axis"], ["pooled.count"], keepdims=1),
            helper.make_node("Mul", ["pooled.count", "pooled.steps"], ["pooled.parts"]),
            helper.make_node("Div", ["pooled.sum", "pooled.parts"], [POOLED]),
        ]
    )
    graph.output.append(helper.make_tensor_value_info(POOLED, TensorProto.FLOAT, ["batch_size", "width"]))
    grafted: bytes = model.SerializeToString()
    return grafted


def _for_the_first_tokens(graph: GraphProto) -> str | None:
    """Let the last layer of a DistilBERT answer for the first tokens alone; return what it reads, for all of them.

    None, and nothing changed, for a graph of another make.
    """
    found = [int(match[1]) for node in graph.node if (match := QUERY.search(node.name))]
    if not found:
        return None
    layer = f"/layer.{max(found)}/"
    by_name = {node.name.partition(layer)[2]: node for node in graph.node if layer in node.name}
    query, masked, added = (by_name.get(name) for name in ("attention/q_lin/MatMul", "attention/Add", "Add"))
    if query is None or masked is None or added is None or query.input[0] not in added.input:
        return None
    hidden, mask = str(query.input[0]), str(masked.input[1])
    for name, value in (("first.from", [0]), ("first.to", [TOKENS]), ("first.token", [1]), ("first.row", [2])):
        graph.initializer.append(numpy_helper.from_array(np.array(value, np.int64), name))
    for source, axis, node in ((hidden, "first.token", query), (mask, "first.row", masked)):
        cut = helper.make_node("Slice", [source, "first.from", "first.to", axis], [f"{axis}.only"])
        graph.node.insert(list(graph.node).index(node), cut)
    query.input[0] = "first.token.only"
    masked.input[1] = "first.row.only"
    added.input[list(added.input).index(hidden)] = "first.token.only"
    return hidden


def _hidden_state(graph: GraphProto) -> str:
    """Return the name of the last hidden state: what the last node that picks one token reads."""
    for node in reversed(graph.node):
        if node.op_type == "Gather" and _axis(node) == 1:
            return str(node.input[0])
    raise NoHiddenStateError("the graph has no node that picks the first token, so there is nothing to pool")


def _axis(node: NodeProto) -> int:
    return next((int(each.i) for each in node.attribute if each.name == "axis"), 0)
