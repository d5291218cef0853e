"""A run made again from its recipe: the same bits, or what differs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.run.tables import HOLDOUT, KINDS, QUICK, merged, table

from danlu.cli import main
from danlu.core.files import dump_json
from danlu.run.folder import Lock, differences, sha256

MODELS = {
    "regression": ["ridge", "boosting", "knn"],
    "binary": ["logistic", "random_forest", "boosting"],
    "multiclass": ["gaussian_nb", "decision_tree", "extra_trees"],
}
SMALL = {
    "boosting": {"name": "boosting", "num_rounds": 30},
    "random_forest": {"name": "random_forest", "num_trees": 20},
    "extra_trees": {"name": "extra_trees", "num_trees": 20},
}


def first(kind: str, base: dict[str, Any], *, models: list[Any] | None = None, **more: Any) -> None:
    """A run from data.csv in the folder `one`."""
    table(kind, 150).write_csv("data.csv")
    chosen = models or [SMALL.get(name, name) for name in MODELS[kind]]
    recipe = merged(base, **more) | {"data": "data.csv", "target": "y", "models": chosen}
    Path("recipe.yaml").write_text(dump_json(recipe))  # JSON is YAML
    assert main(["train", "--recipe", "recipe.yaml", "--out", "one", "--quiet"]) == 0


def again(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What `--json` prints of the run made again in the folder `two`."""
    capsys.readouterr()
    assert main(["train", "--recipe", "one/recipe.yaml", "--out", "two", "--quiet", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def codes(result: dict[str, Any]) -> set[str]:
    return {finding["code"] for finding in result["findings"]}


@pytest.mark.parametrize("base", [QUICK, HOLDOUT], ids=["folds", "holdout"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_recipe_gives_the_same_bits(
    runs_dir: Path, capsys: pytest.CaptureFixture[str], kind: str, base: dict[str, Any]
) -> None:
    first(kind, base)
    result = again(capsys)
    assert "reproduced" in codes(result)
    assert sha256(Path("one/model.danlu")) == sha256(Path("two/model.danlu"))
    one, two = (json.loads(Path(run, "record.json").read_text()) for run in ("one", "two"))
    assert one["metrics"] == two["metrics"] and one["evaluation"] == two["evaluation"]


def test_what_the_clock_decided_is_not_decided_anew(
    runs_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No time for a second candidate, none for the refit: the run made again has time and leaves it."""
    with monkeypatch.context() as patch:
        patch.setattr("danlu.run.run.FIT_SHARE", 1e-9)
        patch.setattr("danlu.run.run.REFIT_SHARE", 1e-9)
        first("binary", QUICK, models=["decision_tree", "gaussian_nb", "knn"])
    record = json.loads(Path("one/record.json").read_text())
    assert {"decision_tree"} <= {row["name"] for row in record["candidates"] if row["status"] != "skipped"}
    assert "not_refitted" in codes(record)
    result = again(capsys)
    assert "reproduced" in codes(result), result["findings"]
    assert sha256(Path("one/model.danlu")) == sha256(Path("two/model.danlu"))


def test_changed_data_are_named(runs_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first("regression", QUICK, models=["ridge"])
    text = Path("data.csv").read_text()
    Path("data.csv").write_text(re.sub(r"(?m)^(-?\d)\.", r"\g<1>1.", text, count=1))
    result = again(capsys)
    finding = next(finding for finding in result["findings"] if finding["code"] == "not_reproduced")
    assert re.search(r"the data: fingerprint [0-9a-f]{12} then, [0-9a-f]{12} now", finding["message"])


def test_a_changed_option_makes_a_new_run(runs_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first("regression", QUICK, models=["ridge"])
    capsys.readouterr()
    assert (
        main(["train", "--recipe", "one/recipe.yaml", "--seed", "5", "--out", "two", "--quiet", "--json"])
        == 0
    )
    result = json.loads(capsys.readouterr().out)
    assert not {"reproduced", "not_reproduced"} & codes(result)
    assert sha256(Path("one/model.danlu")) != sha256(Path("two/model.danlu"))


def test_a_recipe_says_everything(runs_dir: Path) -> None:
    """Every default is written out, and what it ran on stands above it."""
    first("regression", QUICK, models=["ridge"])
    text = Path("one/recipe.yaml").read_text(encoding="utf-8")
    assert re.search(r"# data fingerprint \(SHA-256\): [0-9a-f]{64}\n", text) and "# numpy: " in text
    import yaml

    groups = yaml.safe_load(text)
    keys = {
        "data",
        "target",
        "task",
        "split",
        "preprocessing",
        "models",
        "training",
        "evaluation",
        "budget",
        "seed",
    }
    assert keys <= set(groups)
    assert {"duration", "batch_size", "optimizer", "learning_rate"} <= set(groups["training"])


def test_differences_name_what_changed() -> None:
    from danlu.core.runtime import environment

    lock = Lock(environment=environment() | {"numpy": "1.0"}, fingerprint="a" * 64, model_sha256="b")
    assert differences(lock, fingerprint="c" * 64, model_sha256="b") == []
    told = differences(lock, fingerprint="c" * 64, model_sha256="d")
    assert told[0] == f"the data: fingerprint {'a' * 12} then, {'c' * 12} now"
    assert told[1].startswith("numpy: 1.0 then, ")
    same = Lock(environment=environment(), fingerprint="a", model_sha256="b")
    assert "report this as a bug" in differences(same, fingerprint="a", model_sha256="d")[0]


def test_a_damaged_lock_is_one_sentence(runs_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first("regression", QUICK, models=["ridge"])
    for text, words in (
        ("{", "cannot be read"),
        ('{"fits": {}, "magic": 1}', "does not know"),
        ("[1]", "does not hold"),
    ):
        Path("one/plan.lock").write_text(text)
        capsys.readouterr()
        assert main(["train", "--recipe", "one/recipe.yaml", "--out", "two", "--quiet"]) == 2
        assert words in " ".join(capsys.readouterr().err.split())
