"""A custom runtime of MLServer: ``mlserver start .`` in this folder."""

import tf_model
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from mlserver.utils import get_model_uri


class TensorFlowRuntime(MLModel):
    async def load(self) -> bool:
        self._model = tf_model.load(await get_model_uri(self._settings))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = NumpyCodec.decode_input(payload.inputs[0])
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output("predictions", self._model(rows))]
        )
