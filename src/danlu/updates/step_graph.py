"""The graph of one training step: forward, loss, backward, clipping and the optimizer, traced and compiled as one.

torch.compile stops at the border between autograd and the optimizer, and checks its guards at every call. Here
make_fx traces all of it with fake tensors into one graph without borders, inductor compiles that graph, and the
result is called directly: nothing stands between two steps but a list of tensors.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from danlu.core.errors import DanluError
from danlu.core.ideas import Batch, Objective
from danlu.updates.optimizer_formulas import Formula, Group

INDUCTOR: dict[str, Any] = {
    # The layouts of the tensors are checked once a call, not once a step.
    "size_asserts": False,
    "scalar_asserts": False,
    # Timing would choose other kernels, and with them other last bits, from run to run.
    "max_autotune": False,
    "max_autotune_gemm": False,
}


class CannotCompile(DanluError):
    """The step cannot be compiled; the message says why. It can still be run eagerly."""


@dataclass(frozen=True)
class Plan:
    """What a step does, apart from the numbers that change from step to step."""

    model: nn.Module
    objective: Objective
    formula: Formula
    groups: Sequence[Group]
    """The optimizer's param groups."""
    group_of: Mapping[str, int]
    """The number of its group, for each parameter that the optimizer moves."""
    clip_norm: float | None
    clip_value: float | None
    is_bf16: bool
    """Whether the forward pass runs under bf16 autocast."""
    dtype: torch.dtype
    """Of losses and of the table of scalars."""


@dataclass(frozen=True)
class Graph:
    """A compiled step for batches of one layout."""

    run: Callable[[list[Any]], Sequence[Tensor]]
    """[parameters, buffers, slots, totals, row, batch, constants] -> [gradient norm]; moves the first four in place."""
    terms: tuple[str, ...]
    """Terms of the loss, as they stand in `totals` and in the row."""
    moved: tuple[str, ...]
    """Parameters that the loss depends on: torch's optimizers pass over the others."""
    constants: tuple[Tensor, ...]
    """Tensors that are neither the model's nor the batch's, such as a teacher's weights."""


def compile_graph(plan: Plan, batch: Batch) -> Graph:
    """Trace and compile one step for batches like this one. Raises `CannotCompile` with the reason."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"torch\.")  # of its own deprecated parts
            return _compile_graph(plan, batch)
    except CannotCompile:
        raise
    except Exception as error:  # whatever a model does that cannot be traced, or a missing C++ compiler
        first_line = (str(error).strip().splitlines() or [""])[0]
        raise CannotCompile(f"{type(error).__name__}: {first_line}") from error


def _compile_graph(plan: Plan, batch: Batch) -> Graph:
    from torch._guards import TracingContext, tracing
    from torch._inductor import config
    from torch._inductor.compile_fx import compile_fx_inner
    from torch._inductor.decomposition import select_decomp_table
    from torch._inductor.fx_passes.joint_graph import joint_graph_passes
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx

    mode = FakeTensorMode(allow_non_fake_inputs=True)
    table: dict[Any, Any] = select_decomp_table() | {
        torch.ops.aten.max_pool2d_with_indices_backward.default: max_pool_backward
    }

    def fake(tensor: Tensor) -> Tensor:
        return mode.from_tensor(tensor.detach())

    parameters = {name: fake(value) for name, value in plan.model.named_parameters()}
    buffers = {name: fake(value) for name, value in plan.model.named_buffers()}
    inputs = mapped(fake, batch)
    with mode:
        # Nothing is traced yet: which terms the loss has and which parameters it depends on shapes the inputs.
        losses, gradients, _ = differentiate(
            plan, parameters, buffers, inputs, torch.ones(64, dtype=plan.dtype)
        )
        terms, moved = tuple(losses), tuple(name for name in gradients if name in plan.group_of)
        slots = [
            {
                slot: torch.empty_like(parameters[name])
                for slot in plan.formula.slots(plan.groups[plan.group_of[name]])
            }
            for name in moved
        ]
        num_scalars = sum(len(plan.formula.scalars(group, 1.0, 0.1)) for group in plan.groups)
        totals = torch.zeros(len(terms) + 1, dtype=plan.dtype)
        row = torch.zeros(1 + len(terms) + num_scalars, dtype=plan.dtype)
        everything = (parameters, buffers, slots, totals, row, inputs)
        flat = leaves(everything)

        def step(*tensors: Tensor) -> tuple[Tensor]:
            return (take_step(plan, terms, moved, *filled(everything, iter(tensors))),)

        traced = make_fx(step, decomposition_table=table)(*flat)
        constants = lift_constants(traced)
        flat += [fake(value) for value in constants]
        # Everything that is changed in place becomes a new value, and one copy at the end of the graph.
        functional = torch.func.functionalize(traced, remove="mutations")
        flat = [torch.empty_strided(t.shape, t.stride(), dtype=t.dtype) for t in flat]
        graph = make_fx(functional, decomposition_table=table)(*flat)
    with tracing(TracingContext(mode)), config.patch(INDUCTOR):
        drop_idle_copies(graph)
        joint_graph_passes(graph)
        run: Any = compile_fx_inner(graph, flat)
    return Graph(run, terms, moved, constants)


def take_step(
    plan: Plan,
    terms: Sequence[str],
    moved: Sequence[str],
    parameters: dict[str, Tensor],
    buffers: dict[str, Tensor],
    slots: Sequence[dict[str, Tensor]],
    totals: Tensor,
    row: Tensor,
    batch: Batch,
) -> Tensor:
    """One step in place on parameters, buffers, slots and totals; returns the norm of the gradient.

    row: (index of the step in its call, count of each term, scalars of each group).
    totals: (sum of each term's losses, number of steps taken). A step is taken only where it is finite and all
    steps before it were.
    """
    losses, gradients, new_buffers = differentiate(plan, parameters, buffers, batch, row[1:])
    with torch.no_grad():
        if plan.clip_value is not None:
            gradients = {k: g.clamp(-plan.clip_value, plan.clip_value) for k, g in gradients.items()}
        squares = [(g * g).sum(dtype=plan.dtype) for g in gradients.values()]
        norm = torch.stack(squares).sum().sqrt()
        if plan.clip_norm is not None:
            factor = (plan.clip_norm / (norm + 1e-6)).clamp(max=1.0)  # as torch.nn.utils.clip_grad_norm_
            gradients = {k: g * factor.to(g.dtype) for k, g in gradients.items()}
        means = torch.stack([loss.detach().to(plan.dtype) for loss in losses.values()])
        is_taken = torch.isfinite(means.sum() + norm) & (totals[-1] == row[0])
        scalars = scalars_by_group(plan, row[1 + len(terms) :])
        for name, old_slots in zip(moved, slots, strict=True):
            number, value = plan.group_of[name], parameters[name]
            own = [scalar.to(value.dtype) for scalar in scalars[number]]
            new, new_slots = plan.formula.move(plan.groups[number], value, gradients[name], old_slots, own)
            value.copy_(torch.where(is_taken, new, value))
            for slot, old in old_slots.items():
                old.copy_(torch.where(is_taken, new_slots[slot], old))
        for name, new in new_buffers.items():
            buffers[name].copy_(torch.where(is_taken, new, buffers[name]))
        totals += torch.cat([means, is_taken.to(plan.dtype)[None]])
    return norm


def differentiate(
    plan: Plan, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], batch: Batch, counts: Tensor
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """(mean of each term, gradient of each parameter the loss depends on, buffers after the forward pass)."""
    trainable = {name for name, p in plan.model.named_parameters() if p.requires_grad}
    fresh = {k: p.detach().requires_grad_(k in trainable) for k, p in parameters.items()}
    copies = {name: value.clone() for name, value in buffers.items()}
    given = {f"model.{name}": value for name, value in (fresh | copies).items()}
    with torch.enable_grad():
        with torch.autocast("cpu", torch.bfloat16, enabled=plan.is_bf16, cache_enabled=False):
            sums = torch.func.functional_call(Sums(plan.model), given, (plan.objective.sums, batch))
        losses = {term: total / count for (term, total), count in zip(sums.items(), counts, strict=False)}
        names = [name for name in fresh if name in trainable]
        found = torch.autograd.grad(
            torch.stack([loss.to(plan.dtype) for loss in losses.values()]).sum(),
            [fresh[name] for name in names],
            allow_unused=True,
        )
    new_buffers = {name: given[f"model.{name}"] for name in buffers}
    return losses, {k: g for k, g in zip(names, found, strict=True) if g is not None}, new_buffers


def max_pool_backward(
    gradient: Tensor,
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
    indices: Tensor,
) -> Tensor:
    """Max-pool's gradient where windows do not overlap: each pixel asks its one window which was its first largest.

    Inductor's own form turns indices of pixels into places one by one, without vectors. Other pools are left to it.
    """
    pairs = [tuple(value) * (2 // len(value)) for value in (kernel, stride or kernel, padding, dilation)]
    is_tiled = pairs[0] == pairs[1] and pairs[2] == (0, 0) and pairs[3] == (1, 1) and not ceil_mode
    if not is_tiled or x.ndim != 4:
        return NotImplemented
    (rows, columns), (height, width) = pairs[0], x.shape[-2:]
    covered = (gradient.shape[-2] * rows, gradient.shape[-1] * columns)
    inside = x[:, :, : covered[0], : covered[1]]
    largest, winner = inside[:, :, ::rows, ::columns], torch.zeros_like(gradient)
    for place in range(1, rows * columns):
        other = inside[:, :, place // columns :: rows, place % columns :: columns]
        winner = torch.where(other > largest, place, winner)
        largest = torch.maximum(other, largest)

    def spread(value: Tensor) -> Tensor:
        wide = value[:, :, :, None, :, None].expand(-1, -1, -1, rows, -1, columns)
        return wide.reshape(*value.shape[:2], *covered)

    own = torch.arange(covered[0])[:, None] % rows * columns + torch.arange(covered[1]) % columns
    result = torch.where(spread(winner) == own.to(winner.dtype), spread(gradient), 0)
    return functional.pad(result, (0, width - covered[1], 0, height - covered[0]))


class Sums(nn.Module):
    """A model inside a module whose forward pass is the objective's, so that functional_call reaches its weights."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, sums: Callable[[nn.Module, Batch], dict[str, Tensor]], batch: Batch
    ) -> dict[str, Tensor]:
        """The sum of each term."""
        return sums(self.model, batch)


def scalars_by_group(plan: Plan, row: Tensor) -> list[list[Tensor]]:
    """The scalars of each group, out of the end of a row."""
    scalars = iter(row.unbind())
    return [[next(scalars) for _ in plan.formula.scalars(group, 1.0, 0.1)] for group in plan.groups]


def lift_constants(traced: torch.fx.GraphModule) -> tuple[Tensor, ...]:
    """Make inputs of the tensors that the trace found outside of its inputs, and return them in order."""
    last = [node for node in traced.graph.nodes if node.op == "placeholder"][-1]
    constants: dict[str, Tensor] = {}
    placeholders: dict[str, Any] = {}
    for node in [node for node in traced.graph.nodes if node.op == "get_attr"]:
        name = str(node.target)
        if name not in placeholders:
            constants[name] = getattr(traced, name)
            with traced.graph.inserting_after(last):
                last = placeholders[name] = traced.graph.placeholder(f"constant_{len(placeholders)}")
        node.replace_all_uses_with(placeholders[name])
        traced.graph.erase_node(node)
    traced.recompile()
    return tuple(constants.values())


def drop_idle_copies(graph: torch.fx.GraphModule) -> None:
    """Take out the writing back of buffers that the forward pass only reads: where(taken, copy of b, b) is b."""
    aten = torch.ops.aten
    for node in graph.graph.nodes:
        if node.target is aten.where.self:
            _, new, old = node.args
            while new.target in (aten.clone.default, aten.detach.default, aten.alias.default):
                new = new.args[0]
            if new is old:
                node.replace_all_uses_with(old)
        elif node.target in (aten.copy.default, aten.copy_.default) and node.args[0] is node.args[1]:
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)
    graph.graph.eliminate_dead_code()
    graph.recompile()


def mapped(function: Callable[[Tensor], Tensor], batch: Batch) -> dict[str, Any]:
    """The batch with `function` of each of its tensors."""
    return {k: mapped(function, v) if isinstance(v, Mapping) else function(v) for k, v in batch.items()}


def leaves(tree: Any) -> list[Tensor]:
    """The tensors of nested tuples, lists and tables, in order."""
    found: list[Tensor] = []
    for inner in tree.values() if isinstance(tree, Mapping) else tree:
        if isinstance(inner, Tensor):
            found.append(inner)
        else:
            found += leaves(inner)
    return found


def filled(tree: Any, tensors: Iterator[Tensor]) -> Any:
    """The same tree with other tensors, in the order of `leaves`."""
    if isinstance(tree, Mapping):
        return {name: filled(inner, tensors) for name, inner in tree.items()}
    return next(tensors) if isinstance(tree, Tensor) else [filled(inner, tensors) for inner in tree]
