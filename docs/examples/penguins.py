"""A recipe for tabular data: tells penguin species apart by body measures and island (DATA/penguins.csv)."""

import csv

import keras
import numpy as np

from lading import storage
from lading.recipes import Trained, epoch_log

HYPERPARAMETERS = {"epochs": 30, "learning_rate": 0.01, "seed": 1}
MEASURES = ("bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g")
ISLANDS = ("Biscoe", "Dream", "Torgersen")
SPECIES = ("Adelie", "Chinstrap", "Gentoo")


def train(data, hyperparameters):
    """Train on three quarters of the rows."""
    text = storage.read_bytes(storage.join(data, "penguins.csv")).decode()
    rows = list(csv.DictReader(text.splitlines()))
    keras.utils.set_random_seed(hyperparameters["seed"])
    np.random.default_rng(hyperparameters["seed"]).shuffle(rows)
    measures = np.array([[row[name] for name in MEASURES] for row in rows], np.float32)
    islands = np.array([ISLANDS.index(row["island"]) for row in rows], np.int64)
    labels = np.array([SPECIES.index(row["species"]) for row in rows], np.int64)
    held = len(rows) // 4  # the shuffled rows before this one are not trained on

    scale = keras.layers.Normalization()
    scale.adapt(measures[held:])
    inputs = {"measures": keras.Input((4,), name="measures"), "island": keras.Input((), dtype="int64", name="island")}
    features = [scale(inputs["measures"]), keras.layers.Embedding(len(ISLANDS), 2)(inputs["island"])]
    hidden = keras.layers.Dense(16, activation="relu")(keras.layers.Concatenate()(features))
    model = keras.Model(inputs, keras.layers.Dense(len(SPECIES), activation="softmax", name="species")(hidden))
    optimizer = keras.optimizers.Adam(hyperparameters["learning_rate"])
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    trained = {"measures": measures[held:], "island": islands[held:]}
    epochs = hyperparameters["epochs"]
    fitted = model.fit(trained, labels[held:], epochs=epochs, verbose=0, callbacks=[epoch_log(epochs)])
    heldout = {"measures": measures[:held], "island": islands[:held]}
    return Trained(model, heldout, labels[:held], SPECIES, fitted.history)
