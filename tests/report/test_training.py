"""How a network was trained, as the report tells it: numbers, charts, and what looks wrong inside."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.report.records import RECORDS
from tests.report.test_browser import WIDEST, opened
from tests.report.test_page import change
from tests.report.wellformed import assert_self_contained, read_page

import danlu
from danlu.report import render, write_report
from danlu.report.layer_signals import concerns, remarks_on
from danlu.report.plots_training import range_chart
from danlu.report.sections_training import training

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def summary(first: float, last: float, mean: float | None = None, *, not_finite: int = 0) -> dict[str, Any]:
    middle = (first + last) / 2 if mean is None else mean
    return {"first": first, "last": last, "least": min(first, last), "most": max(first, last), "mean": middle,
            "seen": 9, "not_finite": not_finite}  # fmt: skip


def healthy() -> dict[str, Any]:
    return {
        "dead": {"layers.1": summary(0.0, 0.03)},
        "gradient": {
            "layers.0.weight": summary(2.1, 0.026),
            "layers.0.bias": summary(0.3, 0.004),
            "layers.2.weight": summary(2.3, 0.031),
            "layers.2.bias": summary(0.3, 0.002),
        },
        "gradient_norm": {"": summary(4.4, 0.05)},
        "update": {
            "layers.0.weight": summary(5e-3, 1e-4, 2e-3),
            "layers.0.bias": summary(6.6e5, 4e-3, 7e4),  # a bias starts at 0
            "layers.2.weight": summary(6e-3, 1e-4, 2.4e-3),
            "layers.2.bias": summary(3e9, 5e-4, 4e8),
        },
    }


def trained() -> dict[str, Any]:
    return {
        "pace": {
            "steps": 384, "epochs": 8, "rows_into_next_epoch": 0, "seconds": 0.7, "stop_reason": "reached 8 epochs",
            "resumed_at_steps": [120], "rows_per_second": 8721.0, "seconds_per_epoch": 0.0875,
            "learning_rate": {"step": [1, 200, 384], "value": [0.007, 0.0035, 1e-7]},
            "signals": healthy(),
        },
        "memory": {"parameters": 67_368, "gradients": 67_368, "optimizer": 134_760, "averages": 0, "fixed": 4,
                   "per_row": 2084, "per_pair": 0, "rows_per_rank": 16, "needed": 302_844},
        "decisions": {
            "range_test": {"rates": [1e-5, 1e-4, 1e-3, 1e-2, 1e-1], "losses": [3.0, 2.9, 1.0, 0.5, 9.0],
                           "suggestion": 0.00333, "diverged": True},
            "execution": {"execution": "compiled", "threads": 2, "layout": "contiguous", "steps_per_call": 16,
                          "why": "the fastest of: eager 1.2 ms, compiled 0.5 ms a step"},
            "total_steps": 384,
        },
        "device": {"name": "cpu", "why": "CPU: torch finds no CUDA device", "count": 1},
        "threads": 2,
        "precision": "bf16",
    }  # fmt: skip


def record() -> dict[str, Any]:
    """The binary record, whose mlp was trained by gradient steps."""
    made = RECORDS["binary"]()
    network = next(one for one in made["candidates"] if one["model"] == "mlp")
    network["training"] = trained()
    made["run"]["cost"] = {"num_devices": 1, "device_hours": 0.5, "price_per_hour": 2.5, "cost": 1.25}
    made["recipe"] = {"training": {"schedule": {"name": "cosine", "floor": 0.0}}}
    return made


def text_of(made: dict[str, Any]) -> str:
    section = training(made)
    assert section is not None
    return read_page(str(section.body)).text


def test_the_facts_of_a_training_are_told() -> None:
    text = text_of(record())
    for told in (
        "384 in 8 epochs",
        "0.7 s, 88 ms an epoch",
        "8,721",
        "reached 8 epochs",
        "between 1 × 10⁻⁷ and 0.007",
        "compiled, 2 threads, 16 steps a call; the fastest of: eager 1.2 ms, compiled 0.5 ms a step",
        "CPU: torch finds no CUDA device",
        "bf16",
        "at step 120",
        "0.5 device-hours, 1.25 at 2.5 an hour",
        "Learning rate (cosine)",
        "Taken: 0.00333, a third of the rate with the least loss. The curve ends where the loss ran away.",
    ):
        assert told in text, told


def test_memory_is_told_part_by_part_and_the_parts_add_up() -> None:
    text = text_of(record())
    assert "Weights 67.4 kB Gradients 67.4 kB Optimizer 135 kB 16 rows and their activations 33.3 kB" in text
    assert "A step together 303 kB" in text
    assert "Averaged weights" not in text


def test_a_run_without_gradient_steps_has_no_such_part() -> None:
    for made in (RECORDS["regression"](), {"candidates": [{"name": "ridge", "training": None}]}):
        assert training(made) is None
        assert "How it was trained" not in read_page(render(made)).headings


def test_it_stands_after_the_learning_curves() -> None:
    headings = read_page(render(record())).headings
    assert headings[headings.index("How it was trained") - 1] == "Learning curves"


def test_a_short_fit_says_why_it_was_eager_and_a_named_execution_who_named_it() -> None:
    made = record()
    network = next(one for one in made["candidates"] if one.get("training"))
    del network["training"]["decisions"]["execution"]
    assert "eager; too short a fit for timing other ways" in text_of(made)
    made["recipe"]["engine"] = {"execution": "compiled"}
    assert "compiled, as the recipe says" in text_of(made)


def test_a_constant_rate_has_no_chart() -> None:
    made = record()
    network = next(one for one in made["candidates"] if one.get("training"))
    network["training"]["pace"]["learning_rate"] = {"step": [1, 384], "value": [0.001, 0.001]}
    assert "Learning rate 0.001" in text_of(made)
    assert "Learning rate (cosine)" not in text_of(made)


def test_the_other_networks_are_folded_away() -> None:
    made = record()
    second = copy.deepcopy(next(one for one in made["candidates"] if one.get("training")))
    second |= {"name": "wide net", "score": 0.9}
    second["training"]["pace"]["steps"] = 999
    made["candidates"].append(second)
    section = training(made)
    assert section is not None
    assert "<summary>wide net</summary>" in str(section.body)
    assert text_of(made).index("384 in 8 epochs") < text_of(made).index("999 in 8 epochs")


# ---------------------------------------------------------------- the range test's curve


def test_the_curve_ends_soon_after_the_loss_ran_away_so_that_its_dip_can_be_seen() -> None:
    rates = [10.0**power for power in range(-6, 2)]
    losses = [3.0, 3.0, 2.0, 1.0, 2.5, 4.5, 60.0, 900.0]
    drawn = str(range_chart(rates, losses, 3e-4))
    assert "The dashed line marks 0.0003." in drawn
    assert "loss: 4.5" in drawn and "loss: 60" not in drawn
    assert "learning rate (logarithmic) 0.001\nloss: 1" in drawn


def test_rates_stand_on_a_logarithmic_axis() -> None:
    drawn = str(range_chart([1e-4, 1e-3, 1e-2], [3.0, 2.0, 1.0], 1e-3))
    path = drawn.partition('d="M')[2].partition('"')[0]
    xs = [float(point.split()[0]) for point in path.split("L")]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)


# ---------------------------------------------------------------- what looks wrong


def test_a_healthy_network_raises_no_concern() -> None:
    assert concerns(healthy()) == []
    assert "Nothing that was seen looks wrong." in text_of(record())


@pytest.mark.parametrize(
    ("kind", "layer", "seen", "told", "remark"),
    [
        ("dead", "layers.1", summary(0, 0.8), "80 % of the units of layers.1 are 0 on every row", "dead"),
        ("saturated", "layers.1", summary(0, 0.6), "60 % of the values of layers.1 stand at the edge", "saturated"),
        ("update", "layers.0.weight", summary(1e-5, 1e-5), "Steps are small in layers.0.weight", "small steps"),
        ("update", "layers.2.weight", summary(0.2, 0.2), "Steps are large in layers.2.weight", "large steps"),
        ("gradient", "layers.2.weight", summary(1, 1, not_finite=2), "not finite in layers.2.weight", "not finite"),
    ],
)  # fmt: skip
def test_what_looks_wrong_is_said_in_words(
    kind: str, layer: str, seen: dict[str, Any], told: str, remark: str
) -> None:
    signals = healthy()
    signals.setdefault(kind, {})[layer] = seen
    assert [told in sentence for sentence in concerns(signals)] == [True]
    assert remarks_on(signals, layer) == [remark]


def test_half_of_the_units_and_ten_times_the_usual_step_are_the_bounds() -> None:
    signals = healthy()
    signals["dead"]["layers.1"] = summary(1.0, 0.5)  # it counts how it ended
    signals["update"]["layers.0.weight"] = summary(1e-4, 1e-4)
    signals["update"]["layers.2.weight"] = summary(1e-2, 1e-2)
    assert concerns(signals) == []


def test_gradients_that_fade_on_their_way_back_are_named() -> None:
    signals = healthy()
    signals["gradient"]["layers.0.weight"] = summary(1e-3, 1e-3)
    signals["gradient"]["layers.2.weight"] = summary(2.5, 2.5)
    assert [sentence for sentence in concerns(signals) if "2,500 times smaller" in sentence] == concerns(
        signals
    )
    signals["gradient"]["layers.2.weight"] = summary(0.9, 0.9)
    assert concerns(signals) == []


def test_of_many_layers_a_few_are_named() -> None:
    signals = {"update": {f"layers.{place}.weight": summary(1, 1) for place in range(7)}}
    assert (
        "layers.0.weight, layers.1.weight, layers.2.weight and 4 more: more than 0.01" in concerns(signals)[0]
    )


def test_a_bias_is_not_measured_by_its_size() -> None:
    text = text_of(record())
    assert "layers.0.bias 0.3 0.004 –" in text
    assert "layers.0.weight 2.1 0.026 0.002" in text


# ---------------------------------------------------------------- records that are broken or hostile


@pytest.mark.parametrize(
    "value", [None, "</script><b>", float("nan"), float("inf"), -1, 0, 1e300, [], {}, True]
)
def test_whatever_stands_in_the_record_the_page_holds(value: Any) -> None:
    made = record()
    for one in made["candidates"]:
        if one.get("training"):
            one["training"] = change(one["training"], lambda leaf: value)
    page = read_page(render(made))
    assert_self_contained(page)


@pytest.mark.parametrize("key", ["pace", "memory", "decisions", "device", "threads", "precision"])
def test_an_absent_part_is_left_out(key: str) -> None:
    made = record()
    for one in made["candidates"]:
        if one.get("training"):
            one["training"][key] = None
    assert_self_contained(read_page(render(made)))


def test_long_names_and_many_layers_fit_on_a_phone(browser: Browser, tmp_path: Path) -> None:
    made = record()
    network = next(one for one in made["candidates"] if one.get("training"))
    names = [f"{'encoder.block.' * 5}{place}.weight" for place in range(200)]
    for kind in ("gradient", "update", "dead"):
        network["training"]["pace"]["signals"][kind] = {name: summary(1.0, 1.0) for name in names}
    write_report(made, tmp_path / "report.html")
    page, bad = opened(browser, tmp_path / "report.html", width=400)
    assert page.evaluate(WIDEST) <= 400
    page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    assert page.evaluate(WIDEST) <= 400
    assert bad == []
    page.close()


# ---------------------------------------------------------------- a real run


def test_a_real_run_of_a_network_tells_its_training(runs_dir: Path) -> None:
    run = danlu.train(
        "danlu/houses",
        target="price",
        model="mlp",
        budget="20s",
        split={"folds": 2},
        training={
            "duration": "5 epochs",
            "learning_rate": "range_test",
            "schedule": "cosine",
            "batch_size": 2,
        },
        out=runs_dir / "net",
    )
    page = read_page(run.report.read_text(encoding="utf-8"))
    network = next(
        one
        for one in json.loads((run.folder / "record.json").read_text())["candidates"]
        if one.get("training")
    )
    assert "How it was trained" in page.headings
    assert f"{network['training']['pace']['steps']} in 5 epochs" in page.text
    assert "reached 5 epochs" in page.text
    assert "a third of the rate with the least loss" in page.text
