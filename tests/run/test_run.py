"""`danlu.train` from a table to scores, report and model, with each setting doing what it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import precision_score, r2_score
from tests.run.tables import HOLDOUT, KINDS, QUICK, merged, table

import danlu
from danlu.data.split import Split

Made = Callable[[str, str], danlu.Run]
both_ways = pytest.mark.parametrize("how", ["folds", "holdout"])


@both_ways
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_is_good_and_leaves_everything_behind(made: Made, kind: str, how: str) -> None:
    run = made(kind, how)
    assert run.record["split"]["method"] == ("cross-validation" if how == "folds" else "holdout")
    metric, least = ("r2", 0.9) if kind == "regression" else ("accuracy", 0.75)
    assert run.metrics["test"][metric] > least > run.record["baseline"]["test"][metric]
    names = {path.name for path in run.folder.iterdir()}
    assert names == {"recipe.yaml", "plan.lock", "events.sqlite", "record.json", "report.html", "model.danlu"}
    assert run.report.read_text(encoding="utf-8").startswith("<!doctype html>")
    statuses = {row["name"]: row["status"] for row in run.record["candidates"]}
    assert statuses["baseline"] == "tried" and len(statuses) == 4
    assert set(statuses.values()) <= {"tried", "chosen", "member"}


@both_ways
@pytest.mark.parametrize("kind", KINDS)
def test_json_has_every_key_that_was_promised(made: Made, kind: str, how: str) -> None:
    printed = json.loads(json.dumps(made(kind, how).as_dict(), allow_nan=False))
    promised = {
        "run",
        "model",
        "report",
        "task",
        "chosen",
        "metrics",
        "baseline",
        "rows",
        "findings",
        "seconds",
    }
    assert promised <= set(printed)
    assert {"validation", "test"} <= set(printed["metrics"])
    assert printed["task"] == kind and sum(printed["rows"][part] for part in ("train", "test")) <= 160
    wanted = {
        "regression": {"r2", "rmse", "mae", "mape", "mse"},
        "binary": {"accuracy", "roc_auc", "f1", "log_loss"},
    }
    for scores in (*printed["metrics"].values(), printed["baseline"]):
        assert wanted.get(kind, {"accuracy", "balanced_accuracy", "log_loss"}) <= set(scores)
    assert Path(printed["model"]).is_file() and Path(printed["report"]).is_file()


@both_ways
def test_the_loaded_model_predicts_what_was_scored(made: Made, how: str) -> None:
    run = made("regression", how)
    shown = run.record["evaluation"]["residuals"]
    rows = pl.read_csv(run.folder.parent / "data.csv")
    tested = rows.filter(pl.col("y").is_in(shown["observed"]))
    assert len(tested) == len(shown["observed"]) == run.record["split"]["rows"]["test"]
    predicted = dict(zip(tested["y"], run.model.predict(tested.drop("y"))["y"], strict=True))
    assert [predicted[y] for y in shown["observed"]] == pytest.approx(shown["predicted"], rel=1e-12)
    assert r2_score(shown["observed"], shown["predicted"]) == pytest.approx(run.metrics["test"]["r2"])


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_probabilities_are_named_and_add_up(made: Made, kind: str) -> None:
    run = made(kind, "folds")
    answers = run.model.predict(table(kind, 50, seed=5).drop("y"))
    labels = sorted(run.record["labels"])
    assert answers.columns == ["y", *(f"probability_{label}" for label in labels)]
    chances = answers.drop("y").to_numpy()
    assert chances.sum(axis=1) == pytest.approx(1.0)
    assert answers["y"].to_list() == [labels[code] for code in chances.argmax(axis=1)]


def test_one_row_or_many_get_the_same_answer(made: Made) -> None:
    model, rows = made("regression", "folds").model, table("regression", 20, seed=9)
    together = model.predict(rows)["y"].to_numpy()
    alone = np.concatenate([model.predict(row)["y"].to_numpy() for row in rows.iter_slices(1)])
    assert alone == pytest.approx(together, rel=1e-12)


def test_weights_decide_what_is_true(runs_dir: Path) -> None:
    true = table("regression", 100).with_columns(w=pl.lit(1.0))
    false = table("regression", 100, seed=1).with_columns(y=-pl.col("y"), w=pl.lit(0.0))
    run = danlu.train(pl.concat([true, false]), "y", model="linear", **merged(QUICK, columns={"weight": "w"}))
    assert run.metrics["test"]["r2"] > 0.98
    assert "w" not in [column.name for column in run.model.schema.features]
    unweighted = danlu.train(
        pl.concat([true, false]), "y", model="linear", **merged(QUICK, columns={"ignore": ["w"]})
    )
    assert unweighted.metrics["test"]["r2"] < 0.5


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([-1.0] + [1.0] * 119, "row 1 of 'w' holds -1.0"),
        ([1.0, float("nan")] + [1.0] * 118, "row 2 of 'w' holds None"),
        ([0.0] * 120, "weights in 'w' must be .* not all 0"),
    ],
    ids=["negative", "missing", "all zero"],
)
def test_impossible_weights_are_refused(runs_dir: Path, weights: list[float], words: str) -> None:
    rows = table("regression").with_columns(w=pl.Series(weights))
    with pytest.raises(danlu.DataError, match=words):
        danlu.train(rows, "y", model="linear", **merged(QUICK, columns={"weight": "w"}))


@pytest.mark.parametrize("base", [QUICK, HOLDOUT], ids=["folds", "holdout"])
def test_groups_stay_on_one_side(splits: list[Split], base: dict[str, Any]) -> None:
    rows = table("binary", 160).with_columns(g=pl.Series([f"patient {number % 40}" for number in range(160)]))
    run = danlu.train(rows, "y", model="decision_tree", **merged(base, split={"group": "g"}))
    sides = [
        set(rows["g"].gather(part)) for part in (splits[0].test, np.setdiff1d(np.arange(160), splits[0].test))
    ]
    assert sides[0].isdisjoint(sides[1])
    assert all(set(rows["g"].gather(fit)).isdisjoint(rows["g"].gather(held)) for fit, held in splits[0].folds)
    assert "g" not in [column.name for column in run.model.schema.features]


def test_time_learns_from_the_past(splits: list[Split]) -> None:
    rows = table("regression", 150).with_columns(
        day=pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 5, 29), eager=True)
    )
    rows = rows.sample(fraction=1.0, shuffle=True, seed=1)
    danlu.train(rows, "y", model="ridge", **merged(QUICK, split={"time": "day"}))
    rest = np.setdiff1d(np.arange(150), splits[0].test)
    assert rows["day"].gather(splits[0].test).min() > rows["day"].gather(rest).max()  # type: ignore[operator]


def test_ignore_and_keep(runs_dir: Path) -> None:
    rows = table("regression").with_columns(number=pl.int_range(120), twice=pl.col("y") * 2)
    plain = danlu.train(rows, "y", model="ridge", **QUICK)
    assert [column.name for column in plain.model.schema.features] == ["a", "b", "c"]
    assert {"leak"} <= {finding["code"] for finding in plain.record["findings"]}
    asked = merged(QUICK, columns={"ignore": ["a"], "keep": ["number", "twice"]})
    run = danlu.train(rows, "y", model="ridge", **asked)
    assert [column.name for column in run.model.schema.features] == ["b", "c", "number", "twice"]
    assert run.metrics["test"]["r2"] > 0.999


def test_a_column_cannot_be_two_things(runs_dir: Path) -> None:
    with pytest.raises(danlu.RecipeError, match="column 'a' is both kept and ignored"):
        danlu.train(table("binary"), "y", columns={"ignore": ["a"], "keep": ["a"]})
    with pytest.raises(danlu.RecipeError, match="target 'y' cannot be kept or ignored"):
        danlu.train(table("binary"), "y", columns={"ignore": ["y"]})
    with pytest.raises(danlu.RecipeError, match="column 'c' cannot be group and something else"):
        danlu.train(table("binary"), "y", columns={"ignore": ["c"]}, split={"group": "c"})
    with pytest.raises(
        danlu.DataError, match=r"no column to predict 'y' from.*Use one all the same with --keep"
    ):
        danlu.train(table("binary"), "y", columns={"ignore": ["a", "b", "c"]})


@pytest.mark.parametrize("positive", ["yes", "no"])
def test_precision_speaks_of_the_positive_class(tmp_path: Path, positive: str) -> None:
    rows, test = table("binary", 120), table("binary", 80, seed=2)
    settings = merged(QUICK, evaluation={"positive": positive})
    run = danlu.train(rows, "y", test=test, model="gaussian_nb", out=tmp_path / "run", **settings)
    assert run.record["positive"] == positive
    predicted = run.model.predict(test.drop("y"))["y"]
    assert run.metrics["test"]["precision"] == pytest.approx(
        precision_score(test["y"], predicted, pos_label=positive)
    )


def test_costs_set_the_threshold(runs_dir: Path) -> None:
    rows = table("binary", 200).with_columns(
        y=pl.when(pl.int_range(200) % 4 == 0).then(pl.lit("no")).otherwise("y")
    )
    shares = {}
    for missed in (1, 20):
        costs = {"cost_false_positive": 1, "cost_false_negative": missed, "calibration": "off"}
        run = danlu.train(rows, "y", model="gaussian_nb", **merged(QUICK, evaluation=costs))
        cut = run.model.threshold
        assert cut is not None and run.record["evaluation"]["threshold"]["value"] == cut
        answers = run.model.predict(rows)
        assert (answers["y"] == "yes").to_list() == (answers["probability_yes"] >= cut).to_list()
        shares[missed] = (answers["y"] == "yes").mean()
    assert shares[20] > shares[1]


def test_a_threshold_is_for_two_classes(runs_dir: Path) -> None:
    costs = {"cost_false_positive": 1, "cost_false_negative": 5}
    for kind in ("regression", "multiclass"):
        for asked in ({"threshold": 0.3}, costs, {"positive": "low"}):
            with pytest.raises(danlu.RecipeError, match="two classes"):
                danlu.train(table(kind), "y", model="decision_tree", **merged(QUICK, evaluation=asked))


@pytest.mark.parametrize("metric", ["mae", "r2"])
def test_the_metric_chooses(runs_dir: Path, metric: str) -> None:
    models = ["ridge", "decision_tree", "knn"]
    run = danlu.train(
        table("regression"), "y", model=models, ensemble="off", **merged(QUICK, evaluation={"metric": metric})
    )
    scores = {row["name"]: row["score"] for row in run.record["candidates"]}
    best = max(scores, key=lambda name: scores[name] if metric == "r2" else -scores[name])
    assert run.record["metric"] == metric and run.record["chosen"]["name"] == best
    assert scores[best] == pytest.approx(run.metrics["validation"][metric])


def test_without_an_ensemble_one_model_is_chosen(runs_dir: Path) -> None:
    rows = table("multiclass", 150)
    alone = danlu.train(rows, "y", model=["logistic", "knn", "decision_tree"], ensemble="off", **QUICK)
    assert [member["weight"] for member in alone.record["chosen"]["members"]] == [1.0]
    statuses = [row["status"] for row in alone.record["candidates"]]
    assert sorted(statuses) == ["chosen", "tried", "tried", "tried"]


@pytest.mark.parametrize(("base", "members"), [(QUICK, 3), (HOLDOUT, 1)], ids=["folds", "holdout"])
def test_without_a_refit_the_tried_models_stay(runs_dir: Path, base: dict[str, Any], members: int) -> None:
    run = danlu.train(table("regression"), "y", model="ridge", refit=False, **base)
    assert len(run.record["chosen"]["members"]) == members
    assert json.loads((run.folder / "plan.lock").read_text())["refitted"] == []
    again = danlu.train(table("regression"), "y", model="ridge", **base)
    assert [member["name"] for member in again.record["chosen"]["members"]] == ["ridge"]
    assert json.loads((again.folder / "plan.lock").read_text())["refitted"] == ["ridge"]


def test_a_test_file_is_the_test(runs_dir: Path) -> None:
    table("binary", 120).write_csv("train.csv")
    table("binary", 47, seed=3).write_csv("test.csv")
    run = danlu.train("train.csv", "y", test="test.csv", model="logistic", **QUICK)
    assert run.record["split"]["rows"]["test"] == 47 and run.record["data"]["num_rows"] == 120
    test = pl.read_csv("test.csv")
    right = (run.model.predict(test)["y"] == test["y"]).mean()
    assert run.metrics["test"]["accuracy"] == pytest.approx(right)


def test_the_test_file_must_fit(runs_dir: Path) -> None:
    rows = table("binary")
    with pytest.raises(danlu.DataError, match=r"test file has no column 'b'.*needs all of: a, b, c, y"):
        danlu.train(rows, "y", test=rows.drop("b"), model="logistic", **QUICK)
    odd = rows.head(20).with_columns(y=pl.when(pl.int_range(20) == 4).then(pl.lit("perhaps")).otherwise("y"))
    with pytest.raises(danlu.DataError, match=r"Row 5 .*has the class 'perhaps' in 'y'"):
        danlu.train(rows, "y", test=odd, model="logistic", **QUICK)


def test_equal_words_in_python_and_in_a_recipe(runs_dir: Path) -> None:
    """A frame, a file, and a mapping of settings give one model."""
    rows = table("regression", 100)
    rows.write_csv("data.csv")
    settings = merged(QUICK, training={"patience": "off"})
    one = danlu.train(rows, "y", model=[{"name": "ridge", "strength": 0.5}], **settings)
    two = danlu.train("data.csv", "y", model=[{"ridge": {"strength": 0.5}}], **settings)
    assert one.model.predict(rows)["y"].to_list() == two.model.predict(rows)["y"].to_list()
    assert one.record["candidates"][1]["settings"] == {"strength": 0.5}


def test_a_misspelt_setting_is_an_error() -> None:
    with pytest.raises(danlu.RecipeError, match=r"Unknown setting 'modle'\. Did you mean 'models'"):
        danlu.train(table("binary"), "y", modle="logistic")
    with pytest.raises(danlu.RecipeError, match="A recipe needs 'target'"):
        danlu.train(table("binary"))


def test_gradient_descent_trains_a_linear_model_that_a_bundle_holds(runs_dir: Path) -> None:
    rows = table("regression", 100)
    descent = {"optimizer": "sgd", "learning_rate": 0.1, "batch_size": "all", "duration": "200 epochs"}
    run = danlu.train(rows, "y", model="linear", **merged(QUICK, training=descent))
    exact = danlu.train(rows, "y", model="linear", **QUICK)
    assert run.model.predict(rows)["y"].to_numpy() == pytest.approx(
        exact.model.predict(rows)["y"].to_numpy(), abs=0.02
    )


def test_text_columns_reach_every_family(runs_dir: Path) -> None:
    """Sparse rows: a network gets them batch by batch."""
    rng = np.random.default_rng(0)
    words = {
        "p": ["ember", "cinder", "coal", "smoke", "ash", "kiln"],
        "q": ["river", "spring", "rain", "dew", "ice", "tide"],
    }
    y = ["p" if number % 2 else "q" for number in range(120)]
    said = [
        " ".join([*rng.choice(words[label], 4), *rng.choice(["the", "a", "of", "and"], 3)]) for label in y
    ]
    rows = pl.DataFrame({"said": said, "y": y})
    settings = merged(
        QUICK, columns={"types": {"said": "text"}}, training={"duration": "20 epochs", "learning_rate": 0.01}
    )
    run = danlu.train(rows, "y", model=["mlp", "multinomial_nb", "logistic"], **settings)
    assert {row["status"] for row in run.record["candidates"]} <= {"tried", "member", "chosen"}
    assert all(row["metrics"]["validation"]["accuracy"] > 0.9 for row in run.record["candidates"][1:])


def test_rows_can_be_left_out_of_the_report_and_the_bundle(runs_dir: Path) -> None:
    rows = table("regression")
    shown = danlu.train(rows, "y", model="knn", **QUICK)
    assert shown.record["privacy"]["bundle_has_rows"] and shown.record["privacy"]["report_has_rows"]
    hidden = danlu.train(rows, "y", model="ridge", **merged(QUICK, evaluation={"show_rows": False}))
    assert not hidden.record["privacy"]["bundle_has_rows"] and not hidden.record["privacy"]["report_has_rows"]
    assert "worst_rows" not in hidden.record["evaluation"]
    with pytest.raises(danlu.UserError, match="keep_rows"):
        danlu.train(rows, "y", model="knn", **merged(QUICK, evaluation={"keep_rows": False}))


def test_scores_by_group_and_an_unknown_group_is_said_at_once(
    runs_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = danlu.train(table("binary"), "y", model="logistic", **merged(QUICK, evaluation={"groups": ["c"]}))
    assert {row["value"] for row in run.record["evaluation"]["groups"]} <= {"p", "q", "r"}
    from danlu.run.trial import Bench

    monkeypatch.setattr(Bench, "try_out", lambda *_, **__: pytest.fail("trained before the name was checked"))
    with pytest.raises(danlu.DataError, match="'d'"):
        danlu.train(table("binary"), "y", model="logistic", **merged(QUICK, evaluation={"groups": ["d"]}))


def test_the_baseline_is_never_said_to_overfit(runs_dir: Path) -> None:
    rng = np.random.default_rng(1)
    rows = pl.DataFrame({"a": rng.normal(size=80), "y": rng.choice(["p", "q", "r"], 80)})
    run = danlu.train(rows, "y", model="baseline", **QUICK)
    assert run.record["chosen"]["name"] == "baseline"
    assert "overfit" not in {finding["code"] for finding in run.record["findings"]}


def test_an_output_folder_that_holds_a_run_is_left_alone(made: Made) -> None:
    run = made("binary", "folds")
    before = run.report.read_bytes()
    with pytest.raises(danlu.UserError, match="already holds a run"):
        danlu.train(table("binary"), "y", model="logistic", out=run.folder, **QUICK)
    assert run.report.read_bytes() == before


def test_no_estimator_imports_torch(made: Made) -> None:
    """In a process of its own: other tests may have imported it here."""
    import subprocess
    import sys

    folder = made("binary", "folds").folder.parent
    words = ["train", "data.csv", "--target", "y", "--model", "decision_tree", "--out", "light", "--quiet"]
    code = (
        f"import sys, danlu.cli; status = danlu.cli.main({words!r}); "
        "sys.exit(9 if 'torch' in sys.modules else status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_metric_chooses_by_itself_and_curves_have_both_lines(runs_dir: Path) -> None:
    """An average that is better by log loss alone is not taken for accuracy."""
    settings = merged(QUICK, evaluation={"metric": "accuracy"})
    run = danlu.train(table("binary"), "y", model=["boosting", "knn", "logistic"], **settings)
    tried = {row["name"]: row["score"] for row in run.record["candidates"] if row["score"] is not None}
    chosen = run.record["chosen"]["members"]
    if len(chosen) == 1:
        assert tried[chosen[0]["name"]] == max(tried.values())
    else:
        assert run.metrics["validation"]["accuracy"] >= max(tried.values())
    curve = next(row["curve"] for row in run.record["candidates"] if row["name"] == "boosting")
    assert len(curve["train"]) == len(curve["validation"]) == len(curve["step"])
    assert all(value is not None for value in curve["train"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model": "ridge", "training": {"learning_rate": 0.1}},
            "training.learning_rate is for models that gradient",
        ),
        ({"model": "ridge", "training": {"patience": 3}}, "training.patience is for models that grow better"),
        ({"model": "ridge", "evaluation": {"calibration": "isotonic"}}, "corrects probabilities of classes"),
    ],
)
def test_a_setting_that_nothing_would_obey_is_refused(runs_dir: Path, changes, message) -> None:
    with pytest.raises(danlu.RecipeError, match=message):
        danlu.train(table("regression"), "y", **merged(QUICK, **changes))


def test_a_changed_recipe_is_a_new_run(runs_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The lock of a run belongs to its recipe: an edited one is not run by it."""
    from danlu.cli import main

    table("regression").write_csv("data.csv")
    first = [
        "train",
        "data.csv",
        "--target",
        "y",
        "--model",
        "ridge",
        "--out",
        "one",
        "--quiet",
        "--budget",
        "20s",
    ]
    assert main(first) == 0
    recipe = Path("one/recipe.yaml")
    recipe.write_text(recipe.read_text().replace("name: ridge", "name: knn"))
    assert main(["train", "--recipe", "one/recipe.yaml", "--out", "two"]) == 0
    said = capsys.readouterr()
    assert "This recipe was changed after its run. This is a new run." in said.err
    assert "y: knn, tested" in said.out


def test_a_run_prints_as_its_result_and_shows_itself_in_a_notebook(runs_dir: Path) -> None:
    run = danlu.train(table("regression"), "y", model="ridge", **QUICK)
    assert str(run) == run.text()
    assert "record" not in repr(run)
    assert "report.html" in run._repr_html_()
    assert run.record["run"]["command"].startswith("danlu train")


def test_a_recipe_file_and_python_words_are_one(runs_dir: Path) -> None:
    table("regression").write_csv("data.csv")
    first = danlu.train("data.csv", "y", model="ridge", out="one", **QUICK)
    again = danlu.train(recipe="one/recipe.yaml", out="two")
    assert any(finding["code"] == "reproduced" for finding in again.record["findings"])
    other = danlu.train(recipe="one/recipe.yaml", model="knn", out="three")
    assert other.record["chosen"]["name"] in ("knn", "baseline")
    answers = first.model.predict("data.csv", interval=True)
    assert (answers["y_low"] < answers["y"]).all() and (answers["y"] < answers["y_high"]).all()


def test_a_threshold_by_a_metric(runs_dir: Path) -> None:
    settings = merged(QUICK, evaluation={"threshold": "f1"})
    run = danlu.train(table("binary"), "y", model="logistic", **settings)
    found = run.record["evaluation"]["threshold"]
    assert found["metric"] == "f1" and found["after"] >= found["before"]
    assert run.model.threshold == found["value"]
