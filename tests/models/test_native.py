"""Which library fits what."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from danlu.models import native as module
from danlu.models.native import convergence, native


def origin(estimator: object) -> str:
    return type(estimator).__module__.partition(".")[0]


def test_the_number_of_rows_decides() -> None:
    pytest.importorskip("sklearnex")
    assert origin(native("SVC", np.zeros((9_999, 1)), C=2.0)) == "sklearn"
    large = native("SVC", np.zeros((10_000, 1)), num_threads=1, C=2.0)
    assert origin(large) == "sklearnex" and large.n_jobs == 1 and large.C == 2.0
    assert origin(native("SVC", csr_matrix((10_000, 1)))) == "sklearn"
    assert origin(native("LinearSVC", np.zeros((10_000, 1)))) == "sklearn"


def test_every_choice_exists() -> None:
    for name in module.CHOICES:
        assert type(native(name, np.zeros((10_000, 1)))).__name__ == name


def test_without_intelex_scikit_learn_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearnex.svm", None)
    assert origin(native("SVC", np.zeros((10_000, 1)))) == "sklearn"


def test_convergence_is_a_fact_and_other_warnings_stay() -> None:
    from sklearn.svm import LinearSVC

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(100, 5)), rng.integers(0, 2, 100)
    with convergence() as ended:
        LinearSVC(max_iter=1, dual=True).fit(x, y)
    assert not ended.is_reached
    with pytest.warns(UserWarning, match="something else"), convergence() as ended:
        warnings.warn("something else", stacklevel=1)
    assert ended.is_reached


@pytest.mark.parametrize("name", ["linear", "polynomial", "logistic", "naive_bayes", "neighbors", "baseline"])
def test_small_runs_import_no_library(name: str) -> None:
    text = (
        "import sys, numpy as np\n"
        f"import danlu.models.{name} as module\n"
        "from danlu.core.ideas import Context\n"
        "from danlu.core.tasks import Task\n"
        "names = ['Linear', 'Ridge', 'Polynomial', 'Logistic', 'GaussianNB', 'MultinomialNB',\n"
        "         'BernoulliNB', 'NearestNeighbors', 'Baseline']\n"
        "for kind in [getattr(module, n) for n in names if hasattr(module, n)]:\n"
        "    part = kind.__part__\n"
        "    for name in part.tasks:\n"
        "        task = Task(name, {'regression': (), 'binary': (0, 1), 'multiclass': (0, 1, 2)}[name])\n"
        "        model = kind(part.settings(), task, 2, seed=0)\n"
        "        x, y = np.arange(20.0).reshape(10, 2), np.arange(10) % (len(task.labels) or 5)\n"
        "        while not model.fit_round({'x': x, 'y': y}, task, Context()).done: pass\n"
        "        model(x)\n"
        "heavy = {'sklearn', 'sklearnex', 'scipy', 'torch', 'lightgbm'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", text], check=True)
