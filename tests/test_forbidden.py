"""Nothing in src/ reads a file by running it: no pickle in any disguise, no torch.load, no eval or exec."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCES = Path(__file__).resolve().parent.parent / "src"

MODULES = {"_pickle", "cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
BUILTINS = {"__import__", "compile", "eval", "exec"}
# Of whatever module; `.eval()` and `.compile()` of a network stay allowed.
METHODS = {"full_load", "read_pickle", "to_pickle", "unsafe_load", "unsafe_load_all"}
DOTTED = {f"yaml.{name}Loader" for name in ("", "C", "CFull", "CUnsafe", "Full", "Unsafe")}  # SafeLoader may


def test_nothing_in_src_runs_what_a_file_says() -> None:
    files = sorted(SOURCES.rglob("*.py"))
    assert files, f"no Python files in {SOURCES}"
    found = [f"{file.name}:{what}" for file in files for what in forbidden(file.read_text("utf-8"))]
    assert found == []


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("import pickle", "1: import pickle"),
        ("import joblib.externals as e", "1: import joblib.externals"),
        ("def f():\n    from cloudpickle import dumps", "2: import cloudpickle"),
        ("import torch\ntorch.load('x', weights_only=True)", "2: torch.load"),
        ("import torch as t\nt.load('x')", "2: torch.load"),
        ("from torch import load", "1: torch.load"),
        ("from torch import load as read", "1: torch.load"),
        ("read = torch.load", "1: torch.load"),
        ("import torch.serialization\ntorch.serialization.load('x')", "2: torch.serialization.load"),
        ("eval('1')", "1: eval"),
        ("import builtins as b\nb.eval('1')", "2: builtins.eval"),
        ("run = exec", "1: exec"),
        ("import pandas as pd\npd.read_pickle('x')", "2: pandas.read_pickle"),
        ("import yaml\nyaml.load(text, yaml.Loader)", "2: yaml.Loader"),
        ("from yaml import CUnsafeLoader", "1: yaml.CUnsafeLoader"),
        ("import yaml\nyaml.unsafe_load(text)", "2: yaml.unsafe_load"),
        ("np.load('x', allow_pickle=True)", "1: allow_pickle"),
        ("np.load('x', allow_pickle=flag)", "1: allow_pickle"),
    ],
)
def test_each_way_is_seen(code: str, what: str) -> None:
    assert forbidden(code) == [what]


def test_harmless_namesakes_pass() -> None:
    code = (
        "import json, re, torch, yaml\n"
        "model.eval()\n"
        "torch.compile(model)\n"
        "re.compile('a')\n"
        "json.load(file)\n"
        "yaml.safe_load(text)\n"
        "yaml.load(text, yaml.SafeLoader)\n"
        "safetensors.torch.load(data)\n"
        "np.load('x', allow_pickle=False)\n"
        "'pickle.load and eval are words here'"
    )
    assert forbidden(code) == []


def forbidden(code: str) -> list[str]:
    """Every forbidden thing in a piece of Python, as 'line: what'."""
    tree = ast.parse(code)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
    renamed = {alias.asname: alias.name for node in imports for alias in node.names if alias.asname}
    found: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                found += [(node.lineno, f"import {a.name}") for a in names if a.name.split(".")[0] in MODULES]
            case ast.ImportFrom(module=str(module), names=names):
                if module.split(".")[0] in MODULES:
                    found.append((node.lineno, f"import {module}"))
                imported = [f"{module}.{alias.name}" for alias in names]
                found += [(node.lineno, name) for name in imported if is_forbidden(name)]
            case ast.Name(id=name) if name in BUILTINS:
                found.append((node.lineno, name))
            case ast.Attribute():
                owner, _, rest = ast.unparse(node).partition(".")
                name = f"{renamed.get(owner, owner)}.{rest}"
                if is_forbidden(name):
                    found.append((node.lineno, name))
            case ast.keyword(arg="allow_pickle", value=value):
                if not (isinstance(value, ast.Constant) and value.value is False):
                    found.append((node.lineno, "allow_pickle"))
            case _:
                pass
    return [f"{line}: {what}" for line, what in sorted(found)]


def is_forbidden(name: str) -> bool:
    """Whether a dotted name such as torch.serialization.load is on one of the lists."""
    first, last = name.split(".")[0], name.split(".")[-1]
    return (
        name in DOTTED
        or last in METHODS
        or (first == "torch" and last in {"load", "save"})
        or (first == "builtins" and last in BUILTINS)
    )
