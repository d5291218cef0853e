"""The memory plan against a hand calculation, against the real peak, and where memory really runs out."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from danlu.core.errors import RecipeError
from danlu.core.memory_plan import (
    MemoryPlan,
    _saved_bytes,
    is_out_of_memory,
    optimizer_bytes,
    out_of_memory_message,
    plan_memory,
    readable,
)
from danlu.core.tasks import Task


class Squares:
    """Mean squared error."""

    task = Task("regression")
    splittable = True

    def counts(self, batch: Any) -> dict[str, float]:
        return {"squares": float(len(batch["y"]))}

    def sums(self, model: Any, batch: Any) -> dict[str, Any]:
        return {"squares": nn.functional.mse_loss(model(batch["x"]), batch["y"], reduction="sum")}

    def predict(self, model: Any, batch: Any) -> dict[str, np.ndarray]:
        raise NotImplementedError


class Pairs(Squares):
    """Each row is compared with each other one."""

    splittable = False

    def sums(self, model: Any, batch: Any) -> dict[str, Any]:
        scores = model(batch["x"])[:, 0]
        return {"pairs": ((scores[:, None] - scores[None, :]) ** 2).sum()}


def network(**more: Any) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(100, 50, **more), nn.ReLU(), nn.Linear(50, 10, **more))


def rows(number: int, **more: Any) -> dict[str, Any]:
    return {"x": torch.zeros(number, 100, **more), "y": torch.zeros(number, 10, **more), "weight": None}


WEIGHTS = 100 * 50 + 50 + 50 * 10 + 10


@pytest.mark.parametrize(("dtype", "size"), [(torch.float32, 4), (torch.float64, 8)])
def test_by_hand(dtype: torch.dtype, size: int) -> None:
    """Saved are ReLU's result (50 a row), which the second layer shares, and the scores (10) for the loss."""
    model = network(dtype=dtype)
    plan = plan_memory(model, Squares(), rows(200, dtype=dtype), optimizer="adam", num_averages=1)
    held = size * WEIGHTS
    assert (plan.parameters, plan.gradients, plan.optimizer, plan.averages) == (held, held, 2 * held, held)
    assert plan.fixed == 0 and plan.per_pair == 0
    row, saved, working = 110, 60, 2 * 50
    assert plan.per_row == size * (row + saved + working)
    assert plan.needed(1000) == 5 * held + 1000 * plan.per_row
    facts = json.loads(json.dumps(plan.as_dict(1000)))
    assert facts["needed"] == plan.needed(1000) and facts["rows_per_rank"] == 1000


def test_a_slice_of_the_model_on_each_rank() -> None:
    model = network()
    model[0].weight.requires_grad_(False)
    plan = plan_memory(model, Squares(), rows(20), optimizer="momentum", num_ranks=4, is_sharded=True)
    assert (plan.parameters, plan.gradients, plan.optimizer) == (WEIGHTS, WEIGHTS - 5000, WEIGHTS - 5000)
    whole = plan_memory(model, Squares(), rows(20), optimizer="sgd", num_ranks=4)
    assert (whole.parameters, whole.optimizer) == (4 * WEIGHTS, 0) and whole.per_row == plan.per_row


@pytest.mark.parametrize("number", [1, 2, 3, 5, 7, 11, 16, 40])
def test_any_number_of_rows_to_look_at(number: int) -> None:
    plan = plan_memory(network(), Squares(), rows(number), optimizer="sgd")
    assert (plan.fixed, plan.per_row) == (0, 4 * 270)


def test_the_model_is_left_as_it_was() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(100, 50), nn.BatchNorm1d(50), nn.Dropout(0.5), nn.Linear(50, 10))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batch = {"x": torch.randn(40, 100), "y": torch.randn(40, 10)}
    random = torch.get_rng_state()
    plan_memory(model, Squares(), batch, optimizer="sgd")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random) and model.training
    assert all(weight.grad is None for weight in model.parameters())


def test_a_loss_over_pairs_of_rows_grows_with_their_square() -> None:
    model = network()
    plan = plan_memory(model, Pairs(), rows(64), optimizer="sgd")
    assert plan.per_pair >= 4 and not plan.is_splittable
    sizes = _saved_bytes(model, Pairs(), rows(1000))
    assert max(sizes) == 4 * 1000**2
    real = sum(sizes) + 2 * max(sizes)
    held, batch = 2 * 4 * WEIGHTS, 1000 * 4 * 110
    assert plan.needed(1000) - held - batch == pytest.approx(real, rel=0.1)


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "adagrad": lambda p: torch.optim.Adagrad(p),
    "rmsprop": lambda p: torch.optim.RMSprop(p),
    "adadelta": lambda p: torch.optim.Adadelta(p),
    "adam": lambda p: torch.optim.Adam(p, fused=True),
    "adamw": lambda p: torch.optim.AdamW(p, fused=True),
    "lbfgs": lambda p: torch.optim.LBFGS(p, history_size=10),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_an_optimizer_will_keep_before_and_after_its_first_step(name: str) -> None:
    model = network()
    optimizer = OPTIMIZERS[name](list(model.parameters()))
    planned = plan_memory(model, Squares(), rows(20), optimizer=name).optimizer
    before = optimizer_bytes(optimizer)
    x, y = torch.randn(20, 100), torch.randn(20, 10)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        return loss

    for _ in range(8 if name == "lbfgs" else 1):  # until its history is full
        optimizer.step(closure)
    real = sum(
        value.nbytes
        for kept in optimizer.state.values()
        for item in kept.values()
        for value in (item if isinstance(item, list) else [item])
        if isinstance(value, torch.Tensor)
    )
    assert optimizer_bytes(optimizer) == real
    tolerance = 0.1 if name == "lbfgs" else 0.01
    assert before == pytest.approx(real, rel=tolerance) and planned == pytest.approx(real, rel=tolerance)


def test_the_dry_start_leaves_the_optimizer_alone() -> None:
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), amsgrad=True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert optimizer_bytes(optimizer) == pytest.approx(3 * 4 * WEIGHTS, rel=0.01)
    assert not any(optimizer.state.values()) and all(weight.grad is None for weight in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_an_optimizer_that_is_not_known() -> None:
    with pytest.raises(
        RecipeError, match=r"does not know the optimizer 'adan'\. Did you mean 'adam'\? Give it the"
    ):
        plan_memory(network(), Squares(), rows(20), optimizer="adan")


PLAN = MemoryPlan(parameters=1000, gradients=1000, optimizer=2000, averages=0, fixed=500.0, per_row=10.0)


def test_the_largest_batch() -> None:
    assert PLAN.needed(100) == 5500
    assert PLAN.largest_batch(5500, reserve=0.0) == 100 and PLAN.largest_batch(5499, reserve=0.0) == 99
    assert PLAN.largest_batch(10_000) == 450  # within nine tenths of it
    assert PLAN.largest_batch(4500) == 0
    for room in range(4600, 40_000, 777):
        best = PLAN.largest_batch(room)
        assert PLAN.needed(best) <= 0.9 * room < PLAN.needed(best + 1) or best == 0


def test_what_a_person_is_told() -> None:
    error = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.\nmore")
    assert out_of_memory_message(error, PLAN, 1000, 10_000) == (
        "Out of memory at a batch of 1,000 rows: a step needs about 14.5 kB (4.5 kB for weights, gradients and the "
        "optimizer, the rest for the rows), and 10 kB are free. 450 would fit: use training.batch_size=450; or keep "
        "the batch and its exact gradient, and compute it in 3 pieces: engine.micro_batch=334. "
        "(DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.)"
    )
    none = out_of_memory_message(error, PLAN, 1000, 4000)
    assert (
        "Not even one row fits. Use a smaller model, training.optimizer=sgd" in none
        and "engine.sharding=fsdp" in none
    )
    whole = MemoryPlan(0, 0, 0, 0, 0.0, 1.0, 1.0, is_splittable=False)
    assert (
        "30 would fit" in (text := out_of_memory_message(error, whole, 100, 1034))
        and "micro_batch" not in text
    )
    assert "Accumulation is not offered" in text
    assert "500 would fit" in out_of_memory_message(error, PLAN, 1000, 10**9)  # the estimate was too low


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: not enough memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_errors_that_say_memory_ran_out(error: Exception) -> None:
    assert is_out_of_memory(error)
    wrapped = RuntimeError("the step failed")
    wrapped.__cause__ = error
    assert is_out_of_memory(wrapped)


def test_other_errors_do_not() -> None:
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied (3x4 and 5x6)"))
    assert not is_out_of_memory(ValueError("cuda out of memory is what this column is called"))
    looped = RuntimeError("a")
    looped.__context__ = other = RuntimeError("b")
    other.__context__ = looped
    assert not is_out_of_memory(looped)


@pytest.mark.parametrize("make", [lambda n: torch.empty(n), lambda n: np.empty(n), lambda n: bytearray(n)])
def test_an_allocation_that_no_machine_can_hold(make: Any) -> None:
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        make(1 << 58)
    assert is_out_of_memory(caught.value)


CHILD = """
import json, resource, sys
import torch
from torch import nn
sys.path.insert(0, sys.argv[1])
from danlu.core.memory_plan import is_out_of_memory, out_of_memory_message, plan_memory
from danlu.core.device import memory_left
torch.set_num_threads(1)

class Squares:
    splittable = True
    def counts(self, batch): return {"a": len(batch["y"])}
    def sums(self, model, batch): return {"a": ((model(batch["x"]) - batch["y"]) ** 2).sum()}

model = nn.Sequential(  # much memory for little arithmetic
    nn.Linear(10, 2000), nn.Tanh(), nn.Sigmoid(), nn.Tanh(), nn.ReLU(), nn.Linear(2000, 1)
)
optimizer = torch.optim.Adam(model.parameters(), fused=True)

def rows(number): return {"x": torch.ones(number, 10), "y": torch.ones(number, 1)}

def step(number, pieces=1):
    optimizer.zero_grad(set_to_none=True)
    batch = rows(number)
    for x, y in zip(batch["x"].chunk(pieces), batch["y"].chunk(pieces)):
        Squares().sums(model, {"x": x, "y": y})["a"].backward()
    optimizer.step()

def held(name):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))
"""


def run_child(code: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", CHILD + code, "src"], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory in /proc")
def test_the_peak_of_a_real_step_is_what_was_planned() -> None:
    found = run_child(
        "step(100)\n"  # libraries and threads take what they need
        "plan = plan_memory(model, Squares(), rows(64), optimizer=optimizer)\n"
        "for weight in model.parameters(): weight.grad = None\n"
        "before = held('VmRSS') - plan.parameters - plan.optimizer\n"
        "step(5_000)\n"
        "print(json.dumps({'planned': plan.needed(5_000), 'real': held('VmHWM') - before}))"
    )
    assert 0.75 * found["real"] < found["planned"] < 1.4 * found["real"]


@pytest.mark.skipif(sys.platform != "linux", reason="a limit on address space is kept on Linux alone")
def test_where_memory_really_runs_out_the_batch_that_is_named_fits() -> None:
    # Blocks of more than 32 MB, which the C library gives back at once: the limit is on addresses, not on use.
    found = run_child(
        "step(100)\n"
        "plan = plan_memory(model, Squares(), rows(64), optimizer=optimizer)\n"
        "for weight in model.parameters(): weight.grad = None\n"
        "taken = held('VmSize')\n"
        "resource.setrlimit(resource.RLIMIT_AS, (taken + 300_000_000,) * 2)\n"
        "available = memory_left('cpu') + plan.parameters + plan.optimizer\n"
        "try:\n    step(20_000)\n    text = ''\n"
        "except RuntimeError as error:\n"
        "    assert is_out_of_memory(error), error\n"
        "    text = out_of_memory_message(error, plan, 20_000, available)\n"
        "fits = plan.largest_batch(available)\n"
        "step(fits)\n"
        "step(20_000, pieces=-(-20_000 // fits))\n"
        "print(json.dumps({'text': text, 'fits': fits}))"
    )
    fits = found["fits"]
    assert 1_000 < fits < 20_000
    assert found["text"].startswith("Out of memory at a batch of 20,000 rows: a step needs about ")
    assert f"training.batch_size={fits}" in found["text"] and "engine.micro_batch=" in found["text"]


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (3.2e6, "3.2 MB"), (999_999_999, "1 GB"), (2e12, "2 TB")],
)
def test_bytes_as_a_person_reads_them(number: float, text: str) -> None:
    assert readable(number) == text
