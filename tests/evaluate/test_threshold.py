"""Decision thresholds against exhaustive search and decision theory."""

from __future__ import annotations

import numpy as np
import pytest

from danlu.core.errors import UserError
from danlu.core.tasks import Task
from danlu.evaluate.metrics import score
from danlu.evaluate.threshold import threshold_by_cost, threshold_by_metric

BINARY = Task("binary", ("no", "yes"))


def draw(seed, num_rows, power=1.0):
    """Codes drawn from true probabilities; the model says their `power`."""
    random = np.random.default_rng(seed)
    truth = random.random(num_rows)
    codes = (random.random(num_rows) < truth).astype(int)
    return codes, np.column_stack([1 - truth**power, truth**power])


def test_right_probabilities_keep_the_threshold_of_the_costs():
    codes, probabilities = draw(0, 2000)
    found = threshold_by_cost(BINARY, codes, probabilities, false_positive=1, false_negative=4)
    assert found.value == pytest.approx(0.2)
    assert found.cost == (1, 4)
    decided = probabilities[:, 1] >= 0.2
    assert found.after == pytest.approx(np.where(decided, codes == 0, 4 * (codes == 1)).mean())
    assert found.after < found.before
    assert "2,000 rows" in found.sentence
    assert "'yes' 4" in found.sentence


def test_luck_of_the_rows_rarely_moves_the_threshold():
    found = [
        threshold_by_cost(BINARY, *draw(seed, 300), false_positive=1, false_negative=4, seed=seed).value
        for seed in range(40)
    ]
    assert np.isclose(found, 0.2).sum() >= 37


def test_wrong_probabilities_move_the_threshold():
    codes, probabilities = draw(0, 5000, power=3)  # 0.2 is said where 0.58 is true
    found = threshold_by_cost(BINARY, codes, probabilities, false_positive=1, false_negative=4)
    assert found.value == pytest.approx(0.2**3, abs=0.01)
    new_codes, new = draw(1, 20_000, power=3)

    def cost(threshold):
        return np.where(new[:, 1] >= threshold, new_codes == 0, 4 * (new_codes == 1)).mean()

    assert cost(found.value) < cost(0.2) - 0.05


@pytest.mark.parametrize("name", ["f1", "balanced_accuracy", "accuracy", "matthews_corrcoef"])
@pytest.mark.parametrize("positive", ["yes", "no"])
def test_by_metric_equals_exhaustive_search(name, positive):
    task = Task("binary", ("no", "yes"), positive=positive)
    codes, probabilities = draw(1, 150, power=2)
    probabilities = np.round(probabilities, 2)
    weight = np.random.default_rng(0).exponential(1.0, 150)
    found = threshold_by_metric(task, codes, probabilities, name, weight=weight)

    def value(threshold):
        return (
            score(task, codes, probabilities, weight=weight, threshold=threshold, names=[name])[name] or 0.0
        )

    assert found.after == pytest.approx(max(value(t) for t in np.linspace(0.0005, 0.9995, 1000)), abs=1e-9)
    assert found.after == pytest.approx(value(found.value), abs=1e-9)
    assert found.before == pytest.approx(value(0.5), abs=1e-9)
    assert found.as_dict()["metric"] == name


def test_equal_thresholds_stay_near_one_half():
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.1, 0.9]])
    assert threshold_by_metric(BINARY, [0, 0, 1, 1], probabilities).value == 0.5


def test_one_side_free_of_cost():
    codes, probabilities = draw(0, 100)
    always = threshold_by_cost(BINARY, codes, probabilities, false_positive=0, false_negative=1)
    assert 0 < always.value < 0.01
    assert always.after == 0.0


def test_wrong_input_is_refused():
    codes, probabilities = draw(0, 10)
    with pytest.raises(UserError, match="must be at least 0, and one above 0, got 0 and 0"):
        threshold_by_cost(BINARY, codes, probabilities, false_positive=0, false_negative=0)
    with pytest.raises(UserError, match="cannot be chosen by 'roc_auc'"):
        threshold_by_metric(BINARY, codes, probabilities, "roc_auc")
    with pytest.raises(UserError, match="two classes, and this target is multiclass"):
        threshold_by_metric(Task("multiclass", ("a", "b", "c")), [0], np.eye(3)[:1])
    with pytest.raises(UserError, match="there are none"):
        threshold_by_metric(BINARY, [], np.empty((0, 2)))
    with pytest.raises(UserError, match="leave f1 undefined"):
        threshold_by_metric(BINARY, [0], np.array([[1.0, 0.0]]))
