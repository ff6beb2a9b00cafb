"""The satisfaction model as a notebook's author deploys it: Flask, and `predict` for each request.

    gunicorn --workers 1 --chdir benchmarks serving_baseline:app

What is sent is not checked, nothing is recorded, nobody is asked for a key.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from flask import Flask, Response, jsonify, request
from sklearn.linear_model import LinearRegression

FIELDS = ["engagement_score", "experience_score"]


def fitted(*, on_frame: bool) -> LinearRegression:
    """The satisfaction score, which is the mean of the two, as a model learns it."""
    scores = np.random.default_rng(7).uniform(0, 5, (5_000, 2))
    given = pd.DataFrame(scores, columns=FIELDS) if on_frame else scores
    return LinearRegression().fit(given, scores.mean(axis=1))


app = Flask(__name__)
of_array, of_frame = fitted(on_frame=False), fitted(on_frame=True)


@app.post("/predict")
def predict() -> Response:
    sent = request.get_json()
    row = np.array([[sent[name] for name in FIELDS]])
    return jsonify(satisfaction_score=float(of_array.predict(row)[0]))


@app.post("/predict/frame")
def predict_frame() -> Response:
    row = pd.DataFrame([request.get_json()], columns=FIELDS)
    return jsonify(satisfaction_score=float(of_frame.predict(row)[0]))


@app.post("/predict/batch")
def predict_batch() -> Response:
    rows = np.array([[row[name] for name in FIELDS] for row in request.get_json()])
    return jsonify(satisfaction_score=of_array.predict(rows).tolist())
