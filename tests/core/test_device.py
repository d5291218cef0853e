"""The device that was asked for, or a clear word that it is not there."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest
import torch

from danlu.core.device import Device, choose_device, memory_left
from danlu.core.errors import RecipeError


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: f"H200 number {number}")


@pytest.mark.usefixtures("no_gpu")
def test_auto_falls_back_to_the_cpu_and_says_so() -> None:
    why = "CPU: torch finds no CUDA device (this torch is built without CUDA)"
    assert choose_device() == choose_device("Auto") == Device("cpu", why, 1)
    assert choose_device().as_dict() == {"name": "cpu", "why": why, "count": 1}


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("asked", ["cuda", "cuda:1"])
def test_what_is_not_there_is_never_replaced(asked: str) -> None:
    message = (
        rf"engine.device is '{asked}', but torch finds no CUDA device \(this torch is built without CUDA\)\. "
        r"Use engine.device=auto or cpu, or install a torch with CUDA: https://pytorch.org\."
    )
    with pytest.raises(RecipeError, match=message):
        choose_device(asked)
    with pytest.raises(
        RecipeError, match=r"'mps', but torch finds no Apple GPU .* Use engine.device=auto or cpu"
    ):
        choose_device("mps")


@pytest.mark.usefixtures("no_gpu")
def test_a_driver_that_is_too_old_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_old() -> bool:
        text = "CUDA initialization: Your NVIDIA driver on your system is too old (found version 9010). (Triggered by"
        warnings.warn(text, stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", too_old)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert "driver on your system is too old (found version 9010))" in choose_device().why
    with pytest.raises(
        RecipeError, match=r"too old .*\)\. Use engine.device=auto or cpu to train without it\."
    ):
        choose_device("cuda")


@pytest.mark.usefixtures("two_gpus")
def test_cuda_where_there_is_one() -> None:
    assert choose_device() == Device("cuda:0", "CUDA: H200 number 0", 2)
    assert choose_device("cuda:1") == Device("cuda:1", "CUDA: H200 number 1, asked for", 2)
    assert choose_device("auto", local_rank=1).name == "cuda:1"
    assert choose_device("cpu") == Device("cpu", "CPU: asked for", 1)
    with pytest.raises(
        RecipeError, match=r"engine.device is 'cuda:2', but cuda:0 to cuda:1 are there\. Name one"
    ):
        choose_device("cuda:2")
    with pytest.raises(
        RecipeError, match=r"process 2 needs cuda:2, but cuda:0 to cuda:1 .* use fewer processes"
    ):
        choose_device(local_rank=2)


@pytest.mark.usefixtures("no_gpu")
def test_an_apple_gpu_is_used_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("mps") == Device("mps", "Apple GPU: asked for", 1)
    assert choose_device().name == "cpu"
    assert choose_device().why.endswith("engine.device=mps uses this machine's Apple GPU")


@pytest.mark.parametrize("asked", ["gpu", "cuda:", "cpu:1", "mps:0", "", "cuda:-1"])
def test_another_word(asked: str) -> None:
    with pytest.raises(
        RecipeError, match=rf"engine.device is one of auto, cpu, cuda, mps or cuda:NUMBER, got '{asked}'"
    ):
        choose_device(asked)


def test_the_cpu_needs_no_torch() -> None:
    code = "import sys; from danlu.core.device import *; choose_device('cpu'); print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "False\n"


@pytest.mark.skipif(sys.platform != "linux", reason="a limit on address space is kept on Linux alone")
def test_memory_under_a_limit() -> None:
    assert memory_left("cpu") > 1 << 20
    code = (
        "import resource; from danlu.core.device import memory_left\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29)); print(memory_left('cpu'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert 0 < int(done.stdout) < 1 << 29
