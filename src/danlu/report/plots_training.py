"""Charts of a training: the learning rate step by step, and the loss along growing rates of a range test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from danlu.report.charts import Series, line_chart
from danlu.report.markup import Html
from danlu.report.text import finite, is_number, number, say


def rate_chart(steps: Sequence[Any], rates: Sequence[Any]) -> Html:
    """The learning rate of each step that is known."""
    known = finite(rates)
    return line_chart(
        say("Learning rate by step"),
        say("Between {low} and {high}.", low=number(min(known)), high=number(max(known))),
        [Series(say("rate"), steps, rates)],
        x_label=say("step"),
        y_label=say("learning rate"),
        is_whole=True,
    )


def range_chart(rates: Sequence[Any], losses: Sequence[Any], suggestion: Any) -> Html:
    """The loss over rates on a logarithmic axis; a dashed line marks the rate that was taken."""
    shown = _before_it_ran_away(losses)
    told = say("The dashed line marks {rate}.", rate=number(suggestion)) if is_number(suggestion) else ""
    return line_chart(
        say("Loss along growing learning rates"),
        told,
        [Series(say("loss"), rates[:shown], losses[:shown])],
        x_label=say("learning rate (logarithmic)"),
        y_label=say("loss"),
        best=suggestion,
        x_log=True,
    )


def _before_it_ran_away(losses: Sequence[Any]) -> int:
    """How many points to draw: to the first, after the least, that is well above the start; more would hide the dip."""
    known = finite(losses)
    if len(known) < len(losses):
        return len(losses)
    lowest = known.index(min(known))
    high = known[0] + 0.5 * (known[0] - known[lowest])
    return next((at + 1 for at in range(lowest, len(known)) if known[at] > high), len(known))
