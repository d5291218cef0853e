"""What every test can ask for: real data, a folder for runs, a real browser. First of all: one thread."""

from __future__ import annotations

import os

# Two OpenMP threads on busy cores are slower than one by far; processes that a test starts inherit these.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Same examples on every machine and in every run; a slow machine is not a failure.
settings.register_profile("danlu", derandomize=True, deadline=None, database=None)
settings.load_profile("danlu")

REPOSITORY = Path(__file__).resolve().parent.parent
BROWSERS = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data sets: $DANLU_DATA, or shared/data beside the repository."""
    folder = Path(os.environ.get("DANLU_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is not a folder, and DANLU_DATA can name another")
    return folder


@pytest.fixture
def runs_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty runs/ in a folder of the test's own, which is the working folder while the test runs."""
    folder = tmp_path / "runs"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A real headless Chromium; `page = browser.new_page()` opens a tab."""
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=flags)
        yield chromium
        chromium.close()
