"""Expectation-maximisation: each round raises the likelihood of a model with hidden shares, such as a mixture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from danlu.core.errors import RecipeError
from danlu.core.ideas import Batch, Context, State, Step
from danlu.core.parts import Settings, part


class Expected(Protocol):
    """What an expectation step gives; sums over batches are those of one big batch."""

    @property
    def statistics(self) -> dict[str, Any]: ...
    @property
    def log_likelihood(self) -> float: ...
    @property
    def weight(self) -> float: ...


class LatentModel(Protocol):
    """A model that EM can fit."""

    def expect(self, batch: Batch) -> Expected:
        """Statistics that add up over batches, and the log-likelihood, under the present parameters."""
        ...

    def maximise(self, statistics: dict[str, Any]) -> None:
        """Take the parameters that are likeliest under the statistics."""
        ...


@dataclass(frozen=True)
class EMSettings(Settings):
    """When the rounds end."""

    tolerance: float = 1e-3
    """The fit has ended where a round raises the mean log-likelihood of a row by less."""

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance < float("inf"):
            raise RecipeError(f"expectation_maximisation.tolerance must be from 0 on, got {self.tolerance}.")


@part(
    "update",
    "expectation_maximisation",
    summary="Guesses the hidden shares, then fits to them, in turn: mixtures and other models with latent parts.",
    source="Dempster, Laird, Rubin 1977, Journal of the Royal Statistical Society B 39",
    settings=EMSettings,
    needs_all_rows=True,
)
class ExpectationMaximisation:
    """One round a call over all the rows, as one batch or several; the likelihood never falls.

    The model brings its own loss, minus the mean log-likelihood before the round: the objective is not asked.
    """

    def __init__(self, settings: EMSettings | None = None, *, chunk: int = 1) -> None:
        self.settings, self.chunk = settings or EMSettings(), chunk
        self._before: float | None = None

    def __call__(
        self, model: LatentModel, objective: Any, batches: Sequence[Batch], context: Context
    ) -> Step:
        """Expectation over all batches, then maximisation; the losses are those before the round."""
        if context.ranks.number > 1:
            raise RecipeError(
                f"Expectation-maximisation runs in one process, and there are {context.ranks.number}. "
                "Set engine.processes to 1."
            )
        statistics: dict[str, Any] = {}
        log_likelihood = weight = 0.0
        for batch in batches:
            found = model.expect(batch)
            statistics = {name: statistics.get(name, 0.0) + value for name, value in found.statistics.items()}
            log_likelihood, weight = log_likelihood + found.log_likelihood, weight + found.weight
        mean = log_likelihood / weight if weight else 0.0
        losses = {"negative_log_likelihood": -mean}
        if not np.isfinite(mean):
            return Step(losses, fault="the log-likelihood of the rows")
        model.maximise(statistics)
        done = self._before is not None and abs(mean - self._before) < self.settings.tolerance
        self._before = mean
        return Step(losses, done=done)

    @contextmanager
    def evaluating(self, model: Any) -> Iterator[None]:
        """The model can be scored at any time."""
        yield

    def state(self) -> State:
        """The mean log-likelihood of the round before."""
        return {"before": self._before}

    def load(self, state: State) -> None:
        """Take over what `state` gave."""
        self._before = state["before"]
