"""The errors that danlu raises on purpose, and how a wrong name finds the closest right one.

DanluError
├── UserError (also ValueError)     something the person can mend; the command exits with status 2
│   ├── DataError                   the data cannot be read or used as asked
│   ├── RecipeError                 a setting is unknown, wrong or contradicts another
│   ├── BundleError                 a model file is damaged, hostile or too new
│   └── MissingExtra (ImportError)  an optional package is not installed
├── OutOfTime                       a fit could not be finished before its deadline
└── Interrupted                     the run was asked to stop before anything could be saved
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DanluError(Exception):
    """Root of every error that danlu raises on purpose."""


class UserError(DanluError, ValueError):
    """Something the person can mend: the message says what was wrong, what came and what to do."""


class DataError(UserError):
    """The data cannot be read, or cannot be used as asked."""


class RecipeError(UserError):
    """A setting is unknown, has a wrong value or contradicts another one."""


class BundleError(UserError):
    """A model file is damaged, hostile, or of a format that this version does not know."""


class MissingExtra(UserError, ImportError):
    """An optional package is not installed; the message says which command installs it."""

    def __init__(self, package: str, extra: str, *, purpose: str) -> None:
        super().__init__(
            f'{purpose} needs the package {package}. Install it with: pip install "danlu[{extra}]"'
        )


class OutOfTime(DanluError):
    """A fit could not be finished before its deadline."""


class Interrupted(DanluError):
    """The run was asked to stop before there was anything worth saving."""


def closest(name: str, choices: Iterable[str]) -> str:
    """` Did you mean 'x'?` for the choice nearest to `name`, or an empty string where none is near."""
    by_lower = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return f" Did you mean {by_lower[near[0]]!r}?" if near else ""
