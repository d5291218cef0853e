"""Every bad input of a newcomer gets exit status 2 and one clear paragraph that says what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.cli.conftest import QUICK, Command
from tests.run.tables import table

Refused = Callable[..., str]
ROWS = "".join(f"{number},{(number * 7) % 11},{number * 2 + 1}\n" for number in range(30))


def write(text: str | bytes, name: str = "data.csv") -> str:
    Path(name).write_bytes(text.encode() if isinstance(text, str) else text)
    return name


def train(refused: Refused, text: str | bytes, *words: str) -> str:
    return refused("train", write(text), "--target", "y", "--quiet", *words)


def test_a_missing_file_offers_the_nearest(refused: Refused) -> None:
    write("a,y\n1,2\n", "houses.csv")
    assert "There is no file house.csv. Did you mean 'houses.csv'?" in refused(
        "train", "house.csv", "--target", "y"
    )
    assert "folder nowhere does not exist" in refused("train", "nowhere/x.csv", "--target", "y")
    assert "is a folder, not a file. It holds houses.csv" in refused("train", ".", "--target", "y")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "data.csv is empty"),
        ("\n\n", "data.csv"),
        ("a,b,y\n", "has a header (a, b, y) but no rows"),
        ("a,b,y\n1,2,3\n", "Only one row has a value in the target 'y'"),
        ("a,b,y\n" + "".join(f"{n},{n % 3},yes\n" for n in range(30)), "same value in every row ('yes')"),
        ("a,b,y\n" + "".join(f"{n},{n % 3},\n" for n in range(30)), "target 'y' is missing in all 30 rows"),
        ("a,b,y\n" + ROWS + "3,4,inf\n", "target 'y' is infinite in 1 rows (31)"),
        ("a,b,y\n1,2,3\n1,2\n" + ROWS, "line 3 has 2 fields, but the header has 3"),
        ("a,b,y\n1,2,3\n1,2,3,4\n" + ROWS, "line 3 has 4 fields, but the header has 3"),
        ("a,a,y\n" + ROWS, "'a' for columns 1, 2. Give every column its own name"),
        (b"a,b,y\n" + b"1,\xff\xfe,2\n" * 9, "not valid UTF-8: line 2 holds the byte 0xff at offset 8"),
    ],
    ids=[
        "empty",
        "blank",
        "header",
        "one-row",
        "one-class",
        "all-missing",
        "infinity",
        "short-row",
        "long-row",
        "same-name",
        "utf8",
    ],
)
def test_a_table_that_teaches_nothing(refused: Refused, text: str | bytes, words: str) -> None:
    assert words in train(refused, text)
    assert not list(Path("runs").iterdir()), "a run that never began leaves no folder"


def test_few_rows_are_still_too_few(refused: Refused) -> None:
    assert "rows" in train(refused, "a,y\n1,2.5\n2,3.5\n")


def test_an_absent_target_offers_the_nearest(refused: Refused) -> None:
    write("area,price\n" + "".join(f"{n},{n * 3.5}\n" for n in range(30)))
    assert "'prize' is not in the data. Did you mean 'price'? Columns: area, price." in refused(
        "train", "data.csv", "--target", "prize"
    )
    assert "danlu train needs a target" in refused("train", "data.csv")
    assert "danlu train needs data and a target" in refused("train")


def test_missing_targets_are_left_out_and_counted(danlu: Command) -> None:
    write("a,b,y\n" + ROWS + "3,4,\n5,6,nan\n")
    answer = danlu("train", "data.csv", "--target", "y", "--model", "ridge", *QUICK)
    assert answer.status == 0, answer.err
    assert "2 rows have no value in the target 'y'" in " ".join(answer.err.split())


def test_a_column_of_numbers_with_a_word_is_kept_as_text_and_said(danlu: Command) -> None:
    write("a,b,y\n" + ROWS.replace("7,5,15", "x,5,15"))
    answer = danlu("train", "data.csv", "--target", "y", "--model", "ridge", *QUICK)
    assert answer.status == 0, answer.err
    assert "Column 'a' holds mostly numbers, but 1 value is not a number ('x' in row 8)" in " ".join(
        answer.err.split()
    )


def test_ten_thousand_columns(danlu: Command) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 10_000)).round(2)
    frame = pl.DataFrame(x, schema=[f"c{number}" for number in range(10_000)])
    frame.with_columns(y=pl.Series(x[:, 0] * 3 + 1)).write_csv("wide.csv")
    words = ["--set", "evaluation.importance=false", *QUICK]
    answer = danlu(
        "train", "wide.csv", "--target", "y", "--model", "ridge", "--keep", "c0", "--quiet", *words
    )
    assert answer.status == 0, answer.err
    assert "Traceback" not in answer.err
    assert (
        danlu(
            "predict", next(Path("runs").iterdir()) / "model.danlu", "wide.csv", "--out", "answers.csv"
        ).status
        == 0
    )
    assert pl.read_csv("answers.csv").shape == (20, 1)


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["trian"], "There is no verb 'trian'. Did you mean 'train'?"),
        (["train", "data.csv", "--targt", "y"], "There is no option '--targt'. Did you mean '--target'?"),
        (["predict", "m", "d", "--colour"], "There is no option '--colour'"),
        (["train", "data.csv", "more.csv", "--target", "y"], "'more.csv' is one word too many"),
        (["train", "data.csv", "--target", "y", "--task", "regresion"], "Did you mean 'regression'?"),
        (["runs", "lst"], "Did you mean 'list'?"),
        (["train", "data.csv", "--target", "y", "--seed", "x"], "--seed: invalid int value: 'x'"),
        (["train", "data.csv", "--target", "y", "--seed", "-1"], "seed must not be negative, got -1"),
        (["train", "data.csv", "--target", "y", "--budget", "fast"], "Cannot read 'fast' as a budget"),
        (["train", "data.csv", "--target", "y", "--budget", "3 epochs"], "A budget is wall time"),
        (
            ["train", "data.csv", "--target", "y", "--model", "boostin"],
            "There is no model 'boostin'. Did you mean 'boosting'?",
        ),
        (["models", "rdige"], "There is no model 'rdige'. Did you mean 'ridge'?"),
        (["train", "data.csv", "--target", "y", "--set", "training.duratoin=3"], "Did you mean 'duration'?"),
        (["train", "data.csv", "--target", "y", "--set", "trainin.duration=3"], "Did you mean 'training'?"),
        (
            ["train", "data.csv", "--target", "y", "--set", "training.duration=abc"],
            "Cannot read 'abc' as a duration",
        ),
        (["train", "data.csv", "--target", "y", "--set", "training"], "--set takes name=value"),
        (["train", "data.csv", "--target", "y", "--set", "seed.x=3"], "seed must be a whole number"),
        (
            ["train", "data.csv", "--target", "y", "--set", "split.train=2"],
            "split.train is a share between 0 and 1",
        ),
        (
            ["train", "data.csv", "--target", "y", "--set", "models=[{name: boosting, num_leafs: 3}]"],
            "Did you mean 'num_leaves'?",
        ),
        (
            ["train", "data.csv", "--target", "y", "--model", "logistic"],
            "learns binary, multiclass; this target makes a regression task",
        ),
        (
            ["train", "data.csv", "--target", "y", "--metric", "r22"],
            "There is no metric 'r22'. Did you mean 'r2'?",
        ),
        (
            ["train", "data.csv", "--target", "y", "--metric", "accuracy"],
            "'accuracy' is for binary and multiclass targets",
        ),
        (
            ["train", "data.csv", "--target", "y", "--ignore", "bb"],
            "'bb' is not in the data. Did you mean 'b'?",
        ),
        (
            ["train", "data.csv", "--target", "y", "--keep", "bb"],
            "'bb' is not in the data. Did you mean 'b'?",
        ),
        (["train", "data.csv", "--target", "y", "--group", "who"], "'who' is not in the data"),
        (["train", "data.csv", "--target", "y", "--time", "when"], "'when' is not in the data"),
        (["train", "data.csv", "--target", "y", "--weight", "ww"], "'ww' is not in the data"),
        (
            ["train", "data.csv", "--target", "y", "--type", "a=numbr"],
            "'numbr' is no type for column 'a'. Did you mean 'number'?",
        ),
        (
            ["train", "data.csv", "--target", "y", "--type", "aa=number"],
            "'aa' is not in the data. Did you mean 'a'?",
        ),
        (["train", "data.csv", "--target", "y", "--type", "a"], "--type takes COLUMN=TYPE"),
        (
            ["train", "data.csv", "--target", "y", "--test", "dta.csv"],
            "There is no file dta.csv. Did you mean 'data.csv'?",
        ),
        (["train", "data.csv", "--target", "y", "--query", "select 1"], "query needs a SQLite file"),
        (["train", "sklearn/iriss", "--target", "target"], "Did you mean 'sklearn/iris'?"),
        (["train", "https://example.org/x.csv", "--target", "y"], "danlu downloads nothing"),
        (
            ["train", "--recipe", "recip.yaml"],
            "There is no recipe file recip.yaml. Did you mean 'recipe.yaml'?",
        ),
        (["train", "--recipe", "recipe.yaml"], "Unknown setting 'traget'. Did you mean 'target'?"),
        (["train", "--recipe", "data.csv"], "data.csv"),
        (["predict", "nothing", "data.csv"], "There is no run 'nothing'"),
        (["predict", "no.danlu", "data.csv"], "Cannot load no.danlu: there is no such file"),
        (["predict", "bad.danlu", "data.csv"], "it is not a danlu model, which is a zip archive"),
        (["evaluate", "bad.danlu", "data.csv"], "it is not a danlu model"),
        (["inspect", "bad.danlu"], "it is not a danlu model"),
        (["inspect", "dta.csv"], "There is no file dta.csv. Did you mean 'data.csv'?"),
        (["inspect", "data.csv", "--target", "z"], "'z' is not in the data"),
        (["runs", "show"], "needs the names of a run"),
        (["runs", "show", "nothing"], "There is no run 'nothing'"),
        (["runs", "compare", "one"], "There is no run 'one'"),
        (["runs", "list", "extra"], "'extra' is one word too many"),
        (["runs", "delete", "nothing"], "There is no run 'nothing'"),
        (["report", "nothing"], "There is no run 'nothing'"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_a_wrong_word_names_the_right_one(refused: Refused, words: list[str], answer: str) -> None:
    write("a,b,y\n" + "".join(f"{n * 0.5},{(n * 7) % 11},{n * 2.5 + 1}\n" for n in range(30)))
    write("hello", "bad.danlu")
    write("data: data.csv\ntraget: y\ntarget: y\n", "recipe.yaml")
    assert answer in refused(*words)


class TestPrediction:
    """Wrong columns at prediction."""

    def test_a_missing_column_is_named(self, refused: Refused, trained: Path) -> None:
        write("a,c\n1,p\n")
        assert "lack a column that the model needs: 'b'" in refused("predict", trained / "houses", "data.csv")

    def test_extra_and_reordered_columns_change_nothing(self, danlu: Command, trained: Path) -> None:
        rows = table("regression", 20, seed=4)
        rows.select("a", "b", "c").write_csv("plain.csv")
        rows.select(pl.lit("x").alias("extra"), "c", "y", "b", "a").write_csv("other.csv")
        one, two = (danlu("predict", trained / "houses", name) for name in ("plain.csv", "other.csv"))
        assert one.status == two.status == 0, one.err + two.err
        assert one.out == two.out and one.out.startswith("y\n") and one.out.count("\n") == 21

    def test_a_new_category_is_answered(self, danlu: Command, trained: Path) -> None:
        write("a,b,c\n0.5,1.5,never seen\n0.5,1.5,\n,,\n")
        answer = danlu("predict", trained / "people", "data.csv")
        assert answer.status == 0, answer.err
        lines = answer.out.splitlines()
        assert lines[0] == "y,probability_no,probability_yes" and len(lines) == 4

    def test_a_word_in_a_number_column_names_the_row(self, refused: Refused, trained: Path) -> None:
        write("a,b,c\n1,2,p\n1,two,p\n")
        assert "Column 'b' should hold a number, but row 2 holds 'two'" in refused(
            "predict", trained / "houses", "data.csv"
        )

    def test_options_that_do_not_fit(self, refused: Refused, trained: Path) -> None:
        table("binary", 9).write_csv("data.csv")
        table("binary", 9).drop("y").write_csv("blind.csv")
        people = trained / "people"
        assert "--interval is for predicted numbers" in refused("predict", people, "data.csv", "--interval")
        assert "There is no column 'cc' to keep. Did you mean 'c'?" in refused(
            "predict", people, "data.csv", "--keep", "cc"
        )
        assert "Answers are written as .csv, .parquet" in refused(
            "predict", people, "data.csv", "--out", "answers.xls"
        )
        assert "Residuals need the observed values" in refused("predict", people, "blind.csv", "--residuals")
        assert "no column 'y', which scoring needs" in refused("evaluate", people, "blind.csv")
        assert "no column 'd', which scoring needs" in refused("evaluate", people, "data.csv", "--group", "d")
        assert "--target is for data" in refused("inspect", people, "--target", "y")

    def test_an_unknown_class_names_its_row(self, refused: Refused, trained: Path) -> None:
        write("a,b,c,y\n1,2,p,yes\n1,2,p,perhaps\n")
        assert "Row 2 has the class 'perhaps'" in refused("evaluate", trained / "people", "data.csv")


def test_a_folder_that_holds_a_run_is_left_alone(refused: Refused, trained: Path) -> None:
    before = (trained / "houses" / "model.danlu").read_bytes()
    table("regression").write_csv("data.csv")
    answer = refused("train", "data.csv", "--target", "y", "--out", trained / "houses", "--quiet")
    assert "already holds a run. Choose another --out, or delete it: danlu runs delete" in answer
    assert (trained / "houses" / "model.danlu").read_bytes() == before


def test_an_out_that_is_a_file(refused: Refused) -> None:
    table("regression").write_csv("data.csv")
    answer = refused("train", "data.csv", "--target", "y", "--out", "data.csv", "--quiet")
    assert "Cannot write data.csv: a part of this path is a file, not a folder." in answer


def test_a_full_disk(runs_dir: Path) -> None:
    """A real disk of 64 KiB, mounted where no other process sees it; it is gone when the command ends."""
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk, and not everywhere")
    table("regression").write_csv("data.csv")
    Path("disk").mkdir()
    words = ["train", "../data.csv", "--target", "y", "--model", "ridge", "--out", "run", "--quiet", *QUICK]
    script = (
        "mount -t tmpfs -o size=64k tmpfs disk || exit 77; cd disk; "
        '"$0" -c "import sys; from danlu.cli import main; sys.exit(main())" "$@"; status=$?; '
        "find . -name '*.part'; exit $status"
    )
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, sys.executable, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("mounting is not allowed here")
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert "Cannot write run/" in done.stderr and "the disk is full." in " ".join(done.stderr.split())
    assert done.stdout == "", "no piece of a file is left"


@pytest.mark.parametrize("name", ["recipe.yaml", "record.json", "model.danlu", "report.html"])
def test_the_disk_may_fill_up_at_any_file(
    refused: Refused, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The disk takes all files before this one."""
    table("regression").write_csv("data.csv")
    original = os.replace

    def replace(source: str, target: str | Path) -> None:
        if Path(target).name == name:
            raise OSError(28, "No space left on device")
        original(source, target)

    monkeypatch.setattr(os, "replace", replace)
    answer = refused(
        "train", "data.csv", "--target", "y", "--model", "ridge", "--out", "run", "--quiet", *QUICK
    )
    assert f"run/{name}: the disk is full. Free some space, or name another folder with --out." in answer
    assert not list(Path("run").rglob("*.part"))


def test_a_read_only_folder(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    table("regression").write_csv("data.csv")
    locked = Path("locked")
    locked.mkdir()
    if os.geteuid() == 0:  # root may write anywhere
        original = Path.mkdir

        def mkdir(self: Path, *arguments: object, **named: object) -> None:
            if locked in self.parents:
                raise OSError(13, "Permission denied")
            original(self, *arguments, **named)  # type: ignore[arg-type]

        monkeypatch.setattr(Path, "mkdir", mkdir)
    else:
        locked.chmod(0o500)
    answer = refused("train", "data.csv", "--target", "y", "--out", locked / "run", "--quiet")
    assert "Cannot write locked/run: the folder may not be written to. Name another one with --out." in answer


def test_answers_on_a_full_disk_leave_the_old_file(
    refused: Refused, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table("regression", 9).write_csv("data.csv")
    write("old", "answers.csv")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    answer = refused("predict", trained / "houses", "data.csv", "--out", "answers.csv")
    assert "Cannot write answers.csv: the disk is full" in answer
    assert Path("answers.csv").read_text() == "old" and not list(Path().glob(".*part"))


def test_a_closed_pipe_is_no_error(trained: Path) -> None:
    """`danlu predict ... | head -1`: the answers are more than a pipe holds."""
    table("regression", 20_000).write_csv(trained / "many.csv")
    code = "import sys; from danlu.cli import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "predict", "houses", "many.csv", "--keep", "a", "--keep", "b"],
        cwd=trained, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline() == b"a,b,y\n"
    process.stdout.close()
    told = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait(60) == 0 and told == ""
