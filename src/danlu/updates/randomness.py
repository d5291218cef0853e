"""Whether a model's loss is the same at every look: what LBFGS and exact solutions stand on."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from danlu.core.errors import RecipeError
from danlu.core.ideas import Batch, Context, Objective


def refuse_randomness(model: nn.Module, objective: Objective, batch: Batch, *, needs: str) -> None:
    """RecipeError where two looks at the same batch, with other random numbers, give other losses.

    `needs` names who cannot live with that. Dropout and batch norm are named; what else draws random numbers, such
    as mixup or noise within the objective, shows in the losses.
    """
    for name, module in model.named_modules():
        if not module.training:
            continue
        kind = type(module).__name__
        if "dropout" in kind.lower() and getattr(module, "p", 0):
            raise RecipeError(
                f"{needs} needs the same loss at every look, but {name or kind} ({kind}) silences other neurons "
                "each time. Set dropout to 0, or use 'adamw'."
            )
        if isinstance(module, nn.modules.batchnorm._NormBase) and module.track_running_stats:
            raise RecipeError(
                f"{needs} looks at many weights before it takes a step, and {name or kind} ({kind}) would keep "
                "statistics of them all. Use layer norm, or 'adamw'."
            )
    losses: list[float] = []
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        for seed in (1, 2):
            torch.manual_seed(seed)
            losses.append(float(sum(objective.sums(model, batch).values())))
    # Sums on a GPU may differ in their last bits; random numbers show long before the fifth digit.
    if abs(losses[0] - losses[1]) > 1e-5 * abs(losses[0]):
        raise RecipeError(
            f"{needs} needs the same loss at every look, but two looks at the same rows gave {losses[0]:.6g} and "
            f"{losses[1]:.6g}. Leave out mixup, noise and what else is random, or use 'adamw'."
        )


def refuse_ranks(context: Context, *, needs: str) -> None:
    """RecipeError where several processes train one model."""
    if context.ranks.number > 1:
        raise RecipeError(
            f"{needs} runs in one process, and there are {context.ranks.number}. "
            "Set engine.processes to 1, or use 'adamw'."
        )


def fingerprint(batches: Any) -> dict[str, list[float]]:
    """Sum and sum of sizes of each tensor over all batches, whatever the order of the rows."""
    found: dict[str, list[float]] = {}
    for batch in batches:
        for name, value in batch.items():
            if isinstance(value, torch.Tensor):
                total = found.setdefault(name, [0.0, 0.0])
                total[0] += float(value.sum(dtype=torch.float64))
                total[1] += float(
                    value.abs().sum(dtype=torch.float64) if value.dtype != torch.bool else value.sum()
                )
    return found


def are_same(one: dict[str, list[float]], other: dict[str, list[float]]) -> bool:
    """Whether two fingerprints are of the same rows, up to the rounding of sums in another order."""
    differ = (
        abs(a - b) > 1e-9 * max(one[name][1], other[name][1])  # False where rows hold NaN: another fault
        for name in one.keys() & other.keys()
        for a, b in zip(one[name], other[name], strict=True)
    )
    return one.keys() == other.keys() and not any(differ)
