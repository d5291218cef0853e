"""Tests of docs/bundle.md: its reader reads a file that danlu wrote, and its limits are those of the code."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from danlu.bundle import read, strict_json, tensors
from danlu.bundle.manifest import MEMBERS
from danlu.bundle.predictor import Member, Predictor
from danlu.bundle.write import save
from danlu.core.ideas import Context
from danlu.data.preprocess import fit_preprocessor
from danlu.data.schema import infer
from danlu.objectives.regression import SquaredError
from danlu.recipe.build import build_model

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "bundle.md").read_text("utf-8")


def test_the_reader_of_the_document_predicts_the_same(workshop: Any) -> None:
    task = workshop.fitted("regression", "ridge").predictor.task
    frame = pl.DataFrame(
        {"a": [1.0, 2.5, None, 4.0, 7.0], "b": [3, 1, 4, 1, 5], "y": [2.0, 1.0, 3.0, 4.0, 9.0]}
    )
    schema = infer(frame, target="y")
    preprocessor = fit_preprocessor(frame, schema, encoding="linear")
    model = build_model("ridge", {}, task, preprocessor.num_features, seed=0)
    model.fit_round({"x": preprocessor.transform(frame), "y": frame["y"].to_numpy()}, task, Context())
    objective = SquaredError(task, shift=10.0, scale=2.0)
    predictor = Predictor(task, "y", schema, (Member("ridge", "ridge", {}, preprocessor, model, objective),))
    path = workshop.folder / "model.danlu"
    save(replace(predictor, card={"for": "people"}), path, check_rows=frame)
    code = re.search(r"```python\n(import hashlib.*?)```", DOCUMENT, re.DOTALL)
    assert code is not None
    rows = frame.select("a", "b").to_dicts()
    script = f"{code[1]}\nimport sys\nprint([predict(sys.argv[1], row) for row in {rows!r}])"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, str(path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    answers = np.array(done.stdout.strip("[]\n").split(","), dtype=float)
    np.testing.assert_allclose(answers, predictor.predict_frame(frame).main, rtol=1e-12)


def test_the_limits_of_the_document_are_those_of_the_code() -> None:
    text = " ".join(DOCUMENT.split())
    assert f"in this order: {', '.join(f'`{name}`' for name in MEMBERS)}." in text
    assert f"whole numbers of at most {strict_json.MAX_DIGITS} digits" in text
    assert f"at most {strict_json.MAX_DEPTH} brackets within one another" in text
    assert f"{read._MEMORY >> 20} MB are allowed for `model.json` and `card.json` together" in text
    assert f"N is at most {tensors.MAX_HEADER >> 20} MiB" in text
    assert f"At most {tensors.MAX_TENSORS:,} arrays of at most {tensors.MAX_AXES} axes" in text
    assert f"multiply to at most 2^{tensors.MAX_EMPTY.bit_length() - 1}" in text
    assert f"Types: `{' '.join(tensors.DTYPES)}`" in text
