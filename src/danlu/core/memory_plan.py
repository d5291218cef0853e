"""The memory plan: what a training step needs on each rank, the largest batch that fits, and what to do when none does.

A step holds parameters, gradients, the optimizer's moments, averaged weights, and the activations that the backward
pass needs, which alone grow with the batch. The last are measured on a few rows of the real batch.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any, cast

from danlu.core.errors import RecipeError, closest
from danlu.core.ideas import Batch, Objective

COPIES = {
    "sgd": 0, "momentum": 1, "nesterov": 1, "adagrad": 1, "rmsprop": 1, "adadelta": 2, "adam": 2, "adamw": 2,
    "muon": 2, "lbfgs": 23,
}  # fmt: skip
"""Optimizer -> copies of the parameters that it keeps: muon 1 of the matrices, lbfgs 10 pairs and 3 more."""
RESERVE = 0.1  # of the free memory: kernels' work space, fragments, what else the machine does
PROBE_ROWS = 16
WORKING = 2  # of the largest activation: a layer's output before it is saved; its gradient and its input's, backward


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes that a training step needs on each rank."""

    parameters: int
    """The weights and buffers of the model, or this rank's slice of them."""
    gradients: int
    """Of the weights that are trained."""
    optimizer: int
    """Moments and the like."""
    averages: int
    """Averaged weights."""
    fixed: float
    """What the backward pass needs whatever the batch."""
    per_row: float
    """What it needs for each row, and the row itself."""
    per_pair: float = 0.0
    """What it needs for each pair of rows, where the objective compares rows with each other."""
    is_splittable: bool = True
    """Whether a batch may be accumulated in pieces."""

    def needed(self, num_rows: int) -> int:
        """Bytes of a step on a batch of `num_rows` on this rank."""
        held = self.parameters + self.gradients + self.optimizer + self.averages
        return held + math.ceil(self.fixed + self.per_row * num_rows + self.per_pair * num_rows**2)

    def largest_batch(self, available: int, *, reserve: float = RESERVE) -> int:
        """The largest number of rows whose step fits into `available` bytes less a reserve; 0 where none does."""
        room = int(available * (1 - reserve))
        if self.needed(1) > room:
            return 0
        low, high = 1, 2
        while self.needed(high) <= room and high < 1 << 40:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.needed(middle) <= room else (low, middle)
        return low

    def as_dict(self, num_rows: int) -> dict[str, Any]:
        """The plan for a batch of `num_rows` as plain JSON values, in whole bytes."""
        parts = {name: math.ceil(value) for name, value in asdict(self).items() if name != "is_splittable"}
        return parts | {"rows_per_rank": num_rows, "needed": self.needed(num_rows)}


def plan_memory(
    model: Any,
    objective: Objective,
    batch: Batch,
    *,
    optimizer: Any,
    num_averages: int = 0,
    num_ranks: int = 1,
    is_sharded: bool = False,
) -> MemoryPlan:
    """The memory plan of a `torch.nn.Module` that is trained on batches like `batch`, on each of `num_ranks`.

    `optimizer` is a torch optimizer over the model's parameters, or the name of one. `is_sharded`: each rank keeps a
    slice of weights, gradients and moments (FSDP). The model runs forward on a few rows and is left as it was; call
    it in the same `torch.autocast` as training. It is an estimate: libraries take work space of their own.
    """
    weights = list(model.parameters())
    held = sum(weight.nbytes for weight in weights) + sum(buffer.nbytes for buffer in model.buffers())
    trained = sum(weight.nbytes for weight in weights if weight.requires_grad)
    moments = _by_name(optimizer, trained) if isinstance(optimizer, str) else optimizer_bytes(optimizer)
    fixed, per_row, per_pair = _activations(model, objective, batch)
    slices = num_ranks if is_sharded else 1
    return MemoryPlan(
        parameters=math.ceil(held / slices),
        gradients=math.ceil(trained / slices),
        optimizer=math.ceil(moments / slices),
        averages=math.ceil(num_averages * held / slices),
        fixed=fixed,
        per_row=per_row + _row_bytes(batch),
        per_pair=per_pair,
        is_splittable=objective.splittable,
    )


def optimizer_bytes(optimizer: Any) -> int:
    """Bytes of what a torch optimizer keeps: as it is, or of a dry start where it has not taken a step yet.

    The dry start is a step of its twin on tensors without storage, so that it needs neither time nor memory.
    """
    state = optimizer.state
    if not any(state.values()):
        try:
            state = _dry_start(optimizer)
        except (RuntimeError, TypeError, ValueError, AttributeError, KeyError, NotImplementedError):
            return _by_class(optimizer)
    return sum(_tensor_bytes(kept) for kept in state.values())


def out_of_memory_message(error: BaseException, plan: MemoryPlan, batch_size: int, available: int) -> str:
    """What to tell a person whose step of `batch_size` rows did not fit into `available` bytes: which would."""
    fits, needed = plan.largest_batch(available), plan.needed(batch_size)
    if fits >= batch_size:  # the estimate was too low, so half of what was tried is the next guess
        fits = batch_size // 2
    held = plan.needed(0)
    said = (
        f"Out of memory at a batch of {batch_size:,} rows: a step needs about {readable(needed)} "
        f"({readable(held)} for weights, gradients and the optimizer, the rest for the rows), and "
        f"{readable(available)} are free. "
    )
    cause = f" ({_first_line(error)})"
    if fits < 1:
        return (
            f"{said}Not even one row fits. Use a smaller model, training.optimizer=sgd, which keeps no moments, "
            f"or engine.sharding=fsdp with more engine.processes.{cause}"
        )
    if not plan.is_splittable:
        return (
            f"{said}{fits:,} would fit: use training.batch_size={fits}. Accumulation is not offered: this loss "
            f"compares the rows of a batch with each other, so that pieces would change it.{cause}"
        )
    pieces = math.ceil(batch_size / fits)
    return (
        f"{said}{fits:,} would fit: use training.batch_size={fits}; or keep the batch and its exact gradient, and "
        f"compute it in {pieces} pieces: engine.micro_batch={math.ceil(batch_size / pieces)}.{cause}"
    )


OUT_OF_MEMORY = (
    "defaultcpuallocator: can't allocate memory",
    "defaultcpuallocator: not enough memory",
    "cuda out of memory",
    "cuda error: out of memory",
    "hip out of memory",
    "mps backend out of memory",
    "xpu out of memory",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "std::bad_alloc",
    "unable to mmap",
    "cannot allocate memory",
)
"""What allocators say inside of a plain RuntimeError, in lower case."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or one that it was raised from, says that memory ran out."""
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        # torch.OutOfMemoryError by its name: torch may not be loaded, and then it cannot be one.
        if isinstance(each, MemoryError) or type(each).__name__ == "OutOfMemoryError":
            return True
        if isinstance(each, (RuntimeError, OSError)) and any(
            text in str(each).lower() for text in OUT_OF_MEMORY
        ):
            return True
        each = each.__cause__ or each.__context__
    return False


def readable(num_bytes: float) -> str:
    """Bytes as a person reads them: `512 bytes`, `3.2 MB`, `1.5 GB` (powers of 1000)."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= 0.9995 * size:
            return f"{num_bytes / size:.3g} {unit}"
    return f"{num_bytes:.0f} bytes"


def _activations(model: Any, objective: Objective, batch: Batch) -> tuple[float, float, float]:
    """Bytes of (nothing, a row, a pair of rows), from what the forward pass saves for two or three sizes of batch."""
    num_rows = min(_num_rows(batch), PROBE_ROWS)
    sizes = [num_rows // 4, num_rows // 2, num_rows]
    if num_rows < 8:
        sizes = [max(num_rows // 2, min(2, num_rows)), num_rows]
    measured = [_saved_bytes(model, objective, _first_rows(batch, size)) for size in sizes]
    is_square = len(sizes) == 3 and not objective.splittable
    # Tensor by tensor, in the order in which they are saved: one that is small for few rows may be the largest later.
    laws = [_law(sizes, values, is_square=is_square) for values in zip_longest(*measured, fillvalue=0)]
    largest = max(laws, key=lambda law: law[::-1], default=(0.0, 0.0, 0.0))
    totals = [sum(each) for each in zip(*laws, strict=True)] or [0.0, 0.0, 0.0]
    fixed, row, pair = (total + WORKING * most for total, most in zip(totals, largest, strict=True))
    return fixed, row, pair


def _law(sizes: list[int], measured: Sequence[int], *, is_square: bool) -> tuple[float, float, float]:
    """(a, b, c) of bytes = a + b n + c n^2 through what was measured for the sizes n; c only where asked for."""
    (small, large), (least, most) = (sizes[0], sizes[-1]), (measured[0], measured[-1])
    if small == large:  # one or two rows: all of it is theirs, for all one can tell
        return 0.0, most / large, 0.0
    pair = 0.0
    if is_square:
        first = (measured[1] - least) / (sizes[1] - small)
        second = (most - measured[1]) / (large - sizes[1])
        pair = max((second - first) / (large - small), 0.0)
    row = max((most - least) / (large - small) - pair * (large + small), 0.0)
    return max(least - row * small - pair * small**2, 0.0), row, pair


def _saved_bytes(model: Any, objective: Objective, batch: Batch) -> list[int]:
    """Bytes of each tensor that a forward pass keeps for the backward pass, beside weights and batch."""
    import torch

    own = {*_storages(model.parameters()), *_storages(model.buffers()), *_storages(_tensors(batch))}
    found: dict[int, int] = {}

    def pack(tensor: Any) -> Any:
        for pointer, size in _storages([tensor]).items():
            if pointer not in own:
                found[pointer] = size
        return tensor  # kept alive, so that no other tensor takes its place in memory while we count

    def unpack(tensor: Any) -> Any:
        return tensor

    with _left_as_it_was(model), torch.enable_grad():
        with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
            sums = objective.sums(model, batch)
        del sums
    return list(found.values())


@contextmanager
def _left_as_it_was(model: Any) -> Generator[None]:
    """Random numbers and buffers, such as running means, are afterwards what they were before."""
    import torch

    random: Any = torch.random
    devices = sorted({weight.device.index for weight in model.parameters() if weight.device.type == "cuda"})
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        with random.fork_rng(devices=devices):
            yield
    finally:
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)


def _dry_start(optimizer: Any) -> Mapping[Any, Any]:
    """The state of an optimizer of the same kind and settings after a step on tensors without storage."""
    import torch

    groups: list[dict[str, Any]] = []
    for group in optimizer.param_groups:
        weights = [weight for weight in group["params"] if weight.requires_grad]
        metas = [torch.empty_like(weight, device="meta", requires_grad=True) for weight in weights]
        for meta in metas:
            meta.grad = torch.empty_like(meta)
        # Fused and foreach kernels are not there for such tensors; what is kept is the same.
        forms = {name: False for name in ("fused", "foreach") if name in group}
        groups.append({**group, **forms, "params": metas})
    twin = type(optimizer)([group for group in groups if group["params"]])
    twin.step()
    return twin.state


def _by_name(optimizer: str, trained: int) -> int:
    if optimizer not in COPIES:
        raise RecipeError(
            f"The memory plan does not know the optimizer {optimizer!r}.{closest(optimizer, COPIES)} "
            "Give it the optimizer itself."
        )
    return COPIES[optimizer] * trained


def _by_class(optimizer: Any) -> int:
    """From what is known of each kind, for those that take no dry start."""
    total = 0
    for group in optimizer.param_groups:
        size = sum(weight.nbytes for weight in group["params"] if weight.requires_grad)
        if "history_size" in group:  # LBFGS: pairs of steps and gradients, the direction, two gradients
            total += (2 * group["history_size"] + 3) * size
        elif group.get("hidden_matrices"):  # Muon beside AdamW
            total += size
        else:
            total += 2 * size
    return total


def _tensor_bytes(value: Any) -> int:
    if isinstance(value, Mapping):
        return sum(_tensor_bytes(item) for item in cast(Mapping[Any, Any], value).values())
    if isinstance(value, (list, tuple)):
        return sum(_tensor_bytes(item) for item in cast(list[Any], value))
    return int(getattr(value, "nbytes", 0))


def _tensors(batch: Batch) -> Iterator[Any]:
    for value in batch.values():
        if isinstance(value, Mapping):
            yield from _tensors(cast(Batch, value))
        elif hasattr(value, "untyped_storage"):
            yield value


def _storages(tensors: Any) -> dict[int, int]:
    """Where the numbers of tensors lie -> bytes there: views of one tensor share them."""
    found: dict[int, int] = {}
    for tensor in tensors:
        pieces = [tensor.values(), *_indices(tensor)] if str(tensor.layout) != "torch.strided" else [tensor]
        for piece in pieces:
            storage = piece.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
    return found


def _indices(tensor: Any) -> list[Any]:
    """The indices of a sparse tensor."""
    if str(tensor.layout) == "torch.sparse_coo":
        return [tensor._indices()]
    return [tensor.crow_indices(), tensor.col_indices()]


def _num_rows(batch: Batch) -> int:
    for value in batch.values():
        if isinstance(value, Mapping):
            return _num_rows(cast(Batch, value))
        if value is not None and getattr(value, "shape", None):
            return int(value.shape[0])
    return 0


def _first_rows(batch: Batch, num_rows: int) -> dict[str, Any]:
    return {
        name: _first_rows(cast(Batch, value), num_rows)
        if isinstance(value, Mapping)
        else value[:num_rows]
        if getattr(value, "shape", None)
        else value
        for name, value in batch.items()
    }


def _row_bytes(batch: Batch) -> float:
    """Bytes of one row of the batch itself."""
    return _tensor_bytes(batch) / max(_num_rows(batch), 1)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
