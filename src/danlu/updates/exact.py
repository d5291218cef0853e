"""The exact solution of a module that is linear in its parameters, by one least-squares solve in float64."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from danlu.core.errors import DataError, RecipeError
from danlu.core.ideas import Batch, Context, Objective, State, Step
from danlu.core.parts import Settings, part
from danlu.models.least_squares import describe, least_squares, ridge
from danlu.models.rows import Rows
from danlu.updates.randomness import refuse_randomness, refuse_ranks


@dataclass(frozen=True)
class LeastSquaresSettings(Settings):
    """What is added to the squared error."""

    l2: float = 0.0
    """Ridge penalty l2 / 2 * sum w^2 on the weights, not on the bias."""

    def __post_init__(self) -> None:
        if not 0 <= self.l2 < float("inf"):
            raise RecipeError(f"exact.l2 must be a number from 0 on, got {self.l2}.")


@part(
    "update",
    "exact",
    summary="Solves a linear model with a squared error in one step, by QR and SVD in float64.",
    source="Golub 1965, Numerische Mathematik 7",
    settings=LeastSquaresSettings,
    needs_all_rows=True,
)
class LeastSquares:
    """One call, all the rows (one batch or several), the solution; whatever the model was before.

    The model is linear where one `nn.Linear` holds all that trains and its outputs are the model's. Weights and
    targets of the rows are read off the objective, as slope and curvature of its loss by the scores: row weights and
    standardised targets need no word here. RecipeError where the model is not linear or the loss not a square.
    """

    def __init__(self, settings: LeastSquaresSettings | None = None, *, chunk: int = 1) -> None:
        self.settings, self.chunk = settings or LeastSquaresSettings(), chunk

    def __call__(
        self, model: nn.Module, objective: Objective, batches: Sequence[Batch], context: Context
    ) -> Step:
        """Put the solution into the model; `losses` are those after it."""
        refuse_ranks(context, needs="LeastSquares")
        refuse_randomness(model, objective, batches[0], needs="LeastSquares")
        linear = only_linear(model, objective, batches[0])
        counts: dict[str, float] = {}
        for batch in batches:
            for term, count in objective.counts(batch).items():
                counts[term] = counts.get(term, 0.0) + count
        check_square(model, objective, batches[0], counts)
        features, targets, curvatures = zip(
            *(rows_of(model, linear, objective, batch, counts) for batch in batches), strict=True
        )
        x, y, weight = np.concatenate(features), np.concatenate(targets), np.concatenate(curvatures)
        for score in range(y.shape[1]):
            rows = Rows(x, y[:, score], weight[:, score])
            coefficients, intercept = self._solve(
                rows.take(rows.weight > 0), linear.bias is not None, context
            )
            with torch.no_grad():
                linear.weight[score] = torch.as_tensor(coefficients)
                if linear.bias is not None:
                    linear.bias[score] = intercept
        losses: dict[str, float] = {}
        with torch.no_grad():
            for batch in batches:
                for term, total in objective.sums(model, batch).items():
                    losses[term] = losses.get(term, 0.0) + float(total) / (counts[term] or 1.0)
        return Step(losses, done=True)

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
        """Nothing: the solution does not depend on the past."""
        return {}

    def load(self, state: State) -> None:
        """Nothing to take over."""

    def _solve(self, rows: Rows, has_intercept: bool, context: Context) -> tuple[np.ndarray, float]:
        """Coefficients (d,) and the intercept, the least of sum weight * (y - score)^2 + l2 * |coefficients|^2."""
        if len(rows.y) == 0:
            raise DataError("There is no training row with a weight above zero. Give the model at least one.")
        if has_intercept:
            l2 = self.settings.l2
            solution = ridge(describe(rows), l2, context) if l2 else least_squares(rows, context)
            return solution.affine.coefficients, float(solution.affine.intercept[0])
        root = np.sqrt(rows.weight)
        x, y = rows.x * root[:, None], rows.y * root
        if self.settings.l2:
            num_features = x.shape[1]
            x = np.vstack([x, np.sqrt(self.settings.l2) * np.eye(num_features)])
            y = np.concatenate([y, np.zeros(num_features)])
        return np.linalg.lstsq(x, y, rcond=None)[0], 0.0


def only_linear(model: nn.Module, objective: Objective, batch: Batch) -> nn.Linear:
    """The layer that holds all that trains and whose outputs are the model's; RecipeError where there is none."""
    refusal = RecipeError(
        f"LeastSquares can only solve a linear model, got {type(model).__name__}. "
        "Use update='adamw' or 'lbfgs' for this model."
    )
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    trained = {parameter for parameter in model.parameters() if parameter.requires_grad}
    linear = next((layer for layer in layers if set(layer.parameters(recurse=False)) == trained), None)
    if linear is None:
        raise refusal
    before = [parameter.detach().clone() for parameter in linear.parameters()]
    generator = torch.Generator().manual_seed(0)
    trial = [torch.randn(parameter.shape, generator=generator).to(parameter) for parameter in before]
    try:
        for sign in (1, -1):  # of both signs, so that a ReLU behind the layer shows
            with torch.no_grad():
                for parameter, value in zip(linear.parameters(), trial, strict=True):
                    parameter.copy_(sign * value)
            _, inner, outer = watched(model, linear, objective, batch)
            if inner.numel() != outer.numel() or not torch.equal(inner.flatten(), outer.flatten()):
                raise refusal
    finally:
        with torch.no_grad():
            for parameter, value in zip(linear.parameters(), before, strict=True):
                parameter.copy_(value)
    return linear


def watched(
    model: nn.Module, linear: nn.Linear, objective: Objective, batch: Batch
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Inputs and outputs of the layer and outputs of the model, as the objective calls it."""
    seen: dict[str, torch.Tensor] = {}

    def note_layer(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        seen["x"], seen["inner"] = inputs[0], output

    def note_model(module: nn.Module, inputs: object, output: torch.Tensor) -> None:
        seen["outer"] = output

    hooks = [linear.register_forward_hook(note_layer), model.register_forward_hook(note_model)]
    try:
        with torch.no_grad():
            objective.sums(model, batch)
    finally:
        for hook in hooks:
            hook.remove()
    return seen["x"], seen["inner"], seen["outer"]


def rows_of(
    model: nn.Module, linear: nn.Linear, objective: Objective, batch: Batch, counts: dict[str, float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (n, d), targets (n, k) and weights (n, k) of a batch, in float64."""
    x, inner, outer = watched(model, linear, objective, batch)
    slope, curvature = derivatives(objective, batch, counts, torch.zeros_like(outer, dtype=torch.float64))
    weight = curvature.reshape(-1, inner.shape[-1])
    target = -slope.reshape(-1, inner.shape[-1]) / torch.where(weight > 0, weight, 1.0)
    features = x.reshape(-1, x.shape[-1]).to(torch.float64)
    return features.cpu().numpy(), target.cpu().numpy(), weight.cpu().numpy()


def check_square(model: nn.Module, objective: Objective, batch: Batch, counts: dict[str, float]) -> None:
    """RecipeError unless the loss is a sum of weight * (score - target)^2: a slope linear in each score alone."""
    with torch.no_grad():
        shape = model(batch["x"]).shape
    generator = torch.Generator().manual_seed(0)
    device = batch["y"].device
    zero = torch.zeros(shape, dtype=torch.float64, device=device)
    far = 1e6 * torch.randn(shape, generator=generator, dtype=torch.float64).to(device)
    slope, curvature = derivatives(objective, batch, counts, zero)
    there, _ = derivatives(objective, batch, counts, far)
    expected = slope + curvature * far
    # Rows that weigh nothing have neither slope nor curvature.
    is_square = bool((curvature >= 0).all()) and bool(curvature.any() or not slope.any())
    if not is_square or not torch.allclose(
        there, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max())
    ):
        raise RecipeError(
            f"LeastSquares can only solve squared errors, got {type(objective).__name__}. "
            "Use update='adamw' or 'lbfgs' for this objective."
        )


def derivatives(
    objective: Objective, batch: Batch, counts: dict[str, float], at: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Slope and curvature of the loss by each score, at the scores `at`."""
    scores = at.clone().requires_grad_()
    terms = objective.sums(lambda *_: scores, batch)
    loss = torch.stack([total / (counts[term] or 1.0) for term, total in terms.items()]).sum()
    (slope,) = torch.autograd.grad(loss, scores, create_graph=True)
    if not slope.requires_grad:  # a straight line, as of an absolute error
        return slope.detach(), torch.zeros_like(slope)
    (curvature,) = torch.autograd.grad(slope.sum(), scores)
    return slope.detach(), curvature.detach()
