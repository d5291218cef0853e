"""Several targets at once against their objectives alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from danlu.core.errors import DataError, RecipeError
from danlu.core.seeds import generator
from danlu.core.tasks import Task
from danlu.objectives.classification import CrossEntropy, CrossEntropySettings
from danlu.objectives.ranking import Pairwise
from danlu.objectives.regression import Huber, SquaredError
from danlu.objectives.several import Several

NUMBER, TWO, THREE = Task("regression"), Task("binary", ("no", "yes")), Task("multiclass", ("a", "b", "c"))
RNG = generator(0, "several")
X = torch.as_tensor(RNG.normal(size=(30, 4)))
Y = {
    "price": torch.as_tensor(RNG.normal(100, 20, 30)),
    "sold": torch.as_tensor(RNG.integers(0, 2, 30)),
    "kind": torch.as_tensor(RNG.integers(0, 3, 30)),
}
BATCH = {"x": X, "y": Y, "weight": torch.as_tensor(RNG.uniform(0, 2, 30))}


def parts():
    return {
        "price": SquaredError.fitted(NUMBER, Y["price"].numpy()),
        "sold": CrossEntropy(TWO, CrossEntropySettings(class_weights={"yes": 3.0})),
        "kind": CrossEntropy(THREE),
    }


def mean_of(sums, counts):
    return torch.stack([total / counts[term] for term, total in sums.items()]).sum()


class Net(nn.Module):
    """Five scores of a row in one of the forms that a network may give them in."""

    def __init__(self, form):
        super().__init__()
        self.form = form
        self.linear = nn.Linear(4, 5, dtype=torch.float64)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.as_tensor(generator(0, "weights").normal(size=parameter.shape)))

    def forward(self, x):
        scores = self.linear(x)
        price, sold, kind = scores[:, 0], scores[:, 1], scores[:, 2:]
        return {
            "mapping": {"kind": kind, "price": price, "sold": sold},
            "columns": {"kind": kind, "price": price[:, None], "sold": sold[:, None], "unused": price},
            "list": [price, sold, kind],
            "table": scores,
        }[self.form]


FORMS = pytest.mark.parametrize("form", ["mapping", "columns", "list", "table"])


@FORMS
def test_terms_are_those_of_each_objective_times_its_weight(form):
    several = Several(parts(), weights={"sold": 0.5, "kind": 2.0})
    model, table = Net(form).requires_grad_(False), Net("table").requires_grad_(False)
    counts, sums = several.counts(BATCH), several.sums(model, BATCH)
    pick = {
        "price": lambda x: table(x)[:, 0],
        "sold": lambda x: table(x)[:, 1],
        "kind": lambda x: table(x)[:, 2:],
    }
    for name, objective in parts().items():
        alone = BATCH | {"y": Y[name]}
        (count,), (total,) = objective.counts(alone).values(), objective.sums(pick[name], alone).values()
        assert counts[name] == count
        assert sums[name].item() == pytest.approx(
            {"price": 1, "sold": 0.5, "kind": 2}[name] * total.item(), rel=1e-12
        )
        (mine,) = several.predict(model, {"x": X})[name].values()
        (theirs,) = objective.predict(lambda x, f=pick[name]: f(x).numpy(), {"x": X}).values()
        np.testing.assert_allclose(mine, theirs, rtol=1e-12)
    assert list(sums) == ["price", "sold", "kind"]


@FORMS
def test_one_forward_pass_serves_all_and_its_gradient_is_the_sum(form):
    several, model, seen = Several(parts()), Net(form), []
    model.linear.register_forward_hook(lambda *_: seen.append(1))
    counts = several.counts(BATCH)
    mean_of(several.sums(model, BATCH), counts).backward()
    assert len(seen) == 1 and model.linear.weight.grad is not None
    parts_of_gradient = []
    for name in parts():
        other = Net(form)
        (several.sums(other, BATCH)[name] / counts[name]).backward()
        parts_of_gradient.append(other.linear.weight.grad)
    torch.testing.assert_close(model.linear.weight.grad, sum(parts_of_gradient))


def test_a_target_may_have_weights_of_its_own():
    """Rows whose price is not known weigh nothing there, whatever stands in their place."""
    known = torch.as_tensor(generator(0, "known").random(30) < 0.5)
    several, model = Several(parts()), Net("table").requires_grad_(False)
    batch = BATCH | {"weight": {"price": known.double()}}
    rows = {"x": X[known], "y": {name: y[known] for name, y in Y.items()}}
    assert several.counts(batch)["price"] == known.sum()
    assert several.sums(model, batch)["price"].item() == pytest.approx(
        several.sums(model, rows)["price"].item()
    )
    assert several.counts(batch)["kind"] == 30


def test_pieces_sum_to_the_whole():
    several, model = Several(parts()), Net("mapping").requires_grad_(False)
    pieces = [
        {"x": X[a:b], "y": {n: y[a:b] for n, y in Y.items()}, "weight": BATCH["weight"][a:b]}
        for a, b in ((0, 11), (11, 30))
    ]
    for name in parts():
        assert sum(several.counts(p)[name] for p in pieces) == pytest.approx(several.counts(BATCH)[name])
        total = sum(several.sums(model, p)[name] for p in pieces)
        torch.testing.assert_close(total, several.sums(model, BATCH)[name])
    assert several.splittable and not Several({"a": Pairwise(NUMBER)}).splittable


def test_predicting_leaves_the_mode_of_the_network_as_it_was():
    for mode in (True, False):
        model = Net("mapping").train(mode)
        Several(parts()).predict(model, {"x": X})
        assert model.training is mode and model.linear.training is mode


def test_a_plain_function_predicts_too():
    found = Several(parts()).predict(lambda x: [x[:, 0], x[:, 1], x[:, :3]], {"x": X.numpy()})
    assert found["price"]["values"].shape == (30,)
    assert found["sold"]["probabilities"].shape == (30, 2) and found["kind"]["probabilities"].shape == (30, 3)


def test_training_learns_all_of_them():
    x = torch.as_tensor(generator(1, "train").normal(size=(200, 4)))
    y = {"price": 50 + 10 * x[:, 0], "sold": (x[:, 1] > 0).long(), "kind": x[:, :3].argmax(1)}
    several = Several(
        {
            "price": Huber.fitted(NUMBER, y["price"].numpy()),
            "sold": CrossEntropy(TWO),
            "kind": CrossEntropy(THREE),
        }
    )
    model, batch = Net("mapping"), {"x": x, "y": y}
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(200):
        counts = several.counts(batch)
        optimizer.zero_grad()
        mean_of(several.sums(model, batch), counts).backward()
        optimizer.step()
    found = several.predict(model, {"x": x})
    assert np.abs(found["price"]["values"] - y["price"].numpy()).mean() < 1
    for name in ("sold", "kind"):
        assert (found[name]["probabilities"].argmax(axis=1) == y[name].numpy()).mean() > 0.93


def test_states_are_kept_by_target():
    state = Several(parts()).state()
    assert set(state) == {"price", "sold", "kind"} and state["kind"] == {}
    assert state["price"] == parts()["price"].state()
    assert Several(parts()).task == NUMBER


def test_what_does_not_fit_is_told():
    with pytest.raises(RecipeError, match=r"needs an objective for each target, got none"):
        Several({})
    with pytest.raises(RecipeError, match=r"weight for 'prize', which is no target\. Did you mean 'price'\?"):
        Several(parts(), weights={"prize": 2.0})
    with pytest.raises(RecipeError, match=r"weight of the target 'sold' must be at least 0, got -1"):
        Several(parts(), weights={"sold": -1.0})
    several = Several(parts())
    with pytest.raises(
        DataError, match=r"y as a mapping from target to values; 'kind' is missing, got price, sold"
    ):
        several.counts({"x": X, "y": {name: Y[name] for name in ("price", "sold")}})
    with pytest.raises(DataError, match=r"mapping from target to values; 'price' is missing, got Tensor"):
        several.counts({"x": X, "y": Y["price"]})
    with pytest.raises(DataError, match=r"gives scores for price, kind; 'sold' is missing"):
        several.sums(lambda x: {"price": x[:, 0], "kind": x[:, :3]}, BATCH)
    with pytest.raises(DataError, match=r"gives 2 scores for 3 targets \(price, sold, kind\)"):
        several.sums(lambda x: [x[:, 0], x[:, 1]], BATCH)
    with pytest.raises(
        DataError, match=r"shape \(30, 4\); the targets price, sold, kind need 1 \+ 1 \+ 3 columns"
    ):
        several.sums(lambda x: x, BATCH)
    with pytest.raises(RecipeError, match=r"target 'inner' has 3 terms \(price, sold, kind\); give it one"):
        Several({"inner": several}).counts({"x": X, "y": {"inner": Y}})
