"""Compiled steps against eager ones: the same weights, state, buffers and numbers, whatever the optimizer."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from danlu.core.errors import DanluError
from danlu.updates.compiled import compile_steps
from danlu.updates.step_graph import CannotCompile, drop_idle_copies, max_pool_backward

Batch = dict[str, Any]


class WeightedCrossEntropy:
    """The objective of these tests: two terms, one of them weighted by row."""

    task: Any = None
    splittable = True

    def counts(self, batch: Batch) -> dict[str, float]:
        return {"cross_entropy": float(batch["weight"].sum()), "size": float(len(batch["y"]))}

    def sums(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        logits = model(batch["x"])
        losses = functional.cross_entropy(logits, batch["y"], reduction="none")
        return {"cross_entropy": (losses * batch["weight"]).sum(), "size": 0.01 * (logits * logits).sum()}

    def predict(self, model: Any, batch: Batch) -> Any:
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        return {}


pytestmark = pytest.mark.timeout(600)  # a C++ compiler that shares its cores with others takes its time
OBJECTIVE: Any = WeightedCrossEntropy()


@pytest.fixture(autouse=True, scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The graphs of these tests go to a folder of their own; the threads stay one, as in every tiny model."""
    folder, threads = str(tmp_path_factory.mktemp("inductor")), torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", os.environ.get("TORCHINDUCTOR_CACHE_DIR", folder))
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(threads)


def network(*layers: nn.Module, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 12), *(layers or [nn.Tanh()]), nn.Linear(12, 3))


def make_batches(number: int, rows: int = 16, seed: int = 1) -> list[Batch]:
    rng = torch.Generator().manual_seed(seed)
    made: list[Batch] = []
    for _ in range(number):
        x = torch.randn(rows, 6, generator=rng)
        y = (x[:, 0] > 0).long() + (x[:, 1] > 0.5).long()
        made.append({"x": x, "y": y, "weight": torch.rand(rows, generator=rng) + 0.1})
    return made


def eager_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    clip_norm: float | None = None,
    clip_value: float | None = None,
) -> tuple[dict[str, Tensor], Tensor]:
    """The step as anyone writes it."""
    optimizer.zero_grad(set_to_none=True)
    counts = OBJECTIVE.counts(batch)
    losses = {term: total / counts[term] for term, total in OBJECTIVE.sums(model, batch).items()}
    sum(losses.values(), torch.zeros(())).backward()
    if clip_value is not None:
        nn.utils.clip_grad_value_(model.parameters(), clip_value)
    if clip_norm is not None:
        norm = nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    else:
        norm = nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
    optimizer.step()
    return {term: loss.detach() for term, loss in losses.items()}, norm


def tensors_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """All that a step may change, by name."""
    found = dict(model.state_dict())
    for name, p in model.named_parameters():
        found |= {f"{name}.{slot}": value for slot, value in optimizer.state[p].items() if value is not None}
    return {name: value.detach().clone() for name, value in found.items()}


def assert_close(new: dict[str, Tensor], old: dict[str, Tensor], relative: float = 1e-5) -> None:
    """Each tensor within `relative` of its own largest value, or within what fp32 leaves of a gradient of 0."""
    assert new.keys() == old.keys()
    for name, value in old.items():
        difference = (new[name].double() - value.double()).abs().max()
        assert difference <= relative * value.double().abs().max() + 1e-7, (name, float(difference))


def assert_equal(new: dict[str, Tensor], old: dict[str, Tensor]) -> None:
    """Bit for bit."""
    assert new.keys() == old.keys()
    for name, value in old.items():
        assert torch.equal(new[name], value), name


def groups(model: nn.Module) -> list[dict[str, Any]]:
    """Decay for matrices, none for biases, and another rate."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    biases = [p for p in model.parameters() if p.ndim == 1]
    return [{"params": matrices, "weight_decay": 0.02}, {"params": biases, "weight_decay": 0.0, "lr": 0.004}]


def test_adamw_goes_from_compiled_to_eager_and_back() -> None:
    """Groups, rates by step, weights by row, clipping, a short last batch, and a checkpoint on the way."""
    model = network()
    twin = copy.deepcopy(model)
    optimizer, other = (torch.optim.AdamW(groups(net), lr=0.003, fused=True) for net in (model, twin))
    batches = [*make_batches(149), *make_batches(1, rows=5), *make_batches(150, seed=2)]
    clips: dict[str, Any] = {"clip_norm": 0.7, "clip_value": 0.2}
    steps = compile_steps(model, OBJECTIVE, optimizer, example_batches=batches[148:150], **clips)
    assert (
        steps.takes(batches[0]) and steps.takes(batches[149]) and not steps.takes(make_batches(1, rows=7)[0])
    )
    assert not optimizer.state, "compiling takes no step"

    bases = [group["lr"] for group in other.param_groups]
    rates = [[base * (1 - step / 400) for base in bases] for step in range(300)]
    history: list[tuple[dict[str, Tensor], Tensor]] = []
    for batch, rate in zip(batches, rates, strict=True):
        set_rates(other, rate)
        history.append(eager_step(twin, other, batch, **clips))

    steps(batches[:100], rates=rates[:100])
    for batch, rate in zip(batches[100:120], rates[100:120], strict=True):
        set_rates(optimizer, rate)
        eager_step(model, optimizer, batch, **clips)
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    set_rates(optimizer, [0.5, 0.5])  # which the rates of the next call overrule
    losses, norm, finite = steps(batches[120:], rates=rates[120:])

    assert bool(finite)
    assert_close(tensors_of(model, optimizer), tensors_of(twin, other))
    assert {float(state["step"]) for state in optimizer.state.values()} == {300.0}
    for term, loss in losses.items():
        expected = torch.stack([step[0][term] for step in history[120:]]).mean()
        torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(norm, history[-1][1], rtol=1e-4, atol=0)


def test_nesterov_with_batch_norm_stops_at_the_first_step_that_is_not_finite() -> None:
    """Without `rates` the groups' own hold; buffers move as in eager mode; a broken step changes no bit."""
    model = network(nn.BatchNorm1d(12), nn.ReLU())
    twin = copy.deepcopy(model)
    optimizer, other = (
        torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9, nesterov=True) for net in (model, twin)
    )
    model.register_buffer("only_read", torch.ones(3))
    twin.register_buffer("only_read", torch.ones(3))
    batches = make_batches(101)
    steps = compile_steps(model, OBJECTIVE, optimizer, example_batches=batches[:1])
    for start in range(0, 100, 25):
        steps(batches[start : start + 25])
    for batch in batches[:100]:
        eager_step(twin, other, batch)
    assert_close(tensors_of(model, optimizer), tensors_of(twin, other))
    assert int(model.state_dict()["1.num_batches_tracked"]) == 100

    steps(batches[100:])
    before = tensors_of(model, optimizer)
    broken = batches[0] | {"x": batches[0]["x"].clone().fill_(math.inf)}
    losses, _, finite = steps([broken, batches[1]])
    assert not bool(finite)
    assert not math.isfinite(float(losses["cross_entropy"]))
    assert_equal(tensors_of(model, optimizer), before)
    _, _, finite = steps(batches[1:3])
    assert bool(finite)


class Distilled(WeightedCrossEntropy):
    """An objective with a tensor of its own, which is neither the model's nor the batch's."""

    def __init__(self, teacher: nn.Module) -> None:
        self.teacher = teacher

    def sums(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            target = self.teacher(batch["x"]).softmax(1)
        return {"size": functional.cross_entropy(model(batch["x"]), target, reduction="sum")}


def dropout_run(seed: int) -> tuple[dict[str, Tensor], float]:
    """Steps of a fresh compilation of a network with dropout and a teacher; (all tensors, share of units kept)."""
    from torch._inductor.utils import fresh_cache

    model, teacher = network(nn.Dropout(0.25), nn.Tanh()), network(seed=5).requires_grad_(False)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=0.002, momentum=0.5)
    batches = make_batches(20)
    with fresh_cache():
        state = torch.get_rng_state()
        objective: Any = Distilled(teacher)
        steps = compile_steps(model, objective, optimizer, example_batches=batches[:1])
        assert torch.equal(torch.get_rng_state(), state), "compiling draws no random numbers"
        torch.manual_seed(seed)
        steps(batches[:10])
        losses = steps(batches[10:])[0]
    return tensors_of(model, optimizer), float(losses["size"])


@pytest.mark.slow
def test_two_compilations_give_the_same_bits_and_dropout_follows_the_seed() -> None:
    (first, loss), (second, again), (other, _) = dropout_run(3), dropout_run(3), dropout_run(4)
    assert_equal(first, second)
    assert loss == again
    assert not torch.equal(first["0.weight"], other["0.weight"])


@pytest.mark.slow
def test_bf16_stays_near_fp32() -> None:
    """bf16 has 8 bits of mantissa: some percent after fifty steps, and not the same bits."""
    model, twin = network(), network()
    optimizer, other = (torch.optim.Adam(net.parameters(), lr=0.003) for net in (model, twin))
    batches = make_batches(50)
    steps = compile_steps(model, OBJECTIVE, optimizer, example_batches=batches[:1], precision="bf16")
    losses, _, finite = steps(batches)
    expected = torch.stack([eager_step(twin, other, batch)[0]["cross_entropy"] for batch in batches]).mean()
    assert bool(finite)
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert float(losses["cross_entropy"]) != float(expected)
    torch.testing.assert_close(losses["cross_entropy"], expected, rtol=0.02, atol=0)


@pytest.mark.parametrize("size", [(8, 8), (9, 10)])
@pytest.mark.parametrize("kernel", [(2, 2), (3, 2)])
def test_the_gradient_of_a_tiled_max_pool_is_torchs(size: tuple[int, int], kernel: tuple[int, int]) -> None:
    """Ties, which ReLU makes many of, go to the first pixel of the window; pixels without a window get 0."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(3, 4, *size, generator=rng).relu().requires_grad_()
    out, indices = functional.max_pool2d(x, kernel, return_indices=True)
    gradient = torch.randn(out.shape, generator=rng)
    (expected,) = torch.autograd.grad(out, x, gradient)
    result = max_pool_backward(gradient, x.detach(), kernel, [], [0], [1], False, indices)
    assert torch.equal(result, expected)


def test_other_max_pools_are_left_to_inductor() -> None:
    x = torch.randn(1, 1, 6, 6)
    out, indices = functional.max_pool2d(x, 3, 2, return_indices=True)
    assert max_pool_backward(out, x, [3], [2], [0], [1], False, indices) is NotImplemented


def test_a_buffer_that_is_only_read_is_not_written_back() -> None:
    """A table of positions may be larger than the model."""
    from torch.fx.experimental.proxy_tensor import make_fx

    def step(taken: Tensor, changed: Tensor, only_read: Tensor) -> Tensor:
        new, same = changed.clone() + 1, only_read.clone()
        changed.copy_(torch.where(taken, new, changed))
        only_read.copy_(torch.where(taken, same, only_read))
        return new * same

    inputs = (torch.tensor(True), torch.ones(3), torch.full((3,), 2.0))
    graph = make_fx(torch.func.functionalize(step, remove="mutations"), tracing_mode="fake")(*inputs)
    drop_idle_copies(graph)
    written = [node.args[0].name for node in graph.graph.nodes if node.target is torch.ops.aten.copy_.default]
    assert written == ["changed_1"]
    assert torch.equal(graph(*inputs), torch.full((3,), 4.0))
    assert torch.equal(inputs[1], torch.full((3,), 2.0))


class Hesitant(nn.Module):
    """Does what its data say: no one graph holds that."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) if float(x.sum()) > 0 else -self.layer(x)


def refused(model: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch) -> str:
    """The reason for which a step is not compiled."""
    with pytest.raises(CannotCompile) as caught:
        compile_steps(model, OBJECTIVE, optimizer, example_batches=[batch])
    assert isinstance(caught.value, DanluError)
    return str(caught.value)


def test_what_cannot_be_compiled_says_why() -> None:
    (batch,) = make_batches(1)
    model = network()
    lbfgs = torch.optim.LBFGS(model.parameters())
    assert refused(model, lbfgs, batch) == "there is no compiled form of the optimizer LBFGS"
    dampened = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, dampening=0.5)
    assert refused(model, dampened, batch) == "the compiled SGD has no option 'dampening'"
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    assert refused(model, sgd, batch | {"z": [1]}) == "the batch's 'z' is no tensor but list"
    stranger = torch.optim.SGD(network().parameters(), lr=0.1)
    assert refused(model, stranger, batch) == "the optimizer moves a parameter that is not the model's"
    complex_one = nn.Linear(6, 3, dtype=torch.complex64)
    assert "real numbers on the CPU" in refused(
        complex_one, torch.optim.SGD(complex_one.parameters(), 0.1), batch
    )
    hesitant = Hesitant()
    assert "DataDependent" in refused(hesitant, torch.optim.SGD(hesitant.parameters(), lr=0.1), batch)
    handle = model[0].register_forward_hook(lambda *_: None)  # pyright: ignore
    assert refused(model, sgd, batch) == "the module '0' has a hook, which would run only once"
    handle.remove()
    next(model.parameters()).register_hook(lambda gradient: gradient)
    assert "'0.weight' has a hook on its gradient" in refused(model, sgd, batch)


def test_a_call_that_the_graph_does_not_hold_for_moves_nothing() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    batches = make_batches(4)
    steps = compile_steps(model, OBJECTIVE, optimizer, example_batches=batches[:1])
    before = tensors_of(model, optimizer)
    with pytest.raises(CannotCompile, match=r"no graph for a batch of .*\[3, 6\]"):
        steps([*batches[:2], make_batches(1, rows=3)[0]])
    changes = [
        lambda: model.eval(),
        lambda: optimizer.param_groups[0].update(weight_decay=0.1),
        lambda: torch.set_num_threads(2),
    ]
    for change in changes:
        change()
        with pytest.raises(CannotCompile, match="have changed since the step was compiled"):
            steps(batches)
        model.train()
        optimizer.param_groups[0]["weight_decay"] = 0
        torch.set_num_threads(1)
    assert_equal(tensors_of(model, optimizer), before)
    steps(batches)
    assert not torch.equal(model.state_dict()["0.weight"], before["0.weight"])


def set_rates(optimizer: torch.optim.Optimizer, rates: Sequence[float]) -> None:
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
