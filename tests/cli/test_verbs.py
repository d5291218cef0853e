"""Each verb does what its help says, and help comes at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from tests.cli.conftest import QUICK, Command
from tests.run.tables import table

from danlu import __version__
from danlu.cli import VERBS
from danlu.recipe.catalogue import entries

BUDGET_OF_HELP = 0.3  # seconds of processor time


def test_help_names_every_verb(danlu: Command) -> None:
    for words in ([], ["--help"], ["-h"], ["help"]):
        answer = danlu(*words)
        assert answer.status == 0 and answer.err == ""
        assert all(f"\n  {verb} " in answer.out for verb in VERBS)
    assert danlu("--version").out == f"danlu {__version__}\n"


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb(danlu: Command, verb: str) -> None:
    answer = danlu(verb, "--help")
    assert answer.status == 0 and answer.err == ""
    assert answer.out.startswith(f"usage: danlu {verb}") and f"\n  danlu {verb}" in answer.out.replace(
        "\ndanlu", "\n  danlu"
    )


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    """All helps in one process: processor time of the slowest and of the start-up together."""
    code = (
        "import contextlib, io, json, sys, time\n"
        "from danlu.cli import VERBS, main\n"
        "seconds = {}\n"
        "for verb in ('', *VERBS):\n"
        "    started = time.process_time()\n"
        "    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "        main([verb, '--help'] if verb else ['--help'])\n"
        "    seconds[verb] = time.process_time() - started\n"
        "names = ('torch', 'sklearn', 'lightgbm', 'scipy', 'polars', 'pandas', 'rich', 'numpy')\n"
        "heavy = [name for name in names if name in sys.modules]\n"
        "print(json.dumps([seconds, heavy, time.process_time()]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, heavy, total = json.loads(done.stdout)
    assert heavy == []
    assert total - sum(seconds.values()) + max(seconds.values()) < BUDGET_OF_HELP


def test_the_installed_command_shows_its_help_quickly() -> None:
    command = Path(sys.executable).with_name("danlu")
    if not command.exists():
        pytest.skip("danlu is not installed beside this Python")
    best = min(_processor_seconds([str(command), "--help"]) for _ in range(3))
    assert best < BUDGET_OF_HELP


def test_importing_danlu_is_quick() -> None:
    code = "import time; t = time.process_time(); import danlu; print(time.process_time() - t)"
    times = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        for _ in range(3)
    ]
    assert min(times) < 0.1


def _processor_seconds(command: list[str]) -> float:
    before = os.times()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


class TestTrain:
    def test_the_result_on_one_stream_and_progress_on_the_other(self, danlu: Command) -> None:
        table("binary", 100).write_csv("people.csv")
        answer = danlu("train", "people.csv", "--target", "y", "--model", "gaussian_nb", *QUICK)
        assert answer.status == 0
        assert "people: binary of 'y'; 85 rows cross-validated" in answer.err
        (run,) = Path("runs").iterdir()
        assert run.name.startswith("people-y-")
        assert f"report   {run}/report.html" in answer.out and f"model    {run}/model.danlu" in answer.out
        assert "accuracy" in answer.out and "baseline" in answer.out

    def test_json_is_one_object_and_quiet_is_quiet(self, danlu: Command) -> None:
        table("binary", 100).write_csv("people.csv")
        words = [
            "people.csv",
            "--target",
            "y",
            "--model",
            "gaussian_nb",
            "--json",
            "--quiet",
            "--out",
            "here",
        ]
        answer = danlu("train", *words, *QUICK)
        assert answer.err == ""
        result = json.loads(answer.out)
        assert result["chosen"] == "gaussian_nb" and result["run"] == "here" and result["task"] == "binary"

    def test_every_option_reaches_the_recipe(self, danlu: Command) -> None:
        rows = table("regression", 100).with_columns(
            w=pl.lit(1.5), g=pl.int_range(100) % 30, n=pl.int_range(100)
        )
        rows.write_csv("data.csv")
        words = (
            "--model ridge --model knn --metric mae --type c=category --ignore a --keep n --group g "
            "--weight w --seed 7 --budget 50s --task regression --set split.small_rows=10"
        )
        options = [*words.split(), "--set", "training.duration=60 epochs"]
        answer = danlu("train", "data.csv", "--target", "y", "--out", "run", "--quiet", *options, *QUICK)
        assert answer.status == 0, answer.err
        recipe = json.loads(Path("run/record.json").read_text())["recipe"]
        assert [model["name"] for model in recipe["models"]] == ["ridge", "knn"]
        assert recipe["columns"] == {
            "types": {"c": "category"},
            "ignore": ["a"],
            "keep": ["n"],
            "weight": "w",
        }
        assert recipe["split"]["group"] == "g" and recipe["split"]["small_rows"] == 10
        assert (recipe["evaluation"]["metric"], recipe["seed"], recipe["budget"], recipe["task"]) == (
            "mae",
            7,
            "50s",
            "regression",
        )
        assert recipe["training"]["duration"] == "60 epochs"

    def test_options_go_over_the_recipe(self, danlu: Command) -> None:
        table("regression", 60).write_csv("data.csv")
        Path("r.yaml").write_text(
            "data: data.csv\ntarget: y\nseed: 3\nmodels: [knn]\n"
            "split: {folds: 3, repeats: 1}\nevaluation: {bootstrap: 50, metric: mae}\n"
        )
        answer = danlu(
            "train", "--recipe", "r.yaml", "--model", "ridge", "--metric", "r2", "--out", "run", "--quiet"
        )
        assert answer.status == 0, answer.err
        recipe = json.loads(Path("run/record.json").read_text())["recipe"]
        assert recipe["seed"] == 3 and recipe["models"][0]["name"] == "ridge"
        assert recipe["evaluation"]["metric"] == "r2" and recipe["evaluation"]["bootstrap"] == 50


class TestPredict:
    @pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl", "arrow"])
    def test_every_format_holds_the_same_answers(self, danlu: Command, trained: Path, ending: str) -> None:
        rows = table("binary", 30, seed=8).with_columns(id=pl.int_range(30))
        rows.write_csv("new.csv")
        answer = danlu("predict", trained / "people", "new.csv", "--keep", "id", "--out", f"answers.{ending}")
        assert answer.status == 0 and "30 rows written" in answer.err
        read = {
            "csv": pl.read_csv,
            "parquet": pl.read_parquet,
            "jsonl": pl.read_ndjson,
            "arrow": pl.read_ipc,
        }[ending]
        found = read(f"answers.{ending}")
        assert found.columns == ["id", "y", "probability_no", "probability_yes"]
        assert found["id"].cast(pl.Int64).to_list() == list(range(30))

    def test_probabilities_off_interval_and_residuals(self, danlu: Command, trained: Path) -> None:
        table("binary", 10, seed=8).write_csv("new.csv")
        table("regression", 10, seed=8).write_csv("houses.csv")
        assert (
            danlu("predict", trained / "people", "new.csv", "--no-probabilities").out.splitlines()[0] == "y"
        )
        answer = danlu(
            "predict",
            trained / "houses" / "model.danlu",
            "houses.csv",
            "--interval",
            "--residuals",
            "--out",
            "a.csv",
        )
        assert answer.status == 0, answer.err
        found = pl.read_csv("a.csv")
        assert found.columns == ["y", "y_low", "y_high", "y_residual"]
        assert (found["y_low"] <= found["y"]).all() and (found["y"] <= found["y_high"]).all()
        observed = pl.read_csv("houses.csv")["y"]
        assert (found["y"] + found["y_residual"]).to_list() == pytest.approx(observed.to_list())


class TestEvaluate:
    def test_scores_are_those_of_scikit_learn(self, danlu: Command, trained: Path) -> None:
        from sklearn.metrics import accuracy_score, roc_auc_score

        rows = table("binary", 80, seed=6)
        rows.write_csv("new.csv")
        result = json.loads(danlu("evaluate", trained / "people", "new.csv", "--group", "c", "--json").out)
        danlu("predict", trained / "people", "new.csv", "--out", "answers.csv")
        answers = pl.read_csv("answers.csv")
        assert result["metrics"]["accuracy"] == pytest.approx(accuracy_score(rows["y"], answers["y"]))
        auc = roc_auc_score((rows["y"] == "yes").to_numpy(), answers["probability_yes"])
        assert result["metrics"]["roc_auc"] == pytest.approx(auc)
        assert {row["value"] for row in result["groups"]} == {"p", "q", "r"}
        low, high = result["intervals"]["accuracy"]
        assert low <= result["metrics"]["accuracy"] <= high
        text = danlu("evaluate", trained / "people", "new.csv", "--group", "c").out
        assert text.startswith("y: 80 rows\n") and "c = p (" in text

    def test_rows_without_a_target_are_counted(self, danlu: Command, trained: Path) -> None:
        rows = table("regression", 20, seed=6).with_columns(y=pl.when(pl.int_range(20) > 2).then("y"))
        rows.write_csv("new.csv")
        result = json.loads(danlu("evaluate", trained / "houses", "new.csv", "--json").out)
        assert (result["rows"], result["left_out"]) == (17, 3)


class TestInspect:
    def test_data(self, danlu: Command) -> None:
        table("binary", 50).with_columns(d=pl.lit("same")).write_csv("data.csv")
        facts = json.loads(danlu("inspect", "data.csv", "--json").out)
        assert (
            facts["num_rows"] == 50
            and {column["name"]: column["type"] for column in facts["columns"]}["d"] == "constant"
        )
        answer = danlu("inspect", "data.csv", "--target", "y")
        assert answer.status == 0, answer.err
        assert answer.out.startswith("data: 50 rows, 5 columns (csv)") and "[target]" in answer.out
        told = json.loads(danlu("inspect", "data.csv", "--target", "y", "--json").out)
        assert told["task"]["kind"] == "binary" and told["task"]["labels"] == ["no", "yes"]

    def test_a_model_by_its_file_and_by_its_run(self, danlu: Command, trained: Path) -> None:
        one = danlu("inspect", trained / "houses" / "model.danlu")
        assert one.status == 0 and one.out.startswith(
            "predicts y (regression)\nfrom a (number), b (number), c (category)"
        )
        assert danlu("inspect", trained / "houses").out == one.out
        facts = json.loads(danlu("inspect", trained / "houses", "--json").out)
        tensors = [tensor for member in facts["members"] for tensor in member["tensors"]]
        assert facts["num_values"] == sum(tensor["count"] for tensor in tensors) > 0
        assert facts["size_class"] in ("below a thousand", "thousands")


class TestRuns:
    @pytest.fixture(autouse=True)
    def two_runs(self, danlu: Command) -> None:
        assert danlu("runs").out.startswith("No runs yet")
        table("regression", 60).write_csv("data.csv")
        for model in ("ridge", "knn"):
            words = ["data.csv", "--target", "y", "--model", model, "--out", f"runs/{model}", "--quiet"]
            assert danlu("train", *words, *QUICK).status == 0

    def test_list_show_compare_delete(self, danlu: Command) -> None:
        listed = danlu("runs").out.splitlines()
        assert [line.split()[0] for line in listed] == ["run", "ridge", "knn"]
        assert [row["name"] for row in json.loads(danlu("runs", "list", "--json").out)] == ["ridge", "knn"]
        assert danlu("runs", "show", "ridge").out.startswith("y: ridge, tested on 9 rows")
        assert json.loads(danlu("runs", "show", "ridge", "--json").out)["chosen"] == "ridge"
        compared = danlu("runs", "compare", "ridge", "knn")
        assert compared.out.splitlines()[0].split() == ["test", "score", "ridge", "knn"]
        assert "compare with care" not in compared.out
        scores = json.loads(danlu("runs", "compare", "ridge", "runs/knn", "--json").out)
        assert scores["r2"]["ridge"] > scores["r2"]["knn"]
        assert danlu("runs", "compare", "ridge", "runs/ridge").status == 2, "one run under two names"
        assert danlu("runs", "delete", "ridge", "nothing").status == 2 and Path("runs/ridge").exists()
        assert danlu("runs", "delete", "ridge").status == 0 and not Path("runs/ridge").exists()

    def test_other_rows_are_pointed_out_and_equal_names_kept_apart(self, danlu: Command) -> None:
        words = [
            "data.csv",
            "--target",
            "y",
            "--model",
            "ridge",
            "--out",
            "elsewhere/ridge",
            "--seed",
            "4",
            "--quiet",
        ]
        assert danlu("train", *words, *QUICK).status == 0
        compared = danlu("runs", "compare", "ridge", "elsewhere/ridge").out
        assert compared.splitlines()[0].split() == ["test", "score", "runs/ridge", "elsewhere/ridge"]
        assert "compare with care" in compared

    def test_a_run_that_did_not_finish(self, danlu: Command) -> None:
        Path("runs/knn/record.json").unlink()
        assert "did not finish" in danlu("runs").out
        assert "did not finish: it has no record.json" in danlu("runs", "show", "knn").err

    def test_the_report_can_be_written_again(self, danlu: Command) -> None:
        before = Path("runs/ridge/report.html").read_bytes()
        Path("runs/ridge/report.html").unlink()
        assert danlu("report", "ridge").out == "runs/ridge/report.html\n"
        assert Path("runs/ridge/report.html").read_bytes() == before
        assert danlu("report", "ridge", "--out", "copy.html").out == "copy.html\n"
        assert Path("copy.html").read_bytes() == before


class TestModels:
    def test_all_and_one(self, danlu: Command) -> None:
        text = danlu("models").out
        assert all(f"\n{name}: " in f"\n{text}" for name in entries("model"))
        one = danlu("models", "boosting").out
        assert "learning_rate = " in one and "LightGBM" in one
        listed = json.loads(danlu("models", "--json").out)
        assert [row["name"] for row in listed] == list(entries("model"))
        assert json.loads(danlu("models", "ridge", "--json").out)[0]["settings"]


def test_demo_runs_the_main_job(danlu: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first table is enough to see that it works; `make demo` runs both."""
    from danlu.run import start as module

    seen = []
    original = module.train_recipe

    def quick(settings: dict, **named: object) -> object:
        seen.append(settings["data"])
        fast = {
            "models": ["ridge" if "houses" in settings["data"] else "gaussian_nb"],
            "split": {"folds": 3, "repeats": 1},
        }
        return original(settings | fast | {"evaluation": {"bootstrap": 50, "importance": False}}, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "train_recipe", quick)
    answer = danlu("demo", "--out", "demo")
    assert answer.status == 0, answer.err
    assert sorted(seen) == ["danlu/houses", "sklearn/breast_cancer"]
    assert "$ danlu train danlu/houses --target price" in answer.out and "Now your own" in answer.out
    assert (
        Path("demo/danlu-houses/report.html").is_file()
        and Path("demo/sklearn-breast_cancer/model.danlu").is_file()
    )
