"""danlu: from data to a model that can be trusted.

    import danlu
    run = danlu.train("houses.csv", target="price")
    run.model.predict("new_houses.csv")

Names load when they are used, so that importing danlu is quick and never imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from danlu.bundle.predictor import Predictor
    from danlu.bundle.read import load
    from danlu.core.errors import BundleError, DanluError, DataError, MissingExtra, RecipeError, UserError
    from danlu.core.findings import Finding
    from danlu.run.module import ModuleRun, fit_module
    from danlu.run.result import Run
    from danlu.run.start import train

_WHERE = {
    "train": "danlu.run.start",
    "Run": "danlu.run.result",
    "ModuleRun": "danlu.run.module",
    "fit_module": "danlu.run.module",
    "load": "danlu.bundle.read",
    "Predictor": "danlu.bundle.predictor",
    "Finding": "danlu.core.findings",
    **dict.fromkeys(
        ("BundleError", "DanluError", "DataError", "MissingExtra", "RecipeError", "UserError"),
        "danlu.core.errors",
    ),
}

__all__ = [
    "BundleError",
    "DanluError",
    "DataError",
    "Finding",
    "MissingExtra",
    "ModuleRun",
    "Predictor",
    "RecipeError",
    "Run",
    "UserError",
    "__version__",
    "fit_module",
    "load",
    "train",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'danlu' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return __all__
