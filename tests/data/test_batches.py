"""Batches of rows in memory: the order of the seed, any number of ranks, a restart anywhere, any kind of column."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse

from danlu.core.errors import DataError
from danlu.core.ideas import Position
from danlu.core.seeds import generator
from danlu.data import batches
from danlu.data.batches import ShuffledRows, WholeTable, deal, take

START = Position()

NUM_ROWS = 23


class SparseRows:
    """Rows that are spread out when they are asked for, and nothing more."""

    def __init__(self, rows):
        self.rows = rows

    def __getitem__(self, index):
        return torch.from_numpy(self.rows[index].toarray())


def numpy_batch():
    rng = np.random.default_rng(0)
    return {"x": rng.random((NUM_ROWS, 3), dtype=np.float32), "y": rng.integers(0, 2, NUM_ROWS)}


def batch_of(kind):
    batch = numpy_batch()
    if kind == "numpy":
        return batch
    if kind == "sparse":
        return {"x": SparseRows(sparse.csr_array(batch["x"])), "y": torch.from_numpy(batch["y"])}
    made = {name: torch.from_numpy(value) for name, value in batch.items()}
    return made if kind == "torch" else {"x": {"left": made["x"], "right": batch["x"]}, "y": made["y"]}


def plain(value):
    """A batch as nested lists."""
    return {name: plain(each) for name, each in value.items()} if isinstance(value, dict) else value.tolist()


def first(data: Any, count: int, start: Position = START, **ranks: int) -> list[Any]:
    return [(plain(item.batch), item.after) for item in islice(data.items(start, **ranks), count)]


@pytest.fixture(params=[1, 7, 10_000])  # rows of a block: one batch, some, all
def blocks_of(request, monkeypatch):
    monkeypatch.setattr(batches, "HOST_BLOCK", request.param * 20)  # a row takes 12 + 8 bytes


@pytest.mark.usefixtures("blocks_of")
@pytest.mark.parametrize("kind", ["numpy", "torch", "sparse", "nested"])
@pytest.mark.parametrize("batch_size", [1, 5, 23, 30])
def test_batches_are_the_rows_of_the_seeds_permutation(kind, batch_size):
    batch, found = numpy_batch(), []
    data = ShuffledRows(batch_of(kind), batch_size=batch_size, seed=3)
    expected, step = [], 0
    for epoch in range(2):
        order = generator(3, "order", epoch).permutation(NUM_ROWS)
        for row in range(0, NUM_ROWS, batch_size):
            step += 1
            rows, end = order[row : row + batch_size], row + batch_size
            x = batch["x"][rows].tolist()
            expected.append(
                (
                    {"x": {"left": x, "right": x} if kind == "nested" else x, "y": batch["y"][rows].tolist()},
                    Position(epoch, end, step) if end < NUM_ROWS else Position(epoch + 1, 0, step),
                )
            )
    found = first(data, len(expected))
    assert found == expected
    assert data.num_batches * 2 == len(expected)


@pytest.mark.usefixtures("blocks_of")
@pytest.mark.parametrize("options", [{}, {"shuffle": False}, {"drop_last": True}])
def test_a_restart_anywhere_gives_the_same_batches(options):
    data = ShuffledRows(batch_of("torch"), batch_size=5, seed=3, **options)
    whole = first(data, 12)
    for place, (_, after) in enumerate(whole[:10]):
        assert first(data, len(whole) - place - 1, after) == whole[place + 1 :]


@pytest.mark.parametrize("kind", ["numpy", "torch", "sparse", "nested"])
@pytest.mark.parametrize(
    "ranks", [2, 3, 8]
)  # the last batch of an epoch has 3 rows: some of 8 ranks have none
def test_ranks_share_each_global_batch_row_by_row(kind, ranks):
    data = ShuffledRows(batch_of(kind), batch_size=5, seed=3)
    whole = first(data, 11)
    shares = [list(islice(data.items(Position(), rank=rank, ranks=ranks), 11)) for rank in range(ranks)]
    for place, (batch, after) in enumerate(whole):
        for rank in range(ranks):
            item = shares[rank][place]
            assert plain(item.batch)["y"] == batch["y"][rank::ranks]
            assert item.after == after
            x, expected = plain(item.batch)["x"], batch["x"]
            assert x == (
                {k: v[rank::ranks] for k, v in expected.items()}
                if kind == "nested"
                else expected[rank::ranks]
            )
    empty = shares[-1][4].batch["y"]
    assert (len(empty) == 0) == (ranks == 8)


def test_an_empty_share_keeps_its_shape():
    item = next(ShuffledRows(batch_of("torch"), batch_size=1, seed=0).items(Position(), rank=1, ranks=2))
    assert item.batch["x"].shape == (0, 3)


def test_in_order_and_without_the_last_batch():
    data = ShuffledRows(numpy_batch(), batch_size=5, seed=0, shuffle=False, drop_last=True)
    found = first(data, 5)
    assert [y for batch, _ in found[:4] for y in batch["y"]] == numpy_batch()["y"][:20].tolist()
    assert [after for _, after in found] == [(0, 5, 1), (0, 10, 2), (0, 15, 3), (1, 0, 4), (1, 5, 5)]
    assert (data.num_rows, data.num_batches) == (23, 4)


@pytest.mark.usefixtures("blocks_of")
def test_a_restart_anywhere_gives_the_same_alignment():
    """The last bit of a matrix product may depend on it."""
    data = ShuffledRows(batch_of("torch"), batch_size=3, seed=3)  # a batch of x takes 36 bytes
    items = list(islice(data.items(START), 8))
    offsets = [item.batch["x"].data_ptr() % 64 for item in items]
    for place, item in enumerate(items[:-1]):
        assert next(data.items(item.after)).batch["x"].data_ptr() % 64 == offsets[place + 1]


def test_a_batch_may_be_changed_without_changing_the_data():
    batch = batch_of("torch")
    kept = batch["x"].clone()
    for item in islice(ShuffledRows(batch, batch_size=5, seed=0, shuffle=False).items(Position()), 5):
        item.batch["x"].zero_()
    assert torch.equal(batch["x"], kept)


def test_another_batch_size_goes_on_where_the_rows_ended():
    half = first(ShuffledRows(numpy_batch(), batch_size=5, seed=3), 2)
    rest = first(ShuffledRows(numpy_batch(), batch_size=4, seed=3), 4, half[-1][1])
    ys = [y for batch, _ in half + rest for y in batch["y"]]
    assert ys == numpy_batch()["y"][generator(3, "order", 0).permutation(NUM_ROWS)].tolist()
    assert rest[-1][1] == (1, 0, 6)


def test_the_whole_table_is_shared_out_as_well():
    data = WholeTable(numpy_batch())
    assert [after for _, after in first(data, 2, Position(3, 0, 7))] == [(4, 0, 8), (5, 0, 9)]
    shares = [first(data, 1, rank=rank, ranks=3)[0][0]["y"] for rank in range(3)]
    assert shares == [numpy_batch()["y"][rank::3].tolist() for rank in range(3)]
    assert next(data.items(Position())).batch["x"] is data._batch["x"]


def test_rows_by_positions_mask_and_rank():
    batch = {"x": {"inner": np.arange(6)}, "y": torch.arange(6)}
    assert plain(take(batch, np.array([4, 1]))) == {"x": {"inner": [4, 1]}, "y": [4, 1]}
    assert plain(take(batch, np.arange(6) > 3)) == {"x": {"inner": [4, 5]}, "y": [4, 5]}
    assert plain(deal(batch, 1, 4)) == {"x": {"inner": [1, 5]}, "y": [1, 5]}


@pytest.mark.parametrize(
    ("batch", "options", "message"),
    [
        ({"x": np.ones((3, 1)), "y": np.ones(2)}, {}, "'x' has 3 rows, but 'y' has 2. Give each column the same rows."),
        ({"x": {"a": np.ones(3)}, "y": np.ones(2)}, {}, "'x.a' has 3 rows, but 'y' has 2."),
        ({"x": np.ones((3, 1)), "y": np.float64(1)}, {}, "'y' is a single value, not a column."),
        ({"x": np.ones((0, 1)), "y": np.ones(0)}, {}, "There are no rows to make batches of."),
        ({"x": SparseRows(None)}, {}, "There is no column whose number of rows is known."),
        ({"y": np.ones(3)}, {"drop_last": True}, "3 rows make no whole batch of 4. Use a smaller batch size"),
        ({"y": np.ones(3)}, {"batch_size": 0}, "A batch needs at least one row, got a batch size of 0."),
    ],
)  # fmt: skip
def test_what_makes_no_batches_is_named(batch, options, message):
    with pytest.raises(DataError) as error:
        ShuffledRows(batch, **({"batch_size": 4, "seed": 0} | options))
    assert message in str(error.value)
