"""Test rows choose nothing: with other values in them, the model is the same to the bit."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.run.tables import HOLDOUT, KINDS, QUICK, table

import danlu
from danlu.data.split import Split


def weights(run: danlu.Run) -> dict[str, bytes]:
    """Every member of the bundle that answers depend on: all but the card and the checksums."""
    with zipfile.ZipFile(run.folder / "model.danlu") as archive:
        return {
            name: archive.read(name)
            for name in archive.namelist()
            if name in ("model.json", "model.safetensors", "tensors.safetensors")
        }


@pytest.mark.parametrize("base", [QUICK, HOLDOUT], ids=["folds", "holdout"])
@pytest.mark.parametrize("kind", KINDS)
def test_other_rows_in_the_test_file_give_the_same_model(
    runs_dir: Path, kind: str, base: dict[str, Any]
) -> None:
    rows = table(kind, 150)
    models = ["decision_tree", "knn", "ridge" if kind == "regression" else "logistic"]
    runs = [danlu.train(rows, "y", test=table(kind, 40, seed=seed), model=models, **base) for seed in (1, 2)]
    assert runs[0].metrics["test"] != runs[1].metrics["test"]
    one, two = map(weights, runs)
    assert len(one) == 2 and one == two
    assert runs[0].metrics["validation"] == runs[1].metrics["validation"]


@pytest.mark.parametrize("base", [QUICK, HOLDOUT], ids=["folds", "holdout"])
def test_other_columns_in_the_rows_kept_for_the_test_give_the_same_model(
    splits: list[Split], base: dict[str, Any]
) -> None:
    rows = table("regression", 150)
    one = danlu.train(rows, "y", model=["ridge", "decision_tree"], **base)
    index = pl.int_range(rows.height)
    tested = index.is_in(splits[0].test.tolist())
    moved = rows.with_columns(a=pl.when(tested).then(pl.col("a") * -3 + 0.01 * index).otherwise("a"))
    two = danlu.train(moved, "y", model=["ridge", "decision_tree"], **base)
    assert splits[0].test.tolist() == splits[1].test.tolist()
    assert one.metrics["test"] != two.metrics["test"]
    assert weights(one) == weights(two)


def test_choice_calibration_and_test_share_no_row(splits: list[Split]) -> None:
    for base in (QUICK, HOLDOUT):
        danlu.train(table("binary", 200), "y", model="gaussian_nb", **base)
    for parts in splits:
        apart = [parts.choice, parts.calibration, parts.test] + ([] if parts.folds else [parts.train])
        numbers = [row for part in apart for row in part.tolist()]
        assert len(numbers) == len(set(numbers))
        assert not {row for fit, held in parts.folds for row in (*fit, *held)} & set(parts.test.tolist())
        assert all(not set(fit.tolist()) & set(held.tolist()) for fit, held in parts.folds)
