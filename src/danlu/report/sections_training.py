"""How gradient steps trained a model: pace, learning rate, range test, execution, memory, signals by layer."""

from __future__ import annotations

from typing import Any

from danlu.core.memory_plan import readable as size
from danlu.report import metric_names as metrics
from danlu.report.components import (
    Cell,
    Section,
    badge,
    facts,
    figure,
    folded,
    grid,
    numeric,
    panel,
    section,
    sentences,
    table,
)
from danlu.report.layer_signals import UNUSUAL, USUAL_STEP, concerns, is_bias, layers_of, remarks_on
from danlu.report.markup import Child, Html, tag
from danlu.report.plots_training import range_chart, rate_chart
from danlu.report.sections_models import candidate_name, ranked
from danlu.report.text import count, finite, is_number, number, percent, pick, say
from danlu.report.text import seconds as time

LAYERS_SHOWN = 16


def training(record: dict[str, Any]) -> Section | None:
    """How each model that gradient steps trained was trained; the best one in full, the others folded away."""
    trained = [one for one in ranked(record) if isinstance(one.get("training"), dict)]
    if not trained:
        return None
    first, *others = trained
    return section(
        "training",
        say("How it was trained"),
        _told(first, record),
        [folded(candidate_name(one), _told(one, record)) for one in others],
        lead=_lead(first, alone=not others),
    )


def _lead(one: dict[str, Any], *, alone: bool) -> str:
    fold = pick(one, "curve", "fold")
    told = say("Steps against the gradient of the loss trained {name}.", name=candidate_name(one))
    told += say(" What is shown is the {fold}.", fold=fold) if fold else ""
    return told if alone else told + say(" Other models that were trained so stand below.")


def _told(one: dict[str, Any], record: dict[str, Any]) -> Child:
    taken: dict[str, Any] = one["training"]
    pace: dict[str, Any] = _mapping(taken, "pace")
    return [
        grid(
            _pace(taken, pace, record),
            _memory(_mapping(taken, "memory")),
            _rates(pace, record),
            _range_test(_mapping(taken, "decisions", "range_test")),
        ),
        _signals(_mapping(pace, "signals")),
    ]


def _pace(taken: dict[str, Any], pace: dict[str, Any], record: dict[str, Any]) -> Html | None:
    epochs, rows = pace.get("epochs"), pace.get("rows_into_next_epoch")
    steps = say(
        "{steps} in {epochs}", steps=number(pace.get("steps")), epochs=count(epochs, "epoch", "epochs")
    )
    if rows:
        steps += say(" and {rows} of the next", rows=count(rows, "row", "rows"))
    per_step, an_epoch = pick(taken, "memory", "rows_per_rank"), pace.get("seconds_per_epoch")
    spent = time(pace.get("seconds"))
    spent += say(", {seconds} an epoch", seconds=time(an_epoch)) if is_number(an_epoch) else ""
    speed, again = pace.get("rows_per_second"), finite(pace.get("resumed_at_steps"))
    reason, planned = pace.get("stop_reason"), pick(taken, "decisions", "total_steps")
    return panel(
        say("Steps and time"),
        facts(
            [
                (say("Steps"), steps if is_number(pace.get("steps")) else None),
                (say("Rows a step"), number(per_step) if is_number(per_step) else None),
                (say("Time"), spent if is_number(pace.get("seconds")) else None),
                (say("Rows a second"), number(speed) if is_number(speed) else None),
                (say("Stopped"), metrics.readable(reason) if reason else None),
                (say("Learning rate"), _rate_in_words(pace)),
                (say("Planned"), count(planned, "step", "steps") if is_number(planned) else None),
                (say("Device"), pick(taken, "device", "why") or pick(taken, "device", "name")),
                (say("Execution"), _execution(taken, record)),
                (say("Precision"), taken["precision"] if taken.get("precision") == "bf16" else None),
                (
                    say("Resumed"),
                    say("at step {steps}", steps=", ".join(map(number, again))) if again else None,
                ),
                (say("Whole run"), _cost(_mapping(record, "run", "cost"))),
            ]
        ),
    )


def _execution(taken: dict[str, Any], record: dict[str, Any]) -> str:
    """How the steps were run, and why so."""
    way = _mapping(taken, "decisions", "execution")
    if not way:  # a short fit, of which nothing was decided
        asked = pick(record, "recipe", "engine", "execution")
        if asked in (None, "auto"):
            return say("eager; too short a fit for timing other ways")
        return say("{asked}, as the recipe says", asked=asked)
    parts = [str(way.get("execution")), count(way.get("threads"), "thread", "threads")]
    if way.get("layout") == "channels_last":
        parts.append(say("channels last"))
    if (calls := way.get("steps_per_call")) not in (None, 1):
        parts.append(say("{steps} a call", steps=count(calls, "step", "steps")))
    told, why = ", ".join(parts), way.get("why")
    return say("{told}; {why}", told=told, why=why) if why else told


def _cost(spent: dict[str, Any]) -> str | None:
    """Device-hours of the whole run, and its cost where the person gave a price."""
    hours, paid = spent.get("device_hours"), spent.get("cost")
    if not is_number(hours):
        return None
    told = say("{hours} device-hours", hours=number(hours, 2))
    if not is_number(paid):
        return told
    return told + say(
        ", {cost} at {price} an hour", cost=number(paid, 3), price=number(spent.get("price_per_hour"))
    )


def _rate_in_words(pace: dict[str, Any]) -> str | None:
    rates = finite(pick(pace, "learning_rate", "value"))
    if not rates:
        return None
    low, high = min(rates), max(rates)
    return number(low) if low == high else say("between {low} and {high}", low=number(low), high=number(high))


def _rates(pace: dict[str, Any], record: dict[str, Any]) -> Html | None:
    """The learning rate step by step, where it changed."""
    steps, rates = (pick(pace, "learning_rate", key) or [] for key in ("step", "value"))
    if len(set(finite(rates))) < 2:
        return None
    schedule = pick(record, "recipe", "training", "schedule")
    name = schedule.get("name") if isinstance(schedule, dict) else schedule
    title = say("Learning rate ({schedule})", schedule=name) if name else say("Learning rate")
    return figure(
        title, rate_chart(steps, rates), read=say("Known where the loop showed a step, ten times a second.")
    )


def _range_test(found: dict[str, Any]) -> Html | None:
    """The loss along growing rates, and the rate that was taken from it."""
    rates, losses, suggestion = (found.get(key) for key in ("rates", "losses", "suggestion"))
    if not isinstance(rates, list) or not isinstance(losses, list) or not finite(losses):
        return None
    if not rates or not all(is_number(rate) and rate > 0 for rate in rates):
        return None
    told = say("Before training, a copy took steps at growing rates; the loss is smoothed and weighed against the "
               "untrained model on the same rows.")  # fmt: skip
    taken = say("Taken: {rate}, a third of the rate with the least loss.", rate=number(suggestion))
    ran = say(" The curve ends where the loss ran away.") if found.get("diverged") is True else ""
    return figure(
        say("Learning-rate range test"),
        range_chart(rates, losses, suggestion),
        read=told,
        note=taken + ran if is_number(suggestion) else None,
    )


def _memory(plan: dict[str, Any]) -> Html | None:
    """What a step needs, part by part."""
    named = {
        "parameters": say("Weights"),
        "gradients": say("Gradients"),
        "optimizer": say("Optimizer"),
        "averages": say("Averaged weights"),
    }
    parts = {name: float(plan[key]) for key, name in named.items() if is_number(plan.get(key))}
    needed = plan.get("needed")
    if not is_number(needed) or len(parts) < len(named):
        return None
    rows = count(plan.get("rows_per_rank"), "row", "rows")
    parts[say("{rows} and their activations", rows=rows)] = needed - sum(parts.values())
    lines = [[name, Cell(size(value), value, "number")] for name, value in parts.items() if value]
    lines.append([tag("b", say("A step together")), Cell(tag("b", size(needed)), needed, "number")])
    return panel(
        say("Memory of a step"),
        table([say("part"), say("size")], lines, caption=say("Memory of a step")),
        read=say("Worked out from the model and a few rows; libraries take work space of their own."),
    )


def _signals(signals: dict[str, Any]) -> list[Html | None]:
    """What was seen inside, layer by layer, with what looks wrong in words."""
    weights, units = layers_of(signals)
    if not weights and not units:
        return []
    wrong = concerns(signals)
    looks = [pick(one, "seen") for one in [*weights.values(), *units.values()]]
    read = say(
        "Seen in {looks}, spread over the training.",
        looks=count(max(finite(looks), default=0), "look", "looks"),
    )
    said = sentences(wrong) if wrong else tag("p", say("Nothing that was seen looks wrong."))
    return [
        panel(say("Inside the network"), said, read=read, wide=True),
        grid(
            _weights_table(signals, weights) if weights else None,
            _units_table(signals, units) if units else None,
        ),
    ]


def _weights_table(signals: dict[str, Any], weights: dict[str, Any]) -> Html:
    rows = []
    for name, gradient in weights.items():
        shares = [gradient.get("first"), gradient.get("last")]
        shares.append(None if is_bias(name) else pick(signals, "update", name, "mean"))
        rows.append([_name(signals, name), *(numeric(share, number(share, 3)) for share in shares)])
    matrices = sum(not is_bias(name) for name in weights)
    title = say("Gradients and steps")
    return panel(
        title,
        table(
            [say("weights"), say("gradient"), say("last"), say("step")],
            rows,
            visible=min(max(matrices, 4), LAYERS_SHOWN),
            caption=title,
            noun=("line", "lines"),
        ),
        read=say(
            "The gradient's norm at the first look and at the last, and how much a step changes the weights: the mean "
            "of its norm over theirs. About {usual} is usual, from {low} to {high} nothing unusual. Of a bias, which "
            "starts at 0, such a share says nothing.",
            usual=number(USUAL_STEP),
            low=number(USUAL_STEP / UNUSUAL),
            high=number(USUAL_STEP * UNUSUAL),
        ),
    )


def _units_table(signals: dict[str, Any], units: dict[str, Any]) -> Html:
    rows = []
    for name in units:
        for kind, words in (("dead", say("dead")), ("saturated", say("saturated"))):
            seen = _mapping(signals, kind, name)
            shares = [numeric(seen.get(key), percent(seen.get(key))) for key in ("first", "last")]
            rows += [[_name(signals, name), words, *shares]] if seen else []
    title = say("Activations")
    return panel(
        title,
        table(
            [say("activation"), say("share"), say("first"), say("last")],
            rows,
            visible=LAYERS_SHOWN,
            caption=title,
            noun=("line", "lines"),
        ),
        read=say(
            "Dead are units that are 0 on every row of the batch; saturated are values at the edge of their range. "
            "Neither lets a gradient through."
        ),
    )


def _name(signals: dict[str, Any], name: str) -> Cell:
    """A layer's name, with what looks wrong about it."""
    remarks = [[" ", badge(words, "warning")] for words in remarks_on(signals, name)]
    return Cell([tag("span", name, class_="code"), remarks], name)


def _mapping(record: Any, *keys: str) -> dict[str, Any]:
    found = pick(record, *keys)
    return found if isinstance(found, dict) else {}
