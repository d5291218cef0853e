"""scikit-learn's networks and its least squares."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
from engine_tasks import Job, Lap, Stopwatch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor


def mlp(job: Job) -> Lap:
    """`MLPClassifier.fit()` or, for the linear model, `MLPRegressor.fit()` with no hidden layer.

    It tells nobody of its steps, so the whole fit is on the clock and all its rows are counted.
    """
    kind, hidden = (MLPClassifier, (128, 64)) if job.kind == "classes" else (MLPRegressor, ())
    net = kind(
        hidden_layer_sizes=hidden,
        solver=job.optimizer,
        momentum=0.0,
        alpha=0.0,
        learning_rate_init=job.rate,
        batch_size=job.batch_size,
        max_iter=job.num_epochs,
        n_iter_no_change=job.num_epochs + 1,
        random_state=job.seed,
    )
    clock = Stopwatch(replace(job, warm=0, steps=1))  # the whole fit as one step
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it was asked for this many epochs, no more
        net.fit(job.x.numpy(), job.y.numpy())
    clock.tick()
    lap = clock.lap(lambda rows: net.predict(rows.numpy()))
    return Lap(lap.scores, lap.seconds, lap.cpu_seconds, job.num_epochs * len(job.x))


def linear_regression(job: Job) -> Lap:
    """`LinearRegression.fit()` in the precision of the rows."""
    clock = Stopwatch(job)
    model = LinearRegression().fit(job.x.numpy(), job.y.numpy())
    clock.tick()
    return clock.lap(lambda rows: model.predict(rows.numpy()))


def linear_regression_fp64(job: Job) -> Lap:
    """The same after a cast to fp64, which is on the clock."""
    clock = Stopwatch(job)
    model = LinearRegression().fit(job.x.numpy().astype(np.float64), job.y.numpy().astype(np.float64))
    clock.tick()
    return clock.lap(lambda rows: model.predict(rows.numpy()))
