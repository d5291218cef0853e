"""Runs that several tests look at, trained once, and what a run did with its rows."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests.run.tables import HOLDOUT, QUICK, table

import danlu
from danlu.data.split import Split

MODELS = {
    "regression": ["ridge", "decision_tree", "knn"],
    "binary": ["logistic", "decision_tree", "gaussian_nb"],
    "multiclass": ["logistic", "decision_tree", "gaussian_nb"],
}


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], danlu.Run]:
    """(kind of task, `folds` or `holdout`) -> a run with three models; 160 rows in data.csv beside it."""

    @cache
    def train(kind: str, how: str) -> danlu.Run:
        folder = tmp_path_factory.mktemp(f"{kind}-{how}")
        table(kind, 160).write_csv(folder / "data.csv")
        settings = QUICK if how == "folds" else HOLDOUT
        return danlu.train(folder / "data.csv", "y", model=MODELS[kind], out=folder / "run", **settings)

    return train


@pytest.fixture
def splits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Split]:
    """Collects the split of every run of the test; its runs go to a folder of its own."""
    from danlu.data import split as module

    seen: list[Split] = []
    original = module.split

    def spy(*arguments: Any, **named: Any) -> Split:
        seen.append(original(*arguments, **named))
        return seen[-1]

    monkeypatch.setattr(module, "split", spy)
    monkeypatch.chdir(tmp_path)
    return seen
