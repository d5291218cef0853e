"""Batches of whole queries: together, shuffled by the seed, shared out by query, restarted anywhere."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch

from danlu.core.errors import DataError
from danlu.core.ideas import Position
from danlu.core.seeds import generator
from danlu.data.batches import ShuffledRows
from danlu.data.mixing import Noisy
from danlu.data.queries import Queries

START = Position()

QUERIES = np.array(["b", "a", "b", "c", "a", "d", "b", "e", "c", "f", "g", "g"])
CODES = np.array([0, 1, 0, 2, 1, 3, 0, 4, 2, 5, 6, 6])  # in the order in which they first appear


def data_of(**options):
    batch = {"x": torch.arange(24.0).reshape(12, 2), "y": torch.arange(12), "query": QUERIES}
    usual: dict[str, Any] = {"queries_per_batch": 3, "seed": 5}
    return Queries(batch, **(usual | options))


def plain(item):
    return {name: value.tolist() for name, value in item.batch.items()}, item.after


def first(data: Any, count: int, start: Position = START, **ranks: int) -> list[Any]:
    return [plain(item) for item in islice(data.items(start, **ranks), count)]


def test_batches_hold_whole_queries_in_the_order_of_the_seed():
    data = data_of()
    assert (data.num_rows, data.num_queries, data.num_batches) == (12, 7, 3)
    found, step = first(data, 6), 0
    for epoch in range(2):
        order, row = generator(5, "order", epoch).permutation(7), 0
        for place in range(0, 7, 3):
            rows = np.concatenate([np.flatnonzero(code == CODES) for code in order[place : place + 3]])
            row += len(rows)
            batch, after = found[step]
            assert batch == {
                "x": [[2.0 * r, 2.0 * r + 1] for r in rows],
                "y": rows.tolist(),
                "query": CODES[rows].tolist(),
            }
            step += 1
            assert after == ((epoch, row, step) if row < 12 else (epoch + 1, 0, step))


@pytest.mark.parametrize("options", [{}, {"shuffle": False}, {"drop_last": True}, {"queries_per_batch": 9}])
def test_a_restart_anywhere_gives_the_same_batches(options):
    data = data_of(**options)
    whole = first(data, 9)
    for place, (_, after) in enumerate(whole[:7]):
        assert first(data, 8 - place, after) == whole[place + 1 :]


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_ranks_share_each_global_batch_query_by_query(ranks):
    data = data_of()
    whole = list(islice(data.items(Position()), 6))
    shares = [list(islice(data.items(Position(), rank=rank, ranks=ranks), 6)) for rank in range(ranks)]
    for place, item in enumerate(whole):
        queries = list(dict.fromkeys(item.batch["query"].tolist()))
        for rank in range(ranks):
            mine = [
                row for row, code in enumerate(item.batch["query"].tolist()) if code in queries[rank::ranks]
            ]
            expected = {name: value[mine].tolist() for name, value in item.batch.items()}
            assert plain(shares[rank][place]) == (expected, item.after)
            assert {name: v.tolist() for name, v in data.deal(item.batch, rank, ranks).items()} == expected
    assert shares[-1][2].batch["y"].shape == (0,)  # the last batch of an epoch has one query


def test_noise_is_shared_out_by_query_as_well():
    noisy = Noisy(data_of(), deviation=0.1, seed=1)
    whole = next(noisy.items(Position())).batch
    shares = [next(noisy.items(Position(), rank=rank, ranks=2)).batch for rank in range(2)]
    rows = {y: x for share in shares for y, x in zip(share["y"].tolist(), share["x"].tolist(), strict=True)}
    assert rows == dict(zip(whole["y"].tolist(), whole["x"].tolist(), strict=True))
    assert all(len(set(share["query"].tolist()) & set(shares[1 - rank]["query"].tolist())) == 0
               for rank, share in enumerate(shares))  # fmt: skip


def test_one_row_a_query_is_shuffled_rows():
    x = np.arange(10.0)
    queries = Queries({"y": x}, query=np.arange(10), queries_per_batch=4, seed=2)
    rows = ShuffledRows({"y": x, "query": np.arange(10)}, batch_size=4, seed=2)
    assert first(queries, 6) == first(rows, 6)


def test_ids_under_another_name_or_beside_the_batch():
    batch = {"y": np.arange(12), "qid": QUERIES}
    named = Queries(batch, query="qid", queries_per_batch=3, seed=5)
    beside = Queries({"y": np.arange(12)}, query=torch.from_numpy(CODES), queries_per_batch=3, seed=5)
    assert first(named, 4) == first(beside, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"query": "quary"},
            "There is no column 'quary' with the queries. Did you mean 'query'? Columns: x, y, query.",
        ),
        ({"query": CODES}, "The batch already has a column 'query'. Name it: query='query'."),
        ({"queries_per_batch": 0}, "A batch needs at least one row"),
    ],
)
def test_wrong_settings_are_named(options, message):
    with pytest.raises(DataError) as error:
        data_of(**options)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (
            np.array([3, 2]),
            "one id for each of the 5 rows, got values of shape (2,). Sizes of groups become ids with",
        ),
        (np.array([0, 0, np.nan, 1, 1]), "Row 3 has no query."),
    ],
)
def test_ids_that_are_none_are_named(query, message):
    with pytest.raises(DataError) as error:
        Queries({"y": np.arange(5)}, query=query, queries_per_batch=1, seed=0)
    assert message in str(error.value)


def test_a_position_within_a_query_is_refused():
    data = data_of(shuffle=False)  # the first query has three rows
    with pytest.raises(DataError, match="Row 2 of epoch 0 lies within a query"):
        next(data.items(Position(0, 2, 1)))
