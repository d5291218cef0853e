"""Tests of bundle/read.py: what is wrong with a file is said in words; good ones load without torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from danlu.bundle.read import load, read_card
from danlu.core.errors import BundleError


def changed(
    workshop: Any,
    change: Callable[[dict[str, Any]], object],
    *,
    models: tuple[str, ...] = ("ridge",),
    kind: str = "regression",
) -> Path:
    """A model file whose model.json says something else, with a right manifest and right checksums."""
    members = workshop.members_of(workshop.file_of(kind, *models))
    model = json.loads(members["model.json"])
    change(model)
    return workshop.put(workshop.rebuilt(members | {"model.json": json.dumps(model).encode()}))


def test_the_public_name_loads_and_predicts(workshop: Any) -> None:
    import danlu

    fitted = workshop.fitted("binary", "logistic")
    model = danlu.load(workshop.put(workshop.file_of("binary", "logistic")))
    answers = model.predict(fitted.rows)
    assert answers.columns == ["sold", "probability_no", "probability_yes"]
    assert answers.equals(fitted.predictor.predict(fitted.rows))


def test_the_card_is_read_without_building_parts(workshop: Any) -> None:
    path = workshop.put(workshop.file_of("regression", "ridge"))
    assert read_card(path) == {"metrics": {"test": {"r2": 0.5}}, "字": [1, None]}
    code = (
        "import sys; from danlu.bundle.read import read_card; read_card(sys.argv[1]); "
        "print([name for name in sys.modules if name.startswith(('danlu.models', 'torch', 'sklearn'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_an_estimator_loads_and_predicts_without_torch_and_scikit_learn(workshop: Any) -> None:
    path = workshop.put(workshop.file_of("multiclass", "decision_tree", "logistic"))
    code = (
        "import sys; from danlu.bundle.read import load; model = load(sys.argv[1]); "
        "row = {'size': [90.0], 'rooms': [2], 'city': ['Ulm'], 'garden': [True], 'built': ['2001-02-03']}; "
        "print(model.predict(row)['kind'].to_list(), {'torch', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() in [f"['{label}'] set()" for label in ("flat", "house", "屋")]


def test_a_file_that_is_not_there_names_the_closest(workshop: Any) -> None:
    workshop.put(b"")
    with pytest.raises(
        BundleError, match=r"^Cannot load .*modle\.danlu: there is no such file\. Did you mean 'model\.danlu'"
    ):
        load(workshop.folder / "modle.danlu")
    with pytest.raises(BundleError, match="there is no such file"):
        load(workshop.folder / "no folder" / "model.danlu")
    with pytest.raises(BundleError, match="it cannot be read"):
        load("nul\0inside")


def test_a_folder_and_a_pipe_are_no_files(workshop: Any) -> None:
    with pytest.raises(BundleError, match=r"it is a folder, not a model file\.$"):
        load(workshop.folder)
    workshop.put(b"")
    with pytest.raises(
        BundleError, match=r"it is a folder, not a model file\. Did you mean .*model\.danlu\?"
    ):
        load(workshop.folder)
    os.mkfifo(workshop.folder / "pipe")
    for path in (workshop.folder / "pipe", "/dev/zero"):
        with pytest.raises(BundleError, match="it is not a file but a device or a pipe"):
            load(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it is empty"),
        (b"a,b\n1,2\n", "it is not a danlu model, which is a zip archive"),
        (b"\x80\x04\x95cposix\nsystem\n.", "Nothing else is opened, no pickle either"),
        (b"PK\x03\x04", "it is cut short"),
        (b"PK\x05\x06" + bytes(18), "it is no zip archive"),
    ],
)
def test_another_file_is_refused(workshop: Any, data: bytes, message: str) -> None:
    for read in (load, read_card):
        with pytest.raises(BundleError, match=message):
            read(workshop.put(data))


def test_what_torch_writes_is_refused(workshop: Any) -> None:
    path = workshop.folder / "model.danlu"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", b"\x80\x02cposix\nsystem\nq\x00X\x02\x00\x00\x00idq\x01\x85R.")
        file.writestr("archive/version", b"3")
    with pytest.raises(BundleError, match=r"the unsafe name 'archive/data\.pkl'"):
        load(path)


def test_a_truncated_file_and_an_altered_byte_are_told(workshop: Any) -> None:
    data = workshop.file_of("regression", "ridge")
    with pytest.raises(BundleError, match=r"^Cannot load .*model\.danlu: it is cut short"):
        load(workshop.put(data[:-1000]))
    place = data.index(b'"task"') + 3
    with pytest.raises(BundleError, match=r"model\.json was altered or damaged"):
        load(workshop.put(data[:place] + b"!" + data[place + 1 :]))


def test_a_newer_file_says_what_to_do(workshop: Any) -> None:
    members = workshop.members_of(workshop.file_of("regression", "ridge"))
    manifest = json.loads(members["manifest.json"]) | {"format": 2, "danlu": "3.0.0"}
    with pytest.raises(BundleError, match=r"written by a newer danlu \(3\.0\.0\) in format 2"):
        load(workshop.put(workshop.rebuilt(members, manifest=json.dumps(manifest).encode())))


def test_other_names_of_parts_and_settings_are_refused(workshop: Any) -> None:
    for name in ("os:system", "danlu.models.linear:Ridge", "__builtins__", "", "risge"):
        with pytest.raises(
            BundleError, match=f"the model '{name}' cannot be used: There is no model '{name}'"
        ):
            load(changed(workshop, lambda model, name=name: model["members"][0].update(part=name)))
    with pytest.raises(BundleError, match=r"Unknown setting '_target_' in 'models\.ridge'"):
        load(changed(workshop, lambda model: model["members"][0]["settings"].update(_target_="os.system")))
    with pytest.raises(BundleError, match=r"models\.ridge\.strength must be a number or one of auto, got"):
        load(changed(workshop, lambda model: model["members"][0]["settings"].update(strength=["x"])))
    with pytest.raises(BundleError, match="learns regression; this target makes a binary task"):
        load(
            changed(
                workshop,
                lambda model: model["members"][0].update(part="ridge"),
                models=("logistic",),
                kind="binary",
            )
        )


def _no_arrays(model: dict[str, Any]) -> None:
    model["members"][0]["model"]["intercept"] = [1.0]


WRONG: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "key too many": (lambda m: m.update(hooks=["x"]), "must hold exactly"),
    "key too few": (lambda m: m.pop("schema"), "must hold exactly"),
    "kind": (lambda m: m["task"].update(kind="clustering"), "a task of one of the kinds"),
    "kind in a list": (lambda m: m["task"].update(kind=["binary"]), "a task of one of the kinds"),
    "labels of a number": (
        lambda m: m["task"].update(labels=["a"]),
        "labels, each once, that fit a regression task",
    ),
    "two classes without labels": (lambda m: m["task"].update(kind="binary"), "that fit a binary task"),
    "labels twice": (lambda m: m["task"].update(kind="binary", labels=["a", "a"]), "labels, each once"),
    "labels that are equal": (
        lambda m: m["task"].update(kind="binary", labels=[1, True]),
        "labels, each once",
    ),
    "labels of lists": (
        lambda m: m["task"].update(kind="binary", labels=[[], {}]),
        "labels of classes that are",
    ),
    "no positive": (
        lambda m: m["task"].update(kind="binary", labels=["a", "b"]),
        "a positive class that is one",
    ),
    "positive of many": (
        lambda m: m["task"].update(kind="multiclass", labels=["a", "b", "c"], positive="a"),
        "no positive class",
    ),
    "task": (lambda m: m.update(task=[]), "a task with kind, labels, positive"),
    "target": (lambda m: m.update(target=3), "the target must be a text"),
    "threshold of a number": (lambda m: m.update(threshold=0.5), "a threshold is for two classes"),
    "threshold out of range": (lambda m: m.update(threshold=1.5), r"the threshold must lie in \[0, 1\]"),
    "threshold of text": (lambda m: m.update(threshold="0.5"), r"the threshold must lie in \[0, 1\]"),
    "calibrator of a number": (lambda m: m.update(calibrator={}), "a calibration is for classes"),
    "interval": (lambda m: m["interval"].update(below="1"), "prediction interval has values out of range"),
    "no interval": (lambda m: m.update(interval=3), "the interval is damaged .TypeError"),
    "no members": (lambda m: m.update(members={"a": m["members"][0]}), "1 to 1000 members"),
    "too many members": (lambda m: m.update(members=m["members"] * 1001), "which is not there, or twice"),
    "member": (lambda m: m["members"].append("ridge"), "members with exactly"),
    "member's keys": (lambda m: m["members"][0].update(path="x"), "members with exactly"),
    "name": (lambda m: m["members"][0].update(name=None), "members with a name and a part"),
    "settings": (lambda m: m["members"][0].update(settings=[]), "members with settings"),
    "weight": (lambda m: m["members"][0].update(weight=-1), "weights of members from 0 on"),
    "weight of truth": (lambda m: m["members"][0].update(weight=True), "weights of members from 0 on"),
    "huge weight": (lambda m: m["members"][0].update(weight=1e301), "weights of members from 0 on"),
    "no weight": (lambda m: m["members"][0].update(weight=0), "weights of members of which one is above 0"),
    "preprocessor": (lambda m: m["members"][0].update(preprocessor=1), "name one of the preprocessors"),
    "preprocessor from behind": (
        lambda m: m["members"][0].update(preprocessor=-1),
        "name one of the preprocessors",
    ),
    "no preprocessors": (
        lambda m: m.update(preprocessors={"a": m["preprocessors"][0]}),
        "1 to 1000 preprocessors",
    ),
    "preprocessor's state": (
        lambda m: m["preprocessors"][0]["value"].update(way="x"),
        "is not known to this version",
    ),
    "no preprocessor's state": (lambda m: m["preprocessors"][0].pop("value"), "the preprocessing is damaged"),
    "objective": (
        lambda m: m["members"][0].update(objective={"shift": 0.0, "scale": 0.0}),
        "its scale above 0",
    ),
    "no objective": (
        lambda m: m["members"][0].update(objective={}),
        "the objective 'squared_error' keeps shift, scale, got nothing",
    ),
    "state": (
        lambda m: m["members"][0].update(model={}),
        "holds the array 'members/0/model/coefficients', which",
    ),
    "numbers for arrays": (
        _no_arrays,
        "holds the array 'members/0/model/intercept', which model.json does not use",
    ),
    "schema": (lambda m: m.update(schema=[]), "the schema is damaged"),
    "type": (lambda m: m["schema"]["columns"][0].update(type="code"), "the schema cannot be used"),
    "column's name": (lambda m: m["schema"]["columns"][0].update(name=[]), "texts about the columns"),
    "counts": (lambda m: m["schema"].update(num_rows="1"), "counts of rows"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_model_is_refused(workshop: Any, what: str) -> None:
    change, message = WRONG[what]
    with pytest.raises(BundleError, match=message):
        load(changed(workshop, change))


def test_a_calibration_of_other_classes_is_refused(workshop: Any) -> None:
    def change(model: dict[str, Any]) -> None:
        model["calibrator"]["num_classes"] = 3

    with pytest.raises(BundleError, match="a calibration of 2 classes"):
        load(changed(workshop, change, models=("logistic",), kind="binary"))


def test_a_network_larger_than_its_weights_is_refused_before_it_is_made(workshop: Any) -> None:
    def change(model: dict[str, Any]) -> None:
        model["members"][0]["settings"] = {"widths": [65_536] * 100}  # 1.7 TB

    with pytest.raises(BundleError, match=r"shapes that its settings ask for \(layers\.0\.weight: \(65536, "):
        load(changed(workshop, change, models=("mlp",), kind="binary"))


def test_names_that_would_fill_the_memory_are_refused(workshop: Any) -> None:
    def change(model: dict[str, Any]) -> None:
        city = model["preprocessors"][0]["value"]["categories"][0]
        city["column"] = "c" * 1_000_000
        city["levels"] = [str(level) for level in range(100_000)]  # a name for each: 100 GB

    with pytest.raises(BundleError, match="names of columns that are short enough"):
        load(changed(workshop, change))


def test_arrays_are_checked_by_the_parts(workshop: Any) -> None:
    members = workshop.members_of(workshop.file_of("regression", "ridge"))
    arrays = safetensors.numpy.load(members["tensors.safetensors"])
    name = "members/0/model/coefficients"
    for wrong, message in (
        (arrays[name][:-1], "coefficients has the shape"),
        (arrays[name].astype(np.float32), "coefficients holds float32, not float64"),
        (arrays[name] * np.nan, "coefficients has values that are not finite"),
    ):
        file = safetensors.numpy.save(arrays | {name: wrong})
        with pytest.raises(BundleError, match=message):
            load(workshop.put(workshop.rebuilt(members | {"tensors.safetensors": file})))


def test_a_card_is_a_mapping(workshop: Any) -> None:
    members = workshop.members_of(workshop.file_of("regression", "ridge"))
    for read in (load, read_card):
        with pytest.raises(BundleError, match=r"a mapping in card\.json"):
            read(workshop.put(workshop.rebuilt(members | {"card.json": b"[1]"})))
