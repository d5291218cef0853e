"""LBFGS: a search along curvature-corrected directions over the full data, for smooth losses of few parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from danlu.core.errors import RecipeError
from danlu.core.ideas import Batch, Context, Objective, State, Step
from danlu.core.parts import Settings, part
from danlu.updates.optimizer_state import load_optimizer_state, optimizer_state
from danlu.updates.parameter_groups import weights
from danlu.updates.randomness import are_same, fingerprint, refuse_randomness, refuse_ranks


@dataclass(frozen=True)
class LBFGSSettings(Settings):
    """How far a call searches, and when the search has ended."""

    iterations: int = 20
    """Directions that one call searches; validation, checkpoints and stopping stand between two calls."""
    history: int = 10
    """Past steps from which the curvature is estimated."""
    gradient_tolerance: float = 1e-8
    """The search has ended where no entry of the gradient is larger."""
    l2: float = 0.0
    """Ridge penalty l2 / 2 * sum w^2 on the weight matrices."""

    def __post_init__(self) -> None:
        if self.iterations < 1 or self.history < 1:
            raise RecipeError(
                f"lbfgs.iterations and history must be at least 1, got {self.iterations} and {self.history}."
            )
        if not 0 <= self.gradient_tolerance < float("inf"):
            raise RecipeError(f"lbfgs.gradient_tolerance must be from 0 on, got {self.gradient_tolerance}.")
        if not 0 <= self.l2 < float("inf"):
            raise RecipeError(f"lbfgs.l2 must be a number from 0 on, got {self.l2}.")


@part(
    "update",
    "lbfgs",
    summary="Quasi-Newton search over all rows at once: few parameters, smooth losses, many exact digits.",
    source="Liu, Nocedal 1989, Mathematical Programming 45; line search of Wolfe 1969",
    settings=LBFGSSettings,
    needs_all_rows=True,
)
class LBFGSUpdate:
    """Each call takes all the rows, as one batch or several, and searches on from where the last one ended.

    The loss is exactly that of one big batch. RecipeError where the loss is random (dropout, mixup, noise) or the
    rows of a call are not those of the call before.
    """

    def __init__(self, settings: LBFGSSettings | None = None, *, chunk: int = 1) -> None:
        self.settings, self.chunk = settings or LBFGSSettings(), chunk
        self._optimizer: torch.optim.LBFGS | None = None
        self._rows: dict[str, list[float]] = {}
        self._kept: State = {}

    def __call__(
        self, model: nn.Module, objective: Objective, batches: Sequence[Batch], context: Context
    ) -> Step:
        """Up to `iterations` directions; `losses` are those before them, or at the end once it has converged."""
        optimizer = self._optimizer or self._begin(model, objective, batches, context)
        self._check_rows(batches)
        counts: dict[str, float] = {}
        for batch in batches:
            for term, count in objective.counts(batch).items():
                counts[term] = counts.get(term, 0.0) + count
        looks: list[dict[str, torch.Tensor]] = []

        def look() -> torch.Tensor:
            optimizer.zero_grad(set_to_none=True)
            looks.append(self._losses(model, objective, batches, counts))
            del looks[1:-1]
            return torch.stack(list(looks[-1].values())).sum()

        parameters: list[torch.Tensor] = optimizer.param_groups[0]["params"]
        before = [parameter.detach().clone() for parameter in parameters]
        known = optimizer.state[parameters[0]]
        iterations, evaluations = known.get("n_iter", 0), known.get("func_evals", 0)
        optimizer.step(look)
        iterations, evaluations = known["n_iter"] - iterations, known["func_evals"] - evaluations
        if not all(bool(torch.isfinite(parameter).all()) for parameter in parameters) or not all(
            bool(torch.isfinite(loss)) for loss in looks[0].values()
        ):
            with torch.no_grad():
                for parameter, value in zip(parameters, before, strict=True):
                    parameter.copy_(value)
            return Step(
                dict(looks[0]), fault="the loss or a weight is no longer finite in the search of LBFGS"
            )
        # It ends early only where the gradient is small enough or no step lowers the loss any more.
        done = iterations < self.settings.iterations and evaluations < optimizer.param_groups[0]["max_eval"]
        if done and iterations:
            look()
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        signals = {
            "gradient_norm": nn.utils.get_total_norm(gradients),
            "iterations": iterations,
            "evaluations": evaluations,
        }
        return Step(dict(looks[-1] if done else looks[0]), signals, done=done)

    @contextmanager
    def evaluating(self, model: nn.Module) -> Iterator[None]:
        """Evaluation mode."""
        was_training = model.training
        model.eval()
        try:
            yield
        finally:
            model.train(was_training)

    def state(self) -> State:
        """The past steps, and what tells the rows from others."""
        if self._optimizer is None:
            return self._kept
        return {"optimizer": optimizer_state(self._optimizer), "rows": self._rows}

    def load(self, state: State) -> None:
        """Take over what `state` gave; it takes effect with the next call, which brings the parameters."""
        self._kept, self._rows, self._optimizer = state, state.get("rows", {}), None

    def _begin(
        self, model: nn.Module, objective: Objective, batches: Sequence[Batch], context: Context
    ) -> torch.optim.LBFGS:
        refuse_ranks(context, needs="LBFGS")
        refuse_randomness(model, objective, batches[0], needs="LBFGS")
        if len(batches) > 1 and not objective.splittable:
            raise RecipeError(
                f"LBFGS needs the loss of all rows together, and that of {type(objective).__name__} cannot be summed "
                f"over {len(batches)} batches. Set training.batch_size to 'all'."
            )
        self._optimizer = torch.optim.LBFGS(
            [parameter for parameter in model.parameters() if parameter.requires_grad],
            max_iter=self.settings.iterations,
            history_size=self.settings.history,
            tolerance_grad=self.settings.gradient_tolerance,
            # torch's 1e-9 would end the search of a flat loss far from its minimum: go on while anything changes.
            tolerance_change=1e-300,
            line_search_fn="strong_wolfe",
        )
        if self._kept:
            load_optimizer_state(self._optimizer, self._kept["optimizer"])
        return self._optimizer

    def _check_rows(self, batches: Sequence[Batch]) -> None:
        rows = fingerprint(batches)
        self._rows = self._rows or rows
        if not are_same(rows, self._rows):
            raise RecipeError(
                "LBFGS needs the same rows at every step, and these are others than before. "
                "Set training.batch_size to 'all' without mixup, noise or augmentation, or use 'adamw'."
            )

    def _losses(
        self, model: nn.Module, objective: Objective, batches: Sequence[Batch], counts: dict[str, float]
    ) -> dict[str, Any]:
        """Each term of the loss over all batches, with its gradients added to the parameters."""
        losses: dict[str, Any] = {}
        for batch in batches:
            terms = {
                term: total / (counts[term] or 1.0) for term, total in objective.sums(model, batch).items()
            }
            torch.stack(list(terms.values())).sum().backward()
            losses = {term: losses.get(term, 0.0) + loss.detach() for term, loss in terms.items()}
        if self.settings.l2:
            squares = torch.stack([(weight * weight).sum() for weight in weights(model)]).sum()
            penalty = self.settings.l2 / 2 * squares
            penalty.backward()
            losses["l2"] = penalty.detach()
        return losses
