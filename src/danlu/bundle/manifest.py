"""The closed manifest: the size and SHA-256 of every member of a bundle; nothing else may be in the file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from danlu.bundle.archive import Buffer, first_member
from danlu.bundle.strict_json import Memory, dump, parse
from danlu.core.errors import BundleError
from danlu.core.runtime import installed

FORMAT = 1
MANIFEST, MODEL, TENSORS, CARD = "manifest.json", "model.json", "tensors.safetensors", "card.json"
MEMBERS = (MANIFEST, MODEL, TENSORS, CARD)
"""The members of format 1, in the order in which they stand in the file."""

_MEMORY = 2 << 20  # bytes that its content may take
_MAX_BYTES = 1 << 16  # of the manifest of any format, so that a newer one can be told from a damaged one


def make_manifest(contents: Mapping[str, Sequence[Buffer]]) -> bytes:
    """The text of manifest.json for the other members, each given as pieces of bytes."""
    members = {
        name: {"size": sum(map(len, pieces)), "sha256": sha256(pieces)} for name, pieces in contents.items()
    }
    return dump({"format": FORMAT, "danlu": installed("danlu") or "unknown", "members": members}, indent=1)


def check_format(buffer: memoryview) -> None:
    """Refuse a bundle of a newer format by name, before its layout is looked at.

    Every format of danlu has manifest.json as its first member, stored, with the number of the format.
    """
    first = first_member(buffer)
    if first is None or first[0] != MANIFEST or len(first[1]) > _MAX_BYTES:
        return
    try:
        value = parse(first[1], name=MANIFEST, memory=Memory(_MEMORY))
    except BundleError:
        return  # damaged: the check of the archive says where
    if isinstance(value, dict) and type(value.get("format")) is int and value["format"] > FORMAT:
        raise BundleError(
            f"it was written by a newer danlu ({str(value.get('danlu'))[:40]}) in format {value['format']}; "
            f"this one ({installed('danlu')}) knows format {FORMAT}. Get it: pip install --upgrade danlu"
        )


def check_manifest(members: Mapping[str, memoryview]) -> dict[str, Any]:
    """The manifest, after a check that it names exactly the members there are and that none was altered."""
    names = list(members)
    if names[0] != MANIFEST or len(members[MANIFEST]) > _MAX_BYTES:
        raise BundleError(f"it is no danlu model: its first member is {names[0]}, not a {MANIFEST}.")
    manifest = parse(members[MANIFEST], name=MANIFEST, memory=Memory(_MEMORY))
    named = _named_members(manifest)
    if missing := set(MEMBERS) - set(names):
        raise BundleError(f"its member {min(missing)} is missing.")
    if extra := set(names) - set(MEMBERS):
        raise BundleError(f"its member {min(extra)} does not belong there.")
    if tuple(names) != MEMBERS or set(named) != set(MEMBERS[1:]):
        raise BundleError(f"its members are {', '.join(names)}; {MANIFEST} names {', '.join(named)}.")
    for name, (size, digest) in named.items():
        if len(members[name]) != size or sha256([members[name]]) != digest:
            raise BundleError(f"{name} was altered: its SHA-256 or size is not the one in {MANIFEST}.")
    return manifest


def sha256(pieces: Sequence[Buffer]) -> str:
    """SHA-256 of the pieces one after another, in hexadecimal digits."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def _named_members(manifest: Any) -> dict[str, tuple[int, str]]:
    """Name -> (size, SHA-256) after a check of the manifest's own shape."""
    if not isinstance(manifest, dict) or set(manifest) != {"format", "danlu", "members"}:
        raise BundleError(f"{MANIFEST} must hold exactly format, danlu and members.")
    if type(manifest["format"]) is not int or manifest["format"] != FORMAT:
        raise BundleError(f"it has the format {str(manifest['format'])[:40]}, which no danlu writes.")
    if not isinstance(manifest["danlu"], str) or not isinstance(manifest["members"], dict):
        raise BundleError(f"{MANIFEST} must hold a version of danlu and a mapping of members.")
    found: dict[str, tuple[int, str]] = {}
    for name, facts in manifest["members"].items():
        if not isinstance(facts, dict) or set(facts) != {"size", "sha256"}:
            raise BundleError(f"{MANIFEST} must hold exactly the size and the sha256 of {name[:80]}.")
        if type(facts["size"]) is not int or not isinstance(facts["sha256"], str):
            raise BundleError(f"{MANIFEST} must hold a number and a text as size and sha256 of {name[:80]}.")
        found[name] = (facts["size"], facts["sha256"])
    return found
