"""Rows of Parquet files: one order for any number of ranks, restarts anywhere, little memory, clear errors."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from danlu.core.errors import DataError
from danlu.core.ideas import Position
from danlu.core.seeds import generator
from danlu.data import parquet_stream
from danlu.data.mixing import Mixed
from danlu.data.parquet_stream import ParquetStream

START = Position()

GROUPS = ([5, 5, 2], [7], [4, 4, 4, 1])  # rows of the row groups of three files
NUM_ROWS = 32


def table(first, count):
    rows = np.arange(first, first + count)
    return pa.table(
        {
            "a": rows * 0.5,
            "b": pa.array(rows % 3 == 0),
            "c": rows.astype(np.int32),
            "y": rows,
            "w": rows + 1.0,
            "part": pa.array(["test" if row % 5 == 0 else "train" for row in rows]),
        }
    )


@pytest.fixture
def folder(tmp_path):
    first = 0
    for number, groups in enumerate(GROUPS):
        path = tmp_path / f"part-{number}.parquet"
        with pq.ParquetWriter(path, table(0, 1).schema, write_page_checksum=True) as file:
            for count in groups:
                file.write_table(table(first, count))
                first += count
    return tmp_path


def stream(folder, **options):
    usual = {"target": "y", "columns": ["a", "b", "c"], "batch_size": 5, "seed": 3, "window_rows": 10}
    return ParquetStream(folder, **(usual | options))


def by_frames(folder, **options):
    return ParquetStream(
        folder, **({"to_batch": from_frame, "batch_size": 5, "seed": 3, "window_rows": 10} | options)
    )  # fmt: skip


def from_frame(frame):
    """Text as well, and something that depends on the whole frame: exact only if frames are always the same."""
    return {
        "y": frame["y"].to_torch(),
        "x": {"is_test": (frame["part"] == "test").to_numpy().copy(), "part": frame["part"].to_list()},
        "of_frame": torch.full((frame.height,), int(frame["y"].sum())),
    }


def plain(value):
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    return value if isinstance(value, list) else value.tolist()


def first(data: Any, count: int, start: Position = START, **ranks: int) -> list[Any]:
    return [(plain(item.batch), item.after) for item in islice(data.items(start, **ranks), count)]


def test_batches_are_aligned_alike_in_every_process(folder):
    def askew(frame):
        return {"x": {"inner": torch.zeros(frame.height + 1)[1:]}, "y": frame["y"].to_torch()}

    options = {"batch_size": 32, "window_rows": 32}
    assert (
        next(by_frames(folder, to_batch=askew, **options).items(START)).batch["x"]["inner"].data_ptr() % 64
        == 0
    )
    assert next(stream(folder, **options).items(START)).batch["x"].data_ptr() % 64 == 0


def windows_by_hand(epoch, *, window_rows=10, seed=3, kept=lambda row: True):
    """The rows of an epoch, window by window, as the module describes them."""
    groups, row = [], 0
    for count in (count for counts in GROUPS for count in counts):
        groups.append([each for each in range(row, row + count) if kept(each)])
        row += count
    windows = [[]]
    for place in generator(seed, "groups", epoch).permutation(len(groups)):
        if windows[-1] and groups[place] and len(windows[-1]) + len(groups[place]) > window_rows:
            windows.append([])
        windows[-1] += groups[place]
    return [
        [rows[place] for place in generator(seed, "window", epoch, number).permutation(len(rows))]
        for number, rows in enumerate(windows)
    ]


def order_by_hand(epoch, **options):
    return [row for window in windows_by_hand(epoch, **options) for row in window]


@pytest.mark.parametrize("window_rows", [1, 10, 1000])
@pytest.mark.parametrize("batch_size", [1, 5, 32])
def test_batches_are_pieces_of_the_order_that_the_seed_gives(folder, window_rows, batch_size):
    data = stream(folder, window_rows=window_rows, batch_size=batch_size, weight="w")
    assert (data.num_rows, data.num_batches, data.columns) == (32, -(-32 // batch_size), ("a", "b", "c"))
    expected, step = [], 0
    for epoch in range(2):
        order = order_by_hand(epoch, window_rows=window_rows)
        for row in range(0, NUM_ROWS, batch_size):
            rows, step = order[row : row + batch_size], step + 1
            end = row + len(rows)
            batch = {
                "x": [[r * 0.5, float(r % 3 == 0), float(r)] for r in rows],
                "y": rows,
                "weight": [r + 1.0 for r in rows],
            }
            expected.append((batch, (epoch, end, step) if end < NUM_ROWS else (epoch + 1, 0, step)))
    assert first(data, len(expected)) == expected


def test_types_of_tensors(folder):
    batch = next(stream(folder, weight="w").items(Position())).batch
    assert [batch[name].dtype for name in ("x", "y", "weight")] == [torch.float32, torch.int64, torch.float32]
    batch = next(stream(folder, target="a", columns=["c"]).items(Position())).batch
    assert batch["y"].dtype == torch.float64


def test_in_order_and_without_the_last_batch(folder):
    found = first(stream(folder, shuffle=False, drop_last=True), 7)
    assert [y for batch, _ in found[:6] for y in batch["y"]] == list(range(30))
    assert found[5][1] == (1, 0, 6) and found[6][0]["y"] == [0, 1, 2, 3, 4]


FORMS = {
    "numbers": stream,
    "frames": by_frames,
    "small_chunks": lambda folder: by_frames(folder, batch_size=3),
    "drop_last": lambda folder: stream(folder, drop_last=True),
    "in_order": lambda folder: stream(folder, shuffle=False),
    "skipping": lambda folder: stream(folder, skip_rows=pl.col("part") == "test", window_rows=6),
    "mixed": lambda folder: Mixed(stream(folder), alpha=0.3, seed=1),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_restart_anywhere_gives_the_same_batches(folder, form, monkeypatch):
    monkeypatch.setattr(parquet_stream, "CHUNK_ROWS", 4)
    data = FORMS[form](folder)
    whole = first(data, 2 * data.num_batches + 2)
    for place, (_, after) in enumerate(whole[:-2]):
        count = min(len(whole) - place - 1, 9)
        assert first(FORMS[form](folder), count, after) == whole[place + 1 :][:count]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ranks", [2, 3, 7])
def test_ranks_share_each_global_batch_row_by_row(folder, form, ranks):
    def dealt(value, rank):
        return (
            {k: dealt(v, rank) for k, v in value.items()} if isinstance(value, dict) else value[rank::ranks]
        )

    data = FORMS[form](folder)
    shares = [first(data, 16, rank=rank, ranks=ranks) for rank in range(ranks)]
    for place, (batch, after) in enumerate(first(data, 16)):
        for rank in range(ranks):
            assert shares[rank][place] == (dealt(batch, rank), after)


def test_a_restart_reads_nothing_that_lies_before(folder, monkeypatch):
    read, original = [], parquet_stream.read_group

    def counting(group, columns):
        read.append(range(group.first_row, group.first_row + group.num_rows))
        return original(group, columns)

    monkeypatch.setattr(parquet_stream, "read_group", counting)
    last = windows_by_hand(0)[-1]
    assert len(windows_by_hand(0)) > 3
    items = stream(folder).items(Position(0, NUM_ROWS - len(last) + 1, 9))
    assert next(items).batch["y"].tolist() == last[1:6]
    rows = [row for group in read for row in group]
    assert sorted(rows[: len(last)]) == sorted(last)  # what follows is read ahead, of the next epoch


def test_letting_go_ends_the_threads(folder):
    before = threading.active_count()
    items = stream(folder).items(Position())
    next(items)
    assert threading.active_count() > before
    del items
    assert threading.active_count() == before


# ---------------------------------------------------------------- rows that are left out


@pytest.mark.parametrize(
    "skip",
    [
        set(range(0, 32, 5)),
        np.arange(0, 32, 5)[::-1],
        np.arange(32) % 5 == 0,
        pl.col("part") == "test",
        (pl.col("y") % 5 == 0) & pl.col("part").is_not_null(),
    ],
    ids=["set", "array", "mask", "expression", "expression_of_two"],
)
def test_rows_are_left_out_and_counted_out(folder, skip):
    data = stream(folder, skip_rows=skip, batch_size=4)
    assert (data.num_rows, data.num_batches) == (25, 7)
    found = first(data, 14)
    rows = [y for batch, _ in found for y in batch["y"]]
    kept = [order_by_hand(epoch, kept=lambda row: row % 5) for epoch in range(2)]
    assert rows == kept[0] + kept[1]
    assert [after.row for _, after in found] == [4, 8, 12, 16, 20, 24, 0] * 2


def test_whole_row_groups_are_left_out(folder):
    data = stream(folder, skip_rows=range(12, 32), window_rows=1)  # all but the first file
    assert sorted(y for batch, _ in first(data, data.num_batches) for y in batch["y"]) == list(range(12))


def test_left_out_rows_are_read_in_the_order_that_was_asked_for(folder):
    rows = [31, 0, 7, 7, 20]
    batch = plain(stream(folder).rows(rows))
    assert batch == {"x": [[r * 0.5, float(r % 3 == 0), float(r)] for r in rows], "y": rows}
    assert plain(by_frames(folder).rows(np.array(rows)))["x"]["is_test"] == [False, True, False, False, True]
    empty = stream(folder).rows([])
    assert empty["x"].shape == (0, 3) and empty["y"].shape == (0,)


@pytest.mark.parametrize(
    ("skip", "message"),
    [
        ([32], "skip_rows names row 32, but rows go from 0 to 31."),
        ([-1], "skip_rows names row -1"),
        ([0.5], "skip_rows are positions of rows, whole numbers from 0 on, got float64 values."),
        (np.ones(3, dtype=bool), "A mask for skip_rows needs one value for each of the 32 rows, got (3,)."),
        (range(32), "skip_rows leaves out all 32 rows. Keep at least one."),
        (pl.col("parts") == "test", "There is no column 'parts' in part-0.parquet. Did you mean 'part'?"),
        (pl.col("y") + 1, "skip_rows must be true or false for each row, but gives Int64."),
        (pl.lit(True), "skip_rows is an expression without a column."),
    ],
)
def test_rows_that_cannot_be_left_out_are_named(folder, skip, message):
    with pytest.raises(DataError) as error:
        stream(folder, skip_rows=skip)
    assert message in str(error.value)


# ---------------------------------------------------------------- files


def test_files_by_folder_pattern_and_list(folder):
    expected = first(stream(folder), 8)
    assert first(stream(str(folder / "part-*.parquet")), 8) == expected
    assert first(stream([folder / f"part-{number}.parquet" for number in range(3)]), 8) == expected
    assert first(stream([str(folder / "part-[01].parquet"), folder / "part-2.parquet"]), 8) == expected


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ("part-7.parquet", "There is no file part-7.parquet. Did you mean 'part-"),
        ("nothing-*.parquet", "No file matches 'nothing-*.parquet'."),
        (["part-0.parquet", "part-*.parquet"], "part-0.parquet is named twice: its rows would count twice."),
        ([], "There is no file to read."),
        ("s3://bucket/a.parquet", "'s3://bucket/a.parquet' is not on this machine."),
        ("empty", "The folder empty holds no file that ends in .parquet or .pq."),
        ("text.parquet", "text.parquet cannot be read: "),
        ("cut.parquet", "cut.parquet cannot be read: "),
        ("none.parquet", "none.parquet has no rows."),
    ],
)
def test_files_that_cannot_be_read_are_named(folder, monkeypatch, paths, message):
    monkeypatch.chdir(folder)
    pq.write_table(table(0, 1)[:0], "none.parquet")
    Path("empty").mkdir()
    Path("text.parquet").write_text("a,b\n1,2\n")
    Path("cut.parquet").write_bytes(Path("part-1.parquet").read_bytes()[:-20])
    with pytest.raises(DataError) as error:
        stream(paths)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns("a"), "part-9.parquet has no column 'a', unlike part-0.parquet."),
        (lambda t: t.append_column("d", t["a"]), "part-9.parquet has a column 'd' of its own"),
        (
            lambda t: t.set_column(0, "a", t["a"].cast(pa.float32())),
            "part-9.parquet has 'a' as float, not double",
        ),
    ],
)
def test_files_that_differ_are_named(folder, change, message):
    pq.write_table(change(table(32, 4)), folder / "part-9.parquet")
    with pytest.raises(DataError) as error:
        stream(folder)
    assert message in str(error.value)


def test_the_order_of_columns_may_differ(folder):
    pq.write_table(table(32, 4).select(["y", "part", "c", "b", "a", "w"]), folder / "part-9.parquet")
    assert plain(stream(folder).rows([34]))["x"] == [[17.0, 0.0, 34.0]]


def spoil(path, how):
    content = bytearray(path.read_bytes())
    if how == "damaged":
        content[60:70] = bytes(255 - byte for byte in content[60:70])  # in the pages of the first row group
    if how == "removed":
        path.unlink()
    elif how == "changed":
        pq.write_table(table(100, 7), path)
    elif how != "touched":
        path.write_bytes(content[: len(content) // 2] if how == "cut" else content)
    if how in ("touched", "damaged"):
        os.utime(path, (1, 1))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("removed", "part-1.parquet is no longer there."),
        ("changed", "part-1.parquet has changed since it was opened."),
        ("cut", "part-1.parquet has changed since it was opened."),
        ("damaged", "part-1.parquet, row group 0 cannot be read: "),
    ],
)
def test_a_file_that_breaks_while_it_is_read_is_named(folder, how, message):
    data = stream(folder, batch_size=32)
    spoil(folder / "part-1.parquet", how)
    with pytest.raises(DataError) as error:
        next(data.items(Position()))
    assert message in str(error.value)


def test_a_file_that_was_only_touched_is_read(folder):
    data = stream(folder)
    spoil(folder / "part-1.parquet", "touched")
    assert first(data, 8) == first(stream(folder), 8)


def test_a_restart_on_other_files_or_settings_is_refused(folder):
    state = stream(folder).state()
    stream(folder, batch_size=9).load(state)
    for options, name in [
        ({"window_rows": 11}, "window_rows"),
        ({"seed": 4}, "seed"),
        ({"shuffle": False}, "shuffle"),
        ({"skip_rows": [3]}, "skip_rows"),
    ]:
        with pytest.raises(DataError, match=f"^{name} is another one than when training began"):
            stream(folder, **options).load(state)
    with pytest.raises(DataError, match=r"not those that training began with: part-0.parquet is missing\."):
        stream(folder / "part-[12].parquet").load(state)
    pq.write_table(table(32, 4), folder / "part-9.parquet")
    with pytest.raises(DataError, match=r"not those that training began with: part-9.parquet is new\."):
        stream(folder).load(state)
    (folder / "part-9.parquet").unlink()
    spoil(folder / "part-1.parquet", "changed")
    with pytest.raises(DataError, match=r"^part-1.parquet has changed since training began"):
        stream(folder).load(state)


# ---------------------------------------------------------------- settings and values


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": None}, "What is to be predicted is not known. Name the column with target=..."),
        ({"target": "z"}, "There is no column 'z' in part-0.parquet. Columns: a, b, c, y, w, part."),
        (
            {"columns": None},
            "The column 'part' holds String, not numbers. Name the ones to use with columns=[...]",
        ),
        (
            {"columns": ["part"]},
            "The column 'part' holds String, not numbers. Leave it out, or give to_batch",
        ),
        ({"columns": ["a", "y"]}, "'y' is named twice among columns, target and weight."),
        ({"columns": []}, "There is no column beside the target."),
        ({"to_batch": from_frame}, "target and weight are columns that to_batch reads by itself."),
        ({"window_rows": 0}, "A window needs at least one row, got window_rows=0."),
        ({"batch_size": 0}, "A batch needs at least one row"),
        ({"batch_size": 40, "drop_last": True}, "32 rows make no whole batch of 40."),
    ],
)
def test_wrong_settings_are_named(folder, options, message):
    with pytest.raises(DataError) as error:
        stream(folder, **options)
    assert message in str(error.value)


@pytest.mark.parametrize(("value", "test"), [(None, "is_null"), (float("nan"), "is_nan")])
@pytest.mark.parametrize("column", ["a", "w"])
def test_missing_values_are_named_and_can_be_left_out(folder, value, test, column):
    more = table(32, 2)
    more = more.set_column(more.column_names.index(column), column, pa.array([1.0, value]))
    pq.write_table(more, folder / "part-9.parquet")
    with pytest.raises(DataError) as error:
        next(stream(folder, weight="w", batch_size=34).items(Position()))
    message = f"The column {column!r} has a missing value (part-9.parquet, row group 0)."
    assert message in str(error.value) and f"skip_rows=pl.col({column!r}).{test}()" in str(error.value)
    data = stream(folder, weight="w", skip_rows=getattr(pl.col(column), test)())
    assert data.num_rows == 33 and len(first(data, 8)) == 8


@pytest.mark.parametrize(
    ("to_batch", "message"),
    [
        (lambda frame: {"y": torch.ones(1)}, "to_batch was given 7 rows and gave 1. Give one for each row."),
        (lambda frame: torch.ones(frame.height), "to_batch must give a mapping of tensors, got Tensor."),
    ],
)
def test_what_to_batch_gives_is_checked(folder, to_batch, message):
    with pytest.raises(DataError) as error:
        next(by_frames(folder / "part-1.parquet", to_batch=to_batch).items(Position()))
    assert message in str(error.value)


def test_an_error_of_to_batch_is_its_own(folder):
    with pytest.raises(ZeroDivisionError):
        next(by_frames(folder, to_batch=lambda frame: 1 / 0).items(Position()))


# ---------------------------------------------------------------- memory

MEASURE = """
import sys, torch, polars, pyarrow.parquet
from danlu.core.ideas import Position
from danlu.core.runtime import peak_memory
from danlu.data.parquet_stream import ParquetStream
data = ParquetStream(sys.argv[1], target="y", batch_size=1024, seed=0, window_rows=200_000)
before, total = peak_memory(), 0.0
for item in data.items(Position()):
    total += float(item.batch["y"].sum())
    if item.after.epoch:
        break
print(peak_memory() - before, total)
"""


def test_memory_is_that_of_two_windows(tmp_path):
    values = np.random.default_rng(0).random((20, 1_050_000), dtype=np.float32)
    columns = {f"c{place}" if place else "y": column for place, column in enumerate(values)}
    paths = [tmp_path / f"{number}.parquet" for number in range(4)]
    pq.write_table(
        pa.table(columns), paths[0], row_group_size=50_000, compression="none", use_dictionary=False
    )
    for path in paths[1:]:
        shutil.copyfile(paths[0], path)
    size = sum(path.stat().st_size for path in paths)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)], capture_output=True, text=True, check=True
    )
    for path in paths:
        path.unlink()  # pytest keeps the folders of the last three runs
    more, found = done.stdout.split()
    assert size > 320e6
    assert float(found) == pytest.approx(4 * values[0].sum(dtype=np.float64), rel=1e-9)
    assert (
        int(more) < 160e6
    )  # two windows of 16 MB, tensors of 2 chunks, a row group, and what the libraries keep
