"""Unknown and contradictory settings are named before anything is trained, on tables and on modules."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.run.tables import HOLDOUT, merged, table
from torch import nn

import danlu
from danlu.run import job
from danlu.run.module import fit_module

LBFGS = {"optimizer": "lbfgs", "duration": "5 epochs"}


@pytest.fixture(autouse=True)
def untrained(monkeypatch):
    """Nothing is trained, not even a step."""

    def fit(*given, **named):
        raise AssertionError("a fit was begun")

    monkeypatch.setattr(job, "fit", fit)


def rows(number: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(number, 6, generator=torch.Generator().manual_seed(0))
    return x, (x[:, 0] > 0).long()


def network(*more: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), *more, nn.ReLU(), nn.Linear(8, 2))


CASES: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (
        {"duration": "50 steps", "schedule": {"name": "step", "every": 60}, "batch_size": 16},
        {},
        "Schedule 'step' falls every 60 steps, but the run has 50: it would never fall",
    ),
    (
        {"duration": "50 steps", "schedule": "cosine", "warmup": "50 steps", "batch_size": 16},
        {},
        "The warm-up takes 50 steps, but the run has 50",
    ),
    (
        {"duration": "3 epochs", "warmup": "4 epochs", "batch_size": 16},
        {},
        "The warm-up takes 16 steps, but the run has 12",
    ),
    ({"warmup": "10 seconds"}, {}, "training.warmup is counted in steps or epochs, got '10 seconds'"),
    (LBFGS | {"mixup": 0.2}, {}, "training.mixup is for gradient steps on mini-batches.*'lbfgs'"),
    (
        LBFGS | {"learning_rate": 0.1},
        {},
        "training.learning_rate is for gradient steps on mini-batches.*'lbfgs'",
    ),
    (LBFGS | {"schedule": "cosine"}, {}, "training.schedule is for gradient steps"),
    (LBFGS | {"average": "ema"}, {}, "training.average is for gradient steps"),
    (LBFGS | {"precision": "bf16"}, {}, "training.precision is for gradient steps"),
    (
        LBFGS | {"batch_size": 16},
        {},
        "training.optimizer 'lbfgs' looks at all rows in each step; leave out training.b",
    ),
    (LBFGS, {"micro_batch": 4}, "computes all rows at once, eagerly; leave out engine.micro_batch"),
    (LBFGS, {"execution": "compiled"}, "computes all rows at once, eagerly; leave out engine.micro_batch"),
    ({"batch_size": 65}, {}, "training.batch_size is 65, but there are only 64 training rows"),
    ({"batch_size": 0}, {}, "training.batch_size must be at least 1, got 0"),
    ({}, {"sharding": "fsdp"}, "engine.sharding 'fsdp' slices a model over processes, and there is one"),
    ({"average": {"name": "swa", "start": 0.9}, "duration": "1 steps", "batch_size": 16}, {}, "swa.start"),
    ({"learning_rate": 0.0}, {}, "training.learning_rate must be above 0, got 0.0"),
    ({"learning_rate": float("nan")}, {}, "training.learning_rate must be above 0, got nan"),
    ({"clip_norm": -1.0}, {}, "training.clip_norm must be above 0, got -1.0"),
    ({"optimizer": "adamm"}, {}, "Did you mean 'adam"),
    ({"optimizer": {"name": "momentum", "momemtum": 0.9}}, {}, "Did you mean 'momentum'"),
    ({"schedule": "cosin"}, {}, "Did you mean 'cosine'"),
    ({"duration": "5 epoks"}, {}, "Cannot read '5 epoks' as a duration"),
    ({"patience": 0}, {}, "training.patience must be at least 1, or 'off', got 0"),
    ({}, {"signals": 2.0}, "engine.signals is a share between 0 and 1, got 2.0"),
    ({}, {"threads": 0}, "engine.threads must be at least 1, got 0"),
    ({}, {"checkpoint": "often"}, "Cannot read 'often' as a duration"),
    ({}, {"watch": ["tensorbord"]}, "engine.watch"),
    ({}, {"device": "cuda:9"}, "cuda"),
]


@pytest.mark.parametrize(("training", "engine", "words"), CASES)
def test_a_module(training, engine, words):
    with pytest.raises(danlu.UserError, match=words):
        fit_module(network(), rows(), "cross_entropy", training=training, engine=engine)


def test_a_batch_in_pieces_does_not_go_with_batch_norm():
    words = "engine.micro_batch splits a batch, and the normalisation 1 of this Sequential depends on the whole of it"
    with pytest.raises(danlu.RecipeError, match=words):
        fit_module(network(nn.BatchNorm1d(8)), rows(), "cross_entropy", engine={"micro_batch": 4})


def test_a_batch_in_pieces_needs_a_loss_that_is_a_sum():
    def loss(model, batch):
        return model(batch["x"]).std()

    with pytest.raises(
        danlu.RecipeError, match="engine.micro_batch splits a batch, and the loss of LossFunction"
    ):
        fit_module(network(), rows(), loss, engine={"micro_batch": 4})


def test_what_cannot_be_mixed():
    def loss(model, batch):
        return model(batch["x"]).mean()

    with pytest.raises(danlu.UserError, match="(?i)mixup"):
        fit_module(network(), rows(), loss, training={"mixup": 0.2})


class TestTables:
    @pytest.fixture
    def train(self, runs_dir):
        table("binary", 120).write_csv("data.csv")
        table("regression", 120).write_csv("numbers.csv")

        def call(data="data.csv", **more: Any) -> None:
            given: dict[str, Any] = merged(HOLDOUT, **more)
            danlu.train(data, "y", **given)

        yield call
        assert list(runs_dir.iterdir()) == []  # it was refused before it had a folder

    def test_a_ranking_needs_queries(self, train):
        from danlu.recipe.catalogue import entries

        names = [name for name, entry in entries("objective").items() if entry.traits.get("needs") == "query"]
        assert len(names) == 3
        for name in names:
            words = f"The objective '{name}' orders rows within their queries, and a table's rows are judged one by one"
            with pytest.raises(danlu.RecipeError, match=words):
                train("numbers.csv", model="mlp", objective=name)

    @pytest.mark.parametrize("objective", ["huber", {"name": "huber", "delta": 2.0}, {"name": "quantile"}])
    def test_an_objective_that_no_model_obeys(self, train, objective):
        name = objective if isinstance(objective, str) else objective["name"]
        words = (
            f"The objective '{name}' is for models that gradient steps train, and none .* is .boosting, ridge"
        )
        with pytest.raises(danlu.RecipeError, match=words):
            train("numbers.csv", model=["boosting", "ridge"], objective=objective)

    def test_an_objective_for_another_task(self, train):
        with pytest.raises(danlu.RecipeError, match="The objective 'huber' is for regression targets"):
            train("data.csv", model="mlp", objective="huber")

    @pytest.mark.parametrize(
        ("training", "words"),
        [
            ({"batch_size": 100}, "training.batch_size is 100, but there are only 84 training rows"),
            (
                {"warmup": "9 epochs", "duration": "8 epochs"},
                "The warm-up takes 54 steps, but the run has 48",
            ),
            ({"optimizer": "lbfgs", "mixup": 0.2}, "training.mixup is for gradient steps on mini-batches"),
            (
                {"optimizer": "lbfgs", "batch_size": 8},
                "looks at all rows in each step; leave out training.batch_size",
            ),
        ],
    )
    def test_settings_that_contradict_the_rows_or_each_other(self, train, training, words):
        with pytest.raises(danlu.RecipeError, match=words):
            train("data.csv", model=["mlp", "logistic"], training=training)

    def test_slices_of_one_process(self, train):
        with pytest.raises(danlu.RecipeError, match="slices a model over processes, and there is one"):
            train("data.csv", model="mlp", engine={"sharding": "fsdp"})

    def test_an_unknown_objective(self, train):
        with pytest.raises(danlu.RecipeError, match="Did you mean 'huber'"):
            train("numbers.csv", model="mlp", objective="hubert")


def test_the_usual_objective_is_what_every_model_learns(runs_dir, monkeypatch):
    """Naming it is no contradiction; a setting of its own is."""
    monkeypatch.undo()
    monkeypatch.chdir(runs_dir)
    run = danlu.train(table("regression", 120), "y", model="ridge", objective="squared_error", **HOLDOUT)
    assert run.record["chosen"]["name"] == "ridge"
    smooth = {"name": "cross_entropy", "label_smoothing": 0.1}
    with pytest.raises(danlu.RecipeError, match="is for models that gradient steps train"):
        danlu.train(table("binary", 120), "y", model="logistic", objective=smooth, **HOLDOUT)
