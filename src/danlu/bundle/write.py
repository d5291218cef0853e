"""From a predictor in memory to model.danlu, which is read back and asked the same before it is kept."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from danlu.bundle.archive import Buffer, padded, write_archive
from danlu.bundle.manifest import CARD, MANIFEST, MODEL, TENSORS, make_manifest, sha256
from danlu.bundle.predictor import Member, Prediction, Predictor
from danlu.bundle.read import check_members, predictor_of, read_whole
from danlu.bundle.strict_json import dump
from danlu.bundle.tensors import write_tensors
from danlu.core.errors import BundleError, UserError
from danlu.core.files import plain, write_stream
from danlu.core.states import take_apart
from danlu.recipe.build import stored_objective
from danlu.recipe.settings import to_plain

if TYPE_CHECKING:
    import polars as pl

    from danlu.data.preprocess import Preprocessor

TOLERANCE = 1e-6  # relative; where the same code computes both, they are equal to the last bit


def save(predictor: Predictor, path: str | Path, *, check_rows: pl.DataFrame | None = None) -> str:
    """Write `predictor` to `path` and return the SHA-256 of the file, in hexadecimal digits.

    The same predictor gives the same bytes. Before the file gets its name, it is loaded again, and on
    `check_rows` it has to answer like the predictor in memory (relative 1e-6). `UserError` where the disk
    refuses, `BundleError` where the file would answer otherwise; then nothing is left behind, and an older
    file stays as it was.
    """
    digest = ""

    def write(file: BinaryIO) -> None:
        nonlocal digest
        write_archive(file, contents)
        file.flush()
        digest = _check_copy(file, predictor, check_rows)

    try:
        contents = _contents(predictor)
        write_stream(path, write)
    except ValueError as error:
        if isinstance(error, UserError) and not isinstance(error, BundleError):
            raise
        raise BundleError(f"The model was not saved: {error}") from error
    return digest


def _contents(predictor: Predictor) -> list[tuple[str, list[Buffer]]]:
    """The members of the file in their order, each as pieces of bytes."""
    arrays: dict[str, np.ndarray] = {}
    model = padded(dump(_model(predictor, arrays)), name=MODEL, next_name=TENSORS)
    card = dump(plain(predictor.card), indent=1)
    others: dict[str, list[Buffer]] = {MODEL: [model], TENSORS: write_tensors(arrays), CARD: [card]}
    manifest = padded(make_manifest(others), name=MANIFEST, next_name=MODEL, is_first=True)
    return [(MANIFEST, [manifest]), *others.items()]


def _model(predictor: Predictor, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """What model.json says; its arrays go into `arrays`. Preprocessors that members share are stored once."""
    preprocessors = {id(member.preprocessor): member.preprocessor for member in predictor.members}
    place = {key: index for index, key in enumerate(preprocessors)}
    calibrator, interval = predictor.calibrator, predictor.interval
    model = {
        "task": predictor.task.as_dict(),
        "target": predictor.target,
        "schema": predictor.schema.as_dict(),
        "preprocessors": [_preprocessor(preprocessor) for preprocessor in preprocessors.values()],
        "members": [_member(member, place[id(member.preprocessor)]) for member in predictor.members],
        "calibrator": None if calibrator is None else calibrator.state(),
        "interval": None if interval is None else interval.state(),
        "threshold": predictor.threshold,
    }
    return {name: take_apart(value, place=name, arrays=arrays) for name, value in model.items()}


def _preprocessor(preprocessor: Preprocessor) -> dict[str, Any]:
    value, arrays = preprocessor.state()
    return {"value": value, "arrays": arrays}


def _member(member: Member, preprocessor: int) -> dict[str, Any]:
    return {
        "name": member.name,
        "part": member.part,
        "settings": to_plain(member.settings),
        "weight": float(member.weight),
        "preprocessor": preprocessor,
        "objective": stored_objective(member.objective),
        "model": _state(member.model),
    }


def _state(model: Any) -> dict[str, Any]:
    """The state of a model; a linear module has that of the linear estimators: loading it needs no torch."""
    if hasattr(model, "state"):
        return model.state()
    from danlu.models.affine import Affine

    arrays = model.arrays()
    return Affine.of(arrays["weight"], arrays["bias"]).state()


def _check_copy(file: BinaryIO, predictor: Predictor, check_rows: pl.DataFrame | None) -> str:
    """SHA-256 of what stands in `file`, after loading it and comparing its answers with the predictor's."""
    with os.fdopen(os.dup(file.fileno()), "rb") as copy:
        copy.seek(0)
        buffer = read_whole(copy)
    loaded = predictor_of(check_members(buffer))
    if check_rows is not None:
        _compare(predictor.predict_frame(check_rows), loaded.predict_frame(check_rows))
    return sha256([buffer])


def _compare(ours: Prediction, theirs: Prediction) -> None:
    """Refuse a copy that answers otherwise."""
    for name in ("values", "probabilities", "lower", "upper"):
        mine, other = getattr(ours, name), getattr(theirs, name)
        if (mine is None) != (other is None) or (mine is not None and mine.shape != other.shape):
            raise BundleError(f"read back, its {name} have another shape. {_REPORT}")
        if mine is not None:
            _compare_arrays(name, mine, other)
    if np.array_equal(ours.main, theirs.main) and not np.array_equal(ours.labels(), theirs.labels()):
        raise BundleError(f"read back, it decides for other classes. {_REPORT}")


def _compare_arrays(name: str, mine: np.ndarray, other: np.ndarray) -> None:
    scale = float(np.abs(mine[np.isfinite(mine)]).max(initial=0.0))  # values near zero are compared with it
    close = np.isclose(other, mine, rtol=TOLERANCE, atol=1e-9 * scale).reshape(len(mine), -1).all(axis=1)
    if not close.all():
        row = int(np.argmin(close))
        was, now = mine[row], other[row]
        raise BundleError(f"read back, its {name} in row {row + 1} are {now} and no longer {was}. {_REPORT}")


_REPORT = "Please report this as a bug of danlu, with the recipe of the run."
