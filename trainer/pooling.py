"""The pooled output of an encoder's graph: one vector a text, the mean over its tokens, for the monitor."""

from onnx import GraphProto, NodeProto, TensorProto, helper, load_from_string

from broker.errors import ObservaError

POOLED = "pooled"
MASK = "attention_mask"
# Of a hidden value's unit. Whole numbers below 2^24 add up exactly in single precision, so the mean is the same however
# the processor orders a sum: whoever shares the batch. 512 tokens of size 32 still do.
STEPS = 1024.0


class NoHiddenStateError(ObservaError):
    """A graph does not take its answer from the first token of a sequence."""


def with_pooled(content: bytes) -> bytes:
    """Return the graph *content* with a second output ``pooled``, float32 [texts, width].

    It is the mean of the last hidden state over the tokens that the mask shows. The logits are computed as before.

    Raises:
        NoHiddenStateError: no node picks the first token.

    """
    model = load_from_string(content)
    graph = model.graph
    if any(output.name == POOLED for output in graph.output):
        return content
    hidden = _hidden_state(graph)
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


def _hidden_state(graph: GraphProto) -> str:
    """Return the name of the last hidden state: what the last node that picks one token reads."""
    for node in reversed(graph.node):
        if node.op_type == "Gather" and _axis(node) == 1:
            return str(node.input[0])
    raise NoHiddenStateError("the graph has no node that picks the first token, so there is nothing to pool")


def _axis(node: NodeProto) -> int:
    return next((int(each.i) for each in node.attribute if each.name == "axis"), 0)
