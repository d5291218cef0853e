"""One model on several ranks by torch's own means: DistributedDataParallel, or FSDP2's slices (`fully_shard`).

ddp   each rank holds the whole model; after the backward pass gradients are summed over the ranks
fsdp  each rank holds a slice of every weight, its gradient and its moments; layers are put together as they are needed

Sources: Li et al. 2020, arXiv:2006.15704 (DDP); Zhao et al. 2023, arXiv:2304.11277 (FSDP).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import nn

from danlu.core.checkpoint import Checkpoints
from danlu.core.ideas import Batch, Objective
from danlu.core.process_ranks import ProcessRanks
from danlu.core.shards import SharedCheckpoints, SlicedCheckpoints
from danlu.updates.signals import first_fault

FUSED_IN_SLICES = (torch.optim.Adam, torch.optim.AdamW)
UNIT = 100_000  # parameters from which a layer of a stack is put together by itself, and not with the rest


class Parallel:
    """How one model is spread over the ranks; nothing is done to it before `start`."""

    def __init__(
        self, model: nn.Module, *, sharding: Literal["ddp", "fsdp"], ranks: ProcessRanks, unit: int = UNIT
    ) -> None:
        self.model, self.sharding, self.ranks = model, sharding, ranks
        self.trained: nn.Module = model
        """What the optimizer, averages and checkpoints speak of: under fsdp a twin of the model, made of slices."""
        self.forward: nn.Module = model
        """What is called in training."""
        self._unit, self._mesh = unit, None

    @property
    def is_sliced(self) -> bool:
        """Whether each rank has a slice only."""
        return self.sharding == "fsdp"

    def start(self, objective: Objective, row: Batch) -> nn.Module:
        """Give every rank the weights of rank 0 and spread them; returns `trained`. `row` is any one row."""
        for value in self.model.state_dict().values():
            if isinstance(value, torch.Tensor):
                self.ranks.send(value)
        if self.is_sliced:
            self.trained = self.forward = sliced(self.model, self.mesh, unit=self._unit)
            self._release()
        else:
            self.forward = replicated(self.model, objective, row)
        return self.trained

    @property
    def mesh(self) -> Any:
        """torch's DeviceMesh: the ranks in a row."""
        if self._mesh is None:
            from torch.distributed.device_mesh import DeviceMesh

            kind = next(self.model.parameters()).device.type
            self._mesh = DeviceMesh(kind, list(range(self.ranks.number)))
        return self._mesh

    def suit(self, optimizer: torch.optim.Optimizer) -> None:
        """Let an optimizer whose fused form does not know slices take the plain one."""
        if self.is_sliced and not isinstance(optimizer, FUSED_IN_SLICES):
            for group in optimizer.param_groups:
                if group.get("fused"):
                    group["fused"] = False

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Within it rank 0's model has the present weights, in evaluation mode; all ranks come here together."""
        if not self.is_sliced:
            yield
            return
        self._gather(keeps=self.ranks.rank == 0)
        self.model.eval()
        try:
            yield
        finally:
            self._release()

    def finish(self) -> nn.Module:
        """The model with all its weights on every rank, as plain as it came."""
        if self.is_sliced and self.trained is not self.model:
            self._gather(keeps=True)
        return self.model.eval()

    def first_fault(self, objective: Objective, batch: Batch) -> str:
        """Where this rank finds the first number that is not finite; all ranks ask together."""
        if self.is_sliced:
            return first_fault_in_slices(self.trained, objective, batch)
        return first_fault(self.model, objective, batch)

    def checkpoints(self, given: Checkpoints) -> Checkpoints:
        """Checkpoints in the same folder that fit the way in which the model is spread."""
        if self.is_sliced:
            return SlicedCheckpoints(given.folder, ranks=self.ranks, mesh=self.mesh, warn=given.warn)
        return SharedCheckpoints(given.folder, ranks=self.ranks, warn=given.warn)

    def _gather(self, *, keeps: bool) -> None:
        """Put the whole weights together, one after the other; into the model where this rank `keeps` them."""
        own, buffers = dict(self.model.named_parameters()), dict(self.model.named_buffers())
        for name, parameter in self.trained.named_parameters():
            whole = parameter.detach().full_tensor() if is_slice(parameter) else parameter.detach().clone()  # type: ignore[operator]
            if keeps:
                own[name].data = whole
        for name, buffer in self.trained.named_buffers():
            buffers[name].data = buffer.detach().clone()

    def _release(self) -> None:
        """Free the whole weights; the slices are what counts."""
        for parameter in self.model.parameters():
            parameter.data = parameter.data.new_empty(0)


def replicated(model: nn.Module, objective: Objective, row: Batch) -> nn.Module:
    """The model in torch's DistributedDataParallel, which has made one pass that counted nothing.

    After its first pass it orders the gradients anew, as they came. A sum over more than two ranks ends in other last
    bits where the order is another one, so that the first step that counts must have the order of all the others: a
    resumed run would differ from one that was left alone. Weights that the loss does not reach have no gradient, as
    in one process.
    """
    device = next(model.parameters()).device
    pass_over(model, model, objective, row)
    has_idle = any(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    forward = nn.parallel.DistributedDataParallel(
        model,
        device_ids=[device] if device.type == "cuda" else None,
        find_unused_parameters=has_idle,  # the order then stays as it is
        gradient_as_bucket_view=True,
    )
    pass_over(forward, model, objective, row)
    for parameter in model.parameters():
        parameter.grad = None
    return forward


def pass_over(forward: nn.Module, model: nn.Module, objective: Objective, row: Batch) -> None:
    """A forward and a backward pass that leave nothing but gradients behind."""
    before = [buffer.clone() for buffer in model.buffers()]
    model.train()
    for parameter in model.parameters():
        parameter.grad = None
    with torch.random.fork_rng():
        torch.stack(list(objective.sums(forward, row).values())).sum().backward()  # type: ignore[arg-type]
    with torch.no_grad():
        for buffer, kept in zip(model.buffers(), before, strict=True):
            buffer.copy_(kept)


def sliced(model: nn.Module, mesh: Any, *, unit: int = UNIT) -> nn.Module:
    """A copy of the model whose weights are slices: FSDP2.

    Large layers of a stack (in an `nn.Sequential` or `nn.ModuleList`) are put together one by one as the pass
    reaches them; the rest stays whole from the forward pass to the end of the backward pass, since a model may use
    it anywhere.
    """
    from torch.distributed.fsdp import fully_shard

    twin = copy.deepcopy(model)
    for layer in layers(twin, unit=unit):
        fully_shard(layer, mesh=mesh)
    return fully_shard(twin, mesh=mesh)  # pyright: ignore[reportReturnType]  # the same module, of another class


def layers(model: nn.Module, *, unit: int) -> list[nn.Module]:
    """Layers of stacks that have at least `unit` parameters and share none with the rest of the model."""
    owners: dict[nn.Parameter, int] = {}
    for module in model.modules():
        for _, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            owners[parameter] = owners.get(parameter, 0) + 1
    found: list[nn.Module] = []

    def visit(module: nn.Module) -> None:
        for child in module.children():
            is_layer = isinstance(module, (nn.Sequential, nn.ModuleList)) and not isinstance(
                child, (nn.ModuleList, nn.ModuleDict)
            )
            own = list(child.parameters())
            is_alone = all(owners[parameter] == 1 for parameter in own)
            if is_layer and is_alone and own and sum(p.numel() for p in own) >= unit:
                found.append(child)
            else:
                visit(child)

    visit(model)
    return found


def local(weight: torch.Tensor) -> torch.Tensor:
    """This rank's slice of a weight, in the memory of the weight; the weight itself where it is whole."""
    return weight.detach().to_local() if is_slice(weight) else weight  # type: ignore[operator]


def is_slice(value: Any) -> bool:
    """Whether a tensor is one of FSDP's."""
    return hasattr(value, "placements")


def one_row(batch: Batch) -> Batch:
    """The first row of a batch, for a rank that has none: its pass counts nothing, but the others wait for it."""
    return {name: one_row(value) if hasattr(value, "items") else value[:1] for name, value in batch.items()}


def first_fault_in_slices(model: nn.Module, objective: Objective, batch: Batch) -> str:
    """As `signals.first_fault`, where a pass needs every rank: no rank may end it before the others.

    Looks at this rank's slices of the weights, then at each module's output on this rank's rows.
    """
    broken = [name for name, p in model.named_parameters() if not torch.isfinite(local(p)).all()]
    found: list[str] = []

    def hook(name: str) -> Callable[..., None]:
        def look(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor) and not torch.isfinite(output).all() and not found:
                kind = type(module).__name__.removeprefix("FSDP")
                found.append(f"the output of {name or 'the model'} ({kind}) is not finite")

        return look

    handles = [
        module.register_forward_hook(hook(name))
        for name, module in model.named_modules()
        if not list(module.children())
    ]
    try:
        with torch.no_grad(), torch.random.fork_rng():
            objective.sums(model, batch)  # type: ignore[arg-type]
    finally:
        for handle in handles:
            handle.remove()
    if broken:
        return f"the weights {broken[0]} are no longer finite"
    return found[0] if found else ""


def num_rows(batch: Batch) -> int:
    """Rows of a batch, nested mappings too."""
    first = next(iter(batch.values()))
    return num_rows(first) if hasattr(first, "items") else len(first)
