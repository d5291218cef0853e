"""Tests of report/layer_measures.py: derivatives against differences, and moments against their definitions."""

from __future__ import annotations

import pytest

from danlu.models.activations import ACTIVATIONS
from danlu.models.normalisation import NORMALISATION_TABLE
from danlu.report.layer_measures import NUM_CHANNELS, NUM_ROWS, curve, curves, effects, values_at

MEASURED = {one.name: one for one in effects()}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_derivative_is_the_slope_of_the_curve(name: str) -> None:
    xs = [-3.1, -1.7, -0.4, 0.3, 1.1, 2.9]
    _, slopes = values_at(name, xs)
    above, _ = values_at(name, [x + 1e-6 for x in xs])
    below, _ = values_at(name, [x - 1e-6 for x in xs])
    assert slopes == pytest.approx([(a - b) / 2e-6 for a, b in zip(above, below, strict=True)], abs=1e-8)


def test_a_jump_lifts_the_pen_and_nothing_else_does() -> None:
    assert curve("step").ys.count(None) == 1
    assert curve("relu").ys.count(None) == 0 and curve("relu").slopes.count(None) == 1
    smooth = (
        "sigmoid",
        "tanh",
        "softplus",
        "softsign",
        "log_sigmoid",
        "swish",
        "mish",
        "sinc",
        "gelu",
        "softmax",
    )
    for name, one in curves().items():
        if name in smooth:
            assert None not in one.ys and None not in one.slopes
        assert one.xs[0] == -4 and one.xs[-1] == 4 and len(one.ys) == len(one.xs) == len(one.slopes)


def test_what_takes_several_values_says_what_is_drawn() -> None:
    assert {name for name, one in curves().items() if one.note} == {
        name
        for name, cls in ACTIVATIONS.items()
        if not cls.__part__.traits["is_elementwise"]  # type: ignore[attr-defined]
    }


@pytest.mark.parametrize(
    ("name", "groups"), [("batch", NUM_CHANNELS), ("layer", NUM_ROWS), ("instance", 256), ("group", 16)]
)
def test_each_group_has_mean_0_and_variance_1_after_and_not_before(name: str, groups: int) -> None:
    one = MEASURED[name]
    assert len(one.before.means) == len(one.after.means) == groups
    assert one.after.means == pytest.approx([0.0] * groups, abs=1e-12)
    assert one.after.variances == pytest.approx([1.0] * groups, abs=1e-3)
    assert max(abs(mean) for mean in one.before.means) > 0.1
    assert max(one.before.variances) > 2


def test_rms_brings_the_mean_square_to_1() -> None:
    after = MEASURED["rms"].after
    squares = [mean**2 + variance for mean, variance in zip(after.means, after.variances, strict=True)]
    assert squares == pytest.approx([1.0] * NUM_ROWS, abs=1e-3)


def test_normalised_weights() -> None:
    weight, spectral = MEASURED["weight"], MEASURED["spectral"]
    assert weight.lengths[0] == pytest.approx(weight.lengths[1], rel=1e-12)  # at first it changes nothing
    assert weight.whole_after == pytest.approx(weight.whole_before)
    assert spectral.largest_singular[0] > 2
    assert spectral.largest_singular[1] == pytest.approx(1, abs=0.02)


def test_what_is_reached_is_what_the_table_says() -> None:
    for row in NORMALISATION_TABLE:
        if row.normalises != "values":
            continue
        reached = MEASURED[row.method].reached
        axes = row.averages_over.split(", ")
        width = NUM_CHANNELS if "C" in axes else NUM_CHANNELS // 2 if "C/G" in axes else 1
        height = NUM_ROWS if "N" in axes else 1
        assert reached == [
            [line < height and channel < width for channel in range(NUM_CHANNELS)] for line in range(NUM_ROWS)
        ]


def test_the_histograms_hold_every_value() -> None:
    for one in MEASURED.values():
        assert sum(one.shares_before) == pytest.approx(1) and sum(one.shares_after) == pytest.approx(1)
        assert len(one.edges) == len(one.shares_after) + 1


def test_the_seed_decides() -> None:
    assert effects()[0] == MEASURED["batch"]
    assert effects(seed=1)[0].whole_before != MEASURED["batch"].whole_before
