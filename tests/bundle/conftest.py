"""A small table with every kind of column, models of every family fitted on it, and files made of them."""

from __future__ import annotations

import functools
import io
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from danlu.bundle.archive import Buffer, write_archive
from danlu.bundle.manifest import MANIFEST, make_manifest
from danlu.bundle.predictor import Member, Predictor
from danlu.bundle.read import check_members
from danlu.bundle.write import save
from danlu.core.ideas import Context
from danlu.core.tasks import Task
from danlu.data.preprocess import fit_preprocessor
from danlu.data.schema import infer
from danlu.evaluate.calibration import fit_calibrator
from danlu.evaluate.conformal import fit_interval
from danlu.recipe.build import build_model, build_objective
from danlu.recipe.catalogue import lookup

NUM_ROWS = 120
TARGETS = {"regression": "price", "binary": "sold", "multiclass": "kind"}
TASKS = {
    "regression": Task("regression"),
    "binary": Task("binary", ("no", "yes")),
    "multiclass": Task("multiclass", ("flat", "house", "屋")),
}


@dataclass(frozen=True)
class Fitted:
    """A predictor and rows to ask it about, the training rows and stranger ones."""

    predictor: Predictor
    rows: pl.DataFrame


@functools.cache
def table() -> pl.DataFrame:
    """Numbers, categories, truth values, dates and texts, with missing values in each."""
    draw = np.random.default_rng(7)
    size, rooms = draw.normal(100, 20, NUM_ROWS), draw.integers(1, 6, NUM_ROWS)
    city = draw.choice(["Ulm", "Bonn", "北京"], NUM_ROWS)
    price = size * 3 + rooms * 10 + draw.normal(0, 5, NUM_ROWS)
    cut = np.quantile(price, [1 / 3, 2 / 3])
    frame = pl.DataFrame(
        {
            "size": size,
            "rooms": rooms,
            "city": city,
            "garden": draw.random(NUM_ROWS) < 0.5,
            "built": pl.Series(draw.integers(0, 20_000, NUM_ROWS)).cast(pl.Date).cast(pl.Datetime("us")),
            "price": price,
            "sold": np.where(price > np.median(price), "yes", "no"),
            "kind": np.array(TASKS["multiclass"].labels)[np.searchsorted(cut, price)],
        }
    )
    gaps = pl.int_range(NUM_ROWS) % 17 == 3
    features = ["size", "city", "garden", "built"]
    return frame.with_columns(pl.when(~gaps).then(pl.col(name)).alias(name) for name in features)


@functools.cache
def strangers() -> pl.DataFrame:
    """Rows with what training never saw: new levels, far numbers, nothing but missing values."""
    return pl.DataFrame(
        {
            "city": ["Rome", None, "Ulm"],
            "garden": [True, None, False],
            "rooms": [100, 0, 3],
            "size": [1e6, None, -5.0],
            "built": [datetime(2031, 1, 1), None, datetime(1969, 12, 31)],
            "more": [1, 2, 3],
        }
    )


@functools.cache
def fitted(kind: str, *models: str, **settings: Any) -> Fitted:
    """A predictor of the kind of task whose members are `models`, with all that may follow them."""
    task, target, frame = TASKS[kind], TARGETS[kind], table()
    others = {name: "ignore" for name in TARGETS.values() if name != target}
    schema = infer(frame, target=target, roles=others)
    y = frame[target].to_numpy()
    y = y if kind == "regression" else np.array([task.labels.index(label) for label in y])
    encodings = {lookup("model", model).traits["encoding"] for model in models}
    preprocessors = {each: fit_preprocessor(frame, schema, encoding=each) for each in encodings}
    members = tuple(
        _member(model, task, preprocessors, frame, y, settings, index) for index, model in enumerate(models)
    )
    predictor = Predictor(
        task, target, schema, members, card={"metrics": {"test": {"r2": 0.5}}, "字": [1, None]}
    )
    raw = predictor.raw(frame)
    if kind == "regression":
        predictor = replace(predictor, interval=fit_interval(y, raw))
    else:
        calibrator = fit_calibrator(raw, y, method="temperature")
        predictor = replace(predictor, calibrator=calibrator, threshold=0.3 if kind == "binary" else None)
    features = [column.name for column in schema.features]
    rows = pl.concat([frame.select(features), strangers().select(features)], how="vertical_relaxed")
    return Fitted(predictor, rows)


def _member(
    name: str,
    task: Task,
    preprocessors: Mapping[str, Any],
    frame: pl.DataFrame,
    y: np.ndarray,
    settings: Mapping[str, Any],
    index: int,
) -> Member:
    entry = lookup("model", name)
    preprocessor = preprocessors[entry.traits["encoding"]]
    model = build_model(name, settings, task, preprocessor.num_features, seed=index)
    is_gradient = entry.traits["update"] == "gradient"
    batch = {"x": preprocessor.transform(frame), "y": y}
    context = Context(seed=index)
    for _ in range(0 if is_gradient else 3):
        if model.fit_round(batch, task, context).done:
            break
    if is_gradient:
        model.eval()
    objective = build_objective(task, y=y, weight=None, standardise=is_gradient)
    return Member(f"{name}_{index}", name, dict(settings), preprocessor, model, objective, 1.0 + index)


@functools.cache
def file_of(kind: str, *models: str) -> bytes:
    """The bytes of a model file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.danlu"
        save(fitted(kind, *models).predictor, path)
        return path.read_bytes()


def rebuilt(members: Mapping[str, Buffer], *, manifest: bytes | None = None) -> bytes:
    """A file of these members with a right manifest and right checksums, as a careful attacker makes it."""
    others = {name: [content] for name, content in members.items() if name != MANIFEST}
    file = io.BytesIO()
    write_archive(file, [(MANIFEST, [manifest or make_manifest(others)]), *others.items()])
    return file.getvalue()


def members_of(data: bytes) -> dict[str, bytes]:
    """The members of a file by name."""
    return {name: bytes(content) for name, content in check_members(memoryview(data)).items()}


class Workshop:
    """What the tests make models and files with."""

    fitted = staticmethod(fitted)
    file_of = staticmethod(file_of)
    rebuilt = staticmethod(rebuilt)
    members_of = staticmethod(members_of)

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, data: bytes) -> Path:
        """A file called model.danlu that holds `data`."""
        path = self.folder / "model.danlu"
        path.write_bytes(data)
        return path


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """What the tests make models and files with."""
    return Workshop(tmp_path)
