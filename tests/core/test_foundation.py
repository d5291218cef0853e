from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from danlu.core.errors import MissingExtra, RecipeError, UserError, closest
from danlu.core.findings import Finding
from danlu.core.interrupt import Interrupts
from danlu.core.runtime import environment, memory_available, num_threads
from danlu.core.scores import class_probabilities, log_softmax, scores, sigmoid, softmax
from danlu.core.seeds import derive, generator
from danlu.core.tasks import Task


def test_closest_name():
    assert closest("forrest", ["random_forest", "forest", "ridge"]) == " Did you mean 'forest'?"
    assert closest("INCOME", ["age", "income"]) == " Did you mean 'income'?"
    assert closest("zzz", ["age"]) == ""


def test_errors_are_value_errors_and_say_what_to_install():
    assert issubclass(RecipeError, UserError)
    assert issubclass(UserError, ValueError)
    error = MissingExtra("onnx", "export", purpose="Writing ONNX")
    assert str(error) == 'Writing ONNX needs the package onnx. Install it with: pip install "danlu[export]"'


def test_streams_are_pure_functions_of_seed_and_names():
    assert derive(0, "a", 1) == derive(0, "a", 1)
    assert len({derive(0, "a"), derive(0, "b"), derive(1, "a"), derive(0, "a", "b"), derive(0, "ab")}) == 5
    assert derive(0, "split") == 1024740914  # the same on every machine and in every version
    np.testing.assert_array_equal(generator(3, "x").random(4), generator(3, "x").random(4))


def test_finding_becomes_plain_json():
    finding = Finding("leak", "problem", "x repeats y.", {"share": 0.5}, ("drop it",), ("x",), (np.int64(3),))  # type: ignore[arg-type]
    assert finding.as_dict() == {
        "code": "leak", "severity": "problem", "message": "x repeats y.", "evidence": {"share": 0.5},
        "remedies": ["drop it"], "columns": ["x"], "rows": [3],
    }  # fmt: skip


def test_task_round_trip():
    task = Task("binary", ("no", "yes"))
    assert task.positive == "yes"
    assert (task.positive_code, task.num_scores) == (1, 1)
    assert Task.from_dict(task.as_dict()) == task
    assert Task("multiclass", (1, 2, 3)).num_scores == 3


def test_links_at_worked_values_and_extremes():
    np.testing.assert_allclose(softmax(np.array([1.0, 2.0, 3.0])), [0.090031, 0.244728, 0.665241], atol=1e-6)
    np.testing.assert_allclose(-log_softmax(np.array([1.0, 2.0, 3.0]))[2], 0.407606, atol=1e-6)
    np.testing.assert_allclose(sigmoid(np.array([-2.0, 0.0, 2.0])), [0.119203, 0.5, 0.880797], atol=1e-6)
    assert sigmoid(np.array([-800.0, 800.0])).tolist() == [0.0, 1.0]
    assert class_probabilities(np.array([0.0, 800.0])).tolist() == [[0.5, 0.5], [0.0, 1.0]]
    np.testing.assert_allclose(class_probabilities(np.array([[1000.0, 0.0, -1000.0]])), [[1, 0, 0]])


def test_scores_of_a_module_are_float64_without_gradients():
    import torch

    module = torch.nn.Linear(3, 1)
    x = np.arange(6.0).reshape(2, 3)
    found = scores(module, x)
    assert (found.dtype, found.shape) == (np.float64, (2, 1))
    np.testing.assert_allclose(found, module(torch.tensor(x, dtype=torch.float32)).detach().numpy())
    assert module.training


def test_environment_names_what_changes_bits(monkeypatch):
    facts = environment()
    assert facts["numpy"] == np.__version__
    assert facts["processor"]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert num_threads() == 3
    assert memory_available() > 1 << 20


def test_ctrl_c_ends_what_is_breakable_and_is_remembered():
    interrupts = Interrupts()
    with interrupts.listening():
        with interrupts.breakable():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
            pytest.fail("the signal should have ended the block")
        assert interrupts.asked
        with pytest.raises(KeyboardInterrupt):
            interrupt_and_wait()  # the second one ends the command


def interrupt_and_wait():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(5)


def test_the_first_ctrl_c_waits_for_what_must_be_finished():
    interrupts = Interrupts()
    with interrupts.listening():
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupts.asked
        with interrupts.breakable():
            pass


def test_importing_danlu_is_light():
    heavy = ["torch", "numpy", "polars", "sklearn", "lightgbm", "scipy"]
    code = f"import sys, danlu; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_public_names_are_what_all_says():
    import danlu

    assert dir(danlu) == danlu.__all__
    assert all(getattr(danlu, name) is not None for name in danlu.__all__)
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = danlu.trian
