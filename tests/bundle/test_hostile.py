"""Whole files made to do harm: nothing runs, nothing else is opened, memory is bounded, errors are ours."""

from __future__ import annotations

import ast
import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from danlu.bundle.read import load
from danlu.bundle.strict_json import dump
from danlu.bundle.tensors import read_tensors, write_tensors
from danlu.core.errors import BundleError, UserError

# One file with every way in which models keep what they have learnt.
KINDS = {
    "linear": ("regression", ("ridge", "polynomial", "baseline")),
    "trees": ("multiclass", ("decision_tree",)),
    "boosting": ("binary", ("boosting",)),
    "forest": ("regression", ("random_forest",)),
    "neighbours": ("binary", ("knn",)),
    "bayes": ("multiclass", ("gaussian_nb", "multinomial_nb", "bernoulli_nb")),
    "network": ("regression", ("mlp",)),
}
MEMORY = 64 << 20  # bytes that reading a file may take beyond twice its size

PICKLE = b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x02id\x94\x85\x94R\x94."  # runs `id`


@pytest.mark.parametrize("what", ["linear", "trees", "network"])
def test_no_flipped_bit_goes_unseen(workshop: Any, what: str) -> None:
    data = workshop.file_of(KINDS[what][0], *KINDS[what][1])
    draw = np.random.default_rng(1)
    places = {int(place) for place in draw.integers(0, len(data) * 8, 300)} | set(range(0, 43 * 8, 5))
    for place in places:
        altered = bytearray(data)
        altered[place // 8] ^= 1 << place % 8
        with pytest.raises(BundleError):
            load(workshop.put(bytes(altered)))


def test_no_piece_that_is_cut_out_or_repeated_goes_unseen(workshop: Any) -> None:
    data = workshop.file_of("regression", "ridge")
    draw = np.random.default_rng(2)
    for _ in range(200):
        first, last = sorted(int(place) for place in draw.integers(0, len(data) + 1, 2))
        for altered in (data[:first] + data[last:], data[:last] + data[first:]):
            if altered != data:
                with pytest.raises(BundleError):
                    load(workshop.put(altered))


@pytest.mark.parametrize("name", ["model.json", "tensors.safetensors", "card.json"])
def test_a_pickle_in_the_place_of_a_member_is_refused(workshop: Any, name: str) -> None:
    members = workshop.members_of(workshop.file_of("regression", "ridge"))
    with pytest.raises(BundleError):
        load(workshop.put(workshop.rebuilt(members | {name: PICKLE})))
    with pytest.raises(BundleError, match=r"its member data\.pkl does not belong there"):
        load(workshop.put(workshop.rebuilt(members | {"data.pkl": PICKLE})))


STRANGE: list[Any] = [
    None,
    True,
    -1,
    0,
    1,
    2**63,
    1e300,
    "",
    "os.system",
    "x" * 5000,
    [],
    {},
    [[]],
    {"$array": "x"},
    {"a": 1},
]


def mutated(value: Any, draw: np.random.Generator) -> Any:
    """The value with something strange in one place of it, or with a part left out."""
    value = copy.deepcopy(value)
    place, key = value, None
    parent: Any = None
    while isinstance(place, (dict, list)) and place and (parent is None or draw.random() < 0.9):
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        parent, key = place, keys[int(draw.integers(len(keys)))]
        place = place[key]
    if parent is None:
        return STRANGE[int(draw.integers(len(STRANGE)))]
    if draw.random() < 0.2:
        del parent[key]
    else:
        parent[key] = copy.deepcopy(STRANGE[int(draw.integers(len(STRANGE)))])
    return value


def disturbed(array: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """The array with strange values, of another shape or of another type."""
    way = int(draw.integers(6))
    if way == 0:
        return array[: len(array) // 2] if array.ndim else array.reshape(1)
    if way == 1:
        return np.concatenate([array, array]) if array.ndim else array.reshape(1, 1)
    if way == 2:
        return array.astype(np.float64 if array.dtype.kind != "f" else np.int64)
    if way == 3 and array.ndim > 1:
        return array.T
    changed = array.copy().reshape(-1)
    if changed.size:
        index = draw.integers(0, changed.size, max(1, changed.size // 20 if way == 4 else 1))
        limits = np.iinfo(changed.dtype) if changed.dtype.kind in "iu" else None
        floats = [np.nan, np.inf, -np.inf, 1e308, -1e308, 0.0, 5e-324]
        whole = [-1, 0, 1, 7, changed.size] + ([] if limits is None else [limits.max, limits.min])
        choices = floats if changed.dtype.kind == "f" else [0, 1] if changed.dtype.kind == "b" else whole
        values = np.array(
            [choices[int(each)] for each in draw.integers(0, len(choices), len(index))], dtype=object
        )
        with np.errstate(over="ignore"):
            changed[index] = [np.array(v).astype(changed.dtype) for v in values]
    return changed.reshape(array.shape)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numbers near the largest overflow when they are used
@pytest.mark.parametrize("what", KINDS)
def test_a_careful_attacker_gets_an_error_or_a_model(workshop: Any, what: str) -> None:
    """Right checksums, strange content: a file is refused in words, or is a model that answers or refuses."""
    kind, models = KINDS[what]
    members, rows = (
        workshop.members_of(workshop.file_of(kind, *models)),
        workshop.fitted(kind, *models).rows[:20],
    )
    model, arrays = (
        json.loads(members["model.json"]),
        read_tensors(memoryview(members["tensors.safetensors"])),
    )
    draw = np.random.default_rng(3)
    refused = 0
    for turn in range(150):
        text, tensors = model, arrays
        if turn % 2:
            text = mutated(model, draw)
        else:
            name = list(arrays)[int(draw.integers(len(arrays)))]
            tensors = arrays | {name: disturbed(arrays[name], draw)}
        content = {
            "model.json": json.dumps(text).encode(),
            "tensors.safetensors": b"".join(write_tensors(tensors)),
        }
        path = workshop.put(workshop.rebuilt(members | content))
        try:
            predictor = load(path)
        except BundleError:
            refused += 1
            continue
        try:
            answers = predictor.predict_frame(rows).main
        except UserError:  # no finite answer, or columns that these rows do not have
            continue
        assert np.isfinite(answers).all()
        assert len(answers) == len(rows)
    assert refused > 50


WATCHED = """
import sys
from danlu.bundle.read import load
from danlu.core.errors import BundleError

first, *others = sys.argv[1:]
seen = []
if first != "cold":
    load(first)  # imports what it needs
sys.addaudithook(lambda event, arguments: seen.append((event, *map(str, arguments[:1]))))
for path in others:
    try:
        load(path)
    except BundleError as error:
        seen.append(("refused", type(error).__name__))
print(repr(seen))
"""


def events(first: Any, *paths: Path) -> list[tuple[str, ...]]:
    """What Python's audit hook sees while `paths` are loaded, after `first` was loaded (or `cold`).

    Looks at frames are left out: torch keeps the stack of each call that seeds a generator.
    """
    command = [sys.executable, "-c", WATCHED, str(first), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    looks = ("object.__getattr__", "sys._getframe")
    return [event for event in ast.literal_eval(done.stdout) if event[0] not in looks]


def test_nothing_runs_and_nothing_else_is_opened(workshop: Any) -> None:
    """All that happens when a file is loaded, good or hostile, is that this file is opened."""
    members = workshop.members_of(workshop.file_of("binary", "mlp", "logistic"))
    model = json.loads(members["model.json"])

    def put(name: str, content: dict[str, bytes]) -> Path:
        path = workshop.folder / f"{name}.danlu"
        path.write_bytes(workshop.rebuilt(members | content))
        return path

    def with_model(name: str, **changes: Any) -> Path:
        return put(name, {"model.json": json.dumps(model | changes).encode()})

    mlp, logistic = model["members"]
    good = put("good", {})
    hostile = [
        put("pickled", {"tensors.safetensors": PICKLE}),
        put("extra", {"data.pkl": PICKLE}),
        put("deep", {"model.json": b"[" * 100_000}),
        put("nan", {"card.json": b'{"a": NaN}'}),
        with_model("system", members=[mlp | {"part": "os:system"}, logistic]),
        with_model("target", members=[mlp | {"settings": {"_target_": "os.system"}}, logistic]),
        with_model("path", target={"$array": "/etc/passwd"}),
    ]
    expected = [event for path in hostile for event in (("open", str(path)), ("refused", "BundleError"))]
    found = events(good, good, *hostile)
    # The parts of other packages are looked up before a name is refused: their lists lie beside the packages.
    lists = ("entry_points.txt", ".zip")
    found = [event for event in found if event[0] != "os.listdir" and not event[1].endswith(lists)]
    assert found == [("open", str(good)), *expected]


def test_a_first_load_runs_installed_code_only(workshop: Any) -> None:
    path = workshop.put(workshop.file_of("multiclass", "decision_tree", "logistic"))
    found = events("cold", path)
    names = {event[0] for event in found}
    assert "exec" in names  # the hook sees imports, so it would see more
    wrong = (
        "socket.",
        "subprocess.",
        "os.system",
        "os.exec",
        "os.spawn",
        "os.posix_spawn",
        "os.fork",
        "pickle.",
    )
    assert [name for name in names if name.startswith(wrong)] == []
    assert [event for event in found if event[0] == "open" and event[1].endswith(".danlu")] == [
        ("open", str(path))
    ]


MEASURED = """
import sys
from pathlib import Path
from danlu.bundle.read import load
from danlu.core.errors import BundleError

def memory(name):
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if line.startswith(name)).split()[1])

warm, path = sys.argv[1:]
load(warm)
Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is held now
before = memory("VmRSS")
try:
    model = load(path)
    said = "loaded"
except BundleError as error:
    said = str(error)
print(memory("VmHWM") - before, said, sep="\\n")
"""


def extra_memory(warm: Path, path: Path) -> tuple[int, str]:
    """Bytes that a process takes to load `path`, beside those that it held before, and what came of it."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the memory of a process is measured on Linux only")
    command = [sys.executable, "-c", MEASURED, str(warm), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    taken, said = done.stdout.strip().split("\n", 1)
    return int(taken), said


def test_a_large_good_file_takes_at_most_twice_its_size(workshop: Any) -> None:
    """200,000 levels of a category and 100 MB of trees: what fills JSON and arrays in earnest."""
    members = workshop.members_of(workshop.file_of("regression", "random_forest"))
    model, arrays = (
        json.loads(members["model.json"]),
        read_tensors(memoryview(members["tensors.safetensors"])),
    )
    levels = [f"level {level}" for level in range(200_000)]
    model["preprocessors"][0]["value"]["categories"][0]["levels"] = levels
    for name in arrays:
        if name.startswith("members/0/model/trees/"):
            arrays[name] = np.concatenate([arrays[name]] * 600)
    warm = workshop.folder / "warm.danlu"
    warm.write_bytes(workshop.rebuilt(members))
    content = {"model.json": dump(model), "tensors.safetensors": b"".join(write_tensors(arrays))}
    path = workshop.put(workshop.rebuilt(members | content))
    taken, said = extra_memory(warm, path)
    assert said == "loaded"
    assert taken <= 2 * path.stat().st_size + MEMORY


MILLION = 1_000_000
GREEDY: dict[str, dict[str, bytes]] = {
    "empty lists": {"model.json": b"[" + b"[]," * 10 * MILLION + b"[]]"},
    "mappings": {"model.json": b"[" + b'{"a":0},' * 5 * MILLION + b"{}]"},
    "keys": {"card.json": b"{" + b",".join(b'"%x":1' % i for i in range(3 * MILLION)) + b"}"},
    "a wide letter": {"card.json": b'{"a":"' + b"a" * 30 * MILLION + "\U0001f600".encode() + b'"}'},
    "names of arrays": {
        "tensors.safetensors": (8 * MILLION).to_bytes(8, "little")
        + (b'{"a":[' + b"{}," * (8 * MILLION // 3)).ljust(8 * MILLION)
    },
    "a long header": {"tensors.safetensors": (1 << 40).to_bytes(8, "little") + bytes(20 * MILLION)},
    "brackets": {"model.json": b"[" * 50 * MILLION},
    "quotes": {"model.json": b'"' * 50 * MILLION},
    "escapes": {"model.json": b'"' + b"\\\\" * 20 * MILLION + b'"'},
    "digits": {"card.json": b'{"a":' + b"9" * 10 * MILLION + b"}"},
    "decimals": {"card.json": b'{"a":0.' + b"9" * 10 * MILLION + b"}"},
}


def with_levels(workshop: Any) -> dict[str, bytes]:
    """A category of 400,000 levels: a feature for each of them."""
    model = json.loads(workshop.members_of(workshop.file_of("regression", "ridge"))["model.json"])
    model["preprocessors"][0]["value"]["categories"][0]["levels"] = [f"{level:x}" for level in range(400_000)]
    return {"model.json": dump(model)}


@pytest.mark.parametrize("what", [*GREEDY, "levels"])
def test_a_hostile_file_takes_at_most_twice_its_size(workshop: Any, what: str) -> None:
    members = workshop.members_of(workshop.file_of("regression", "ridge"))
    warm = workshop.folder / "warm.danlu"
    warm.write_bytes(workshop.rebuilt(members))
    content = with_levels(workshop) if what == "levels" else GREEDY[what]
    path = workshop.put(workshop.rebuilt(members | content))
    taken, said = extra_memory(warm, path)
    assert said.startswith("Cannot load") or what == "decimals"  # a long number is a number
    assert taken <= 2 * path.stat().st_size + MEMORY
