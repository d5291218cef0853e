"""Draws beside the rows: partners and shares for mixup, noise; the same for any number of ranks and any restart."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch

from danlu.core.errors import DataError, RecipeError
from danlu.core.ideas import Position
from danlu.core.seeds import generator
from danlu.data.batches import ShuffledRows, WholeTable
from danlu.data.mixing import Mixed, Noisy

START = Position()

KINDS = {
    "mixed": lambda data: Mixed(data, alpha=0.4, seed=7),
    "noisy": lambda data: Noisy(data, deviation=0.5, seed=7),
    "both": lambda data: Mixed(Noisy(data, deviation=0.5, seed=7), alpha=0.4, seed=7),
}


def rows(kind="torch", count=11, batch_size=4):
    x, y = np.random.default_rng(0).random((count, 3)).astype(np.float32), np.arange(count)
    batch = {"x": x, "y": y, "weight": y + 1.0}
    if kind == "torch":
        batch = {name: torch.from_numpy(value) for name, value in batch.items()}
    return ShuffledRows(batch, batch_size=batch_size, seed=3)


def plain(value):
    return {name: plain(each) for name, each in value.items()} if isinstance(value, dict) else value.tolist()


def first(data: Any, count: int, start: Position = START, **ranks: int) -> list[Any]:
    return [(plain(item.batch), item.after) for item in islice(data.items(start, **ranks), count)]


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_partners_and_shares_follow_from_seed_and_position(kind):
    plain_rows, mixed = rows(kind), Mixed(rows(kind), alpha=0.4, seed=7)
    at = Position()
    for item, bare in zip(islice(mixed.items(at), 6), plain_rows.items(at), strict=False):
        draws = generator(7, "mixup", at.epoch, at.row)
        partner = draws.permutation(len(bare.batch["y"]))
        share = draws.beta(0.4, 0.4, len(partner)).astype(np.float32)
        assert plain(item.batch) == plain(bare.batch) | {
            "other": {name: value[partner].tolist() for name, value in bare.batch.items()},
            "share": share.tolist(),
        }
        assert (
            type(item.batch["share"]) is type(bare.batch["x"])
            and item.batch["share"].dtype == bare.batch["x"].dtype
        )
        assert item.after == bare.after
        at = item.after
    assert (mixed.num_rows, mixed.num_batches) == (11, 3)


def test_shares_have_the_distribution_that_alpha_names():
    data = Mixed(rows(count=20_000, batch_size=20_000), alpha=0.4, seed=1)
    share = next(data.items(Position())).batch["share"].double()
    assert share.mean().item() == pytest.approx(0.5, abs=0.01)
    assert share.var().item() == pytest.approx(
        0.25 / (2 * 0.4 + 1), rel=0.02
    )  # of Beta(a, a): 1 / (4 (2a + 1))


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_noise_is_gaussian_new_each_epoch_and_leaves_the_rest_alone(kind):
    data = rows(kind, count=20_000, batch_size=20_000)
    noises = []
    for item, bare in zip(islice(Noisy(data, deviation=0.5, seed=7).items(Position()), 2),
                          data.items(Position()), strict=False):  # fmt: skip
        assert item.batch["x"].dtype == bare.batch["x"].dtype
        noise = np.asarray(item.batch["x"] - bare.batch["x"], dtype=np.float64)
        assert abs(noise.mean()) < 0.01 and noise.std() == pytest.approx(0.5, rel=0.01)
        assert plain({**item.batch, "x": bare.batch["x"]}) == plain(bare.batch)
        noises.append(noise)
    assert not np.allclose(noises[0], noises[1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_restart_anywhere_gives_the_same_draws(kind):
    data = KINDS[kind](rows())
    whole = first(data, 8)
    for place, (_, after) in enumerate(whole[:6]):
        assert first(data, 7 - place, after) == whole[place + 1 :]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_a_row_gets_the_same_draw_for_any_number_of_ranks(kind, ranks):
    data = KINDS[kind](rows())

    def dealt(value, rank):
        return (
            {k: dealt(v, rank) for k, v in value.items()} if isinstance(value, dict) else value[rank::ranks]
        )

    shares = [first(data, 6, rank=rank, ranks=ranks) for rank in range(ranks)]
    for place, (batch, after) in enumerate(first(data, 6)):
        for rank in range(ranks):
            assert shares[rank][place] == (dealt(batch, rank), after)


def test_each_epoch_of_a_whole_table_is_drawn_anew():
    data = Mixed(WholeTable({"x": np.ones((50, 1)), "y": np.arange(50)}), alpha=1.0, seed=0)
    one, two = (item.batch["share"] for item in islice(data.items(Position()), 2))
    assert not np.array_equal(one, two)


def test_noise_on_each_part_of_a_nested_x():
    x = {"left": np.zeros((4, 2)), "right": np.zeros((4, 2))}
    noisy = next(Noisy(WholeTable({"x": x, "y": np.ones(4)}), deviation=1.0, seed=0).items(Position())).batch[
        "x"
    ]
    assert noisy["left"].std() > 0 and not np.array_equal(noisy["left"], noisy["right"])


def test_the_state_is_that_of_the_data():
    class Remembering(WholeTable):
        def state(self):
            return {"files": ["a"]}

        def load(self, state):
            self.loaded = state

    inner = Remembering({"y": np.ones(3)})
    data = Mixed(inner, alpha=1.0, seed=0)
    data.load(data.state())
    assert inner.loaded == {"files": ["a"]}


def test_wrong_settings_are_named():
    with pytest.raises(RecipeError, match="alpha above 0, got 0"):
        Mixed(rows(), alpha=0, seed=0)
    with pytest.raises(RecipeError, match="deviation of noise is a number above 0, got -1"):
        Noisy(rows(), deviation=-1, seed=0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (lambda: Noisy(WholeTable({"x": torch.ones(3, 1, dtype=torch.long), "y": torch.ones(3)}), deviation=1, seed=0),
         "Noise is for numbers with a fraction, but 'x' holds torch.int64."),
        (lambda: Noisy(Mixed(rows(), alpha=1, seed=0), deviation=1, seed=0), "Noise comes before mixup"),
        (lambda: Mixed(WholeTable({"y": np.ones(3), "share": np.ones(3)}), alpha=1, seed=0),
         "The batch already has a column 'share'"),
    ],
)  # fmt: skip
def test_batches_that_cannot_be_changed_are_named(data, message):
    with pytest.raises(DataError) as error:
        next(data().items(Position()))
    assert message in str(error.value)
