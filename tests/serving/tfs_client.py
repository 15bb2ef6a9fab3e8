"""A client of TensorFlow Serving, with the stubs of tensorflow-serving-api: ``python tfs_client.py PORT``.

Prints one JSON object: for each call of ``MODULES`` what it returned, or the code and text of its error.
"""

import json
import sys

import grpc
import tfs_inference_calls
import tfs_model_calls
import tfs_predict_calls
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc
from tfs_calls import CALLS

MODULES = (tfs_predict_calls, tfs_inference_calls, tfs_model_calls)
"""Each has put its calls into ``CALLS`` when it was imported."""


def main():
    channel = grpc.insecure_channel(f"localhost:{sys.argv[1]}")
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    models = model_service_pb2_grpc.ModelServiceStub(channel)
    found = {}
    # After `reload` the server has another model.
    for name, function in sorted(CALLS.items(), key=lambda one: one[0] == "reload"):
        try:
            found[name] = {"value": function(stub, models)}
        except grpc.RpcError as error:
            found[name] = {"code": error.code().name, "text": error.details()}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
