"""How gradient-trained models are trained, and how that is run on this machine. Everything has a default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from danlu.core.duration import parse_duration
from danlu.core.errors import RecipeError


@dataclass(frozen=True)
class TrainingSettings:
    """The `training` group of a recipe; `auto` lets the model and the number of rows decide."""

    duration: str = "auto"
    """How long at most: `60 epochs`, `2000 steps` or `30 seconds`; an epoch is one pass over the training rows."""
    batch_size: int | Literal["auto", "all"] = "auto"
    """Rows a step: 1 is stochastic descent, `all` is batch descent, anything between is mini-batch descent."""
    optimizer: Literal["auto"] | Annotated[str | dict[str, Any], "optimizer|update"] = "auto"
    """A name from `danlu models --kind optimizer`, alone or with its settings: {name: momentum, momentum: 0.95}.
    `exact` solves linear models in one step; `auto` is exact for linear models and adamw for networks."""
    learning_rate: float | Literal["auto", "range_test"] = "auto"
    """Step size; `auto` is the optimizer's usual one, `range_test` tries growing ones on a copy first (Smith 2015)."""
    weight_decay: float = 0.0
    """Decay of the weight matrices a step (decoupled in adamw and muon, an L2 gradient elsewhere), not of biases and
    norms."""
    schedule: Annotated[str | dict[str, Any], "schedule"] = "constant"
    """How the learning rate changes over the duration, such as cosine or {name: step, every: 1000, factor: 0.1}."""
    warmup: str = "off"
    """How long the learning rate grows linearly from nearly 0 first, `100 steps` or `1 epochs`; or `off`."""
    clip_norm: float | None = None
    """Largest L2 norm of all gradients together; longer ones are scaled down to it."""
    clip_value: float | None = None
    """Largest absolute value of each entry of the gradient; larger ones are cut to it."""
    l1: float = 0.0
    """Lasso penalty on the weight matrices; brings many of them to exactly 0."""
    l2: float = 0.0
    """Ridge penalty on the weight matrices, added to the gradient; with `l1` the elastic net."""
    max_norm: float | None = None
    """Largest L2 norm of the weights that lead into one unit; longer ones are scaled back after each step."""
    average: Literal["off"] | Annotated[str | dict[str, Any], "average"] = "off"
    """Averaged weights are what is validated and kept: ema, swa, or {name: ema, decay: 0.99}."""
    mixup: float = 0.0
    """Alpha of the Beta(alpha, alpha) by which pairs of rows are mixed, inputs and targets alike; 0 mixes nothing."""
    noise: float = 0.0
    """Standard deviation of the noise that is added to the inputs while training."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16 computes forward and backward in bfloat16 (weights and updates stay in fp32): faster where the processor
    has it, at a small loss of accuracy that the report shows."""
    patience: int | Literal["auto", "off"] = "auto"
    """Validations without a better score after which training stops; the best weights are restored."""

    def __post_init__(self) -> None:
        if self.duration != "auto":
            parse_duration(self.duration)
        if self.warmup != "off" and parse_duration(self.warmup).unit == "seconds":
            raise RecipeError(f"training.warmup is counted in steps or epochs, got {self.warmup!r}.")
        if isinstance(self.batch_size, int) and self.batch_size < 1:
            raise RecipeError(f"training.batch_size must be at least 1, got {self.batch_size}.")
        if not isinstance(self.learning_rate, str) and not 0 < self.learning_rate < float("inf"):
            raise RecipeError(f"training.learning_rate must be above 0, got {self.learning_rate}.")
        for name in ("weight_decay", "l1", "l2", "mixup", "noise"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise RecipeError(f"training.{name} must be a number from 0 on, got {getattr(self, name)}.")
        for name in ("clip_norm", "clip_value", "max_norm"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise RecipeError(f"training.{name} must be above 0, got {value}. Leave it out for no limit.")
        if isinstance(self.patience, int) and self.patience < 1:
            raise RecipeError(f"training.patience must be at least 1, or 'off', got {self.patience}.")


@dataclass(frozen=True)
class EngineSettings:
    """The `engine` group of a recipe: where and how fast it runs. None of it changes what is learned, but last bits."""

    device: str = "auto"
    """`auto` takes a CUDA GPU where torch finds one, else the CPU; or `cpu`, `cuda`, `cuda:1`, `mps`."""
    execution: Literal["auto", "eager", "compiled"] = "auto"
    """`compiled` takes several steps in one compiled graph; `auto` times both on copies where a run is long enough."""
    steps_per_call: int | Literal["auto"] = "auto"
    """Steps in one compiled graph."""
    threads: int | Literal["auto"] = "auto"
    """Threads of one process."""
    layout: Literal["auto", "contiguous", "channels_last"] = "auto"
    """How images lie in memory."""
    micro_batch: int | None = None
    """Rows that are computed at once: a batch of more is accumulated in pieces, to exactly the same gradient."""
    processes: int = 1
    """Processes that train one model together on shares of each batch."""
    sharding: Literal["ddp", "fsdp"] = "ddp"
    """`ddp`: each process holds the whole model; `fsdp`: each holds a slice of it (FSDP2)."""
    checkpoint: str = "30 seconds"
    """How often what is needed to go on after a kill is saved: `30 seconds`, `500 steps`, `1 epochs`, or `off`."""
    signals: float = 0.01
    """Share of the time that may go into looking at gradients, updates and dead units by layer; 0 looks at none."""
    watch: tuple[Literal["jsonl", "tensorboard", "mlflow"], ...] = ()
    """Who else is told of every event; what they write stands in the run's folder."""
    price_per_hour: float | None = None
    """What an hour of one device costs you; the run then says what it cost."""

    def __post_init__(self) -> None:
        if self.checkpoint != "off":
            parse_duration(self.checkpoint)
        for name in ("steps_per_call", "threads", "micro_batch", "processes"):
            value = getattr(self, name)
            if isinstance(value, int) and value < 1:
                raise RecipeError(f"engine.{name} must be at least 1, got {value}.")
        if not 0 <= self.signals <= 1:
            raise RecipeError(f"engine.signals is a share between 0 and 1, got {self.signals}.")
        if self.price_per_hour is not None and not 0 <= self.price_per_hour < float("inf"):
            raise RecipeError(f"engine.price_per_hour must be a number from 0 on, got {self.price_per_hour}.")
        if self.execution == "eager" and self.steps_per_call not in ("auto", 1):
            raise RecipeError("engine.steps_per_call belongs to execution 'compiled', got execution 'eager'.")
