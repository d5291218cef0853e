"""Cross-entropy of two and of more classes, against hand calculations, scikit-learn and torch.

Two classes are tested with one logit a row and with two.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_class_weight

from danlu.core.errors import BundleError, DataError, RecipeError
from danlu.core.seeds import generator
from danlu.core.tasks import Task
from danlu.objectives.classification import CrossEntropy, CrossEntropySettings

TWO = Task("binary", ("no", "yes"))
THREE = Task("multiclass", ("a", "b", "c"))


def logits_of(task):
    return (lambda x: x[:, 0]) if task is TWO else (lambda x: x)


def test_a_coin_and_a_die_by_hand():
    coin = CrossEntropy(TWO).sums(logits_of(TWO), {"x": np.zeros((3, 1)), "y": np.array([0, 1, 1])})
    assert coin["cross_entropy"] == pytest.approx(3 * math.log(2))
    sure = CrossEntropy(TWO).sums(logits_of(TWO), {"x": np.array([[math.log(9)]]), "y": np.array([1])})
    assert sure["cross_entropy"] == pytest.approx(-math.log(0.9))
    die = CrossEntropy(THREE).sums(logits_of(THREE), {"x": np.zeros((1, 3)), "y": np.array([2])})
    assert die["cross_entropy"] == pytest.approx(math.log(3))


@pytest.mark.parametrize("task", [TWO, THREE], ids=["two", "three"])
def test_loss_and_prediction_agree(task):
    """The weighted mean loss is scikit-learn's log loss of the predicted probabilities."""
    rng = generator(0, "cross entropy", task.kind)
    x, y = 3 * rng.normal(size=(60, task.num_scores)), rng.integers(0, len(task.labels), 60)
    weight = rng.uniform(0, 3, 60)
    objective = CrossEntropy(task)
    probabilities = objective.predict(logits_of(task), {"x": x})["probabilities"]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
    expected = log_loss(y, probabilities, sample_weight=weight, labels=range(len(task.labels)))
    for kind in (np.asarray, torch.as_tensor):
        batch = {"x": kind(x), "y": kind(y), "weight": kind(weight)}
        (total,) = objective.sums(logits_of(task), batch).values()
        (count,) = objective.counts(batch).values()
        assert float(total) / count == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("task", [TWO, THREE], ids=["two", "three"])
def test_extreme_logits_stay_finite(task):
    x = np.array([[1000.0, -1000.0, 0.0], [-1000.0, 1000.0, 0.0]])[:, : task.num_scores]
    batch = {"x": x, "y": np.array([0, 1])}
    (total,) = CrossEntropy(task).sums(logits_of(task), batch).values()
    assert total == pytest.approx(2000 if task is TWO else 0)
    assert np.isfinite(CrossEntropy(task).predict(logits_of(task), batch)["probabilities"]).all()


def test_rows_count_once_without_weights():
    assert CrossEntropy(TWO).counts({"y": np.zeros(7)}) == {"cross_entropy": 7.0}
    assert CrossEntropy(TWO).state() == {}


WEIGHTS: dict = {"label_smoothing": 0.1, "class_weights": {"a": 3.0, "c": 0.5, "no": 3.0}}


def given(task, num_rows=50):
    rng = generator(0, "given", task.kind)
    x, y = 2 * rng.normal(size=(num_rows, task.num_scores)), rng.integers(0, len(task.labels), num_rows)
    return x, y, rng.uniform(0, 2, num_rows)


def settings_for(task, **changes):
    chosen = WEIGHTS | changes
    known = {k: v for k, v in (chosen["class_weights"] or {}).items() if k in task.labels}
    return CrossEntropySettings(chosen["label_smoothing"], known or None)


def mean_of(objective, model, batch):
    (total,), (count,) = objective.sums(model, batch).values(), objective.counts(batch).values()
    return float(total) / count


def as_logits(x):
    """(n, k) logits that mean the same as one logit a row."""
    return np.column_stack([np.zeros(len(x)), x[:, 0]]) if x.shape[1] == 1 else x


def test_the_course_by_hand():
    """Softmax of (1, 2, 3) gives the third class 0.665241, whose surprise is 0.407606."""
    batch = {"x": np.array([[1.0, 2.0, 3.0]]), "y": np.array([2])}
    assert mean_of(CrossEntropy(THREE), lambda x: x, batch) == pytest.approx(0.407606, abs=1e-6)
    found = CrossEntropy(THREE).predict(lambda x: x, batch)["probabilities"][0]
    np.testing.assert_allclose(found, [0.090031, 0.244728, 0.665241], atol=1e-6)


@pytest.mark.parametrize("task", [TWO, THREE], ids=["two", "three"])
@pytest.mark.parametrize("weighted", [True, False], ids=["weighted classes", "equal classes"])
def test_smoothing_and_class_weights_are_those_of_torch(task, weighted):
    x, y, _ = given(task)
    settings = settings_for(task) if weighted else settings_for(task, class_weights=None)
    given_weights: dict = WEIGHTS["class_weights"] if weighted else {}
    of_class = torch.tensor([given_weights.get(label, 1.0) for label in task.labels])
    known = torch.nn.CrossEntropyLoss(weight=of_class.double(), label_smoothing=0.1)
    expected = known(torch.as_tensor(as_logits(x)), torch.as_tensor(y)).item()
    objective = CrossEntropy(task, settings)
    for kind in (np.asarray, torch.as_tensor):
        batch = {"x": kind(x), "y": kind(y)}
        assert mean_of(objective, logits_of(task), batch) == pytest.approx(expected, rel=1e-12)
        pair = {"x": kind(as_logits(x)), "y": kind(y)}
        assert mean_of(objective, lambda x: x, pair) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("task", [TWO, THREE], ids=["two", "three"])
@pytest.mark.parametrize("plain", [True, False], ids=["plain", "smoothed and weighted"])
def test_a_probability_counts_as_that_share_of_each_label(task, plain):
    """A target of (0.3, 0.7) is 3 rows of one label and 7 of the other, weights of classes and rows included."""
    x, _, weight = given(task)
    k = len(task.labels)
    soft = generator(0, "soft").dirichlet(np.ones(k), len(x))
    objective = CrossEntropy(task, CrossEntropySettings() if plain else settings_for(task))
    repeated = {
        "x": np.repeat(x, k, axis=0),
        "y": np.tile(np.arange(k), len(x)),
        "weight": (soft * weight[:, None]).reshape(-1),
    }
    expected = mean_of(objective, logits_of(task), repeated)
    for kind in (np.asarray, torch.as_tensor):
        batch = {"x": kind(x), "y": kind(soft), "weight": kind(weight)}
        assert mean_of(objective, logits_of(task), batch) == pytest.approx(expected, rel=1e-12)
        if task is TWO:  # one number for the second class says the same
            batch["y"] = kind(soft[:, 1])
            assert mean_of(objective, logits_of(task), batch) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("task", [TWO, THREE], ids=["two", "three"])
def test_balanced_weights_are_those_of_scikit_learn(task):
    y = np.array([0] * 7 + [1] * 2 + [len(task.labels) - 1])
    objective = CrossEntropy.fitted(task, y, settings=CrossEntropySettings(class_weights="balanced"))
    codes = np.arange(len(task.labels))
    np.testing.assert_allclose(
        objective.state()["class_weights"], compute_class_weight("balanced", classes=codes, y=y)
    )
    count = objective.counts({"y": y})["cross_entropy"]
    assert count == pytest.approx(len(y))  # balanced weights sum to the number of rows
    for code in codes:
        assert objective.counts({"y": y[y == code]})["cross_entropy"] == pytest.approx(count / len(codes))


def test_balanced_weights_follow_the_rows_weights_and_probabilities():
    settings, y = CrossEntropySettings(class_weights="balanced"), np.array([0, 1, 1, 2])
    weight = np.array([3.0, 1.0, 0.0, 2.0])
    by_weight = CrossEntropy.fitted(THREE, y, weight, settings).state()["class_weights"]
    np.testing.assert_allclose(by_weight, 6 / (3 * np.array([3.0, 1.0, 2.0])))
    soft = CrossEntropy.fitted(THREE, np.eye(3)[y], weight, settings).state()["class_weights"]
    np.testing.assert_allclose(soft, by_weight)
    missing = CrossEntropy.fitted(THREE, np.array([0, 0, 1]), None, settings).state()["class_weights"]
    np.testing.assert_allclose(missing, [0.5, 1.0, 1.0])


def test_balanced_weights_raise_what_a_rare_class_is_given():
    y = np.array([0] * 95 + [1] * 5)
    for settings, expected in ((CrossEntropySettings(), 0.05), (CrossEntropySettings(0.0, "balanced"), 0.5)):
        objective = CrossEntropy.fitted(TWO, y, settings=settings)
        bias = torch.tensor(math.log(expected / (1 - expected)), dtype=torch.float64, requires_grad=True)
        batch = {"x": torch.zeros(100, 1, dtype=torch.float64), "y": torch.as_tensor(y)}
        total = objective.sums(lambda x, bias=bias: x[:, 0] + bias, batch)["cross_entropy"]
        (gradient,) = torch.autograd.grad(total, bias)
        assert gradient.item() == pytest.approx(0, abs=1e-9)  # the best constant


def test_what_class_weights_cannot_be():
    with pytest.raises(RecipeError, match=r"names the class 'd', which is not there\. Classes: a, b, c\."):
        CrossEntropy(THREE, CrossEntropySettings(class_weights={"d": 2.0}))
    with pytest.raises(RecipeError, match=r"class 'cat', which is not there\. Did you mean 'cats'\?"):
        CrossEntropy(Task("binary", ("cats", "dogs")), CrossEntropySettings(class_weights={"cat": 2.0}))
    with pytest.raises(RecipeError, match=r"class_weights must be numbers of at least 0, got \{'a': -1\.0\}"):
        CrossEntropySettings(class_weights={"a": -1.0})
    with pytest.raises(
        RecipeError, match=r"'balanced' is computed from training targets\. Use CrossEntropy\.fitted"
    ):
        CrossEntropy(THREE, CrossEntropySettings(class_weights="balanced"))
    for smoothing in (-0.1, 1.0, float("nan")):
        with pytest.raises(RecipeError, match=r"label_smoothing must lie in \[0, 1\), got"):
            CrossEntropySettings(label_smoothing=smoothing)
    for values in ([1.0, 1.0], [1.0, -1.0, 1.0], [1.0, np.nan, 1.0]):
        with pytest.raises(
            BundleError, match=r"Weights of 3 classes must be as many numbers of at least 0\."
        ):
            CrossEntropy(THREE, class_weights=np.array(values))


def test_labels_of_any_type_can_be_named():
    task = Task("multiclass", (1, 2.5, True))
    settings = CrossEntropySettings(class_weights={"1": 2.0, "2.5": 3.0, "True": 4.0})
    np.testing.assert_array_equal(CrossEntropy(task, settings).state()["class_weights"], [2.0, 3.0, 4.0])


def test_shapes_that_do_not_fit_are_told():
    four = {"x": np.zeros((5, 4)), "y": np.zeros(5, int)}
    with pytest.raises(
        DataError, match=r"shape \(5, 4\); for 3 classes they must be \(n, 3\)\. Let its last layer"
    ):
        CrossEntropy(THREE).sums(lambda x: x, four)
    with pytest.raises(
        DataError, match=r"for 2 classes they must be \(n, 2\) or \(n,\)\. .* have 2 outputs or one"
    ):
        CrossEntropy(TWO).sums(lambda x: x, four)
    with pytest.raises(
        DataError, match=r"must be class codes \(5,\) or probabilities \(5, 3\), got the shape \(4,\)"
    ):
        CrossEntropy(THREE).sums(lambda x: x, {"x": np.zeros((5, 3)), "y": np.zeros(4, int)})


def test_a_column_of_codes_is_as_good_as_a_row_of_them():
    x, y, weight = (torch.as_tensor(each) for each in given(THREE))
    objective = CrossEntropy(THREE, settings_for(THREE))
    flat, column = ({"x": x, "y": each, "weight": weight} for each in (y, y[:, None]))
    assert mean_of(objective, lambda x: x, flat) == mean_of(objective, lambda x: x, column)
