"""What every objective of the catalogue promises; a new one is found here by itself."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from danlu.core.errors import RecipeError
from danlu.core.seeds import generator
from danlu.core.tasks import Task
from danlu.recipe import catalogue
from danlu.recipe.build import build_objective, restore_objective, stored_objective
from danlu.recipe.settings import check

OBJECTIVES = catalogue.entries("objective")
TASKS = {
    "regression": Task("regression"),
    "binary": Task("binary", ("no", "yes")),
    "multiclass": Task("multiclass", ("a", "b", "c")),
}
LINKS = ("identity", "log", "sigmoid", "softmax", "order")
NUM_ROWS, NUM_COLUMNS = 24, 4
every_objective = pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param(name, kind, id=f"{name}-{kind}")
        for name, entry in OBJECTIVES.items()
        for kind in entry.tasks
    ],
)


class Net(nn.Module):
    """A linear module in float64 with the scores that a task wants."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        rng = generator(0, "net", task.kind)
        self.weight = nn.Parameter(torch.as_tensor(0.3 * rng.normal(size=(NUM_COLUMNS, task.num_scores))))
        self.bias = nn.Parameter(torch.zeros(task.num_scores, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores = x @ self.weight + self.bias
        return scores[:, 0] if scores.shape[1] == 1 else scores


def rows(kind: str, *, weighted: bool = True, num_rows: int = NUM_ROWS) -> dict[str, Any]:
    """Rows whose target follows from the columns; targets of a regression are counts, which suit every loss."""
    rng = generator(1, "rows", kind)
    x = rng.normal(size=(num_rows, NUM_COLUMNS))
    z = x @ np.array([[2.0, -1.0, 0.5], [-1.0, 2.0, 0.5], [0.0, -1.0, 2.0], [0.0, 0.0, 0.0]])
    if kind == "regression":
        y = np.clip(np.round(2 + 0.8 * z[:, 0] + 0.5 * rng.normal(size=num_rows)), 0, 8)
    else:
        y = z[:, : len(TASKS[kind].labels)].argmax(axis=1)
    batch = {"x": x, "y": y, "query": np.repeat(np.arange(num_rows // 6), 6)}
    if weighted:
        batch["weight"] = rng.uniform(0.5, 2.0, num_rows)
    return {name: torch.as_tensor(value) for name, value in batch.items()}


def built(name: str, kind: str, batch: Mapping[str, Any]) -> Any:
    weight = batch.get("weight")
    return build_objective(
        TASKS[kind],
        y=batch["y"].numpy(),
        weight=None if weight is None else weight.numpy(),
        standardise=True,
        choice=name,
    )


def mean_loss(objective: Any, model: Any, batch: Mapping[str, Any]) -> Any:
    counts = objective.counts(batch)
    return sum(total / counts[term] for term, total in objective.sums(model, batch).items())


def part_of(batch: Mapping[str, Any], chosen: Any) -> dict[str, Any]:
    return {name: value[chosen] for name, value in batch.items()}


@every_objective
def test_its_gradient_is_the_numeric_one(name: str, kind: str) -> None:
    batch = rows(kind)
    objective = built(name, kind, batch)
    scores = Net(TASKS[kind])(batch["x"]).detach().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda given: mean_loss(objective, lambda _: given, batch), (scores,), eps=1e-6, atol=1e-6, rtol=1e-6
    )


@every_objective
def test_a_step_goes_against_the_numeric_gradient(name: str, kind: str) -> None:
    batch, model, rate, h = rows(kind), Net(TASKS[kind]), 0.1, 1e-6
    objective = built(name, kind, batch)
    before = model.weight.detach().clone()
    numeric = torch.zeros_like(before)
    for place in np.ndindex(*before.shape):
        for sign in (1, -1):
            with torch.no_grad():
                model.weight[place] = before[place] + sign * h
                numeric[place] += sign * mean_loss(objective, model, batch) / (2 * h)
                model.weight[place] = before[place]
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    mean_loss(objective, model, batch).backward()
    optimizer.step()
    assert torch.allclose(model.weight.detach() - before, -rate * numeric, atol=1e-7)
    assert numeric.abs().max() > 1e-3  # it would say nothing where there is no slope


@every_objective
def test_pieces_sum_to_the_whole(name: str, kind: str) -> None:
    """Of uneven pieces; where rows of a query belong together, the pieces are whole queries."""
    for batch in (rows(kind), rows(kind, weighted=False)):
        objective, model = built(name, kind, batch), Net(TASKS[kind]).requires_grad_(False)
        ends = [0, 6, 18, 24] if not objective.splittable else [0, 1, 9, 24]
        pieces = [part_of(batch, slice(a, b)) for a, b in pairwise(ends)]
        for term, count in objective.counts(batch).items():
            assert sum(objective.counts(piece)[term] for piece in pieces) == pytest.approx(count, rel=1e-12)
            total = sum(objective.sums(model, piece)[term] for piece in pieces)
            assert float(total) == pytest.approx(float(objective.sums(model, batch)[term]), rel=1e-12)


@every_objective
def test_rows_of_no_weight_teach_nothing(name: str, kind: str) -> None:
    """Some of the rows that count are followed by as many that do not."""
    batch = rows(kind)
    order = torch.cat([torch.arange(NUM_ROWS), torch.arange(NUM_ROWS)])
    more = part_of(batch, order)
    more["weight"][NUM_ROWS:] = 0
    more["y"][NUM_ROWS:] = 0
    objective = built(name, kind, batch)
    losses, gradients = [], []
    for each in (batch, more):
        model = Net(TASKS[kind])
        loss = mean_loss(objective, model, each)
        loss.backward()
        losses.append(loss.item())
        assert model.weight.grad is not None
        gradients.append(model.weight.grad.numpy())
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)
    np.testing.assert_allclose(gradients[0], gradients[1], rtol=1e-9, atol=1e-15)


@every_objective
def test_a_batch_without_weight_loses_nothing_and_breaks_nothing(name: str, kind: str) -> None:
    batch = rows(kind)
    objective, model = built(name, kind, batch), Net(TASKS[kind])
    batch["weight"] = torch.zeros(NUM_ROWS, dtype=torch.float64)
    (count,), (total,) = objective.counts(batch).values(), objective.sums(model, batch).values()
    total.backward()
    assert count == 0.0 and float(total.detach()) == 0.0
    assert model.weight.grad is not None and not model.weight.grad.any()


@every_objective
def test_training_lowers_the_loss_on_rows_that_were_not_seen(name: str, kind: str) -> None:
    batch = rows(kind, weighted=False, num_rows=240)
    train, test = part_of(batch, slice(0, 180)), part_of(batch, slice(180, 240))
    objective, model = built(name, kind, train), Net(TASKS[kind])
    nn.init.zeros_(model.weight)
    naive = mean_loss(objective, model, test).item()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        mean_loss(objective, model, train).backward()
        optimizer.step()
    assert mean_loss(objective, model, test).item() < 0.7 * naive


@every_objective
def test_answers_have_the_form_that_everything_else_expects(name: str, kind: str) -> None:
    batch = rows(kind)
    answers = built(name, kind, batch).predict(Net(TASKS[kind]), {"x": batch["x"]})
    assert set(answers) == ({"values"} if kind == "regression" else {"probabilities"})
    (found,) = answers.values()
    assert found.dtype == np.float64 and np.isfinite(found).all()
    assert found.shape == ((NUM_ROWS,) if kind == "regression" else (NUM_ROWS, len(TASKS[kind].labels)))
    if kind != "regression":
        assert found.sum(axis=1) == pytest.approx(1.0, abs=1e-12) and found.min() >= 0


@every_objective
def test_a_column_of_scores_is_as_good_as_a_row_of_them(name: str, kind: str) -> None:
    """A network of one output gives (n, 1): this must not become a table of n times n errors."""
    batch, task = rows(kind), TASKS[kind]
    if task.num_scores > 1:
        return
    objective, model = built(name, kind, batch), Net(task)
    (flat,), (column,) = (objective.sums(m, batch).values() for m in (model, lambda x: model(x)[:, None]))
    assert torch.equal(flat, column)
    (flat,), (column,) = (
        objective.predict(m, batch).values() for m in (model, lambda x: model(x).detach()[:, None])
    )
    np.testing.assert_array_equal(flat, column)


@every_objective
def test_what_is_stored_answers_the_same_to_the_bit(name: str, kind: str) -> None:
    batch, model = rows(kind), Net(TASKS[kind])
    objective = built(name, kind, batch)
    again = restore_objective(TASKS[kind], stored_objective(objective))
    assert type(again) is type(objective) and stored_objective(again) == stored_objective(objective)
    for x in (batch["x"], 3 * batch["x"] + 1):
        (mine,), (other,) = (each.predict(model, {"x": x}).values() for each in (objective, again))
        assert mine.tobytes() == other.tobytes()
    (mine,), (other,) = (each.sums(model, batch).values() for each in (objective, again))
    assert torch.equal(mine, other)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_it_says_what_it_is_and_what_can_be_set(name: str) -> None:
    entry = OBJECTIVES[name]
    assert entry.summary.endswith(".") or entry.summary.endswith(")")
    assert len(entry.source) > 10 and entry.tasks
    assert entry.traits["link"] in LINKS
    for field in entry.settings:
        assert field.doc, f"{name}.{field.name} says nothing"
        assert check(field.default, field.type, where=field.name) == field.default


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_task_that_it_cannot_learn_is_refused_with_those_that_can(name: str) -> None:
    for kind, task in TASKS.items():
        if kind not in OBJECTIVES[name].tasks:
            with pytest.raises(
                RecipeError, match=rf"objective '{name}' is for .* this one makes a {kind} task"
            ) as told:
                build_objective(task, y=np.zeros(3), weight=None, standardise=True, choice=name)
            assert any(other in str(told.value) for other, entry in OBJECTIVES.items() if kind in entry.tasks)


def test_every_kind_of_the_issue_is_there() -> None:
    """`entries` must not come out short without anyone noticing: then the tests above would test nothing."""
    asked = (
        "squared_error half_squared_error absolute_error huber quantile poisson cross_entropy "
        "binary_cross_entropy focal hinge pairwise listwise lambdarank"
    )
    assert set(asked.split()) <= set(OBJECTIVES)
