"""What signals from inside a network say in words: dead and saturated units, small and large steps, faded gradients."""

from __future__ import annotations

from typing import Any

from danlu.report.text import is_number, number, percent, pick, say

USUAL_STEP = 1e-3
"""Norm of a step over the norm of the weights; a rule of thumb (Karpathy, Stanford CS231n, "Neural Networks 3")."""
UNUSUAL = 10.0  # times below or above the usual that are worth a word
MANY = 0.5  # share of dead units or of saturated values from which a layer is named
FADED = 1e3  # times by which gradients fall from the last layer to the first
NAMED = 3  # layers that a sentence names


def layers_of(signals: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(gradients of the weights, shares of the activations), by name; matrices and kernels come before biases."""
    gradients = _by_name(signals, "gradient")
    order = sorted(gradients, key=is_bias)  # stable: otherwise the model's own order
    units = dict.fromkeys([*_by_name(signals, "dead"), *_by_name(signals, "saturated")])
    shares = {name: pick(signals, "dead", name) or pick(signals, "saturated", name) for name in units}
    return {name: gradients[name] for name in order}, shares


def is_bias(name: str) -> bool:
    """Whether a parameter is a bias, going by its name."""
    return "bias" in name.rpartition(".")[2]


def remarks_on(signals: dict[str, Any], name: str) -> list[str]:
    """What looks wrong with one layer, in a word or two each."""
    found = {
        say("dead"): name in _above(signals, "dead"),
        say("saturated"): name in _above(signals, "saturated"),
        say("small steps"): name in small_steps(signals),
        say("large steps"): name in large_steps(signals),
        say("not finite"): not_finite(signals, name),
    }
    return [words for words, holds in found.items() if holds]


def concerns(signals: dict[str, Any]) -> list[str]:
    """What looks wrong, a sentence each, with what may help; none where nothing does."""
    found: list[str] = []
    for name, share in _above(signals, "dead").items():
        found.append(
            say(
                "{share} of the units of {name} are 0 on every row: they are dead and learn nothing. A smaller "
                "learning rate, or leaky_relu, keeps units alive.",
                share=percent(share, 0),
                name=name,
            )
        )
    for name, share in _above(signals, "saturated").items():
        found.append(
            say(
                "{share} of the values of {name} stand at the edge of their range, where next to no gradient comes "
                "through. Normalisation, smaller first weights, or relu keeps them off it.",
                share=percent(share, 0),
                name=name,
            )
        )
    if (fall := faded(signals)) is not None:
        found.append(
            say(
                "Gradients fade on their way back: the first layer's norm is {times} times smaller than the last's, "
                "so that the first layers hardly learn. relu, normalisation or fewer layers mend that.",
                times=number(fall, 2),
            )
        )
    if small := small_steps(signals):
        found.append(
            say(
                "Steps are small in {names}: less than {share} of the weights. A larger learning rate may get "
                "further in the same time.",
                names=_listed(small),
                share=number(USUAL_STEP / UNUSUAL),
            )
        )
    if large := large_steps(signals):
        found.append(
            say(
                "Steps are large in {names}: more than {share} of the weights. A smaller learning rate, or a "
                "warm-up, makes training steadier.",
                names=_listed(large),
                share=number(USUAL_STEP * UNUSUAL),
            )
        )
    broken = [name for name in _by_name(signals, "gradient") if not_finite(signals, name)]
    if broken:
        found.append(say("Gradients were not finite in {names}.", names=_listed(broken)))
    return found


def not_finite(signals: dict[str, Any], name: str) -> bool:
    """Whether the gradient of these weights was not finite at any look."""
    seen = pick(signals, "gradient", name, "not_finite")
    return is_number(seen) and seen > 0


def small_steps(signals: dict[str, Any]) -> list[str]:
    """Weights that a step changes by less than a tenth of the usual share, on average."""
    return [name for name, share in _steps(signals).items() if share < USUAL_STEP / UNUSUAL]


def large_steps(signals: dict[str, Any]) -> list[str]:
    """Weights that a step changes by more than ten times the usual share, on average."""
    return [name for name, share in _steps(signals).items() if share > USUAL_STEP * UNUSUAL]


def faded(signals: dict[str, Any]) -> float | None:
    """How many times smaller the first layer's gradient is than the last's, where that is much; else None."""
    means = [one.get("mean") for name, one in _by_name(signals, "gradient").items() if not is_bias(name)]
    known = [mean for mean in means if is_number(mean)]
    if len(known) < 2 or not known[-1] > FADED * known[0] > 0:
        return None
    return known[-1] / known[0]


def _steps(signals: dict[str, Any]) -> dict[str, float]:
    """Mean share of the weights that a step changes; a bias starts at 0, so that its first share says nothing."""
    means = {name: one.get("mean") for name, one in _by_name(signals, "update").items() if not is_bias(name)}
    return {name: mean for name, mean in means.items() if is_number(mean)}


def _above(signals: dict[str, Any], kind: str) -> dict[str, float]:
    """Activations of which more than half was dead or saturated when last looked at."""
    last = {name: one.get("last") for name, one in _by_name(signals, kind).items()}
    return {name: share for name, share in last.items() if is_number(share) and share > MANY}


def _by_name(signals: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    found = pick(signals, kind)
    named = found.items() if isinstance(found, dict) else ()
    return {str(name): one for name, one in named if name and isinstance(one, dict)}


def _listed(names: list[str]) -> str:
    more = len(names) - NAMED
    shown = ", ".join(names[:NAMED])
    return say("{names} and {more} more", names=shown, more=number(more)) if more > 0 else shown
