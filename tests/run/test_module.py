"""danlu.train(model=net, ...): any torch module, any torch data, and the texts' own loop as its equal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import danlu
from danlu.core.checkpoint import Checkpoints
from danlu.core.ideas import Position
from danlu.core.loop import fit
from danlu.core.tasks import Task
from danlu.data.batches import ShuffledRows
from danlu.objectives.classification import CrossEntropy
from danlu.run.module import ModuleRun, fit_module
from danlu.watch.store import read_events

STEPS = {"duration": "20 steps", "batch_size": 16}


class FCNet(nn.Module):
    """The network of the texts: fc1, relu, fc2."""

    def __init__(self, input_size: int, hidden_size: int, num_classes: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(input_size, hidden_size)
        self.relu = nn.ReLU()
        self.fc2 = nn.Linear(hidden_size, num_classes)

    def forward(self, x):
        out = self.fc1(x)
        out = self.relu(out)
        return self.fc2(out)


class Samples(Dataset):
    """A Dataset that gives one sample at a time."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index], self.y[index]


def fcnet(seed: int = 0) -> FCNet:
    torch.manual_seed(seed)
    return FCNet(20, 16, 3)


def rows(number: int = 200, *, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(7)
    directions = rng.normal(size=(20, 3))
    x = np.random.default_rng(seed).normal(size=(number, 20)).astype(np.float32)
    return torch.tensor(x), torch.tensor((x @ directions).argmax(1))


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def equal(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def accuracy(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    with torch.no_grad():
        return float((model(x).argmax(1) == y).float().mean())


@pytest.fixture
def folder(runs_dir: Path) -> Path:
    """Where the test's runs go."""
    return runs_dir


class TestTheTextsOwnLoop:
    def test_the_class_builds_and_gives_a_score_for_each_class(self):
        assert fcnet()(torch.zeros(7, 20)).shape == (7, 3)

    @pytest.mark.parametrize("name", ["sgd", "momentum", "adam"])
    def test_the_five_steps_by_hand_give_the_same_weights(self, name):
        """Forward, criterion, zero_grad, backward, step, on the batches that danlu takes, in their order."""
        x, y = rows(1000)
        by_hand, ours = fcnet(), fcnet()
        order = []

        class Watched(ShuffledRows):
            def items(self, start, **ranks):
                for item in super().items(start, **ranks):
                    order.append((item.batch["x"].clone(), item.batch["y"].clone()))
                    yield item

        fitted = fit_module(
            ours,
            Watched({"x": x, "y": y}, batch_size=100, seed=0),
            nn.CrossEntropyLoss(),
            training={"duration": "5 epochs", "optimizer": name, "learning_rate": 0.05},
            engine={"execution": "eager", "signals": 0},
        )
        batches = order[-50:]
        assert fitted.outcome.position == Position(5, 0, 50)

        criterion = nn.CrossEntropyLoss()
        optimizer = {
            "sgd": lambda: torch.optim.SGD(by_hand.parameters(), lr=0.05),
            "momentum": lambda: torch.optim.SGD(by_hand.parameters(), lr=0.05, momentum=0.9),
            "adam": lambda: torch.optim.Adam(by_hand.parameters(), lr=0.05),
        }[name]()
        losses = []
        for epoch in range(5):
            for inputs, targets in batches[10 * epoch : 10 * epoch + 10]:
                outputs = by_hand(inputs)
                loss = criterion(outputs, targets)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
        for name_, value in weights(by_hand).items():
            torch.testing.assert_close(weights(ours)[name_], value, rtol=0, atol=1e-6)
        assert losses[-1] < losses[0] and accuracy(ours, x, y) > 0.6

    def test_every_epoch_takes_each_row_once_in_an_order_of_its_own(self):
        y = torch.zeros(1000)
        seen: list[list[int]] = []
        data = ShuffledRows({"x": torch.arange(1000)[:, None], "y": y}, batch_size=100, seed=0)
        items = data.items(Position())
        for _ in range(2):
            seen.append([int(row) for _ in range(10) for row in next(items).batch["x"][:, 0]])
        assert sorted(seen[0]) == sorted(seen[1]) == list(range(1000)) and seen[0] != seen[1]

    def test_without_zero_grad_gradients_add_up_and_danlu_clears_them(self):
        """G02: the step that is left out in the texts changes the gradient; danlu's never holds an older one."""
        x, y = rows(16)
        model = fcnet()
        loss = nn.CrossEntropyLoss()
        for _ in range(2):
            loss(model(x), y).backward()
        assert model.fc2.bias.grad is not None
        added = model.fc2.bias.grad.clone()
        single = fcnet()
        loss(single(x), y).backward()
        assert single.fc2.bias.grad is not None
        torch.testing.assert_close(added, 2 * single.fc2.bias.grad)
        training = {"duration": "1 steps", "batch_size": 16, "optimizer": "sgd", "learning_rate": 0.1}
        fit_module(model, (x, y), loss, training=training)  # begins with the old gradient in place
        expected = fcnet().fc2.bias - 0.1 * single.fc2.bias.grad
        torch.testing.assert_close(model.fc2.bias, expected, rtol=0, atol=1e-7)

    def test_a_thousand_rows_in_batches_of_a_hundred_for_five_epochs_are_fifty_iterations(self, folder):
        training = {"duration": "5 epochs", "batch_size": 100}
        run = danlu.train(model=fcnet(), data=rows(1000), objective="cross_entropy", training=training)
        pace = run.record["pace"]
        assert (pace["steps"], pace["epochs"]) == (50, 5)
        assert pace["epoch_ends"]["epoch"] == [1, 2, 3, 4, 5]
        assert pace["learning_rate"]["step"][-1] == 50
        assert pace["seconds_per_epoch"] > 0 and pace["stop_reason"] == "reached 5 epochs"


class TestData:
    @pytest.fixture
    def expected(self):
        model = fcnet()
        fit_module(model, rows(), "cross_entropy", training=STEPS, seed=4)
        return weights(model)

    def test_every_kind_of_data_gives_the_same_weights(self, expected):
        x, y = rows()
        kinds: dict[str, Any] = {
            "a pair of arrays": (x.numpy(), y.numpy()),
            "a dictionary": {"x": x, "y": y},
            "TensorDataset": TensorDataset(x, y),
            "a Dataset of samples": Samples(x, y),
        }
        for name, data in kinds.items():
            model = fcnet()
            fit_module(model, data, "cross_entropy", training=STEPS, seed=4)
            assert equal(weights(model), expected), name

    @pytest.mark.parametrize("kind", [TensorDataset, Samples])
    def test_a_loader_brings_its_own_batches(self, expected, kind):
        model = fcnet()
        loader = DataLoader(kind(*rows()), batch_size=16, shuffle=True)
        fit_module(model, loader, "cross_entropy", training={"duration": "20 steps"}, seed=4)
        assert equal(weights(model), expected)

    def test_a_dictionary_with_more_than_x_and_y_reaches_a_loss_of_ones_own(self):
        x, y = rows()
        seen = set()

        def loss(model, batch):
            seen.update(batch)
            return nn.functional.cross_entropy(model(batch["x"]), batch["y"]) * batch["scale"].mean()

        fit_module(fcnet(), {"x": x, "y": y, "scale": torch.ones(200)}, loss, training=STEPS)
        assert seen == {"x", "y", "scale"}

    def test_tokens_stay_whole_numbers(self):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(50, 8), nn.Flatten(), nn.Linear(40, 2))
        tokens = torch.randint(50, (120, 5))
        y = (tokens[:, 0] > 25).long()
        fitted = fit_module(
            model,
            (tokens, y),
            "cross_entropy",
            training={"duration": "40 epochs", "batch_size": 16, "learning_rate": 0.01},
        )
        found = fitted.objective.predict(model, {"x": tokens})
        assert ((found["probabilities"][:, 1] > 0.5) == y.numpy()).mean() > 0.95


class TestObjectives:
    def test_a_name_a_criterion_a_function_and_an_objective_are_one(self):
        def loss(model, batch):
            return nn.functional.cross_entropy(model(batch["x"]), batch["y"])

        found = []
        for objective in (
            "cross_entropy",
            {"name": "cross_entropy"},
            nn.CrossEntropyLoss(),
            loss,
            CrossEntropy(Task("multiclass", (0, 1, 2))),
        ):
            model = fcnet()
            fit_module(model, rows(), objective, training=STEPS)
            found.append(weights(model))
        for other in found[1:]:
            for name in other:
                torch.testing.assert_close(other[name], found[0][name], rtol=0, atol=1e-6)

    def test_a_regression_by_name(self):
        x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
        y = x @ torch.tensor([1.0, -2.0, 0.5, 3.0])
        model: Any = nn.Sequential(nn.Linear(4, 1), nn.Flatten(0))
        training = {"duration": "60 epochs", "batch_size": 32, "optimizer": "sgd", "learning_rate": 0.05}
        fit_module(model, (x, y), "squared_error", training=training)
        torch.testing.assert_close(model[0].weight[0], torch.tensor([1.0, -2.0, 0.5, 3.0]), rtol=0, atol=1e-3)

    def test_two_classes_with_one_score_a_row(self):
        x, _ = rows(300)
        y = (x[:, 0] + x[:, 1] > 0).long()
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(20, 1), nn.Flatten(0))
        fit_module(
            model,
            (x, y),
            "cross_entropy",
            training={"duration": "30 epochs", "batch_size": 32, "learning_rate": 0.05},
        )
        with torch.no_grad():
            assert ((model(x) > 0).long() == y).float().mean() > 0.95

    def test_balanced_class_weights_look_at_all_targets(self):
        x, y = rows(300)
        few = torch.cat([torch.nonzero(y == 0)[:5, 0], torch.nonzero(y > 0)[:, 0]])
        choice = {"name": "cross_entropy", "class_weights": "balanced"}
        fitted = fit_module(fcnet(), (x[few], y[few]), choice, training=STEPS)
        found = (
            fitted.objective.counts({"y": torch.tensor([0])}),
            fitted.objective.counts({"y": torch.tensor([1])}),
        )
        assert found[0]["cross_entropy"] > 5 * found[1]["cross_entropy"] > 0


class TestValidation:
    def test_held_out_data_choose_the_weights(self):
        """Labels of chance: the loss on other rows only gets worse, and the first weights are the best ones."""
        x, _ = rows(60)
        y = torch.randint(3, (60,), generator=torch.Generator().manual_seed(0))
        held = (rows(200, seed=1)[0], torch.randint(3, (200,), generator=torch.Generator().manual_seed(1)))
        model = fcnet()
        training = {"duration": "60 epochs", "batch_size": 16, "learning_rate": 0.01, "patience": 5}
        fitted = fit_module(model, (x, y), "cross_entropy", validation=held, training=training)
        losses = fitted.history.validation
        assert "no better" in fitted.outcome.reason and len(losses) == int(np.argmin(losses)) + 1 + 5
        assert fitted.length == int(np.argmin(losses)) + 1
        with torch.no_grad():
            best = nn.functional.cross_entropy(model(held[0]), held[1])
        assert float(best) == pytest.approx(min(losses), rel=1e-5)
        assert not model.training

    def test_a_function_of_ones_own(self):
        model, held = fcnet(), rows(100, seed=1)
        calls = []

        def validate():
            assert not model.training
            calls.append(1)
            return {"accuracy": accuracy(model, *held), "count": 1.0}

        fitted = fit_module(
            model,
            rows(),
            "cross_entropy",
            validation=validate,
            metric="accuracy",
            greater_is_better=True,
            training={"duration": "6 epochs", "batch_size": 16},
        )
        assert len(calls) == 6 == len(fitted.history.validation)
        assert accuracy(model, *held) == max(fitted.history.validation)

    def test_a_loader_validates_with_its_mean_over_the_rows(self):
        model = fcnet()
        x, y = rows(100, seed=1)
        loader = DataLoader(TensorDataset(x, y), batch_size=33)
        training = {"duration": "1 epochs", "batch_size": 16}
        fitted = fit_module(model, rows(), "cross_entropy", validation=loader, training=training)
        with torch.no_grad():
            expected = float(nn.functional.cross_entropy(model(x), y))
        assert fitted.history.validation == [pytest.approx(expected, rel=1e-5)]


class TestRun:
    @pytest.fixture
    def run(self, folder) -> ModuleRun:
        return danlu.train(
            model=fcnet(),
            data=rows(),
            objective="cross_entropy",
            validation=rows(50, seed=1),
            training={"duration": "3 epochs", "batch_size": 16},
            engine={"watch": ["jsonl"], "price_per_hour": 3.6},
            out=folder / "digits",
            seed=2,
        )

    def test_what_it_leaves_behind(self, run, folder):
        assert {path.name for path in (folder / "digits").iterdir()} >= {
            "recipe.yaml", "plan.lock", "events.sqlite", "record.json", "model.safetensors",
        }  # fmt: skip
        record = json.loads((folder / "digits" / "record.json").read_text())
        assert record["kind"] == "module"
        assert record["model"] == {"class": "FCNet", "num_parameters": 20 * 16 + 16 + 16 * 3 + 3}
        assert record["outcome"] == {
            "reason": "reached 3 epochs",
            "fault": "",
            "length": record["outcome"]["length"],
        }
        assert len(record["history"]["validation"]) == 3 == record["pace"]["epochs"]
        assert record["device"]["name"] == "cpu" and record["processes"] == {"number": 1, "sharding": None}
        assert record["cost"]["device_hours"] > 0 and record["cost"]["cost"] > 0
        assert record["memory"]["parameters"] == 4 * record["model"]["num_parameters"]
        assert record["findings"] == []
        lock = json.loads((folder / "digits" / "plan.lock").read_text())
        assert len(lock["model_sha256"]) == 64 and lock["decisions"] == {"model": {}}
        events = read_events(folder / "digits" / "events.sqlite")
        assert {event["kind"] for event in events} >= {"start", "step", "validation", "end"}
        assert list((folder / "digits").rglob("*.jsonl"))
        assert not list((folder / "digits").rglob("*.part"))

    def test_the_weights_on_disk_are_the_weights_of_the_model(self, run, folder):
        stored = load_file(folder / "digits" / "model.safetensors")
        assert equal(stored, weights(run.model)) and not run.model.training
        fresh = fcnet(9)
        fresh.load_state_dict(stored)
        assert torch.equal(fresh(rows()[0]), run.model(rows()[0]))
        assert run.metrics["loss"] == run.record["history"]["validation"]

    def test_the_same_call_gives_the_same_bits(self, run, folder):
        again = danlu.train(
            model=fcnet(),
            data=rows(),
            objective="cross_entropy",
            validation=rows(50, seed=1),
            training={"duration": "3 epochs", "batch_size": 16},
            seed=2,
        )
        assert equal(weights(again.model), weights(run.model))
        assert again.folder.parent.name == "runs" and again.folder.name.startswith("FCNet-cross_entropy-")

    def test_without_a_name_of_a_run_nothing_is_written(self, folder):
        fit_module(fcnet(), rows(), "cross_entropy", training=STEPS)
        assert list(folder.iterdir()) == []

    def test_a_budget_ends_it(self, folder):
        run = danlu.train(
            model=fcnet(), data=rows(), objective="cross_entropy", budget="1s",
            training={"duration": "1000000 epochs", "batch_size": 16}, engine={"execution": "eager", "threads": 1},
        )  # fmt: skip
        assert run.fitted.outcome.reason == "out of time" and run.record["run"]["seconds"] < 10

    def test_random_numbers_of_the_program_go_on_as_if_nothing_had_been(self):
        torch.manual_seed(11)
        model = fcnet()
        torch.manual_seed(12)
        before = torch.get_rng_state()
        fit_module(model, rows(), "cross_entropy", training=STEPS | {"mixup": 0.2})
        assert torch.equal(torch.get_rng_state(), before)


SETTINGS: dict[str, Any] = {
    "objective": "cross_entropy",
    "training": {
        "duration": "40 steps",
        "batch_size": 16,
        "schedule": "cosine",
        "average": "ema",
        "mixup": 0.3,
    },
    "engine": {"checkpoint": "5 steps", "signals": 0},
    "seed": 3,
}


class Stop(Exception):
    """What stands for a kill."""


class TestResume:
    def killed(self, folder: Path, monkeypatch: pytest.MonkeyPatch, at: int = 4, **more: Any) -> Path:
        """A run that ends at the `at`-th checkpoint, just after its commit."""
        real, calls = Checkpoints.save, []

        def save(self, state, *, step):
            path = real(self, state, step=step)
            calls.append(step)
            if len(calls) == at:
                raise Stop
            return path

        with monkeypatch.context() as patched:
            patched.setattr(Checkpoints, "save", save)
            with pytest.raises(Stop):
                danlu.train(model=fcnet(), data=rows(), out=folder / "run", **(SETTINGS | more))
        return folder / "run"

    def test_it_ends_in_the_bits_of_the_run_left_alone(self, folder, monkeypatch):
        alone = danlu.train(model=fcnet(), data=rows(), **SETTINGS)
        path = self.killed(folder, monkeypatch)
        assert not (path / "record.json").exists()
        started_with = fcnet(99)  # its weights are those of the checkpoint at once
        run = danlu.train(model=started_with, data=rows(), resume=path, **SETTINGS)
        assert equal(weights(run.model), weights(alone.model))
        assert run.record["pace"]["resumed_at_steps"] == [20] and run.record["pace"]["steps"] == 40
        assert (path / "model.safetensors").read_bytes() == (alone.folder / "model.safetensors").read_bytes()

    def test_a_damaged_checkpoint_is_passed_over_and_said(self, folder, monkeypatch):
        alone = danlu.train(model=fcnet(), data=rows(), **SETTINGS)
        path = self.killed(folder, monkeypatch)
        newest = path / "checkpoints" / "model" / "step-000000020" / "tensors.safetensors"
        newest.write_bytes(newest.read_bytes()[:-1] + b"x")
        run = danlu.train(model=fcnet(), data=rows(), resume=path, **SETTINGS)
        assert equal(weights(run.model), weights(alone.model))
        assert run.record["pace"]["resumed_at_steps"] == [15]
        (finding,) = run.record["findings"]
        assert finding["code"] == "damaged_checkpoint"
        assert (
            "step-000000020 is passed over: tensors.safetensors is not what was written" in finding["message"]
        )

    def test_other_settings_are_refused(self, folder, monkeypatch):
        path = self.killed(folder, monkeypatch, at=1)
        changed: Any = SETTINGS | {"seed": 4}
        with pytest.raises(danlu.UserError, match="was made with other settings; see its recipe.yaml. Give"):
            danlu.train(model=fcnet(), data=rows(), resume=path, **changed)

    def test_a_finished_run_is_left_alone(self, folder):
        run = danlu.train(model=fcnet(), data=rows(), **SETTINGS)
        with pytest.raises(danlu.UserError, match=r"is finished; its weights are in .*model.safetensors"):
            danlu.train(model=fcnet(), data=rows(), resume=run.folder, **SETTINGS)

    def test_an_absent_run_and_an_out_beside_it(self, folder, monkeypatch):
        with pytest.raises(danlu.UserError, match="There is no run 'nowhere'"):
            danlu.train(model=fcnet(), data=rows(), resume="nowhere", **SETTINGS)
        path = self.killed(folder, monkeypatch, at=1)
        with pytest.raises(danlu.RecipeError, match="has its folder already; leave out `out`"):
            danlu.train(model=fcnet(), data=rows(), resume=path, out=folder / "two", **SETTINGS)

    def test_a_model_of_another_shape_is_named(self, folder, monkeypatch):
        path = self.killed(folder, monkeypatch, at=1)
        torch.manual_seed(0)
        with pytest.raises(
            danlu.UserError, match=r"This FCNet is not .*: fc1.weight is \[8, 20\] here and \[16, 20\] there"
        ):
            danlu.train(model=FCNet(20, 8, 3), data=rows(), resume=path, **SETTINGS)


class TestErrors:
    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ({}, "A torch module needs an objective: a name such as 'cross_entropy', a torch criterion, or a function"),
            ({"objective": 3}, "objective must be a name such as 'cross_entropy'.*got int"),
            ({"objective": "cross_entropi"}, "Did you mean 'cross_entropy'"),
            ({"objective": "cross_entropy", "target": "y"}, "'target' belongs to a table; a torch module is"),
            ({"objective": "cross_entropy", "split": {"folds": 3}}, "'split' belongs to a table"),
            ({"objective": "cross_entropy", "recipe": "a.yaml"}, "'recipe' belongs to a table"),
            ({"objective": "cross_entropy", "training": {"lr": 0.1}}, "Unknown setting 'lr' in 'training'"),
            ({"objective": "cross_entropy", "engine": {"processes": 0}}, "engine.processes must be at least 1, got 0"),
            ({"objective": "cross_entropy", "training": {"batch_size": 201}}, "but there are only 200"),
            ({"objective": "cross_entropy", "data": None}, "NoneType"),
            ({"objective": "cross_entropy", "data": 3}, "int"),
        ],
    )  # fmt: skip
    def test_each_has_its_sentence(self, folder, given, words):
        with pytest.raises(danlu.UserError, match=words):
            danlu.train(**{"model": fcnet(), "data": rows()} | given)

    def test_a_batch_size_beside_a_loader(self, folder):
        loader = DataLoader(TensorDataset(*rows()), batch_size=8)
        words = "training.batch_size is 16, but a DataLoader makes its own batches. Set the size there"
        with pytest.raises(danlu.RecipeError, match=words):
            danlu.train(model=fcnet(), data=loader, objective="cross_entropy", training=STEPS)

    def test_a_name_of_a_model_beside_an_objective_is_a_recipe(self, folder):
        with pytest.raises(danlu.RecipeError, match="validation"):
            danlu.train({"a": [1, 2], "y": [1, 2]}, "y", model="ridge", validation=3)

    def test_scores_that_are_not_there(self, folder):
        def validation():
            return {"accuracy": 1.0}

        with pytest.raises(danlu.UserError, match="The validation gives accuracy, and metric is 'f1'"):
            fit_module(fcnet(), rows(), "cross_entropy", validation=validation, metric="f1", training=STEPS)


class TestFindings:
    @pytest.mark.parametrize("objective", ["cross_entropy", nn.CrossEntropyLoss(), {"name": "focal"}])
    def test_a_softmax_before_a_loss_of_logits(self, objective):
        model = nn.Sequential(nn.Linear(20, 3), nn.Softmax(dim=1))
        (finding,) = fit_module(model, rows(), objective, training=STEPS).findings
        assert (finding.code, finding.severity) == ("double_softmax", "warning")
        assert finding.message.startswith(
            "The network's last module is Softmax, and the loss applies softmax"
        )

    def test_a_softmax_before_another_loss_is_no_matter(self):
        model = nn.Sequential(nn.Linear(20, 3), nn.Softmax(dim=1))
        target = nn.functional.one_hot(rows()[1], 3).float()
        assert fit_module(model, (rows()[0], target), nn.MSELoss(), training=STEPS).findings == ()
        assert fit_module(fcnet(), rows(), "cross_entropy", training=STEPS).findings == ()

    def test_equal_weights_are_named(self, folder):
        model = fcnet()
        for weight in model.parameters():
            nn.init.zeros_(weight)
        run = danlu.train(model=model, data=rows(), objective="cross_entropy", training=STEPS)
        (finding,) = run.record["findings"]
        assert finding["code"] == "symmetric_weights" and "fc1" in finding["message"]


def test_the_loop_itself_takes_the_same_parts():
    """`fit_module` is the one loop with its parts put together; by hand they give the same."""
    from danlu.core.duration import Duration
    from danlu.core.ideas import Context
    from danlu.objectives.criterion import Criterion
    from danlu.updates.gradient import GradientUpdate

    x, y = rows()
    ours, by_hand = fcnet(), fcnet()
    training = {"duration": "20 steps", "batch_size": 16, "optimizer": "sgd", "learning_rate": 0.1}
    fit_module(ours, (x, y), nn.CrossEntropyLoss(), training=training, engine={"signals": 0})
    fit(
        by_hand,
        ShuffledRows({"x": x, "y": y}, batch_size=16, seed=0),
        Criterion(nn.CrossEntropyLoss()),
        GradientUpdate(torch.optim.SGD(by_hand.parameters(), lr=0.1)),
        context=Context(),
        until=Duration(20, "steps"),
    )
    for name, value in weights(ours).items():
        torch.testing.assert_close(weights(by_hand)[name], value, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda model, batch: model(batch["x"]).ravel(), "got torch.float32 of shape .8,.. Take the mean"),
        (lambda model, batch: 1.0, "got float. Take the mean"),
        (lambda model, batch: torch.tensor(1.0), "got torch.float32 of shape .. without a gradient"),
    ],
)
def test_a_loss_of_ones_own_that_is_no_number(loss, message):
    from danlu.run.module import fit_module

    with pytest.raises(danlu.RecipeError, match=message):
        fit_module(
            torch.nn.Linear(3, 1), (torch.ones(8, 3), torch.ones(8)), loss, training={"duration": "2 steps"}
        )


def test_numbers_of_another_type_are_named():
    from danlu.run.module import fit_module

    with pytest.raises(danlu.DataError, match="x is float64 of shape .8, 3.*weights of Linear are float32"):
        fit_module(torch.nn.Linear(3, 1), (torch.ones(8, 3).double(), torch.ones(8)), "squared_error")
