"""Mixup by hand, with inputs of numbers and of tokens, and against the base where nothing is mixed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from danlu.core.errors import DataError, RecipeError
from danlu.core.seeds import generator
from danlu.core.tasks import Task
from danlu.objectives.binary import BinaryCrossEntropy
from danlu.objectives.classification import CrossEntropy, CrossEntropySettings
from danlu.objectives.focal import Focal
from danlu.objectives.mixup import Mixup
from danlu.objectives.ranking import Pairwise
from danlu.objectives.regression import Huber, SquaredError
from danlu.objectives.several import Several

NUMBER, TWO, THREE = Task("regression"), Task("binary", ("no", "yes")), Task("multiclass", ("a", "b", "c"))
RNG = generator(0, "mixup")
SHARE = torch.as_tensor(RNG.uniform(0, 1, 20))
WEIGHT, OTHER_WEIGHT = (torch.as_tensor(RNG.uniform(0, 2, 20)) for _ in range(2))


def batch_of(task, *, weighted=False):
    made, rng = [], generator(0, "rows", task.kind)
    for weight in (WEIGHT, OTHER_WEIGHT):
        y = rng.normal(size=20) if task is NUMBER else rng.integers(0, len(task.labels), 20)
        made.append({"x": torch.as_tensor(rng.normal(size=(20, 3))), "y": torch.as_tensor(y)})
        if weighted:
            made[-1]["weight"] = weight
    return made[0] | {"other": made[1], "share": SHARE}


def scores_of(task):
    return (lambda x: x) if task is THREE else (lambda x: x[:, 0])


def mean_of(objective, model, batch):
    (total,), (count,) = objective.sums(model, batch).values(), objective.counts(batch).values()
    return total.item() / count


BASES = {
    "squared": SquaredError(NUMBER, shift=2.0, scale=3.0),
    "huber": Huber(NUMBER),
    "cross entropy": CrossEntropy(THREE, CrossEntropySettings(0.1, {"a": 4.0})),
    "two": CrossEntropy(TWO),
    "binary": BinaryCrossEntropy(TWO),
    "focal": Focal(THREE),
}


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
def test_it_is_the_loss_of_both_labels_at_the_mixed_input(name, weighted):
    """One row at a time by the base: share * its loss and (1 - share) * that with the partner's label."""
    base, task = BASES[name], BASES[name].task
    batch = batch_of(task, weighted=weighted)
    model, total, count = scores_of(task), 0.0, 0.0
    for i in range(20):
        share = SHARE[i].item()
        x = share * batch["x"][i : i + 1] + (1 - share) * batch["other"]["x"][i : i + 1]
        for part, source in ((share, batch), (1 - share, batch["other"])):
            row = {name: source[name][i : i + 1] for name in ("y", "weight") if name in source} | {"x": x}
            (one,), (of_one,) = base.sums(model, row).values(), base.counts(row).values()
            total, count = total + part * one.item(), count + part * of_one
    mixed = Mixup(base)
    assert mean_of(mixed, model, batch) == pytest.approx(total / count, rel=1e-12)
    (found,) = mixed.counts(batch).values()
    assert found == pytest.approx(count, rel=1e-12)
    if not weighted and name != "cross entropy":
        assert found == 20.0


def test_cross_entropy_of_both_labels_is_that_of_the_mixed_label():
    """As in the paper, which mixes one-hot labels: cross-entropy is linear in its target."""
    batch, base = batch_of(THREE), CrossEntropy(THREE)
    one_hot = torch.eye(3, dtype=torch.float64)
    share = SHARE[:, None]
    plain = {
        "x": share * batch["x"] + (1 - share) * batch["other"]["x"],
        "y": share * one_hot[batch["y"]] + (1 - share) * one_hot[batch["other"]["y"]],
    }
    assert mean_of(Mixup(base), lambda x: x, batch) == pytest.approx(
        mean_of(base, lambda x: x, plain), rel=1e-12
    )


def test_without_partners_and_in_predictions_it_is_the_base():
    batch, base = batch_of(NUMBER, weighted=True), BASES["squared"]
    plain = {name: batch[name] for name in ("x", "y", "weight")}
    mixed, model = Mixup(base), scores_of(NUMBER)
    assert mixed.counts(plain) == base.counts(plain)
    assert torch.equal(mixed.sums(model, plain)["squared_error"], base.sums(model, plain)["squared_error"])
    one, other = (each.predict(model, batch)["values"] for each in (mixed, base))
    np.testing.assert_array_equal(one, other)
    assert mixed.state() == base.state() and mixed.task is NUMBER and mixed.splittable


def test_pieces_sum_to_the_whole():
    batch, mixed, model = batch_of(THREE, weighted=True), Mixup(BASES["cross entropy"]), scores_of(THREE)
    cut = [(0, 3), (3, 20)]
    pieces = [
        {name: value[a:b] for name, value in batch.items() if name != "other"}
        | {"other": {name: value[a:b] for name, value in batch["other"].items()}}
        for a, b in cut
    ]
    assert sum(mixed.counts(p)["cross_entropy"] for p in pieces) == pytest.approx(
        mixed.counts(batch)["cross_entropy"]
    )
    total = sum(mixed.sums(model, p)["cross_entropy"] for p in pieces)
    torch.testing.assert_close(total, mixed.sums(model, batch)["cross_entropy"])


def test_images_are_mixed_row_by_row_in_their_own_type():
    batch = batch_of(THREE)
    x, other = torch.rand(2, 20, 3, 2, 2, generator=torch.Generator().manual_seed(0)).unbind()
    seen = []

    def model(x):
        seen.append(x)
        return x.mean((2, 3)).double()

    Mixup(CrossEntropy(THREE)).sums(model, batch | {"x": x, "other": batch["other"] | {"x": other}})
    share = SHARE.float()[:, None, None, None]
    torch.testing.assert_close(seen[0], share * x + (1 - share) * other)
    assert seen[0].dtype == torch.float32


class Reader(nn.Module):
    """Scores of tokens: an embedding of their place, one of themselves, and a mean over the places."""

    def __init__(self):
        super().__init__()
        self.place, self.token = (
            nn.Embedding(5, 8, dtype=torch.float64),
            nn.Embedding(50, 8, dtype=torch.float64),
        )
        self.last = nn.Linear(8, 3, dtype=torch.float64)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.as_tensor(generator(0, "reader").normal(size=parameter.shape)))

    def forward(self, x):
        return self.score(self.token(x))

    def score(self, embedded):
        return self.last(torch.tanh(embedded + self.place(torch.arange(embedded.shape[1]))).mean(1))


def tokens():
    batch, rng = batch_of(THREE), generator(0, "tokens")
    mine, theirs = (torch.as_tensor(rng.integers(0, 50, (20, 5))) for _ in range(2))
    return batch | {"x": mine, "other": batch["other"] | {"x": theirs}}


def test_of_tokens_the_embeddings_are_mixed():
    batch, model, base = tokens(), Reader(), CrossEntropy(THREE)
    share = SHARE[:, None, None]
    mixed = share * model.token(batch["x"]) + (1 - share) * model.token(batch["other"]["x"])
    losses = [base.row_losses(model.score(mixed), b)["cross_entropy"] for b in (batch, batch["other"])]
    expected = (SHARE * losses[0] + (1 - SHARE) * losses[1]).sum()
    found = Mixup(base).sums(model, batch)["cross_entropy"]
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    gradients = [torch.autograd.grad(each, model.token.weight)[0] for each in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_afterwards_the_network_reads_as_before():
    batch, model = tokens(), Reader()
    before = model(batch["x"])
    Mixup(CrossEntropy(THREE)).sums(model, batch)
    assert torch.equal(model(batch["x"]), before)
    with pytest.raises(IndexError):
        Mixup(CrossEntropy(THREE)).sums(model, batch | {"other": batch["other"] | {"x": batch["x"] + 999}})
    assert torch.equal(model(batch["x"]), before)
    assert not any(module._forward_hooks for module in model.modules())


def test_a_share_of_one_is_the_row_and_of_zero_its_partner():
    batch, model, base = tokens(), Reader().requires_grad_(False), CrossEntropy(THREE)
    for share, expected in ((1.0, batch), (0.0, batch["other"])):
        given = batch | {"share": torch.full((20,), share, dtype=torch.float64)}
        assert mean_of(Mixup(base), model, given) == pytest.approx(mean_of(base, model, expected), rel=1e-12)


def test_several_targets_are_mixed_together():
    batch, numbers = batch_of(TWO, weighted=True), batch_of(NUMBER)
    several = Several({"sold": CrossEntropy(TWO), "price": SquaredError(NUMBER)}, weights={"price": 0.1})
    both = batch | {
        "y": {"sold": batch["y"], "price": numbers["y"]},
        "other": batch["other"] | {"y": {"sold": batch["other"]["y"], "price": numbers["other"]["y"]}},
    }
    model = lambda x: [x[:, 0], x[:, 1]]  # noqa: E731 - one expression
    counts, sums = Mixup(several).counts(both), Mixup(several).sums(model, both)
    alone = Mixup(CrossEntropy(TWO))
    assert counts["sold"] == alone.counts(batch)["cross_entropy"]
    torch.testing.assert_close(sums["sold"], alone.sums(lambda x: x[:, 0], batch)["cross_entropy"])
    price = Mixup(SquaredError(NUMBER))
    given = both | {"y": numbers["y"], "other": both["other"] | {"y": numbers["other"]["y"]}}
    torch.testing.assert_close(sums["price"], 0.1 * price.sums(lambda x: x[:, 1], given)["squared_error"])


def test_what_cannot_be_mixed_is_told():
    for base in (Pairwise(NUMBER), Several({"a": SquaredError(NUMBER), "b": Pairwise(NUMBER)})):
        with pytest.raises(
            RecipeError, match=rf"{type(base).__name__} has no loss of single rows\. Train it without"
        ):
            Mixup(base)  # type: ignore[arg-type]
    batch, mixed = batch_of(THREE), Mixup(CrossEntropy(THREE))
    without = {name: value for name, value in batch.items() if name != "share"}
    with pytest.raises(
        DataError, match=r"needs `other`.* and `share`, one number for each of its 20 rows; .* none"
    ):
        mixed.sums(lambda x: x, without)
    with pytest.raises(DataError, match=r"got dict and the shape \(3,\)"):
        mixed.counts(batch | {"share": SHARE[:3]})
    with pytest.raises(DataError, match=r"must have one shape, got \(20, 3\) and \(20, 2\)\. Pad them"):
        mixed.sums(lambda x: x, batch | {"other": batch["other"] | {"x": torch.zeros(20, 2)}})
    whole = batch | {"x": torch.ones(20, 3).long(), "other": batch["other"] | {"x": torch.ones(20, 3).long()}}
    with pytest.raises(
        DataError, match=r"Whole numbers cannot be mixed, and Flatten gives them to no nn\.Embedding"
    ):
        mixed.sums(nn.Flatten(), whole)
