"""Which output of a network goes with a loss: those of classes take logits, and apply softmax or sigmoid themselves."""

from __future__ import annotations

from typing import Any

ALREADY = {
    "Softmax": "softmax",
    "Softmax2d": "softmax",
    "Sigmoid": "sigmoid",
    "LogSigmoid": "sigmoid",
    "Hardsigmoid": "sigmoid",
    "Softmin": "softmax",
}


def double_softmax(model: Any) -> str | None:
    """What is wrong with a network that ends in softmax or sigmoid before a loss of logits, or None.

    For modules that are trained with `cross_entropy`, `binary_cross_entropy`, `focal` or `hinge`. Only modules are
    seen: a softmax written in `forward` is not.
    """
    modules = list(model.modules()) if hasattr(model, "modules") else []
    if not modules:
        return None
    last = type(modules[-1]).__name__
    if last == "LogSoftmax":
        return (
            "The network's last module is LogSoftmax, and the loss takes the logarithm of a softmax itself: twice "
            "gives the same and costs time. Leave it out."
        )
    if last not in ALREADY:
        return None
    return (
        f"The network's last module is {last}, and the loss applies {ALREADY[last]} to the output itself: done twice, "
        "gradients become small and no probability gets near 0 or 1. Leave it out at the output, so that the network "
        "gives logits; predictions are probabilities all the same."
    )
