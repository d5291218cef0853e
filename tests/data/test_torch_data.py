"""Datasets and loaders of torch: the same rows, exact augmentation, restarts, ranks and workers."""

from __future__ import annotations

import random
from collections import namedtuple
from itertools import islice
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from scipy import sparse
from torch.utils.data import (
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
)

from danlu.core.errors import DataError
from danlu.core.ideas import Position
from danlu.data.batches import ShuffledRows
from danlu.data.torch_data import as_data

START = Position()

NUM_ROWS = 11
X = torch.arange(NUM_ROWS * 2.0).reshape(NUM_ROWS, 2)
Y = torch.arange(NUM_ROWS)
Pair = namedtuple("Pair", ["x", "y"])


class Samples(Dataset):
    """Samples one by one; with noise of all three generators where asked for."""

    def __init__(self, form: type = tuple, noisy: bool = False) -> None:
        self.form, self.noisy = form, noisy

    def __len__(self):
        return NUM_ROWS

    def __getitem__(self, index):
        noise = random.random() + np.random.rand() + torch.rand(()).item() if self.noisy else 0.0  # noqa: NPY002
        x, y = X[index] + noise, Y[index]
        if self.form is dict:
            return {"input": x, "labels": y}
        return Pair(x, y) if self.form is Pair else (x, y)


class Stream(IterableDataset):
    """An order of its own, drawn from torch's generator, and noise drawn while it is gone through."""

    def __iter__(self):
        for index in torch.randperm(NUM_ROWS).tolist():
            yield X[index] + torch.rand(()) + random.random(), Y[index]


def noisy_collate(samples):
    return {
        "x": torch.stack([x for x, _ in samples]) * torch.rand(()),
        "y": torch.stack([y for _, y in samples]),
    }


def plain(value):
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    return value.tolist() if isinstance(value, torch.Tensor) else value


def draw():
    return torch.rand(3), random.random(), np.random.rand()  # noqa: NPY002


def first(data: Any, count: int, start: Position = START, **ranks: int) -> list[Any]:
    """Batches, with a training step in between that draws from every generator."""
    found = []
    for item in islice(data.items(start, **ranks), count):
        found.append((plain(item.batch), item.after))
        draw()
    return found


def reference(batch_size=4, seed=3, count=6, **options):
    return first(ShuffledRows({"x": X, "y": Y}, batch_size=batch_size, seed=seed, **options), count)


ROWS = {
    "arrays": lambda: (X.numpy(), Y.numpy()),
    "lists": lambda: (X.tolist(), Y.tolist()),
    "tensors": lambda: (X, Y),
    "mapping": lambda: {"x": X, "y": Y.numpy()},
    "polars": lambda: (X, pl.Series(Y.tolist())),
    "tensor_dataset": lambda: TensorDataset(X, Y),
    "subset": lambda: Subset(TensorDataset(X.flip(0), Y.flip(0)), list(range(NUM_ROWS))[::-1]),
    "samples": lambda: Samples(),
    "named_tuples": lambda: Samples(Pair),
    "subset_of_samples": lambda: Subset(Samples(), range(NUM_ROWS)),
    "list_of_samples": lambda: [(X[i], Y[i]) for i in range(NUM_ROWS)],
}


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("shuffle", [None, True, False])
def test_all_forms_give_the_rows_that_shuffled_rows_gives(kind, shuffle):
    data: Any = as_data(ROWS[kind](), batch_size=4, seed=3, shuffle=shuffle)
    assert first(data, 6) == reference(shuffle=shuffle is not False)
    assert (data.num_rows, data.num_batches) == (NUM_ROWS, 3)
    assert isinstance(data, ShuffledRows) == (
        kind not in ("samples", "named_tuples", "subset_of_samples", "list_of_samples")
    )


def test_names_of_batches():
    weight = torch.ones(NUM_ROWS)
    assert set(next(as_data((X, Y, weight), batch_size=2, seed=0).items(Position())).batch) == {
        "x",
        "y",
        "weight",
    }
    assert set(next(as_data(TensorDataset(X), batch_size=2, seed=0).items(Position())).batch) == {"x"}
    batch = next(as_data(Samples(dict), batch_size=2, seed=0).items(Position())).batch
    assert set(batch) == {"input", "labels", "y"} and batch["y"] is batch["labels"]
    nested = {"x": {"a": X, "b": X.numpy()}, "labels": Y}
    batch = next(as_data(nested, batch_size=2, seed=0).items(Position())).batch
    assert (
        batch["x"]["a"].tolist() == batch["x"]["b"].tolist()
        and batch["y"].tolist() == batch["labels"].tolist()
    )


def test_data_comes_back_as_it_is():
    data = ShuffledRows({"x": X, "y": Y}, batch_size=4, seed=0)
    assert as_data(data, seed=1) is data


# ---------------------------------------------------------------- exactness

BATCHES: Any = [(X[first:], Y[first:]) for first in (0, 4, 9)]
LOADERS = {
    "augmented": lambda: as_data(Samples(noisy=True), batch_size=4, seed=3),
    "random_collate": lambda: as_data(
        DataLoader(Samples(), batch_size=4, shuffle=True, collate_fn=noisy_collate), seed=3
    ),
    "weighted": lambda: as_data(
        DataLoader(
            Samples(noisy=True), batch_size=4, sampler=WeightedRandomSampler([1.0] * NUM_ROWS, NUM_ROWS)
        ),
        seed=3,
    ),
    "own_generator": lambda: as_data(
        DataLoader(
            Samples(),
            batch_size=4,
            sampler=RandomSampler(range(NUM_ROWS), num_samples=9, generator=torch.Generator()),
            generator=torch.Generator(),
        ),
        seed=3,
    ),
    "batch_sampler": lambda: as_data(
        DataLoader(Samples(noisy=True), batch_sampler=[[3, 1], [2, 0, 7], [5]]), seed=3
    ),
    "stream": lambda: as_data(Stream(), batch_size=4, seed=3),
    "stream_loader": lambda: as_data(DataLoader(Stream(), batch_size=3), seed=3),
    "whole_batches": lambda: as_data(DataLoader(BATCHES, batch_size=None), seed=3),
}


@pytest.mark.parametrize("kind", LOADERS)
def test_a_restart_anywhere_gives_the_same_batches(kind):
    whole = first(LOADERS[kind](), 9)
    draw()  # another process would stand elsewhere in its generators
    for place, (_, after) in enumerate(whole[:7]):
        assert first(LOADERS[kind](), 8 - place, after) == whole[place + 1 :]


@pytest.mark.parametrize("kind", LOADERS)
def test_epochs_end_where_they_should(kind):
    whole, rows = first(LOADERS[kind](), 9), 0
    for step, (batch, after) in enumerate(whole, start=1):
        rows += len(batch["y"])
        assert after.step == step and (after.row == rows or (after.row == 0 and rows in (9, 11, 6, 20)))
        rows = after.row
    assert [after.epoch for _, after in whole if not after.row][:2] == [1, 2]


@pytest.mark.parametrize("kind", [name for name in LOADERS if name != "random_collate"])
@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_ranks_share_each_global_batch_row_by_row(kind, ranks):
    shares = [first(LOADERS[kind](), 7, rank=rank, ranks=ranks) for rank in range(ranks)]
    for place, (batch, after) in enumerate(first(LOADERS[kind](), 7)):
        for rank in range(ranks):
            assert shares[rank][place] == ({k: v[rank::ranks] for k, v in batch.items()}, after)


def test_augmentation_follows_from_seed_epoch_and_row():
    def noise(seed, batch_size):
        found = {}
        for batch, after in first(
            as_data(Samples(noisy=True), batch_size=batch_size, seed=seed), 2 * -(-NUM_ROWS // batch_size)
        ):
            epoch = after.epoch - (after.row == 0)
            found |= {(epoch, y): x[0] - 2 * y for x, y in zip(batch["x"], batch["y"], strict=True)}
        return found

    small, large, other = noise(3, 2), noise(3, 5), noise(4, 5)
    assert small == large and small != other
    assert len({round(value, 4) for value in small.values()}) == 2 * NUM_ROWS  # anew for each row and epoch


@pytest.mark.parametrize(
    "draw",
    [random.random, lambda: np.random.rand(), lambda: np.random.randn(), lambda: torch.rand(()).item()],  # noqa: NPY002
)
def test_a_dataset_that_rarely_draws_is_exact_as_well(draw):
    class Rarely(Samples):
        def __getitem__(self, index):
            return X[index] + (draw() if index == 7 else 0), Y[index]

    def sevens(start, count):
        found = first(as_data(Rarely(), batch_size=2, seed=3), count, start)
        return [x for batch, _ in found for x, y in zip(batch["x"], batch["y"], strict=True) if y == 7]

    whole = sevens(START, 24)
    assert len({x[0] for x in whole}) == 4  # another draw each epoch
    assert [sevens(Position(epoch, 0, 9), 6)[0] for epoch in range(4)] == whole


@pytest.mark.parametrize("kind", LOADERS)
def test_the_generators_of_the_process_are_left_as_they_were(kind):
    torch.manual_seed(1)
    random.seed(2)
    np.random.seed(3)  # noqa: NPY002
    before: Any = torch.get_rng_state(), random.getstate(), np.random.get_state()  # noqa: NPY002
    list(islice(LOADERS[kind]().items(Position()), 7))
    after: Any = torch.get_rng_state(), random.getstate(), np.random.get_state()  # noqa: NPY002
    assert (
        torch.equal(before[0], after[0])
        and before[1] == after[1]
        and np.array_equal(before[2][1], after[2][1])
    )


@pytest.mark.parametrize("num_workers", [1, 2])
def test_workers_give_the_same_batches(num_workers):
    def data(workers):
        return as_data(
            DataLoader(
                Samples(noisy=True), batch_size=4, shuffle=True, num_workers=workers, collate_fn=noisy_collate
            ),
            seed=3,
        )

    whole = first(data(0), 7)
    assert first(data(num_workers), 7) == whole
    assert first(data(num_workers), 3, whole[3][1]) == whole[4:7]


def test_a_stream_with_workers_restarts_exactly():
    def data():
        return as_data(DataLoader(Stream(), batch_size=4, num_workers=2), seed=3)

    whole = first(data(), 8)
    assert first(data(), 3, whole[4][1]) == whole[5:8]


# ---------------------------------------------------------------- what a loader says


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("dataset", [TensorDataset(X, Y), Samples()], ids=["tensors", "samples"])
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("drop_last", [True, False])
def test_a_loader_is_taken_over(dataset, shuffle, drop_last, workers):
    loader = DataLoader(dataset, batch_size=4, shuffle=shuffle, drop_last=drop_last, num_workers=workers)
    data: Any = as_data(loader, seed=3)
    assert first(data, 5) == reference(shuffle=shuffle, drop_last=drop_last, count=5)
    assert data.num_batches == (2 if drop_last else 3)


def test_a_collate_of_ones_own_is_used_even_for_tensors():
    data = as_data(
        DataLoader(
            TensorDataset(X, Y), batch_size=4, collate_fn=lambda samples: {"n": torch.ones(len(samples))}
        ),
        seed=0,
    )
    assert next(data.items(Position())).batch["n"].tolist() == [1, 1, 1, 1]


def test_set_epoch_is_called():
    class Epochs(IterableDataset):
        def set_epoch(self, epoch):
            self.epoch = epoch

        def __iter__(self):
            return iter([(X[self.epoch], Y[self.epoch])] * 3)

    whole = first(as_data(Epochs(), batch_size=2, seed=0), 6)
    assert [batch["y"][0] for batch, _ in whole] == [0, 0, 1, 1, 2, 2]


def test_a_dataset_with_an_item_method_of_its_own_is_asked():
    class Doubled(TensorDataset):
        def __getitem__(self, index):
            x, y = super().__getitem__(index)
            return 2 * x, y

    batch = next(as_data(Doubled(X, Y), batch_size=4, seed=0, shuffle=False).items(Position())).batch
    assert batch["x"].tolist() == (2 * X[:4]).tolist()


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ((X, Y), {"batch_size": None}, "How many rows make a batch is not known. Give a batch_size"),
        ((X, Y[:3]), {}, "'x' has 11 rows, but 'y' has 3."),
        ((X, Y, Y, Y), {}, "(x, y, weight) or a mapping of names, got tuple of 4"),
        ((sparse.csr_array(X.numpy()), Y), {}, "'x' is a sparse matrix. Spread it out with .toarray()"),
        ((np.array(["a", "b"]), Y), {}, "'x' cannot become a tensor: "),
        ((X, 3), {}, "'y' must be an array or a tensor, got int."),
        (X, {}, "One Tensor alone has no targets. Give (x, y)"),
        ("train.csv", {}, "a file or a table is trained with danlu.train(table, target=...)"),
        (pl.DataFrame({"a": [1]}), {}, "Batches are not made of a DataFrame."),
        (7, {}, "Batches cannot be made of a int. Give (x, y) arrays"),
        (Stream(), {"shuffle": True}, "shuffle cannot be set for data that makes its own batches"),
        (
            DataLoader(Samples()),
            {},
            "batch_size cannot be set for data that makes its own batches: give the DataLoader",
        ),
        (
            DataLoader(Samples()),
            {"batch_size": None, "shuffle": True},
            "make the DataLoader with shuffle=True",
        ),
        (
            DataLoader(Samples(), sampler=DistributedSampler(Samples(), num_replicas=2, rank=0)),
            {"batch_size": None},
            "The DataLoader has a DistributedSampler, but danlu deals out the rows",
        ),
        ([], {}, "There are no rows to make batches of."),
    ],
)
def test_what_cannot_be_used_is_named(data, options, message):
    with pytest.raises(DataError) as error:
        as_data(data, **({"batch_size": 4, "seed": 0} | options))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            [(1.0, 2.0, 3.0, 4.0)] * 5,
            "A sample or batch is (x, y), (x, y, weight) or a mapping of names, got",
        ),
        ([((X[0], X[1]), Y[0])] * 5, "'x' is a list of 2 tensors. Give several inputs names"),
    ],
)
def test_samples_that_have_no_names_are_refused(data, message):
    with pytest.raises(DataError) as error:
        next(as_data(data, batch_size=2, seed=0).items(Position()))
    assert message in str(error.value)


def test_a_loader_with_other_batches_than_before_is_refused():
    data = as_data(DataLoader(Stream(), batch_size=4), seed=0)
    with pytest.raises(DataError, match="no batch that starts at row 5 of epoch 0"):
        next(data.items(Position(0, 5, 1)))


def test_an_iterator_that_is_used_up_is_refused():
    class Once(IterableDataset):
        rows = iter([(X[0], Y[0])])

        def __iter__(self):
            return self.rows

    items = as_data(Once(), batch_size=1, seed=0).items(Position())
    assert next(items).after == (1, 0, 1)
    with pytest.raises(DataError, match="The DataLoader gives no batches"):
        next(items)
