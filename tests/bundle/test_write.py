"""Tests of bundle/write.py: every model comes back with the same bits, the same model gives the same file."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from danlu.bundle.predictor import Member, Prediction
from danlu.bundle.read import load
from danlu.bundle.write import save
from danlu.core.errors import BundleError, UserError
from danlu.recipe.catalogue import entries

CASES = [(kind, name) for name, entry in entries("model").items() for kind in entry.tasks]


def same(one: Prediction, other: Prediction) -> bool:
    """Whether two predictions are equal to the last bit."""
    pairs = [
        (getattr(one, name), getattr(other, name))
        for name in ("values", "lower", "upper", "probabilities", "codes")
    ]
    return all((a is None and b is None) or (a is not None and a.tobytes() == b.tobytes()) for a, b in pairs)


@pytest.mark.parametrize(("kind", "model"), CASES)
def test_every_model_comes_back_with_the_same_bits(workshop: Any, kind: str, model: str) -> None:
    fitted, path = workshop.fitted(kind, model), workshop.folder / "model.danlu"
    digest = save(fitted.predictor, path, check_rows=fitted.rows)
    loaded = load(path)
    assert same(loaded.predict_frame(fitted.rows), fitted.predictor.predict_frame(fitted.rows))
    assert loaded.task == fitted.predictor.task
    assert (loaded.target, loaded.threshold) == (fitted.predictor.target, fitted.predictor.threshold)
    assert loaded.schema == fitted.predictor.schema
    assert loaded.card == fitted.predictor.card
    assert loaded.keeps_rows == fitted.predictor.keeps_rows
    assert save(loaded, path) == digest


def test_members_keep_their_order_weight_and_shared_preprocessing(workshop: Any) -> None:
    fitted, path = (
        workshop.fitted("binary", "logistic", "decision_tree", "baseline"),
        workshop.folder / "model.danlu",
    )
    save(fitted.predictor, path, check_rows=fitted.rows)
    model = json.loads(workshop.members_of(path.read_bytes())["model.json"])
    assert [member["preprocessor"] for member in model["members"]] == [0, 1, 0]
    assert len(model["preprocessors"]) == 2
    loaded = load(path).members
    assert [(member.name, member.weight) for member in loaded] == [
        ("logistic_0", 1),
        ("decision_tree_1", 2),
        ("baseline_2", 3),
    ]
    assert loaded[0].preprocessor is loaded[2].preprocessor is not loaded[1].preprocessor


@pytest.mark.parametrize(
    ("kind", "model"), [("regression", "linear"), ("binary", "logistic"), ("multiclass", "logistic")]
)
def test_a_linear_module_becomes_a_linear_estimator(workshop: Any, kind: str, model: str) -> None:
    import torch

    from danlu.models.linear_module import LinearModule
    from danlu.objectives.regression import SquaredError

    fitted, path = workshop.fitted(kind, model), workshop.folder / "model.danlu"
    (member,) = fitted.predictor.members
    module = LinearModule(fitted.predictor.task, member.preprocessor.num_features, seed=0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(3))
    objective = (
        SquaredError(fitted.predictor.task, shift=50.0, scale=4.0)
        if kind == "regression"
        else member.objective
    )
    predictor = replace(fitted.predictor, members=(replace(member, model=module, objective=objective),))
    save(predictor, path, check_rows=fitted.rows)
    ours, theirs = predictor.predict_frame(fitted.rows), load(path).predict_frame(fitted.rows)
    np.testing.assert_allclose(theirs.main, ours.main, rtol=1e-12)


def test_settings_come_back_as_the_part_takes_them(workshop: Any) -> None:
    fitted, path = workshop.fitted("binary", "mlp"), workshop.folder / "model.danlu"
    from danlu.recipe.build import build_model

    (member,) = fitted.predictor.members
    settings = {"widths": (8, 4), "activation": "tanh", "normalisation": "batch"}
    model = build_model(
        "mlp", settings, fitted.predictor.task, member.preprocessor.num_features, seed=1
    ).eval()
    predictor = replace(fitted.predictor, members=(replace(member, model=model, settings=settings),))
    save(predictor, path, check_rows=fitted.rows)
    assert load(path).members[0].settings == settings


def test_another_process_writes_the_same_bytes(workshop: Any) -> None:
    data = workshop.file_of("multiclass", "decision_tree", "logistic")
    path, copy = workshop.put(data), workshop.folder / "copy.danlu"
    imports = "import sys; from danlu.bundle.read import load; from danlu.bundle.write import save; "
    code = imports + "save(load(sys.argv[1]), sys.argv[2])"
    environment = os.environ | {"PYTHONHASHSEED": "123"}
    subprocess.run(
        [sys.executable, "-c", code, str(path), str(copy)], check=True, env=environment, timeout=60
    )
    assert copy.read_bytes() == data


def test_a_file_in_use_may_be_written_over(workshop: Any) -> None:
    fitted = workshop.fitted("regression", "ridge")
    path = workshop.put(workshop.file_of("regression", "ridge"))
    loaded = load(path)
    before = loaded.predict_frame(fitted.rows)
    save(loaded, path, check_rows=fitted.rows)
    path.write_bytes(b"")
    assert same(loaded.predict_frame(fitted.rows), before)


def altered(member: Member, **arrays: np.ndarray) -> Member:
    """A member whose file says something else than what it predicts from."""
    model: Any = member.model
    copy = type(model)(model.settings, model.task, model.num_features)
    copy.load(model.state())
    copy.state = lambda: model.state() | arrays
    return replace(member, model=copy)


def test_a_file_that_would_answer_otherwise_is_not_kept(workshop: Any) -> None:
    fitted, path = workshop.fitted("regression", "ridge"), workshop.put(b"the older file")
    (member,) = fitted.predictor.members
    state: Any = member.model.state()  # type: ignore[attr-defined]
    close = replace(fitted.predictor, members=(altered(member, intercept=state["intercept"] * (1 + 1e-9)),))
    far = replace(fitted.predictor, members=(altered(member, intercept=state["intercept"] * (1 + 1e-4)),))
    with pytest.raises(
        BundleError, match=r"The model was not saved: read back, its values in row 1 are .* no longer"
    ):
        save(far, path, check_rows=fitted.rows)
    assert path.read_bytes() == b"the older file"
    assert [file.name for file in workshop.folder.iterdir()] == ["model.danlu"]
    save(close, path, check_rows=fitted.rows)


def test_a_model_that_cannot_be_read_again_is_not_kept(workshop: Any) -> None:
    fitted, path = workshop.fitted("regression", "ridge"), workshop.put(b"the older file")
    (member,) = fitted.predictor.members
    broken = altered(member, coefficients=np.zeros(3))
    with pytest.raises(BundleError, match=r"coefficients has the shape \(3,\)"):
        save(replace(fitted.predictor, members=(broken,)), path)
    assert path.read_bytes() == b"the older file"
    assert [file.name for file in workshop.folder.iterdir()] == ["model.danlu"]


@pytest.mark.parametrize(
    ("code", "message"), [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "the disk is read-only")]
)
def test_a_disk_that_refuses_leaves_nothing_behind(
    workshop: Any, monkeypatch: pytest.MonkeyPatch, code: int, message: str
) -> None:
    fitted, path = workshop.fitted("regression", "ridge"), workshop.put(b"the older file")

    def refuse(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(UserError, match=rf"Cannot write .*model\.danlu: {message}"):
        save(fitted.predictor, path)
    assert path.read_bytes() == b"the older file"
    assert [file.name for file in workshop.folder.iterdir()] == ["model.danlu"]


def test_a_small_disk_is_full_in_the_middle(workshop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a real full disk, where `write` fails after some pieces."""
    from danlu.bundle import write

    fitted, path = workshop.fitted("regression", "ridge"), workshop.folder / "model.danlu"

    def fill(file: Any, contents: Any) -> None:
        file.write(contents[0][1][0])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(write, "write_archive", fill)
    with pytest.raises(UserError, match="the disk is full"):
        save(fitted.predictor, path)
    assert list(workshop.folder.iterdir()) == []


def test_what_the_card_holds_is_made_plain(workshop: Any) -> None:
    fitted, path = workshop.fitted("regression", "ridge"), workshop.folder / "model.danlu"
    card = {"r2": np.float64(0.5), "broken": float("nan"), "rows": np.arange(3), "path": Path("a.csv")}
    save(replace(fitted.predictor, card=card), path)
    assert load(path).card == {"r2": 0.5, "broken": None, "rows": [0, 1, 2], "path": "a.csv"}


def test_a_model_that_no_reader_would_take_is_not_kept(workshop: Any) -> None:
    fitted, path = workshop.fitted("regression", "ridge"), workshop.folder / "model.danlu"
    greedy = replace(fitted.predictor, card={"rows": [[]] * 500_000})
    with pytest.raises(
        BundleError, match=r"The model was not saved: card\.json would take about .* MB of memory"
    ):
        save(greedy, path)
    (member,) = fitted.predictor.members
    strange = replace(fitted.predictor, members=(altered(member, coefficients=np.array(["a"])),))
    with pytest.raises(
        BundleError, match=r"The model was not saved: a bundle holds no arrays of <U1, got one for "
    ):
        save(strange, path)
    assert list(workshop.folder.iterdir()) == []


def test_other_decisions_and_shapes_are_not_kept(workshop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from danlu.bundle import write

    fitted, path = workshop.fitted("binary", "logistic"), workshop.folder / "model.danlu"
    true = write.predictor_of
    for change, message in (
        ({"threshold": 0.9999}, "it decides for other classes"),
        ({"calibrator": None}, "its probabilities in row 1 are"),
    ):
        monkeypatch.setattr(
            write, "predictor_of", lambda members, change=change: replace(true(members), **change)
        )
        with pytest.raises(BundleError, match=f"The model was not saved: read back, {message}"):
            save(fitted.predictor, path, check_rows=fitted.rows)
    fitted = workshop.fitted("regression", "ridge")
    monkeypatch.setattr(write, "predictor_of", lambda members: replace(true(members), interval=None))
    with pytest.raises(BundleError, match="The model was not saved: read back, its lower have another shape"):
        save(fitted.predictor, path, check_rows=fitted.rows)
    assert list(workshop.folder.iterdir()) == []
