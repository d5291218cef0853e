"""Files that are either wholly written or not there at all, and what a full disk or a locked folder says."""

from __future__ import annotations

import errno
import json
import math
import os
import tempfile
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from danlu.core.errors import UserError


@contextmanager
def disk_errors(path: Path) -> Generator[None]:
    """Turn the operating system's errors on writing `path` into sentences that say what to do."""
    try:
        yield
    except OSError as error:
        raise _explain(error, path) from error


def write_atomic(path: str | Path, content: str | bytes) -> Path:
    """Write `content` so that a kill or a full disk leaves either the old file or the new one, never a piece."""
    data = content.encode() if isinstance(content, str) else content
    return write_stream(path, lambda file: file.write(data))


def write_stream(path: str | Path, write: Callable[[BinaryIO], object]) -> Path:
    """As `write_atomic`, for content that `write` puts into an open binary file piece by piece."""
    target = Path(path)
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o666 & ~_umask())
            os.replace(name, target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        sync_folder(target.parent)
    return target


def write_json(path: str | Path, value: Any) -> Path:
    """Write `value` as strict JSON: a NaN or an infinity becomes null, since JSON has neither."""
    return write_atomic(path, dump_json(value) + "\n")


def dump_json(value: Any, *, indent: int | None = 2) -> str:
    """Strict JSON text of `value`; NumPy scalars and arrays become numbers and lists, NaN becomes null."""
    return json.dumps(plain(value), indent=indent, ensure_ascii=False, allow_nan=False)


def plain(value: Any) -> Any:
    """`value` in JSON's own types: dict, list, str, int, float, bool, None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in cast(dict[Any, Any], value).items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in cast(Iterable[Any], value)]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int, bool)):
        return value
    return str(value)


def _umask() -> int:
    current = os.umask(0o022)
    os.umask(current)
    return current


def sync_folder(folder: Path) -> None:
    """Wait until the names in `folder` are on the disk."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows cannot open a folder to sync it
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _explain(error: OSError, path: Path) -> UserError:
    reasons = {
        errno.ENOSPC: "the disk is full. Free some space, or name another folder with --out",
        errno.EDQUOT: "your disk quota is used up. Free some space, or name another folder with --out",
        errno.EACCES: "the folder may not be written to. Name another one with --out",
        errno.EPERM: "the folder may not be written to. Name another one with --out",
        errno.EROFS: "the disk is read-only. Name another folder with --out",
        errno.ENOTDIR: "a part of this path is a file, not a folder. Name another folder with --out",
        errno.EEXIST: "a part of this path is a file, not a folder. Name another folder with --out",
        errno.ENAMETOOLONG: "the name is too long for this disk. Choose a shorter one",
    }
    reason = reasons.get(error.errno or 0, f"{error.strerror or error}. Name another folder with --out")
    return UserError(f"Cannot write {path}: {reason}.")
