"""From model.danlu to a predictor in memory. Nothing in the file can name code to run; all is checked first.

The order is: size, layout of the archive, checksums, manifest, shape of the JSON, header of the arrays; only
then are parts built, by names out of danlu's own catalogue, and each part checks its state once more.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING, Any, BinaryIO

from danlu.bundle.archive import MAX_BYTES, read_archive
from danlu.bundle.manifest import CARD, MODEL, TENSORS, check_format, check_manifest
from danlu.bundle.predictor import Member, Predictor
from danlu.bundle.strict_json import Memory, parse
from danlu.bundle.tensors import read_tensors
from danlu.core.errors import BundleError, UserError, closest
from danlu.core.states import put_together
from danlu.core.tasks import Task
from danlu.recipe.build import build_model, restore_objective
from danlu.recipe.catalogue import lookup

if TYPE_CHECKING:
    from danlu.data.preprocess import Preprocessor
    from danlu.data.schema import Schema

MAX_LABELS = 1 << 16
MAX_PARTS = 1000  # members, and preprocessors

_MEMORY = 40 << 20  # bytes that the content of model.json and card.json may take together
_MAX_NAMES = 32 << 20  # bytes that the columns' names may take within the names of features
_KEYS = {"task", "target", "schema", "preprocessors", "members", "calibrator", "interval", "threshold"}
_MEMBER_KEYS = {"name", "part", "settings", "weight", "preprocessor", "objective", "model"}


def load(path: str | Path) -> Predictor:
    """The predictor in a model file; `BundleError` says what is wrong with a damaged or hostile one."""
    with _about(path):
        return predictor_of(check_members(_read_file(path)))


def read_card(path: str | Path) -> dict[str, Any]:
    """The card of a model file: metrics, recipe, data. The whole file is checked; no part is built."""
    with _about(path):
        return _card(check_members(_read_file(path)), Memory(_MEMORY))


def check_members(buffer: memoryview) -> dict[str, memoryview]:
    """The members of a whole file in memory, after every check that needs no knowledge of models."""
    check_format(buffer)
    members = read_archive(buffer)
    check_manifest(members)
    return members


def predictor_of(members: Mapping[str, memoryview]) -> Predictor:
    """The predictor that checked members stand for."""
    memory = Memory(_MEMORY)
    text = parse(members[MODEL], name=MODEL, memory=memory)
    arrays = read_tensors(members[TENSORS])
    model = put_together(text, arrays=arrays)
    if arrays:
        raise BundleError(
            f"{TENSORS} holds the array {next(iter(arrays))[:80]!r}, which {MODEL} does not use."
        )
    _need(
        isinstance(model, dict) and set(model) == _KEYS,
        f"{MODEL} must hold exactly {', '.join(sorted(_KEYS))}",
    )
    task = _task(model["task"])
    target, threshold = model["target"], model["threshold"]
    _need(isinstance(target, str), "the target must be a text")
    _need(
        threshold is None or (_is_number(threshold) and 0 <= threshold <= 1),
        "the threshold must lie in [0, 1]",
    )
    _need(threshold is None or task.kind == "binary", "a threshold is for two classes")
    _need(model["calibrator"] is None or task.is_classification, "a calibration is for classes")
    _need(model["interval"] is None or task.kind == "regression", "an interval is for a number")
    return Predictor(
        task=task,
        target=target,
        schema=_schema(model["schema"]),
        members=_members(model, task),
        calibrator=_calibrator(model["calibrator"], task),
        interval=_interval(model["interval"]),
        threshold=None if threshold is None else float(threshold),
        card=_card(members, memory),
    )


def read_whole(file: BinaryIO) -> memoryview:
    """The bytes of an open file, in memory that nobody else can change; arrays are views of it."""
    size = os.fstat(file.fileno()).st_size
    if size > MAX_BYTES:
        raise BundleError(f"it has {size:,} bytes; a model file has at most {MAX_BYTES:,}.")
    buffer = memoryview(bytearray(size))
    done = 0
    while done < size and (count := file.readinto(buffer[done:])):  # type: ignore[attr-defined]
        done += count
    if done < size or file.read(1):
        raise BundleError("it changed while it was read. Is something still writing to it?")
    return buffer


def _read_file(path: str | Path) -> memoryview:
    try:
        mode = os.stat(path).st_mode
        if S_ISDIR(mode):
            inside = Path(path) / "model.danlu"
            hint = f" Did you mean {inside}?" if inside.is_file() else ""
            raise BundleError(f"it is a folder, not a model file.{hint}")
        if not S_ISREG(mode):
            raise BundleError("it is not a file but a device or a pipe.")
        with open(path, "rb", buffering=0) as file:
            buffer = read_whole(file)
    except FileNotFoundError:
        folder = Path(path).parent
        names = [each.name for each in folder.iterdir()] if folder.is_dir() else []
        raise BundleError(f"there is no such file.{closest(Path(path).name, names)}") from None
    except (OSError, ValueError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"it cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    if not buffer:
        raise BundleError("it is empty.")
    if bytes(buffer[:2]) != b"PK":
        raise BundleError(
            "it is not a danlu model, which is a zip archive. Nothing else is opened, no pickle either."
        )
    return buffer


def _members(model: Mapping[str, Any], task: Task) -> tuple[Member, ...]:
    from danlu.data.preprocess import Preprocessor

    states, entries = model["preprocessors"], model["members"]
    _need(isinstance(states, list) and 0 < len(states) <= MAX_PARTS, f"1 to {MAX_PARTS} preprocessors")
    _need(isinstance(entries, list) and 0 < len(entries) <= MAX_PARTS, f"1 to {MAX_PARTS} members")
    with _part("the preprocessing"):
        preprocessors = [Preprocessor.from_state(state["value"], state["arrays"]) for state in states]
        for preprocessor in preprocessors:
            _check_names(preprocessor)
    members = tuple(_member(entry, preprocessors, task) for entry in entries)
    _need(sum(member.weight for member in members) > 0, "weights of members of which one is above 0")
    return members


def _member(entry: Any, preprocessors: list[Any], task: Task) -> Member:
    keys = ", ".join(sorted(_MEMBER_KEYS))
    _need(isinstance(entry, dict) and set(entry) == _MEMBER_KEYS, f"members with exactly {keys}")
    name, part, settings = entry["name"], entry["part"], entry["settings"]
    weight, index = entry["weight"], entry["preprocessor"]
    _need(isinstance(name, str) and isinstance(part, str), "members with a name and a part")
    _need(isinstance(settings, dict), "members with settings")
    _need(_is_number(weight) and 0 <= weight < 1e300, "weights of members from 0 on")
    _need(
        type(index) is int and 0 <= index < len(preprocessors), "members that name one of the preprocessors"
    )
    num_features = preprocessors[index].num_features
    with _part(f"the model {part[:40]!r}"):
        known = lookup("model", part)
        if known.traits.get("update") == "gradient":
            _check_network(part, settings, task, num_features, entry["model"])
        built = build_model(part, settings, task, num_features, seed=0)
        built.load(entry["model"])
        objective: Any = restore_objective(task, entry["objective"])
        is_plain = all(isinstance(value, float) for value in objective.state().values())
        _need(task.is_classification or is_plain, "one number for a target's shift and one for its scale")
        settings = known.checked(settings, where=f"models.{part}")
    return Member(name, part, settings, preprocessors[index], built, objective, float(weight))


def _check_network(
    part: str, settings: Mapping[str, Any], task: Task, num_features: int, state: Mapping[str, Any]
) -> None:
    """Refuse weights that are not those of a network with these settings, before memory is taken for one."""
    from danlu.bundle.networks import weight_shapes

    wanted = weight_shapes(lambda: build_model(part, settings, task, num_features, seed=0))
    found = {name: getattr(array, "shape", None) for name, array in state.items()}
    _need(
        found == wanted,
        f"weights of the shapes that its settings ask for ({_first_difference(wanted, found)})",
    )


def _first_difference(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    name = next((name for name in (*wanted, *found) if wanted.get(name) != found.get(name)), "")
    return f"{name[:80]}: {wanted.get(name)} is wanted, {found.get(name)} is there"


def _check_names(preprocessor: Preprocessor) -> None:
    """Features repeat names of columns (`column=level`, `a * b`): refuse what would fill the memory so."""
    parts = (*preprocessor.categories, *preprocessor.texts)
    longest = max(map(len, preprocessor.columns), default=0)
    size = (
        sum(len(part.column) * part.width for part in parts)
        + 3 * longest * preprocessor.number_features.width
    )
    _need(size <= _MAX_NAMES, "names of columns that are short enough to name features after them")


def _schema(value: Any) -> Schema:
    from danlu.data.schema import Schema

    with _part("the schema"):
        for column in value["columns"]:
            texts = [
                column["name"],
                column["dtype"],
                column["why"],
                column["format"] or "",
                *column["missing"],
            ]
            counts = [column["num_missing"], column["num_unique"], value["num_rows"]]
            _need(all(isinstance(text, str) for text in texts), "texts about the columns of its schema")
            _need(all(type(count) is int and count >= 0 for count in counts), "counts of rows in its schema")
        return Schema.from_dict(value)


def _calibrator(state: Any, task: Task) -> Any:
    from danlu.evaluate.calibrators import Calibrator

    if state is None:
        return None
    with _part("the calibration"):
        calibrator = Calibrator.from_state(state)
        _need(calibrator.num_classes == len(task.labels), f"a calibration of {len(task.labels)} classes")
        return calibrator


def _interval(state: Any) -> Any:
    from danlu.evaluate.conformal import PredictionInterval

    if state is None:
        return None
    with _part("the interval"):
        interval = PredictionInterval.from_state(state)
        _need(not interval.is_scaled, "an interval of one width")
        return interval


def _card(members: Mapping[str, memoryview], memory: Memory) -> dict[str, Any]:
    card = parse(members[CARD], name=CARD, memory=memory)
    _need(isinstance(card, dict), f"a mapping in {CARD}")
    return card


def _task(value: Any) -> Task:
    """The task after a check that its kind, labels and positive class fit together."""
    keys = {"kind", "labels", "positive"}
    _need(isinstance(value, dict) and set(value) == keys, f"a task with {', '.join(sorted(keys))}")
    kind, labels, positive = value["kind"], value["labels"], value["positive"]
    sizes = {"regression": (0, 0), "binary": (2, 2), "multiclass": (2, MAX_LABELS)}
    _need(isinstance(kind, str) and kind in sizes, f"a task of one of the kinds {', '.join(sizes)}")
    are_plain = isinstance(labels, list) and all(isinstance(label, (str, int, float)) for label in labels)
    _need(are_plain, "labels of classes that are texts, numbers or true and false")
    fewest, most = sizes[kind]
    fit = fewest <= len(labels) <= most and len(set(labels)) == len(labels)
    _need(fit, f"labels, each once, that fit a {kind} task")
    if kind == "binary":
        is_label = isinstance(positive, (str, int, float)) and positive in labels
        _need(is_label, "a positive class that is one of the two")
    else:
        _need(positive is None, "no positive class where there are not two")
    return Task.from_dict(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _need(fits: bool, what: str) -> None:
    if not fits:
        raise BundleError(f"{MODEL} is not what danlu writes; it must hold {what}.")


@contextmanager
def _about(path: str | Path) -> Iterator[None]:
    """Begin every complaint with the file that it is about."""
    try:
        yield
    except BundleError as error:
        raise BundleError(f"Cannot load {path}: {error}") from error
    except MemoryError as error:
        raise BundleError(f"Cannot load {path}: it needs more memory than there is.") from error


@contextmanager
def _part(what: str) -> Iterator[None]:
    """What a part says when its state is not one that it wrote, as a `BundleError`.

    Parts check their states; a wrong type that slips through to Python or NumPy is an error of the file too.
    """
    try:
        yield
    except BundleError:
        raise
    except UserError as error:
        raise BundleError(f"{what} cannot be used: {error}") from error
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise BundleError(f"{what} is damaged ({type(error).__name__}: {error}).") from error
