"""Tests of models/normalisation.py: what each brings to mean 0 and variance 1, against hand calculations and torch."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from danlu.core.errors import RecipeError
from danlu.models.normalisation import (
    NORMALISATION_TABLE,
    NORMALISATIONS,
    BatchNorm,
    normalisation,
    unsplittable_layers,
)

CHANNELS = 8


def images(num_rows: int = 6, *, seed: int = 0) -> torch.Tensor:
    """(n, 8, 5, 4) values far from mean 0 and variance 1, with a mean and a scale of its own for each channel."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(num_rows, CHANNELS, 5, 4, generator=generator, dtype=torch.float64)
    scale = torch.arange(1, CHANNELS + 1).view(1, -1, 1, 1)
    row = torch.arange(num_rows).view(-1, 1, 1, 1)
    return x * scale + 10 * scale + 3 * row


def behind(chosen, *, channels: int = CHANNELS) -> nn.Module:
    """The normalisation itself, as it stands behind a convolution."""
    layer = nn.Conv2d(channels, channels, 1)
    first, norm = normalisation(chosen).around(layer)
    assert first is layer
    return norm.double()


def assert_standard(values: torch.Tensor, axes: tuple[int, ...]) -> None:
    """Mean 0 and variance 1 over the axes; epsilon takes a little of the variance away."""
    assert float(values.mean(dim=axes).abs().max()) < 1e-10
    assert float((values.var(dim=axes, correction=0) - 1).abs().max()) < 1e-4


# ---------------------------------------------------------------- of values


def test_batch_gives_each_channel_mean_0_and_variance_1_over_the_batch() -> None:
    norm = behind("batch").train()
    found = norm(images()).detach()
    assert_standard(found, (0, 2, 3))
    assert float(found.mean(dim=(2, 3)).abs().max()) > 0.1  # but not each image by itself


def test_batch_is_noisy_for_small_batches() -> None:
    x = torch.randn(64, CHANNELS, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def spread_of_first_row(size: int) -> float:
        norm = behind("batch").train()
        made = [norm(torch.cat([x[:1], x[start : start + size - 1]]))[0] for start in range(1, 40, 3)]
        return float(torch.stack(made).detach().var(dim=0).mean())

    assert spread_of_first_row(2) > 3 * spread_of_first_row(16)


def test_batch_predicts_by_its_running_statistics() -> None:
    norm = behind({"name": "batch", "momentum": 1.0}).train()
    x = images()
    norm(x)
    norm.eval()
    alone = norm(x[:1]).detach()
    mean, variance = x.mean(dim=(0, 2, 3), keepdim=True), x.var(dim=(0, 2, 3), keepdim=True)
    torch.testing.assert_close(alone, (x[:1] - mean) / (variance + 1e-5).sqrt())


def test_a_batch_of_one_row_of_a_table_is_taken_by_the_running_statistics() -> None:
    norm = normalisation("batch").around(nn.Linear(3, 4))[1].train()
    assert isinstance(norm, BatchNorm)
    assert norm.running_mean is not None and norm.running_var is not None
    norm(torch.randn(50, 4, generator=torch.Generator().manual_seed(0)) * 3 + 5)
    mean, variance = norm.running_mean.clone(), norm.running_var.clone()
    row = torch.ones(1, 4)
    torch.testing.assert_close(norm(row), (row - mean) / (variance + norm.eps).sqrt())
    assert torch.equal(norm.running_mean, mean)  # and teaches them nothing


def test_layer_gives_each_row_mean_0_and_variance_1_whatever_the_batch() -> None:
    norm, x = behind("layer").train(), images()
    found = norm(x).detach()
    assert_standard(found, (1, 2, 3))
    torch.testing.assert_close(norm(x[:1]), found[:1], rtol=0, atol=1e-12)
    assert torch.equal(norm.eval()(x), found)


def test_layer_of_a_table_is_torchs() -> None:
    _, norm = normalisation("layer").around(nn.Linear(3, 6))
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(0)) * 4 + 1
    torch.testing.assert_close(norm(x), nn.functional.layer_norm(x, (6,)))
    assert_standard(norm.double()(x.double()).detach(), (1,))


def test_instance_gives_each_channel_of_each_image_mean_0_and_variance_1() -> None:
    assert_standard(behind("instance").train()(images()).detach(), (2, 3))


def test_one_group_is_layer_and_a_group_for_each_channel_is_instance() -> None:
    x = images()
    one, each = (behind({"name": "group", "groups": groups})(x) for groups in (1, CHANNELS))
    torch.testing.assert_close(one, nn.functional.layer_norm(x, x.shape[1:]))
    torch.testing.assert_close(one, behind("layer")(x))
    torch.testing.assert_close(each, nn.functional.instance_norm(x))
    torch.testing.assert_close(each, behind("instance")(x))


def test_group_gives_each_group_of_each_image_mean_0_and_variance_1() -> None:
    found = behind({"name": "group", "groups": 2})(images()).detach().reshape(6, 2, 4, 5, 4)
    assert_standard(found, (2, 3, 4))


@pytest.mark.parametrize(
    ("units", "groups"), [(8, 1), (16, 1), (32, 2), (50, 2), (64, 4), (97, 1), (4096, 32)]
)
def test_auto_makes_groups_of_at_least_16_units(units: int, groups: int) -> None:
    _, norm = normalisation("group").around(nn.Linear(2, units))
    assert isinstance(norm, nn.GroupNorm) and norm.num_groups == groups


def test_rms_gives_each_row_a_mean_square_of_1() -> None:
    found = behind("rms")(images()).detach()
    assert float((found.square().mean(dim=(1, 2, 3)) - 1).abs().max()) < 1e-4
    assert float(found.mean(dim=(1, 2, 3)).abs().min()) > 0.5  # the mean stays
    _, norm = normalisation("rms").around(nn.Linear(3, 6))
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(0)) * 4 + 1
    torch.testing.assert_close(norm(x), x / (x.square().mean(dim=1, keepdim=True) + 1e-5).sqrt())


@pytest.mark.parametrize("name", ["batch", "layer", "instance", "group", "rms"])
def test_each_channel_has_a_learnt_scale(name: str) -> None:
    norm = behind(name).train()
    x = images()
    before = norm(x).detach()
    with torch.no_grad():
        norm.weight.view(-1)[3] = 7.0  # type: ignore[operator, index]
    after = norm(x).detach()
    torch.testing.assert_close(after[:, 3], 7 * before[:, 3])
    torch.testing.assert_close(after[:, 2], before[:, 2])


# ---------------------------------------------------------------- of weights


def layers() -> list[nn.Module]:
    torch.manual_seed(0)
    return [nn.Linear(6, 4), nn.Conv1d(6, 4, 3), nn.Conv2d(6, 4, 3), nn.Conv3d(6, 4, 2)]


@pytest.mark.parametrize("layer", layers(), ids=lambda layer: type(layer).__name__)
def test_weight_has_the_length_g_and_starts_where_the_layer_did(layer: nn.Module) -> None:
    before = layer.weight.detach().clone()  # type: ignore[union-attr]
    (made,) = normalisation("weight").around(layer)  # type: ignore[arg-type]
    assert made is layer
    torch.testing.assert_close(layer.weight, before)
    length, direction = layer.parametrizations.weight.original0, layer.parametrizations.weight.original1  # type: ignore[union-attr]
    assert length.shape == (4,)
    with torch.no_grad():
        length.copy_(torch.tensor([0.5, 1.0, 2.0, -3.0]))  # type: ignore[operator]
        direction.mul_(17)  # type: ignore[operator]  # its length says nothing
    norms = layer.weight.detach().flatten(1).norm(dim=1)  # type: ignore[operator]
    torch.testing.assert_close(norms, torch.tensor([0.5, 1.0, 2.0, 3.0]))


@pytest.mark.parametrize("layer", layers(), ids=lambda layer: type(layer).__name__)
def test_spectral_has_a_largest_singular_value_of_1(layer: nn.Module) -> None:
    with torch.no_grad():
        layer.weight.mul_(9)  # type: ignore[operator]
    normalisation({"name": "spectral", "power_iterations": 100}).around(layer)  # type: ignore[arg-type]
    layer.train()
    assert layer.weight is not layer.weight  # each look is a pass that moves the iteration on
    weight = layer.weight.detach().flatten(1)  # type: ignore[operator]
    assert float(torch.linalg.matrix_norm(weight, ord=2)) == pytest.approx(1, abs=1e-3)


def test_spectral_is_torchs_at_the_end_of_the_iteration() -> None:
    layer, other = nn.Linear(7, 5).double(), nn.Linear(7, 5).double()
    other.load_state_dict(layer.state_dict())
    normalisation({"name": "spectral", "power_iterations": 50}).around(layer)
    torch.nn.utils.parametrizations.spectral_norm(other, n_power_iterations=50)
    x = torch.randn(3, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found, wanted = layer(x), other(x)
    torch.testing.assert_close(found, wanted)
    found.sum().backward()
    wanted.sum().backward()
    gradients = [one.parametrizations.weight.original.grad for one in (layer, other)]  # type: ignore[union-attr]
    torch.testing.assert_close(*gradients)


def test_two_spectral_passes_before_a_step_back() -> None:
    layer = nn.Linear(7, 5)
    normalisation("spectral").around(layer)
    (layer(torch.ones(1, 7)) - layer(torch.zeros(1, 7))).sum().backward()  # as a GAN does
    assert layer.parametrizations.weight.original.grad is not None  # type: ignore[union-attr]


def test_spectral_follows_a_weight_that_moves() -> None:
    layer = nn.Linear(20, 30)
    normalisation("spectral").around(layer)
    layer.train()
    original = layer.parametrizations.weight.original  # type: ignore[union-attr]
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        with torch.no_grad():
            original.add_(0.01 * torch.randn(30, 20, generator=generator))  # type: ignore[operator]
        layer(torch.zeros(1, 20))
    assert float(torch.linalg.matrix_norm(layer.weight.detach(), ord=2)) == pytest.approx(1, abs=0.05)


# ---------------------------------------------------------------- the comparison, and what does not fit


def test_the_table_is_that_of_the_parts() -> None:
    assert [row.method for row in NORMALISATION_TABLE] == list(NORMALISATIONS)
    rows = {row.method: row for row in NORMALISATION_TABLE}
    assert rows["batch"].depends_on_batch and not any(
        row.depends_on_batch for name, row in rows.items() if name != "batch"
    )
    assert rows["group"].averages_over == "C/G, H, W"
    assert "Transformers" in rows["layer"].first_choice_for
    assert "convolutions with small batches" in rows["group"].first_choice_for


def test_what_cannot_be_accumulated_is_named() -> None:
    model = nn.Sequential(
        *normalisation("batch").around(nn.Conv2d(3, 4, 1)),
        *normalisation("layer").around(nn.Conv2d(4, 4, 1)),
        *normalisation("spectral").around(nn.Conv2d(4, 4, 1)),
        *normalisation("weight").around(nn.Conv2d(4, 4, 1)),
        nn.BatchNorm2d(4),
    )
    assert unsplittable_layers(model) == ["1", "4", "6"]


@pytest.mark.parametrize(
    ("chosen", "layer", "message"),
    [
        ("instance", nn.Linear(3, 4), "minus its own mean is always 0"),
        ("layer", nn.Linear(3, 1), "averages over units of a row, but here over 1"),
        ("rms", nn.Linear(3, 1), "averages over units of a row, but here over 1"),
        ({"name": "group", "groups": 4}, nn.Linear(3, 4), "averages over units of a row, but here over 1"),
        ({"name": "group", "groups": 5}, nn.Conv2d(3, 12, 1), "Use 4, or 'auto'"),
        ("batch", nn.LSTM(3, 4), "a linear layer or a convolution, got LSTM"),
    ],
)
def test_what_does_not_fit_says_why(chosen, layer: nn.Module, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        normalisation(chosen).around(layer)  # type: ignore[arg-type]
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ("batch_norm", "no normalisation 'batch_norm'. Did you mean 'batch'"),
        ({"name": "batch", "momentum": 0.0}, "batch.momentum must lie in"),
        ({"name": "layer", "epsilon": 0.0}, "epsilon must be above 0"),
        ({"name": "group", "groups": 0}, "group.groups must be 1 or more"),
        ({"name": "spectral", "power_iterations": 0}, "between 1 and 100"),
    ],
)
def test_mistakes_are_named(chosen, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        normalisation(chosen)
    assert message in str(caught.value)


def test_weights_of_length_0_have_no_direction() -> None:
    for name in ("weight", "spectral"):
        layer = nn.Linear(3, 4)
        with torch.no_grad():
            layer.weight.zero_()
        with pytest.raises(RecipeError, match="but some start at 0"):
            normalisation(name).around(layer)
