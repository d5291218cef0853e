"""Learning to rank: losses of the order of rows within each query, by pairs and by whole lists.

A batch has a `query` id beside the grade `y` of each row, where higher is better. The term is a mean over queries, so
that a query of a hundred rows counts as much as one of ten. A row of twice the weight of the others stands for two rows
of its query, and the mean weight of its rows is the weight of a query. `predict` gives scores: they order the rows of
one query, and have no unit and no meaning between queries.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch.nn import functional

from danlu.core.errors import DataError, RecipeError
from danlu.core.ideas import Batch, Model, State
from danlu.core.parts import Settings, part
from danlu.core.scores import scores
from danlu.core.tasks import Task
from danlu.objectives.queries import Queries, by_query
from danlu.objectives.rows import aligned, one_column, part_of

MAX_GRADE = 31  # a gain of 2^31: LightGBM's table of gains ends there too

Self = TypeVar("Self", bound="QueryObjective")


class QueryObjective(ABC):
    """A loss of each query's order. Rows of one query must not be torn apart, so batches are never split."""

    splittable = False

    def __init__(self, task: Task, settings: Any = None) -> None:
        part = part_of(self)
        self.task, self.name = task, part.name
        self.settings: Any = part.settings() if settings is None else settings

    @classmethod
    def fitted(
        cls: type[Self],
        task: Task,
        y: np.ndarray,
        weight: np.ndarray | None = None,
        settings: Settings | None = None,
        *,
        standardise: bool = True,
    ) -> Self:
        """Nothing is taken from the training targets."""
        return cls(task, settings)

    @abstractmethod
    def query_weights(self, queries: Queries, y: torch.Tensor) -> torch.Tensor:
        """(q,) weight of each query; 0 where it has no order to learn. `y` is (q, m)."""

    @abstractmethod
    def query_losses(self, queries: Queries, y: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """(q,) loss of each query, from (q, m) grades and scores; 0 where it has no order to learn."""

    def counts(self, batch: Batch) -> dict[str, float]:
        """Total weight of the queries that have an order to learn."""
        queries = by_query(batch)
        self.check_grades(batch["y"])
        return {self.name: float(self.query_weights(queries, queries.spread(batch["y"])).sum())}

    def sums(self, model: Model, batch: Batch) -> dict[str, Any]:
        """Sum over queries of weight * loss."""
        queries, found = by_query(batch), aligned(model(batch["x"]), batch["y"])
        losses = self.query_losses(queries, queries.spread(batch["y"]), queries.spread(found))
        return {self.name: (losses * queries.weight_of_query).sum()}

    def predict(self, model: Model, batch: Batch) -> dict[str, np.ndarray]:
        """`values`: (n,) scores; the order within a query is what counts."""
        return {"values": one_column(scores(model, batch["x"]))}

    def state(self) -> State:
        """Nothing beside the settings."""
        return {}

    def check_grades(self, y: torch.Tensor) -> None:  # noqa: B027 - a rule that only gains need
        """Refuse grades that have no gain; any number will do where only their order counts."""


@dataclass(frozen=True)
class PairwiseSettings(Settings):
    """What a pair of rows in the wrong order costs."""

    loss: Literal["logistic", "margin"] = "logistic"
    """`logistic` is RankNet's log(1 + exp(-difference of scores)); `margin` is 0 as soon as the better row scores
    higher by the margin, and grows in proportion before."""
    margin: float = 1.0
    """Difference of scores from which the `margin` loss is 0, above 0."""

    def __post_init__(self) -> None:
        if not 0 < self.margin < float("inf"):
            raise RecipeError(f"pairwise.margin must be above 0, got {self.margin}. The usual value is 1.")
        if self.loss != "margin" and self.margin != 1.0:
            raise RecipeError(
                f"pairwise.margin is for the margin loss, and pairwise.loss is {self.loss!r}. Set loss: margin."
            )


@part(
    "objective",
    "pairwise",
    summary="Ranking: of two rows of a query, the better one is to score higher (RankNet, or with a margin).",
    source="Burges et al. 2005, Learning to rank using gradient descent, ICML; Joachims 2002, KDD (margin)",
    settings=PairwiseSettings,
    tasks=("regression",),
    link="order",
    needs="query",
)
class Pairwise(QueryObjective):
    """Mean over the pairs of a query whose grades differ, then over queries; needs memory for rows^2 of each query."""

    def query_weights(self, queries: Queries, y: torch.Tensor) -> torch.Tensor:
        """Queries with two grades or more count."""
        return queries.weight_of_query * (_pair_weights(queries, y).sum((1, 2)) > 0)

    def query_losses(self, queries: Queries, y: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Mean loss of the pairs of each query."""
        pairs = _pair_weights(queries, y)
        lead = scores[:, :, None] - scores[:, None, :]  # (q, m, m) by how much row i scores above row j
        losses = (
            functional.softplus(-lead)
            if self.settings.loss == "logistic"
            else (self.settings.margin - lead).clip(min=0)
        )
        return (pairs * losses).sum((1, 2)) / _or_one(pairs.sum((1, 2)))


@dataclass(frozen=True)
class LambdaRankSettings(Settings):
    """What a place in the list is worth."""

    gain: Literal["exponential", "linear"] = "exponential"
    """Worth of a grade: 2^grade - 1, or the grade itself."""
    top: int | None = None
    """Places from the first that count, such as 10; empty counts all."""

    def __post_init__(self) -> None:
        if self.top is not None and self.top < 1:
            raise RecipeError(f"lambdarank.top must be at least 1, got {self.top}, like 10.")


@part(
    "objective",
    "lambdarank",
    summary="Ranking: pairs count by how much NDCG they would win or lose, so that the first places matter most.",
    source="Burges 2010, From RankNet to LambdaRank to LambdaMART, MSR-TR-2010-82; Wang et al. 2018, CIKM",
    settings=LambdaRankSettings,
    tasks=("regression",),
    link="order",
    needs="query",
)
class LambdaRank(QueryObjective):
    """Sum over pairs of |change of NDCG if the two swapped places| * log(1 + exp(-difference of scores)).

    The places are those of the present scores and count as constants in the gradient, which is LambdaRank's lambda.
    """

    def query_weights(self, queries: Queries, y: torch.Tensor) -> torch.Tensor:
        """Queries with two grades or more count."""
        return queries.weight_of_query * (_pair_weights(queries, y).sum((1, 2)) > 0)

    def query_losses(self, queries: Queries, y: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Sum of the pairs of each query."""
        pairs = _pair_weights(queries, y) * self._ndcg_at_stake(queries, y, scores.detach())
        lead = scores[:, :, None] - scores[:, None, :]
        return (pairs * functional.softplus(-lead)).sum((1, 2))

    def check_grades(self, y: torch.Tensor) -> None:
        """Gains need grades from 0 on, and 2^grade has to stay a number."""
        most = MAX_GRADE if self.settings.gain == "exponential" else float("inf")
        if len(y) and not (float(y.min()) >= 0 and float(y.max()) <= most):
            raise DataError(
                f"Grades of a ranking by NDCG must lie from 0 to {most:g}, got {float(y.min()):g} to "
                f"{float(y.max()):g}. Use lambdarank with gain: linear, or pairwise, which takes any numbers."
            )

    def _ndcg_at_stake(self, queries: Queries, y: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """(q, m, m) |NDCG with rows i and j in each other's place - NDCG|."""
        grade = torch.where(queries.is_there, y.double(), 0.0)
        gain = torch.exp2(grade) - 1 if self.settings.gain == "exponential" else grade
        discount = self._discount(torch.where(queries.is_there, scores.double(), -torch.inf))
        best = (gain * self._discount(torch.where(queries.is_there, gain, -torch.inf))).sum(1)
        change = (gain[:, :, None] - gain[:, None, :]) * (discount[:, :, None] - discount[:, None, :])
        return change.abs() / _or_one(best)[:, None, None]

    def _discount(self, scores: torch.Tensor) -> torch.Tensor:
        """(q, m) 1 / log2(1 + place of each row), 0 beyond the `top` places."""
        place = scores.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        discount = 1 / torch.log2(place.double() + 2)
        return discount if self.settings.top is None else discount * (place < self.settings.top)


@part(
    "objective",
    "listwise",
    summary="Ranking: the scores of a query, as shares of a whole, are to look like its grades (ListNet).",
    source="Cao, Qin, Liu, Tsai, Li 2007, Learning to rank: from pairwise to listwise approach, ICML",
    tasks=("regression",),
    link="order",
    needs="query",
)
class Listwise(QueryObjective):
    """ListNet's top-one loss: cross-entropy of softmax(grades) and softmax(scores) over the rows of a query."""

    def query_weights(self, queries: Queries, y: torch.Tensor) -> torch.Tensor:
        """Queries with two rows or more count."""
        return queries.weight_of_query * (queries.is_there.sum(1) > 1)

    def query_losses(self, queries: Queries, y: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of each query. A weight w adds log w within the softmax: w rows instead of one."""
        weight = torch.where(queries.is_there, queries.weight, 1.0).log()
        wanted = torch.where(queries.is_there, y.double() + weight, -torch.inf)
        is_list = (queries.is_there.sum(1) > 1)[:, None]
        # Where a row is absent, 0 stands in for both: 0 * -inf is no number, and its gradient neither.
        share = torch.where(is_list, wanted, 0.0).softmax(1)
        found = scores.double() + weight
        total = torch.where(queries.is_there | ~is_list, found, -torch.inf).logsumexp(1, keepdim=True)
        return (torch.where(queries.is_there & is_list, share * (total - scores.double()), 0.0)).sum(1)


def _pair_weights(queries: Queries, y: torch.Tensor) -> torch.Tensor:
    """(q, m, m) product of the weights of rows i and j where i has the higher grade, else 0."""
    is_better = y[:, :, None] > y[:, None, :]
    return queries.weight[:, :, None] * queries.weight[:, None, :] * is_better


def _or_one(total: torch.Tensor) -> torch.Tensor:
    """Totals to divide by; 0 becomes 1."""
    return torch.where(total > 0, total, 1.0)
