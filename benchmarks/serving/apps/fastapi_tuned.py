"""FastAPI and TensorFlow tuned by hand.

Against fastapi_plain.py: orjson reads and writes (numpy's memory directly), no validation layer, no hop to a thread, a
concrete function with one positional argument instead of the signature's keywords, one thread in TensorFlow (a small
model gains nothing from more), and what the imports made is hidden from the garbage collector.
"""

import gc
import os

import numpy as np
import orjson
import tensorflow as tf
from fastapi import FastAPI, Request, Response

tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)
app = FastAPI()
model = tf.saved_model.load(os.environ["MODEL"])
signature = model.signatures["serving_default"]
[(name, spec)] = signature.structured_input_signature[1].items()
[output] = signature.structured_outputs
function = tf.function(lambda rows: signature(**{name: rows})[output], input_signature=[spec]).get_concrete_function()
gc.collect()
gc.freeze()


@app.post("/v1/models/m:predict")
async def predict(request: Request) -> Response:
    rows = np.asarray(orjson.loads(await request.body())["instances"], np.float32)
    answer = function(tf.constant(rows)).numpy()
    content = orjson.dumps({"predictions": answer}, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(content, media_type="application/json")
