"""How a fit ends: with the best weights, with averages, after a fault, or without memory; and what it keeps of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from tests.run.tables import HOLDOUT, merged, table
from torch import nn

import danlu
from danlu.core.checkpoint import Checkpoints
from danlu.core.duration import Duration
from danlu.core.ideas import Context
from danlu.data.batches import ShuffledRows
from danlu.objectives.criterion import Criterion
from danlu.run import job as jobs
from danlu.run.folder import sha256
from danlu.run.job import Diverged, OutOfMemory
from danlu.run.module import fit_module
from danlu.updates.gradient import GradientUpdate

MSE = nn.MSELoss()
STEPS = {"batch_size": 20, "optimizer": "sgd", "learning_rate": 0.05, "patience": "off"}


class Fuse(nn.Module):
    """Passes numbers on until it has been called `calls` times in training; then they are not numbers."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.left = calls

    def forward(self, x):
        self.left -= self.training
        return x * math.nan if self.training and self.left < 0 else x


def rows(number: int = 100, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.tensor(np.random.default_rng(seed).normal(size=(number, 4)).astype(np.float32))
    return x, x @ torch.tensor([1.0, -2.0, 0.5, 3.0])


def network(calls: int = 10**9) -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), Fuse(calls), nn.Linear(8, 1), nn.Flatten(0))


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def equal(one: dict[str, Any], two: dict[str, Any]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def loss(model: nn.Module, data: tuple[torch.Tensor, torch.Tensor]) -> float:
    with torch.no_grad():
        return float(MSE(model(data[0]), data[1]))


class Killed(Exception):
    """What stands for a kill."""


class TestFaults:
    def test_the_outcome_names_module_and_step_and_the_best_validated_weights_stand(self):
        """Five batches an epoch; the 18th step breaks: the weights after 15 are the best that were validated."""
        model, held = network(17), rows(50, seed=1)
        training = STEPS | {"duration": "20 epochs"}
        fitted = fit_module(model, rows(), MSE, validation=held, training=training, engine={"signals": 0})
        assert fitted.outcome.fault == "the output of 2 (Fuse) is not finite, at step 18"
        assert fitted.outcome.reason == fitted.outcome.fault and fitted.outcome.position.step == 18
        assert len(fitted.history.validation) == 3 == fitted.length
        whole = network()
        fit_module(whole, rows(), MSE, training=STEPS | {"duration": "15 steps"}, engine={"signals": 0})
        assert equal(weights(model), weights(whole)) and not model.training
        assert loss(model, held) == pytest.approx(min(fitted.history.validation), rel=1e-6)

    def test_without_validation_the_newest_checkpoint_stands(self, tmp_path):
        model = network(17)
        fitted = fit_module(
            model,
            rows(),
            MSE,
            training=STEPS | {"duration": "20 epochs"},
            engine={"signals": 0, "checkpoint": "4 steps"},
            checkpoints=Checkpoints(tmp_path),
        )
        assert "at step 18" in fitted.outcome.fault and fitted.length == 3
        whole = network()
        fit_module(whole, rows(), MSE, training=STEPS | {"duration": "16 steps"}, engine={"signals": 0})
        assert equal(weights(model), weights(whole))

    def test_the_averages_of_the_checkpoint_are_what_stands(self, tmp_path):
        average = {"average": {"name": "ema", "decay": 0.9}}
        engine = {"signals": 0, "checkpoint": "4 steps"}
        model, whole = network(17), network()
        training = STEPS | average | {"duration": "20 epochs"}
        fit_module(model, rows(), MSE, training=training, engine=engine, checkpoints=Checkpoints(tmp_path))
        fit_module(whole, rows(), MSE, training=training | {"duration": "16 steps"}, engine={"signals": 0})
        assert equal(weights(model), weights(whole))

    def test_with_nothing_to_go_back_to_it_diverged(self):
        words = (
            "Training broke down: the output of 2 .Fuse. is not finite, at step 3. "
            "Use a smaller training.learning_rate, or clip the gradients: training.clip_norm=1."
        )
        with pytest.raises(Diverged, match=words):
            fit_module(network(2), rows(), MSE, training=STEPS | {"duration": "20 epochs"})

    def test_a_rate_that_is_far_too_high_is_caught(self):
        x, y = rows()
        training = STEPS | {"duration": "500 steps", "learning_rate": 1e6}
        with pytest.raises(Diverged, match="not finite|no longer finite"):
            fit_module(network(), (x, 1e6 * y), MSE, training=training)

    def test_a_broken_batch_is_named(self):
        x, y = rows()
        x[37, 2] = math.nan
        with pytest.raises(
            Diverged, match="the batch holds values that are not finite in 'x', at step [1-5]"
        ):
            fit_module(network(), (x, y), MSE, training=STEPS | {"duration": "5 epochs"})

    def test_weights_that_are_not_finite_are_never_saved(self, tmp_path):
        """The weights overflow in the update itself, which the next step shows: no checkpoint has them."""
        saved = []

        class Watched(Checkpoints):
            def save(self, state, *, step):
                saved.append(step)
                assert all(bool(value.isfinite().all()) for value in state["model"].values())
                return super().save(state, step=step)

        class Overflow(GradientUpdate):
            def __call__(self, model: Any, objective, batches, context):
                step = super().__call__(model, objective, batches, context)
                if context.position.step == 7:
                    with torch.no_grad():
                        model[0].weight.fill_(math.inf)
                return step

        model, whole = network(), network()
        update: Any = Overflow(torch.optim.SGD(model.parameters(), lr=0.05))
        fitted = run_by_hand(model, update, Watched(tmp_path))
        assert fitted.outcome.fault == "the weights 0.weight are no longer finite, at step 9"
        assert saved == [1, 2, 3, 4, 5, 6, 7]
        fit_module(whole, rows(), MSE, training=STEPS | {"duration": "7 steps"}, engine={"signals": 0})
        assert equal(weights(model), weights(whole))

    def test_a_table_run_goes_on_with_its_other_models(self, runs_dir):
        settings = merged(
            HOLDOUT, training={"learning_rate": 1e30, "optimizer": "sgd", "duration": "3 epochs"}
        )
        run = danlu.train(table("regression", 200), "y", model=["mlp", "ridge"], **settings)
        assert run.record["chosen"]["name"] == "ridge"
        (mlp,) = [each for each in run.record["candidates"] if each["name"] == "mlp"]
        assert "finite" in str(mlp) or "broke down" in str(mlp)
        assert {"diverged", "not_fitted"} & {finding["code"] for finding in run.record["findings"]}


def run_by_hand(model: Any, update: Any, checkpoints: Checkpoints, **more: Any) -> jobs.Fitted:
    """A job with an update of one's own, a checkpoint after every step."""
    x, y = rows()
    data = ShuffledRows({"x": x, "y": y}, batch_size=20, seed=0)
    given = {"checkpoints": checkpoints, "save_every": Duration(1, "steps")} | more
    return jobs.run_job(
        jobs.Job(model, data, Criterion(MSE), update, Context(), Duration(20, "steps"), **given)
    )


class TestWhatIsKept:
    def test_early_stopping_restores_the_best_weights(self):
        """H08: it stops `patience` validations after the least loss, and that one's weights are back."""
        kept: list[dict[str, torch.Tensor]] = []
        model = network()
        scores = iter([5.0, 4.0, 3.0, 3.5, 3.4, 3.2, 3.1, 2.0])

        def validate():
            kept.append(weights(model))
            return {"loss": next(scores)}

        training = STEPS | {"duration": "500 epochs", "patience": 4}
        fitted = fit_module(model, rows(), MSE, validation=validate, training=training)
        assert fitted.outcome.reason == "no better loss in 4 validations"
        assert fitted.history.validation == [5.0, 4.0, 3.0, 3.5, 3.4, 3.2, 3.1] and fitted.length == 3
        assert equal(weights(model), kept[2]) and not equal(weights(model), kept[-1])

    def test_without_early_stopping_the_best_is_kept_all_the_same(self):
        model, held = network(), rows(50, seed=1)
        training = STEPS | {"duration": "10 epochs", "learning_rate": 0.3}
        fitted = fit_module(model, rows(), MSE, validation=held, training=training)
        assert len(fitted.history.validation) == 10
        assert loss(model, held) == pytest.approx(min(fitted.history.validation), rel=1e-6)

    @pytest.mark.parametrize("is_validated", [False, True])
    def test_averages_are_what_is_validated_and_kept(self, is_validated):
        """The mean of the weights by hand, from the path that the same fit takes without an average."""
        path: list[dict[str, torch.Tensor]] = []
        plain = network()
        x, y = rows()

        class Watched(Criterion):
            def sums(self, model, batch):
                path.append(weights(plain))
                return super().sums(model, batch)

        training = STEPS | {"duration": "11 steps"}
        fit_module(
            plain, (x, y), Watched(MSE), training=training, engine={"signals": 0, "execution": "eager"}
        )
        path = [*path[-10:], weights(plain)]  # after 1, 2, .. 11 steps
        average = weights(network())
        for after in path:
            average = {name: 0.8 * average[name] + 0.2 * after[name] for name in average}
        model = network()
        held = rows(50, seed=1)
        fitted = fit_module(
            model,
            (x, y),
            MSE,
            validation=held if is_validated else None,
            training=training | {"average": {"name": "ema", "decay": 0.8, "warmup": False}},
            engine={"signals": 0},
        )
        for name, value in average.items():
            torch.testing.assert_close(weights(model)[name], value, rtol=0, atol=1e-6)
        if is_validated:
            assert fitted.history.validation[-1] == pytest.approx(loss(model, held), rel=1e-6)

    def test_a_finished_fit_is_not_made_again(self, tmp_path, monkeypatch):
        """A fit of two seconds or more is kept whole: a run that is killed in a later one takes it as it is."""
        monkeypatch.setattr(jobs, "FINISHED_SECONDS", 0.0)
        first = network()
        training = STEPS | {"duration": "3 epochs"}
        given: dict[str, Any] = {"validation": rows(50, seed=1), "training": training}
        one = fit_module(first, rows(), MSE, checkpoints=Checkpoints(tmp_path), **given)
        monkeypatch.setattr(jobs, "fit", None)  # nothing is fitted
        again = network(0)
        two = fit_module(again, rows(), MSE, checkpoints=Checkpoints(tmp_path), **given)
        assert equal(weights(again), weights(first)) and not again.training
        assert vars(two.history) == vars(one.history) and two.outcome == one.outcome
        assert two.length == one.length and two.pace["steps"] == one.pace["steps"] == 15
        assert two.memory == one.memory and one.memory is not None

    def test_a_finished_estimator_is_not_made_again(self, runs_dir, monkeypatch):
        """Trees have no state in between; a fit of theirs that was finished before the kill is taken as it is."""
        monkeypatch.setattr(jobs, "FINISHED_SECONDS", 0.0)
        table("regression", 200).write_csv("data.csv")
        fits: list[Any] = []
        real_fit, real_save = jobs.fit, Checkpoints.save
        monkeypatch.setattr(
            jobs, "fit", lambda *given, **named: (fits.append(1), real_fit(*given, **named))[1]
        )

        def train(out):
            return danlu.train("data.csv", "y", model=["decision_tree", "ridge"], out=out, **HOLDOUT)

        alone = train("alone")
        num_fits = len(fits)
        saved: list[Any] = []

        def save(self, state, *, step):
            saved.append(real_save(self, state, step=step))
            if len(saved) == 2:  # after the baseline and the tree
                raise Killed
            return saved[-1]

        with monkeypatch.context() as patched:
            patched.setattr(Checkpoints, "save", save)
            with pytest.raises(Killed):
                train("killed")
        fits.clear()
        resumed = danlu.train(resume="killed")
        assert len(fits) == num_fits - 2
        assert sha256(resumed.folder / "model.danlu") == sha256(alone.folder / "model.danlu")
        assert not (resumed.folder / "checkpoints").exists()


class TestMemory:
    def test_it_says_which_batch_size_fits(self, monkeypatch):
        """torch's own words on a CPU, from the third step on."""
        monkeypatch.setattr(jobs, "memory_available", lambda: 200_000)
        calls = []

        class Full(Criterion):
            def sums(self, model, batch):
                calls.append(len(batch["y"]))
                if len(calls) == 3:
                    raise RuntimeError(
                        "[enforce fail at alloc_cpu.cpp:119] err == 0. DefaultCPUAllocator: can't allocate memory: "
                        "you tried to allocate 137438953472 bytes. Error code 12 (Cannot allocate memory)"
                    )
                return super().sums(model, batch)

        training = STEPS | {"duration": "5 epochs", "batch_size": 2000}
        with pytest.raises(OutOfMemory) as caught:
            fit_module(network(), rows(4000), Full(MSE), training=training, engine={"signals": 0})
        said = str(caught.value)
        assert "2,000" in said or "2000" in said
        assert "micro_batch" in said and "memory" in said
        assert isinstance(caught.value, danlu.UserError) and isinstance(caught.value.__cause__, RuntimeError)

    def test_data_that_do_not_fit_the_model_are_no_lack_of_memory(self):
        with pytest.raises(
            danlu.DataError, match="mat1 and mat2 shapes cannot be multiplied .20x3 and 4x8"
        ) as caught:
            fit_module(network(), (torch.zeros(50, 3), torch.zeros(50)), MSE, training=STEPS)
        assert "x is float32 of shape (20, 3)" in str(caught.value)

    def test_the_streams_of_torch_and_its_threads_are_given_back_after_an_error(self):
        torch.manual_seed(5)
        before, threads = torch.get_rng_state(), torch.get_num_threads()
        model = network(2)
        torch.set_rng_state(before)
        with pytest.raises(Diverged):
            fit_module(model, rows(), MSE, training=STEPS | {"duration": "5 epochs"}, engine={"threads": 2})
        assert torch.equal(torch.get_rng_state(), before) and torch.get_num_threads() == threads
