"""MLServer with two parallel workers and adaptive batching, by the Open Inference Protocol."""

from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

from bench.serving.peers.core import Core


class Sentiment(MLModel):
    """The model behind MLServer."""

    async def load(self) -> bool:
        """Load the model."""
        self.core = Core()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Classify a batch."""
        texts = StringCodec.decode_input(payload.inputs[0])
        labels = [answer["label"] for answer in self.core.answers(texts)]
        return InferenceResponse(model_name=self.name, outputs=[StringCodec.encode_output("label", labels)])
