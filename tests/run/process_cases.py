"""What test_processes.py runs in several processes: `python process_cases.py CASE FOLDER`, ranks in the environment.

Every case prints nothing; rank 0 writes FOLDER/CASE.json.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

import danlu
from danlu.core.checkpoint import Checkpoints
from danlu.core.errors import RecipeError
from danlu.core.ideas import Ranks
from danlu.core.process_ranks import ProcessRanks, is_under_torchrun, joined
from danlu.objectives.criterion import Criterion
from danlu.run.job import Diverged
from danlu.run.module import fit_module
from danlu.updates.parallel import local

ROWS = (
    203  # no multiple of a batch: the last one of an epoch is smaller, and at times than the number of ranks
)


def network(*, dropout: float = 0.0) -> nn.Module:
    """A small network in float64 with a stack of layers."""
    torch.manual_seed(0)
    stack = [nn.Linear(7, 16), nn.LayerNorm(16), nn.Tanh(), nn.Dropout(dropout), nn.Linear(16, 16), nn.Tanh()]
    return nn.Sequential(*stack, nn.Linear(16, 3)).double()


def rows() -> dict[str, torch.Tensor]:
    """Three classes, with weights some of which are 0."""
    draws = torch.Generator().manual_seed(1)
    x = torch.randn(ROWS, 7, generator=draws, dtype=torch.float64)
    y = (x @ torch.randn(7, 3, generator=draws, dtype=torch.float64)).argmax(1)
    weight = torch.randint(0, 4, (ROWS,), generator=draws).double()
    return {"x": x, "y": y, "weight": weight}


def weights(model: nn.Module) -> dict[str, list[Any]]:
    return {name: value.tolist() for name, value in model.state_dict().items()}


def trained(settings: dict[str, Any], **engine: Any) -> dict[str, Any]:
    """Weights, validation scores and length of one fit."""
    model = network()
    data = rows()
    held = {name: value[:50] for name, value in data.items()}
    fitted = fit_module(
        model,
        data,
        "cross_entropy",
        validation=held,
        training={"duration": "3 epochs", "batch_size": 64} | settings,
        engine={"checkpoint": "off", "signals": 0.0, "execution": "eager"} | engine,
        seed=3,
    )
    return {
        "weights": weights(model),
        "scores": fitted.history.validation,
        "steps": fitted.outcome.position.step,
        "length": fitted.length,
    }


SETTINGS: dict[str, dict[str, Any]] = {
    "sgd": {"optimizer": "sgd", "learning_rate": 0.3},
    "uneven": {"optimizer": "adamw", "learning_rate": 0.01, "batch_size": 50, "clip_norm": 0.05},
    "penalties": {
        "optimizer": "momentum", "learning_rate": 0.05, "l1": 0.001, "l2": 0.01, "max_norm": 0.5, "clip_value": 0.01,
        "schedule": "cosine", "weight_decay": 0.01,
    },
    "average": {"optimizer": "sgd", "learning_rate": 0.3, "average": {"name": "ema", "decay": 0.9}, "noise": 0.1},
    "mixup": {"optimizer": "rmsprop", "learning_rate": 0.003, "mixup": 0.4, "batch_size": 67},
}  # fmt: skip
"""Name of a case -> training settings."""


def exactness(folder: Path) -> dict[str, Any]:
    """The same fits whatever the number of ranks; under several also in slices, and in pieces."""
    number = int(os.environ.get("WORLD_SIZE", "1"))
    found: dict[str, Any] = {}
    for name, settings in SETTINGS.items():
        found[name] = trained(settings)
        found[f"{name}/pieces"] = trained(settings, micro_batch=16 if number == 1 else 5)
        if number > 1:
            found[f"{name}/fsdp"] = trained(settings, sharding="fsdp")
    if number > 1:
        found["muon"] = trained({"optimizer": "muon", "learning_rate": 0.01})
        found["refused"] = refused()
    else:
        found["muon"] = trained({"optimizer": "muon", "learning_rate": 0.01})
    return found


def refused() -> dict[str, str]:
    """What several processes cannot do, and what they say."""
    cases: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "lbfgs": ({"optimizer": "lbfgs", "batch_size": "all"}, {}),
        "muon in slices": ({"optimizer": "muon"}, {"sharding": "fsdp"}),
        "signals in slices": ({}, {"sharding": "fsdp", "signals": 0.5}),
        "few rows": ({"batch_size": 1}, {}),
        "compiled": ({}, {"execution": "compiled"}),
        "another number": ({}, {"processes": 7}),
    }
    found: dict[str, str] = {}
    for name, (training, engine) in cases.items():
        found[name] = refusal(network(), "cross_entropy", training, engine)
    try:
        danlu.train(model=network(), data=rows(), objective="cross_entropy", engine={"processes": 9})
    except RecipeError as error:
        found["module"] = str(error)
    found["batch norm"] = refusal(
        nn.Sequential(nn.Linear(7, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)).double(), "cross_entropy", {}, {}
    )
    found["no sum"] = refusal(network(), lambda model, batch: model(batch["x"]).square().mean(), {}, {})
    return found


def refusal(model: nn.Module, objective: Any, training: dict[str, Any], engine: dict[str, Any]) -> str:
    try:
        fit_module(model, rows(), objective, training={"batch_size": 64} | training, engine=engine)
    except RecipeError as error:
        return str(error)
    return ""


def fault(folder: Path) -> dict[str, Any]:
    """A number that is not finite in the rows of the last rank is named by all of them."""
    found: dict[str, Any] = {}
    for sharding in ("ddp", "fsdp"):
        data = rows()
        data["x"] = data["x"].clone()
        data["x"][-1, 0] = 1e308
        model = nn.Sequential(nn.Linear(7, 5), nn.Linear(5, 3)).double()
        for parameter in model.parameters():
            parameter.data.fill_(100.0)
        said = ""
        try:
            fit_module(
                model,
                data,
                "cross_entropy",
                training={"batch_size": "all", "duration": "3 steps", "optimizer": "sgd"},
                engine={"sharding": sharding, "checkpoint": "off"},
            )
        except Diverged as error:
            said = f"{type(error).__name__}: {error}"
        with joined() as ranks:
            found[sharding] = ranks.texts(said)
    return found


def resumed(folder: Path) -> dict[str, Any]:
    """Fits with a checkpoint at every second step; killed at $KILL_STEP by the process itself, all ranks at once."""
    kill = int(os.environ.get("KILL_STEP", "0"))

    def watch(event: Any) -> None:
        if kill and event.kind == "step" and event.position.step >= kill:
            os.kill(os.getpid(), 9)

    found: dict[str, Any] = {}
    for sharding in os.environ["SHARDINGS"].split(","):
        # Under fsdp none: each rank draws its own masks, and another number of ranks is to give the same model.
        model = network(dropout=0.2 if sharding == "ddp" else 0.0)
        data = rows()
        fitted = fit_module(
            model,
            data,
            "cross_entropy",
            validation={name: value[:50] for name, value in data.items()},
            training={
                "duration": "3 epochs", "batch_size": 32, "optimizer": "adamw", "learning_rate": 0.02,
                "schedule": "cosine", "average": "ema", "mixup": 0.3, "patience": 3,
            },
            engine={"sharding": sharding, "checkpoint": "2 steps", "signals": 1.0 if sharding == "ddp" else 0.0},
            seed=5,
            watchers=[watch],
            checkpoints=Checkpoints(folder / sharding),
        )  # fmt: skip
        found[sharding] = {
            "weights": {name: value.numpy().tobytes().hex() for name, value in model.state_dict().items()},
            "scores": fitted.history.validation,
            "steps": fitted.outcome.position.step,
        }
    return found


def slices(folder: Path) -> dict[str, Any]:
    """Each rank holds its share of the weights and moments and no more."""
    from danlu.updates.parallel import Parallel

    with joined() as ranks:
        model = network()
        whole = sum(p.numel() for p in model.parameters())
        parallel = Parallel(model, sharding="fsdp", ranks=ranks, unit=100)
        trained_ = parallel.start(Criterion(nn.CrossEntropyLoss()), {})
        own = sum(local(p).numel() for p in trained_.parameters())
        shell = sum(p.numel() for p in model.parameters())
        back = parallel.finish()
        kinds = [type(m).__name__ for m in trained_.modules() if type(m).__name__.startswith("FSDP")]
        counts = ranks.total({"own": own, "shell": shell})
        same = all(torch.equal(a, b) for a, b in zip(back.parameters(), network().parameters(), strict=True))
        return {"whole": whole, "own": counts["own"], "shell": counts["shell"], "same": same, "kinds": kinds}


def idle(folder: Path) -> dict[str, Any]:
    """A weight that the loss does not reach stays as it is, as in one process."""

    class WithIdle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = network(), nn.Linear(3, 3).double()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x)

    model = WithIdle()
    before = model.idle.weight.detach().clone()
    fit_module(
        model,
        rows(),
        "cross_entropy",
        training={"duration": "1 epochs", "batch_size": 64, "optimizer": "sgd", "learning_rate": 0.3},
        engine={"checkpoint": "off", "signals": 0.0},
        seed=3,
    )
    return {"same": torch.equal(before, model.idle.weight), "weights": weights(model.used)}


def module(folder: Path) -> dict[str, Any]:
    """`danlu.train(model=...)` as a program calls it in each of the processes."""
    found: dict[str, Any] = {}
    for sharding in ("ddp", "fsdp") if is_under_torchrun() else ("ddp",):
        run = danlu.train(
            model=network(),
            data=rows(),
            objective="cross_entropy",
            validation={name: value[:50] for name, value in rows().items()},
            training={"duration": "2 epochs", "batch_size": 64, "optimizer": "adamw"},
            engine={"sharding": sharding, "checkpoint": "1 steps", "execution": "eager"},
            seed=3,
            out=folder / f"run-{sharding}",
        )
        own = {"weights": weights(run.model), "record": run.record["processes"], "metrics": run.metrics}
        own["memory"] = json.loads((run.folder / "record.json").read_text())["memory"]
        with joined() if is_under_torchrun() else nullcontext(Ranks()) as ranks:
            said = ranks.texts(json.dumps(own)) if isinstance(ranks, ProcessRanks) else [json.dumps(own)]
        found[sharding] = [json.loads(text) for text in said]
    return found


def talk(folder: Path) -> dict[str, Any]:
    """What ranks tell each other."""
    with joined() as ranks:
        state = {
            "a": torch.arange(5, dtype=torch.bfloat16),
            "b": [1, "x", None, True],
            "c": {"d": torch.zeros(0, 3)},
        }
        state |= {"e": torch.tensor(2.5, dtype=torch.float64).numpy(), "f": torch.tensor([True, False])}
        got = ranks.share(state if ranks.rank == 0 else None)
        return {
            "nobody": ranks.agree(""),
            "first": ranks.agree("" if ranks.rank == 0 else f"rank {ranks.rank} 丹"),
            "all": ranks.texts("x" * ranks.rank),
            "total": ranks.total({"b": 1.0, "a": float(ranks.rank)}),
            "share": ranks.texts(str(got)),
        }


def main(case: str, folder: Path) -> None:
    group = joined() if is_under_torchrun() else None
    if group is None:
        answer(case, folder, Ranks())
        return
    with group as ranks:
        answer(case, folder, ranks)


def answer(case: str, folder: Path, ranks: Ranks | ProcessRanks) -> None:
    found: dict[str, Any] = {}
    for name in case.split(","):
        found |= {name: globals()[name](folder)}
    if ranks.rank == 0:
        (folder / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
