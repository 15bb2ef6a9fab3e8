"""FastAPI and TensorFlow as people write it: a model class for the body, a plain function, ``tolist``."""

import tf_model
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
model = tf_model.load()


class Request(BaseModel):
    instances: list


@app.post("/v1/models/m:predict")
def predict(request: Request) -> dict:
    return {"predictions": model(request.instances).tolist()}
