from __future__ import annotations

import errno
import json
import os

import numpy as np
import pytest

from danlu.core.errors import UserError
from danlu.core.files import dump_json, write_atomic, write_json, write_stream


def test_writes_and_replaces(tmp_path):
    path = tmp_path / "folder" / "file.txt"
    write_atomic(path, "one")
    write_atomic(path, b"two")
    assert path.read_text() == "two"
    assert [entry.name for entry in path.parent.iterdir()] == ["file.txt"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    write_atomic(path, "old")

    def breaks(file):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match=r"Cannot write .*file.txt: the disk is full. Free some space"):
        write_stream(path, breaks)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.txt"]


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path):
    (tmp_path / "busy").write_text("")
    with pytest.raises(UserError, match="a part of this path is a file, not a folder"):
        write_atomic(tmp_path / "busy" / "file.txt", "x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="may not be written to. Name another one with --out"):
        write_atomic(tmp_path / "file.txt", "x")


def test_json_is_strict_and_takes_numpy(tmp_path):
    value = {
        "a": np.float64(1.5),
        "b": np.array([1, 2]),
        "c": float("nan"),
        3: (True, None),
        "d": float("inf"),
    }
    path = write_json(tmp_path / "x.json", value)
    assert json.loads(path.read_text()) == {"a": 1.5, "b": [1, 2], "c": None, "3": [True, None], "d": None}
    assert dump_json({"é": "丹炉"}, indent=None) == '{"é": "丹炉"}'
