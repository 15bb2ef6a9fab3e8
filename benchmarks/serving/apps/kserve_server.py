"""KServe's Python server with a custom model: ``kserve_server.py --model_name m --http_port N``."""

import argparse

import tf_model
from kserve import Model, ModelServer, model_server


class TensorFlowModel(Model):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.load()

    def load(self) -> bool:
        self.model = tf_model.load()
        self.ready = True
        return True

    def predict(self, payload: dict, headers: object = None, response_headers: object = None) -> dict:
        return {"predictions": self.model(payload["instances"]).tolist()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(parents=[model_server.parser], conflict_handler="resolve")
    ModelServer().start([TensorFlowModel(parser.parse_known_args()[0].model_name)])
