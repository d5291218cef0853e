"""Several processes that train one model, over torch.distributed: what they agree on, and how they find each other.

Every decision is a short text or a few counts, exchanged between the processors (gloo) also where the gradients go
from GPU to GPU (nccl). Nothing is pickled: states travel as JSON and raw tensors.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from danlu.core.errors import DanluError
from danlu.core.ideas import Ranks, State
from danlu.core.states import put_together, take_apart, tensor_names

PATIENCE = timedelta(days=7)
"""How long a process waits for the others: rank 0 may be busy with other models; who dies is noticed at once."""


class ProcessRanks(Ranks):
    """The processes of torch's default group; all of them make the same calls in the same order."""

    def __init__(self, *, local_rank: int = 0) -> None:
        dist = _distributed()

        self.rank, self.number, self.local_rank = dist.get_rank(), dist.get_world_size(), local_rank
        has_host = "cpu" in str(dist.get_backend_config())
        self._group: Any = None if has_host else dist.new_group(backend="gloo", timeout=PATIENCE)

    def agree(self, reason: str) -> str:
        """What the lowest rank that has something to say says, on every rank: mostly that is rank 0 or nobody."""
        import torch

        dist = _distributed()

        who = torch.tensor([self.rank if reason else self.number])
        with lost_ranks():
            dist.all_reduce(who, op=dist.ReduceOp.MIN, group=self._group)
        speaker = int(who)
        return "" if speaker == self.number else self._text(reason, speaker)

    def total(self, counts: Mapping[str, float]) -> dict[str, float]:
        """The sum of `counts` over the ranks, on every rank, in float64; all ranks give the same names."""
        import torch

        dist = _distributed()

        names = sorted(counts)
        values: Any = torch.tensor([float(counts[name]) for name in names], dtype=torch.float64)
        with lost_ranks():
            dist.all_reduce(values, group=self._group)
        found = dict(zip(names, values.tolist(), strict=True))
        return {name: found[name] for name in counts}

    def texts(self, text: str) -> list[str]:
        """What each rank says, in their order, on every rank."""
        return [self._text(text, rank) for rank in range(self.number)]

    def share(self, state: State | None) -> State:
        """The state that rank 0 gives, on every rank; the others give None. Tensors arrive on the CPU."""
        import torch

        arrays: dict[str, Any] = {}
        if self.rank == 0:
            value = take_apart(state, place="state", arrays=arrays, strict=False)
            tensors = {name: _tensor(array) for name, array in arrays.items()}
            facts = [[name, str(t.dtype).split(".")[1], list(t.shape)] for name, t in tensors.items()]
            self._text(json.dumps([value, facts]), 0)
            for tensor in tensors.values():
                self.send(tensor)
            return state or {}
        value, facts = json.loads(self._text("", 0))
        for name, dtype, shape in facts:
            arrays[name] = torch.empty(shape, dtype=getattr(torch, dtype))
            self.send(arrays[name])
        were_tensors = set(tensor_names(value))
        kept = {name: tensor if name in were_tensors else tensor.numpy() for name, tensor in arrays.items()}
        return put_together(value, arrays=kept)

    def send(self, tensor: Any) -> None:
        """Fill `tensor`, on any device, with the bytes that rank 0 has in it."""
        import torch

        dist = _distributed()

        # As bytes: gloo does not know every type.
        carried = tensor.detach().cpu().contiguous().reshape(-1)
        if not carried.numel():
            return
        data = carried.view(torch.uint8)
        with lost_ranks():
            dist.broadcast(data, 0, group=self._group)
        if self.rank:
            tensor.detach().copy_(carried.view(tensor.shape))

    def _text(self, text: str, source: int) -> str:
        """What rank `source` says, on every rank."""
        import torch

        dist = _distributed()

        own = text.encode() if self.rank == source else b""
        length = torch.tensor([len(own)])
        with lost_ranks():
            dist.broadcast(length, source, group=self._group)
            data = torch.zeros(int(length), dtype=torch.uint8)
            if own:
                data = torch.frombuffer(bytearray(own), dtype=torch.uint8)
            if len(data):
                dist.broadcast(data, source, group=self._group)
        return data.numpy().tobytes().decode()


def is_under_torchrun() -> bool:
    """Whether this process is one of several that torchrun, or another launcher with its variables, has started."""
    number = os.environ.get("WORLD_SIZE", "")
    known = all(name in os.environ for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"))
    return known and number.isdigit() and int(number) > 1


def launched_rank() -> int:
    """This process' rank under torchrun; 0 where it is alone."""
    return int(os.environ["RANK"]) if is_under_torchrun() else 0


@contextmanager
def joined(*, sync_file: Path | None = None, rank: int = 0, number: int = 1) -> Generator[ProcessRanks]:
    """The processes of torchrun; or, with `sync_file`, those of this machine that were given the same file.

    A group that a program has made already is used, and left as it is.
    """
    import torch

    dist = _distributed()
    local_rank = int(os.environ.get("LOCAL_RANK", "0")) if sync_file is None else rank
    if dist.is_initialized():
        yield ProcessRanks(local_rank=local_rank)
        return
    backend = "gloo"
    if torch.cuda.is_available() and dist.is_nccl_available():
        backend = "cpu:gloo,cuda:nccl"
        if local_rank < torch.cuda.device_count():
            torch.cuda.set_device(local_rank)
    if sync_file is None:
        dist.init_process_group(backend, timeout=PATIENCE)
    else:
        # Processes of one machine talk over its loopback device: no open port, and no name to be resolved.
        with _environment("GLOO_SOCKET_IFNAME", _loopback()):
            store = dist.FileStore(str(sync_file), number)
            dist.init_process_group(backend, store=store, rank=rank, world_size=number, timeout=PATIENCE)
    try:
        yield ProcessRanks(local_rank=local_rank)
    finally:
        with suppress(RuntimeError):  # others may be gone already
            dist.destroy_process_group()


class LostRanks(DanluError):
    """Another of the processes that train one model has ended."""


@contextmanager
def lost_ranks() -> Generator[None]:
    """Say what it means where the connection to another process breaks."""
    try:
        yield
    except RuntimeError as error:
        if not is_lost(error):
            raise
        raise LostRanks(
            "Another of the processes that train this model has ended. Its own words say why; a run goes on from its "
            "newest checkpoint when it is resumed."
        ) from error


def is_lost(error: RuntimeError) -> bool:
    """Whether an error of torch says that the connection to another process broke."""
    words = str(error).lower()
    return any(word in words for word in ("gloo", "nccl", "connection", "timed out", "timeout"))


def _distributed() -> Any:
    """torch.distributed, whose types are not known in full."""
    import torch.distributed

    return torch.distributed


def _tensor(array: Any) -> Any:
    """A NumPy array, or a tensor on any device, as a tensor on the CPU."""
    import torch

    if not hasattr(array, "detach"):
        array = torch.as_tensor(np.require(array, requirements="W"))
    return array.detach().cpu()


def _loopback() -> str | None:
    """The name of this machine's loopback device, where it can be found."""
    with suppress(OSError, AttributeError):
        names = {name for _, name in socket.if_nameindex()}
        return next((name for name in ("lo", "lo0") if name in names), None)
    return None


@contextmanager
def _environment(name: str, value: str | None) -> Generator[None]:
    """Within it the variable has this value, unless it has one already."""
    if value is None or name in os.environ:
        yield
        return
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
