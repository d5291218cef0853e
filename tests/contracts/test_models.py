"""What every model of the catalogue promises; a new model is found here by itself."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from danlu.bundle.predictor import answer
from danlu.core.duration import Deadline
from danlu.core.errors import DanluError
from danlu.core.ideas import Context
from danlu.core.seeds import generator
from danlu.core.tasks import Task
from danlu.evaluate.metrics import default_metric, score
from danlu.recipe import catalogue
from danlu.recipe.build import build_model
from danlu.recipe.planning import Candidate
from danlu.recipe.recipe import Recipe
from danlu.recipe.settings import check
from danlu.run.fitting import Judge, fit_candidate
from danlu.run.job import Fitted
from danlu.updates.settings import TrainingSettings

MODELS = catalogue.entries("model")
TASKS = {
    "regression": Task("regression"),
    "binary": Task("binary", ("no", "yes")),
    "multiclass": Task("multiclass", ("a", "b", "c")),
}
NUM_COLUMNS = 4
PAIRS = [
    pytest.param(name, kind, id=f"{name}-{kind}") for name, entry in MODELS.items() for kind in entry.tasks
]
every_model_and_task = pytest.mark.parametrize(("name", "kind"), PAIRS)


def rows(encoding: str, kind: str, num_rows: int, *names: str) -> dict[str, np.ndarray]:
    """Rows whose target follows from the columns almost linearly, in the numbers that an encoding gives."""
    rng = generator(0, encoding, kind, *names)
    k = max(len(TASKS[kind].labels), 1)
    if encoding in ("counts", "binary"):
        y = np.arange(num_rows) % k
        rate = np.where(np.arange(NUM_COLUMNS) % k == y[:, None], 3.0, 0.3)
        counts = rng.poisson(rate).astype(np.float64)
        return {"x": counts if encoding == "counts" else (counts > 0).astype(np.float64), "y": y}
    x = rng.normal(size=(num_rows, NUM_COLUMNS))
    z = x @ np.array([[2.0, -1.0, 0.5], [-1.0, 2.0, 0.5], [0.0, -1.0, 2.0], [0.0, 0.0, 0.0]])
    if kind == "regression":
        return {"x": x, "y": 5.0 + z[:, 0] + 0.1 * rng.normal(size=num_rows)}
    return {"x": x, "y": z[:, :k].argmax(axis=1)}


def fit(
    name: str, kind: str, train: Mapping[str, Any], validation: Mapping[str, Any] | None, *, seed: int = 3
) -> Fitted:
    task = TASKS[kind]
    is_network = MODELS[name].traits["update"] == "gradient"
    training = (
        TrainingSettings(duration="25 epochs", learning_rate=0.02) if is_network else TrainingSettings()
    )
    return fit_candidate(
        Candidate(name, name),
        Recipe(data="(rows of this test)", target="y", training=training),
        task,
        train,
        validation=validation,
        judge=Judge(task, default_metric(task)),
        context=Context(seed=seed, deadline=Deadline.after(60)),
    )


@functools.cache
def fitted(name: str, kind: str) -> Fitted:
    """The model that most tests here look at, fitted once."""
    encoding = MODELS[name].traits["encoding"]
    return fit(name, kind, rows(encoding, kind, 240, "train"), rows(encoding, kind, 60, "validation"))


def predict(made: Fitted, x: Any) -> np.ndarray:
    return answer(made.objective, made.model, x)


def flat(state: Any, place: str = "") -> dict[str, Any]:
    """A state with its arrays as bytes, so that `==` compares bits."""
    if isinstance(state, Mapping):
        return {
            key: value for name, item in state.items() for key, value in flat(item, f"{place}/{name}").items()
        }
    if isinstance(state, np.ndarray):
        return {place: (str(state.dtype), state.shape, state.tobytes())}
    return {place: state}


@every_model_and_task
def test_it_beats_the_baseline_on_rows_that_it_has_not_seen(name: str, kind: str) -> None:
    test = rows(MODELS[name].traits["encoding"], kind, 300, "test")
    made = fitted(name, kind)
    answers = predict(made, test["x"])
    assert answers.shape == ((300,) if kind == "regression" else (300, len(TASKS[kind].labels)))
    assert answers.dtype == np.float64 and np.isfinite(answers).all()
    if kind != "regression":
        assert answers.sum(axis=1) == pytest.approx(1.0, abs=1e-9) and answers.min() >= 0
    if name == "baseline":
        return
    metric, most = ("r2", 0.6) if kind == "regression" else ("balanced_accuracy", 0.72)
    naive = score(TASKS[kind], test["y"], predict(fitted("baseline", kind), test["x"]), names=[metric])[
        metric
    ]
    found = score(TASKS[kind], test["y"], answers, names=[metric])[metric]
    assert naive is not None and found is not None
    assert found > most > naive


@every_model_and_task
def test_it_goes_through_the_one_loop(name: str, kind: str) -> None:
    made = fitted(name, kind)
    assert made.outcome.position.epoch >= made.length >= 1
    assert made.outcome.reason
    is_watched = MODELS[name].traits["update"] == "gradient" or "patience" in MODELS[name].traits
    assert (len(made.history.validation) >= 1) == is_watched


@every_model_and_task
def test_what_is_loaded_answers_as_what_was_fitted_to_the_bit(name: str, kind: str) -> None:
    made = fitted(name, kind)
    x = rows(MODELS[name].traits["encoding"], kind, 100, "loaded")["x"]
    loaded = build_model(name, {}, TASKS[kind], NUM_COLUMNS, seed=99)
    loaded.load(made.model.state())  # type: ignore[attr-defined]
    assert answer(made.objective, loaded, x).tobytes() == predict(made, x).tobytes()
    assert flat(loaded.state()) == flat(made.model.state())  # type: ignore[attr-defined]


@every_model_and_task
def test_one_seed_gives_one_model_to_the_bit(name: str, kind: str) -> None:
    encoding = MODELS[name].traits["encoding"]
    again = fit(name, kind, rows(encoding, kind, 240, "train"), rows(encoding, kind, 60, "validation"))
    assert flat(again.model.state()) == flat(fitted(name, kind).model.state())  # type: ignore[attr-defined]


@every_model_and_task
def test_rows_of_no_weight_teach_nothing(name: str, kind: str) -> None:
    """A third of the rows says the opposite, but counts nothing."""
    encoding = MODELS[name].traits["encoding"]
    true, test = rows(encoding, kind, 240, "train"), rows(encoding, kind, 300, "test")
    false = {
        "x": true["x"][:120],
        "y": 100 - true["y"][:120]
        if kind == "regression"
        else (true["y"][:120] + 1) % len(TASKS[kind].labels),
    }
    train = {key: np.concatenate([true[key], false[key]]) for key in true}
    train["weight"] = np.concatenate([np.ones(240), np.zeros(120)])
    made = fit(name, kind, train, rows(encoding, kind, 60, "validation"))
    metric, least = ("r2", 0.6) if kind == "regression" else ("balanced_accuracy", 0.72)
    if name == "baseline":
        metric, least = ("r2", -0.5) if kind == "regression" else ("balanced_accuracy", 0.0)
    found = score(TASKS[kind], test["y"], predict(made, test["x"]), names=[metric])[metric]
    assert found is not None and found > least


@every_model_and_task
@pytest.mark.parametrize("what", ["one row", "one class"])
def test_too_little_is_a_result_or_a_clear_error(name: str, kind: str, what: str) -> None:
    encoding = MODELS[name].traits["encoding"]
    train = rows(encoding, kind, 1 if what == "one row" else 20, "little")
    train["y"] = np.ones_like(train["y"])
    x = rows(encoding, kind, 5, "asked")["x"]
    try:
        made = fit(name, kind, train, None)
    except DanluError as error:
        made, said = None, str(error)
    else:
        said = ""
    if made is None:
        assert len(said) > 30 and said.endswith(".")
        return
    answers = predict(made, x)
    assert np.isfinite(answers).all() and len(answers) == 5
    if MODELS[name].traits["update"] == "gradient":
        return  # after a few steps from random weights it may say anything
    if kind == "regression":
        assert answers == pytest.approx(1.0)
    else:  # it saw nothing else
        assert (answers.argmax(axis=1) == 1).all()


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize(
    "name", [name for name, entry in MODELS.items() if entry.traits["encoding"] != "tree"]
)
def test_sparse_rows_teach_what_dense_ones_teach(name: str, kind: str) -> None:
    """A preprocessor gives either sparse or dense rows, to fit and to answer for."""
    entry = MODELS[name]
    if kind not in entry.tasks:
        return
    made = fitted(name, kind)
    test = rows(entry.traits["encoding"], kind, 100, "test")
    train, validation = (
        rows(entry.traits["encoding"], kind, n, what) for n, what in ((240, "train"), (60, "validation"))
    )
    try:
        sparse = fit(
            name, kind, train | {"x": csr_matrix(train["x"])}, validation | {"x": csr_matrix(validation["x"])}
        )
    except DanluError as error:
        sparse, said = None, str(error)
    else:
        said = ""
    if sparse is None:  # it may say that it does not take them
        assert "sparse" in said or "column" in said
        return
    metric = "r2" if kind == "regression" else "balanced_accuracy"
    answers = predict(sparse, csr_matrix(test["x"])), predict(made, test["x"])
    found, dense = (score(TASKS[kind], test["y"], each, names=[metric])[metric] for each in answers)
    assert found is not None and dense is not None and found > dense - 0.1


@pytest.mark.parametrize("name", MODELS)
def test_it_says_what_it_is_and_what_can_be_set(name: str) -> None:
    entry = MODELS[name]
    assert entry.summary.endswith(".") or entry.summary.endswith(")")
    assert len(entry.source) > 10 and entry.tasks
    assert entry.traits["update"] in ("estimator", "gradient", "exact")
    assert entry.traits["encoding"] in ("linear", "tree", "counts", "binary")
    for field in entry.settings:
        assert field.doc, f"{name}.{field.name} says nothing"
        default = tuple(field.default) if isinstance(field.default, list) else field.default
        assert check(field.default, field.type, where=field.name) == default


def test_the_checked_in_catalogue_says_what_the_code_says() -> None:
    written = json.loads(catalogue.FILE.read_text(encoding="utf-8"))
    assert json.loads(json.dumps(catalogue.generate())) == written


def test_every_kind_of_the_issue_is_there() -> None:
    """`entries` must not come out short without anyone noticing: then the tests above would test nothing."""
    asked = (
        "baseline linear ridge lasso elastic_net polynomial logistic perceptron knn gaussian_nb "
        "multinomial_nb bernoulli_nb svm linear_svm decision_tree random_forest extra_trees boosting mlp"
    )
    assert set(asked.split()) <= set(MODELS)
