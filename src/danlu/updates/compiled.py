"""Compiled steps: the same tensors as an eager step changes, moved by one graph that holds the whole step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from danlu.core.ideas import Batch, Objective
from danlu.updates.graph_cache import cached, key_of
from danlu.updates.optimizer_formulas import Group, formula_of
from danlu.updates.step_graph import CannotCompile, Graph, Plan, compile_graph, leaves

Layout = tuple[Any, ...]
"""Names, shapes, strides and types of the tensors of a batch: a graph is made for exactly one layout."""


def compile_steps(
    model: nn.Module,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    *,
    example_batches: Sequence[Batch],
    clip_norm: float | None = None,
    clip_value: float | None = None,
    precision: Literal["fp32", "bf16"] = "fp32",
) -> CompiledSteps:
    """Compile the step once for each layout among `example_batches`; the caches are torch's own.

    A step like one that this process has compiled before costs nothing (`graph_cache`).

    Gradients are clipped by value first, then by norm. `bf16` runs the forward pass under autocast. The mode of
    the model and the options of the optimizer, its learning rates apart, are part of the graph.
    Raises `CannotCompile` with the reason.
    """
    formula = formula_of(optimizer)
    if formula is None:
        raise CannotCompile(f"there is no compiled form of the optimizer {type(optimizer).__name__}")
    groups = [options(group) for group in optimizer.param_groups]
    for group in groups:
        if refused := [name for name in formula.refuses if group.get(name)]:
            raise CannotCompile(f"the compiled {type(optimizer).__name__} has no option {refused[0]!r}")
    refuse_hooks(model)
    plan = Plan(
        model,
        objective,
        formula,
        groups,
        group_of(model, optimizer),
        clip_norm,
        clip_value,
        is_bf16=precision == "bf16",
        dtype=torch.float64 if any(p.dtype == torch.float64 for p in model.parameters()) else torch.float32,
    )
    graphs: dict[Layout, Graph] = {}
    key = key_of(plan)
    for batch in example_batches:
        if layout(batch) not in graphs:
            graphs[layout(batch)] = cached(key, layout(batch), lambda batch=batch: compile_graph(plan, batch))
    if len({(graph.terms, graph.moved) for graph in graphs.values()}) != 1:
        raise CannotCompile(
            "the terms of the loss, or the parameters behind them, depend on the shape of the batch"
        )
    return CompiledSteps(plan, optimizer, graphs)


class CompiledSteps:
    """Takes steps in place on the model's parameters and buffers and on the optimizer's own state.

    Eager steps may come before, between and after: both keep the same tensors under the same names.
    """

    def __init__(self, plan: Plan, optimizer: torch.optim.Optimizer, graphs: Mapping[Layout, Graph]) -> None:
        self._plan, self._optimizer, self._graphs = plan, optimizer, dict(graphs)
        first = next(iter(self._graphs.values()))
        parameters = dict(plan.model.named_parameters())
        self._terms, self._parameters, self._facts = first.terms, list(parameters.values()), []
        self._moved = [(parameters[name], plan.group_of[name]) for name in first.moved]
        self._slots = [plan.formula.slots(group) for group in plan.groups]
        owners = [name.rpartition(".") for name, _ in plan.model.named_buffers()]
        self._buffers = [(plan.model.get_submodule(owner)._buffers, name) for owner, _, name in owners]
        self._facts = self._look()

    def takes(self, batch: Batch) -> bool:
        """Whether there is a graph for tensors of these names, shapes, strides and types."""
        return layout(batch) in self._graphs

    def __call__(
        self, batches: Sequence[Batch], *, rates: Sequence[Sequence[float]] | None = None
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """One step a batch: (mean of each term of the loss, gradient norm of the last step, whether all was finite).

        `rates[step][group]` are the learning rates; without them each group's own `lr` holds for all the steps. A
        step that is not finite leaves parameters, buffers and state as they were, and so do all steps after it.
        Raises `CannotCompile` for a batch without a graph, and where the model or the optimizer's options are no
        longer those that were compiled; nothing has moved then.
        """
        graphs = [self._graph(batch) for batch in batches]
        tensors, counters = self._state()
        table = torch.tensor(self._rows(batches, rates, counters), dtype=self._plan.dtype)
        # Behind the losses: the number of steps taken, which a step that is not finite does not raise.
        totals = torch.zeros(len(self._terms) + 1, dtype=self._plan.dtype)
        norm = totals[0]
        with torch.no_grad():
            for graph, batch, row in zip(graphs, batches, table.unbind(), strict=True):
                (norm,) = graph.run([*tensors, totals, row, *leaves(batch), *graph.constants])
            num_taken = int(totals[-1])
            if self._plan.formula.counts_steps:
                torch._foreach_add_([step for steps in counters for step in steps], num_taken)  # pyright: ignore[reportPrivateImportUsage]
        losses = dict(zip(self._terms, (totals[:-1] / len(batches)).unbind(), strict=True))
        return losses, norm, torch.tensor(num_taken == len(batches))

    def _graph(self, batch: Batch) -> Graph:
        graph = self._graphs.get(layout(batch))
        if graph is None:
            raise CannotCompile(f"there is no graph for a batch of {layout(batch)}")
        return graph

    def _state(self) -> tuple[list[Tensor], list[list[Tensor]]]:
        """(parameters, buffers and slots; step counters by group), looked up anew: a checkpoint may replace them."""
        if self._look() != self._facts:
            raise CannotCompile(
                "the model, the optimizer's options or the number of threads have changed "
                "since the step was compiled"
            )
        tensors = [*self._parameters, *(buffers[name] for buffers, name in self._buffers)]
        counters: list[list[Tensor]] = [[] for _ in self._slots]
        for parameter, number in self._moved:
            state = self._optimizer.state[parameter]
            for slot in self._slots[number]:
                value = state.get(slot)
                if value is None:
                    value = state[slot] = torch.zeros_like(parameter)
                tensors.append(value)
            if self._plan.formula.counts_steps:
                if "step" not in state:
                    state["step"] = torch.zeros(())
                counters[number].append(state["step"])
        return tensors, counters

    def _rows(
        self,
        batches: Sequence[Batch],
        rates: Sequence[Sequence[float]] | None,
        counters: Sequence[Sequence[Tensor]],
    ) -> list[list[float]]:
        """What changes from step to step: its index, the count of each term, the scalars of each group."""
        plan, rows = self._plan, list[list[float]]()
        begun = [{step.item() for step in steps} or {0.0} for steps in counters]
        if any(len(steps) > 1 for steps in begun):
            raise CannotCompile("the parameters of a group have taken different numbers of steps")
        groups = [
            (group, float(group["lr"]), *steps)
            for group, steps in zip(self._optimizer.param_groups, begun, strict=True)
        ]
        for index, batch in enumerate(batches):
            counts = plan.objective.counts(batch)
            # Rows that all weigh nothing have sums of 0 over counts of 0: a loss of 0, not NaN.
            row = [float(index), *(counts[term] or 1.0 for term in self._terms)]
            for number, (group, rate, step) in enumerate(groups):
                rate = rate if rates is None else rates[index][number]
                row += plan.formula.scalars(group, step + index + 1, rate)
            rows.append(row)
        return rows

    def _look(self) -> list[Any]:
        """What a graph takes for granted, beside the batch."""
        return [
            torch.get_num_threads(),
            self._plan.model.training,
            [(p.shape, p.stride(), p.requires_grad) for p in self._parameters],
            [options(group) for group in self._optimizer.param_groups],
        ]


def layout(batch: Batch) -> Layout:
    """The layout of a batch."""
    found: list[Any] = []
    for name, value in batch.items():
        if isinstance(value, Tensor):
            found.append((name, value.shape, value.stride(), value.dtype))
        elif isinstance(value, Mapping):
            found.append((name, layout(value)))
        else:
            raise CannotCompile(f"the batch's {name!r} is no tensor but {type(value).__name__}")
    return tuple(found)


def options(group: Group) -> dict[str, Any]:
    """What of a param group is part of a graph: all but its parameters, its rate, and how eager steps are run."""
    others = {"params", "lr", "initial_lr", "name", "fused", "foreach", "capturable"}
    return {name: value for name, value in group.items() if name not in others}


def group_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, int]:
    """The number of its param group for each parameter of the model that the optimizer moves, by name."""
    names = {id(p): name for name, p in model.named_parameters()}
    numbers: dict[str, int] = {}
    for number, group in enumerate(optimizer.param_groups):
        for p in group["params"]:
            if id(p) not in names:
                raise CannotCompile("the optimizer moves a parameter that is not the model's")
            if p.device.type != "cpu" or not p.is_floating_point():
                raise CannotCompile(
                    f"a step is compiled for real numbers on the CPU, got {p.dtype} on {p.device}"
                )
            numbers[names[id(p)]] = number
    return numbers


def refuse_hooks(model: nn.Module) -> None:
    """Hooks would run once, while the step is traced. torch's own that compute weights are part of the graph."""
    for name, module in model.named_modules():
        hooks = [
            *module._forward_hooks.values(),
            *module._forward_pre_hooks.values(),
            *module._backward_hooks.values(),
            *module._backward_pre_hooks.values(),
        ]
        for hook in hooks:
            if not (getattr(hook, "__module__", "") or "").startswith("torch.nn.utils."):
                raise CannotCompile(f"the module {name or 'itself'!r} has a hook, which would run only once")
    for name, p in model.named_parameters():
        if p._backward_hooks or getattr(p, "_post_accumulate_grad_hooks", None):
            raise CannotCompile(
                f"the parameter {name!r} has a hook on its gradient, which would run only once"
            )
