"""What is to be predicted: a number, one of two classes, or one of several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

Kind = Literal["regression", "binary", "multiclass"]


@dataclass(frozen=True)
class Task:
    """The kind of target and, for classes, their labels in the order of the class codes."""

    kind: Kind
    labels: tuple[str | int | float | bool, ...] = ()
    """Class labels as they stand in the data; class code i means `labels[i]`."""
    positive: str | int | float | bool | None = None
    """Of two classes, the one that precision, recall and the threshold speak of (default: the second label)."""

    def __post_init__(self) -> None:
        if self.kind == "binary" and self.positive is None:
            object.__setattr__(self, "positive", self.labels[1])

    @property
    def is_classification(self) -> bool:
        """Whether the target is a class."""
        return self.kind != "regression"

    @property
    def num_scores(self) -> int:
        """Number of link-space scores that a model gives a row: 1, or one a class for three classes and more."""
        return len(self.labels) if self.kind == "multiclass" else 1

    @property
    def positive_code(self) -> int:
        """Class code of the positive class of a binary task."""
        return self.labels.index(cast(Any, self.positive))

    def as_dict(self) -> dict[str, Any]:
        """The task as plain JSON values."""
        return {"kind": self.kind, "labels": list(self.labels), "positive": self.positive}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Task:
        """The task that `as_dict` wrote."""
        return cls(value["kind"], tuple(value["labels"]), value["positive"])
