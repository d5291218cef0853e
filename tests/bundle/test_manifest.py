"""Tests of bundle/manifest.py: what is named is there, unaltered and alone; a newer file is told as one."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from danlu.bundle.manifest import MEMBERS, check_format, check_manifest, make_manifest
from danlu.bundle.strict_json import dump
from danlu.core.errors import BundleError

CONTENTS = {"model.json": b"{}", "tensors.safetensors": b"arrays", "card.json": b"{}"}


def members(manifest: Any, contents: dict[str, bytes] = CONTENTS) -> dict[str, memoryview]:
    text = manifest if isinstance(manifest, bytes) else dump(manifest)
    return {"manifest.json": memoryview(text)} | {
        name: memoryview(content) for name, content in contents.items()
    }


def manifest(**changes: Any) -> dict[str, Any]:
    made = json.loads(make_manifest({name: [content] for name, content in CONTENTS.items()}))
    return made | changes


def test_it_names_every_member_with_size_and_sha256() -> None:
    made = json.loads(make_manifest({"model.json": [b"ab", b"c"]}))
    assert made["format"] == 1
    assert made["members"] == {"model.json": {"size": 3, "sha256": hashlib.sha256(b"abc").hexdigest()}}
    assert check_manifest(members(manifest())) == manifest()


@pytest.mark.parametrize("name", MEMBERS[1:])
def test_an_altered_missing_or_extra_member_is_named(name: str) -> None:
    for altered in (CONTENTS[name] + b" ", CONTENTS[name][:-1] + b"?"):
        with pytest.raises(BundleError, match=f"{name} was altered"):
            check_manifest(members(manifest(), CONTENTS | {name: altered}))
    without = {other: content for other, content in CONTENTS.items() if other != name}
    with pytest.raises(BundleError, match=f"its member {name} is missing"):
        check_manifest(members(manifest(), without))
    entries = {other: entry for other, entry in manifest()["members"].items() if other != name}
    with pytest.raises(BundleError, match="its members are"):
        check_manifest(members(manifest(members=entries)))


def test_nothing_else_may_be_there() -> None:
    with pytest.raises(BundleError, match=r"its member data\.pkl does not belong there"):
        check_manifest(members(manifest(), CONTENTS | {"data.pkl": b"cos\nsystem\n(S'id'\ntR."}))
    named = make_manifest({name: [content] for name, content in (CONTENTS | {"run.py": b""}).items()})
    with pytest.raises(BundleError, match=r"its member run\.py does not belong there"):
        check_manifest(members(named, CONTENTS | {"run.py": b""}))
    with pytest.raises(BundleError, match="its members are"):
        check_manifest(members(named))


def test_another_order_is_refused() -> None:
    turned = dict(reversed(CONTENTS.items()))
    with pytest.raises(BundleError, match=r"its members are manifest\.json, card\.json"):
        check_manifest(members(manifest(), turned))
    with pytest.raises(BundleError, match=r"it is no danlu model: its first member is model\.json"):
        check_manifest(dict(list(members(manifest()).items())[1:]))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (b"[]", "must hold exactly format, danlu and members"),
        (manifest(allow_pickle=True), "must hold exactly format, danlu and members"),
        (manifest(format="1"), "has the format 1, which no danlu writes"),
        (manifest(format=True), "has the format True, which no danlu writes"),
        (manifest(format=0), "has the format 0, which no danlu writes"),
        (manifest(format=1.0), r"has the format 1\.0, which no danlu writes"),
        (manifest(danlu=None), "must hold a version of danlu"),
        (manifest(members=[]), "must hold a version of danlu and a mapping"),
        (manifest(members={"model.json": 1}), r"exactly the size and the sha256 of model\.json"),
        (manifest(members={"model.json": {"size": "2", "sha256": ""}}), "must hold a number and a text"),
        (b'{"format": 1, "format": 2}', "holds the key 'format' twice"),
        (b"{" * 100, "nests 100 levels deep"),
        (b" " * 70_000, "it is no danlu model"),
    ],
)
def test_a_wrong_manifest_is_refused(wrong: Any, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        check_manifest(members(wrong))


def test_a_newer_format_is_told_from_damage(workshop: Any) -> None:
    newer = dump({"format": 2, "danlu": "9.1.0", "licence": "free", "members": {"model.bin": {}}})
    data = workshop.rebuilt({"model.bin": b"something new"}, manifest=newer)
    for given in (data, data[:120] + b"another layout"):
        with pytest.raises(
            BundleError, match=r"by a newer danlu \(9\.1\.0\) in format 2; .* pip install --upgrade danlu"
        ):
            check_format(memoryview(given))
    check_format(memoryview(workshop.rebuilt(CONTENTS)))
    check_format(memoryview(b"PK\x03\x04"))
    check_format(memoryview(workshop.rebuilt(CONTENTS, manifest=b'{"format": NaN}')))
