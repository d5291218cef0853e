"""The device that a run trains on: what was asked for, what there is, and why it was taken."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import Any

from danlu.core.errors import RecipeError
from danlu.core.runtime import memory_available

KINDS = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True)
class Device:
    """Where a run trains."""

    name: str
    """As torch writes it: `cpu`, `cuda:1`, `mps`."""
    why: str
    """Why this one, for the record: `CPU: torch finds no CUDA device`."""
    count: int
    """How many devices of this kind there are."""

    def as_dict(self) -> dict[str, Any]:
        """The device as plain JSON values."""
        return {"name": self.name, "why": self.why, "count": self.count}


def choose_device(asked: str = "auto", *, local_rank: int = 0) -> Device:
    """The device for `asked`: auto, cpu, cuda, cuda:1, mps. `auto` is a CUDA device where there is one, else the CPU.

    The process `local_rank` of this machine takes the CUDA device of that number, unless one was named. Raises
    `RecipeError` for a device that is not there: it is never replaced by another one in silence.
    """
    match = re.fullmatch(r"(auto|cpu|cuda|mps)(?::(\d+))?", asked.strip().lower())
    if match is None or (match[2] is not None and match[1] != "cuda"):
        raise RecipeError(f"engine.device is one of {', '.join(KINDS)} or cuda:NUMBER, got {asked!r}.")
    kind = match[1]
    if kind == "cpu":
        return Device("cpu", "CPU: asked for", 1)
    found = Cuda.look() if kind != "mps" else Cuda(0, "")
    if kind == "auto" and not found.count:
        return Device("cpu", f"CPU: {found.why_not}{_apple_hint()}", 1)
    if kind == "mps":
        if not _has_mps():
            raise RecipeError(
                "engine.device is 'mps', but torch finds no Apple GPU on this machine. Use engine.device=auto or cpu."
            )
        return Device("mps", "Apple GPU: asked for", 1)
    if not found.count:
        raise RecipeError(
            f"engine.device is {asked!r}, but {found.why_not}. Use engine.device=auto or cpu"
            + (
                " to train without it."
                if "driver" in found.why_not
                else ", or install a torch with CUDA: https://pytorch.org."
            )
        )
    number = int(match[2]) if match[2] is not None else local_rank
    if number >= found.count:
        there = "cuda:0 alone is" if found.count == 1 else f"cuda:0 to cuda:{found.count - 1} are"
        reason = (
            f"engine.device is {asked!r}"
            if match[2] is not None
            else f"process {local_rank} needs cuda:{number}"
        )
        raise RecipeError(f"{reason}, but {there} there. Name one of these, or use fewer processes.")
    why = f"CUDA: {_cuda_name(number)}" + (", asked for" if kind == "cuda" else "")
    return Device(f"cuda:{number}", why, found.count)


def memory_left(device: str) -> int:
    """Bytes of memory on a device that this process can still take."""
    if not device.startswith("cuda"):
        return min(memory_available(), _address_space_left())
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    # What torch holds and does not use is there for the next tensor as well.
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


@dataclass(frozen=True)
class Cuda:
    """What torch finds of CUDA."""

    count: int
    why_not: str

    @classmethod
    def look(cls) -> Cuda:
        """Ask torch; where there is none, its warnings say why."""
        import torch

        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count:
            return cls(count, "")
        if torch.version.cuda is None and torch.version.hip is None:
            return cls(0, "torch finds no CUDA device (this torch is built without CUDA)")
        words = str(said[0].message).split("(Triggered")[0].strip().rstrip(".") if said else ""
        return cls(0, "torch finds no CUDA device" + (f" ({words})" if words else ""))


def _cuda_name(number: int) -> str:
    import torch

    return torch.cuda.get_device_name(number)


def _has_mps() -> bool:
    import torch

    return torch.backends.mps.is_available()


def _apple_hint() -> str:
    # Not taken by itself: it has no float64, which the checks of a bundle need.
    return "; engine.device=mps uses this machine's Apple GPU" if _has_mps() else ""


def _address_space_left() -> int:
    """Bytes under `ulimit -v`, which clusters set; all there are without it."""
    try:
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit == resource.RLIM_INFINITY:
            return 1 << 62
        with open("/proc/self/statm", encoding="ascii") as file:
            pages = int(file.read().split()[0])
        return max(limit - pages * resource.getpagesize(), 0)
    except (ImportError, OSError):
        return 1 << 62
