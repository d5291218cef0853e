"""Rows of a batch gathered by query: (n,) rows become (q, m) padded tables of q queries with at most m rows each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from danlu.core.errors import DataError
from danlu.core.ideas import Batch


@dataclass(frozen=True)
class Queries:
    """Where the rows of each query lie, and how much they count."""

    place: torch.Tensor
    """(q, m) row of the batch; row 0 where a query has fewer than m."""
    weight: torch.Tensor
    """(q, m) weight of that row within its query in float64: of mean 1, 0 where there is no row."""
    weight_of_query: torch.Tensor
    """(q,) mean weight of the rows of each query that weigh anything."""

    def spread(self, rows: torch.Tensor) -> torch.Tensor:
        """(n,) numbers -> (q, m)."""
        return rows[self.place]

    @property
    def is_there(self) -> torch.Tensor:
        """(q, m) rows that exist and weigh something."""
        return self.weight > 0


def by_query(batch: Batch) -> Queries:
    """The rows of `batch` by their `query`, an id per row; rows of a query need not stand together in the batch."""
    y, query = batch["y"], batch.get("query")
    if query is None or y.ndim != 1 or query.shape != y.shape:
        came = "none" if query is None else f"the shape {tuple(query.shape)}"
        raise DataError(
            f"A ranking needs `query`, the number of the query that each row belongs to, beside {tuple(y.shape)} "
            f"grades `y`, got {came}. All rows of a query belong into one batch."
        )
    _, number, sizes = torch.unique(query, return_inverse=True, return_counts=True)
    order = torch.argsort(number, stable=True)
    rank = torch.arange(len(order), device=order.device) - (sizes.cumsum(0) - sizes)[number[order]]
    num_queries, longest = len(sizes), int(sizes.max()) if len(sizes) else 0
    place = torch.zeros(num_queries, longest, dtype=torch.int64, device=order.device)
    weight = torch.zeros(num_queries, longest, dtype=torch.float64, device=order.device)
    given: Any = batch.get("weight")
    place[number[order], rank] = order
    weight[number[order], rank] = 1.0 if given is None else given[order].double()
    mean = weight.sum(1) / (weight > 0).sum(1).clip(min=1)
    return Queries(place, weight / torch.where(mean > 0, mean, 1.0)[:, None], mean)
