"""Data from what torch users have: tensors, a Dataset, a DataLoader."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    TensorDataset,
    default_collate,
)

from danlu.core.errors import DataError
from danlu.core.ideas import Data, Item, Position, State
from danlu.core.seeds import derive
from danlu.data.batches import ShuffledRows, deal, epoch_order, leaves, num_rows, rows_an_epoch

NAMES = ("x", "y", "weight")  # of the parts of a tuple


def as_data(data: Any, *, batch_size: int | None = None, seed: int, shuffle: bool | None = None) -> Data:
    """What the training loop asks for batches, made of what a torch user has.

    - `(x, y)` or `(x, y, weight)`, a mapping of arrays or tensors, a TensorDataset (also behind `random_split`):
      whole tensors, indexed many batches at a time.
    - Any other Dataset with `len()` and `[i]`: samples are tuples, named tuples or mappings. Before `dataset[i]`
      torch's, NumPy's and Python's own generators are seeded from (seed, epoch, i) and put back afterwards, so that
      random augmentation is the same after a restart, with any number of workers, for any number of ranks. That
      begins with the first batch in which a sample draws, which is made twice. Draws of a `collate_fn` follow from
      (seed, epoch, row, rank).
    - A DataLoader: its dataset, batch size, `collate_fn`, `drop_last`, workers and pinned memory are taken over; a
      RandomSampler becomes danlu's shuffle, a SequentialSampler the order of the rows. `batch_size` and `shuffle`
      are then its own.
    - A DataLoader with another sampler, without batches of its own, or of an IterableDataset; an IterableDataset: gone
      through as it is, with the three generators and those of loader and sampler seeded from (seed, epoch), and
      `set_epoch` called where there is one. A restart goes through the batches of that epoch again and throws away
      those already taken. That is exact as far as an epoch of the loader depends on nothing else: workers that
      persist, or a generator of its own, are beyond danlu's reach. Each rank goes through all batches and keeps
      its rows.
    - What already is such a Data comes back as it is.

    Batches are mappings: (x, y) becomes `x` and `y`; a mapping stays, with `y` beside `labels`. `shuffle` is on
    unless said otherwise. DataError says what cannot be used.
    """
    if isinstance(data, DataLoader):
        _refuse(batch_size is not None, "batch_size", "give the DataLoader another batch_size")
        _refuse(shuffle is not None, "shuffle", "make the DataLoader with shuffle=True or shuffle=False")
        return _from_loader(data, seed=seed)
    if not isinstance(data, Mapping) and all(hasattr(data, name) for name in ("items", "state", "load")):
        _refuse(batch_size is not None, "batch_size", "set it where the data is made")
        _refuse(shuffle is not None, "shuffle", "set it where the data is made")
        return data
    if batch_size is None:
        raise DataError("How many rows make a batch is not known. Give a batch_size, such as batch_size=64.")
    if isinstance(data, IterableDataset):
        _refuse(shuffle is not None, "shuffle", "an IterableDataset has an order of its own")
        return _AsIs(DataLoader(cast(Any, data), batch_size=batch_size), seed=seed)
    shuffle = shuffle is None or shuffle
    columns = _columns(data)
    if columns is not None:
        return ShuffledRows(columns, batch_size=batch_size, seed=seed, shuffle=shuffle)
    _check_dataset(data)
    return _Samples(data, batch_size=batch_size, seed=seed, shuffle=shuffle)


def named(batch: Any) -> dict[str, Any]:
    """A batch, or a sample, as a mapping: the parts of a tuple are called x, y and weight, `labels` is also `y`."""
    if hasattr(batch, "_asdict"):
        batch = batch._asdict()
    if isinstance(batch, torch.Tensor):
        batch = (batch,)
    if isinstance(batch, (tuple, list)) and 0 < len(batch) <= len(NAMES):
        batch = dict(zip(NAMES, batch, strict=False))
    if isinstance(batch, Mapping):
        batch = dict(batch)
        for name, value in leaves(batch):
            if isinstance(value, (tuple, list)) and value and isinstance(value[0], torch.Tensor):
                raise DataError(
                    f"{name!r} is a list of {len(value)} tensors. Give several inputs names: "
                    "{'x': {'image': ..., 'text': ...}, 'y': ...}."
                )
        return batch | {"y": batch["labels"]} if "labels" in batch and "y" not in batch else batch
    count = f" of {len(batch)}" if isinstance(batch, (tuple, list)) else ""
    raise DataError(
        f"A sample or batch is (x, y), (x, y, weight) or a mapping of names, got {type(batch).__name__}{count}. "
        "Let the dataset or its collate_fn give a mapping such as {'x': ..., 'y': ...}."
    )


def _refuse(given: bool, name: str, remedy: str) -> None:
    if given:
        raise DataError(f"{name} cannot be set for data that makes its own batches: {remedy}.")


# ---------------------------------------------------------------- columns in memory


def _columns(data: Any) -> dict[str, Any] | None:
    """Whole columns as tensors, or None for what gives its samples one by one."""
    if isinstance(data, Mapping):
        return named({name: _column(value, str(name)) for name, value in data.items()})
    if isinstance(data, tuple):
        return {name: _column(value, name) for name, value in named(data).items()}
    if type(data) is Subset:
        inner = _columns(data.dataset) if isinstance(data.dataset, (TensorDataset, Subset)) else None
        if inner is None:
            return None
        index = torch.as_tensor(data.indices, dtype=torch.int64)
        return {name: value.index_select(0, index.to(value.device)) for name, value in inner.items()}
    if isinstance(data, TensorDataset) and type(data).__getitem__ is TensorDataset.__getitem__:
        return named(data.tensors)
    return None


def _column(value: Any, name: str) -> Any:
    if isinstance(value, Mapping):
        return {key: _column(part, f"{name}.{key}") for key, part in value.items()}
    if isinstance(value, torch.Tensor):
        return value
    if hasattr(value, "toarray"):
        raise DataError(
            f"{name!r} is a sparse matrix. Spread it out with .toarray(), or train with a recipe."
        )
    if hasattr(value, "to_numpy"):  # a column of pandas or Polars
        value = value.to_numpy()
    if not isinstance(value, (np.ndarray, list)):
        raise DataError(f"{name!r} must be an array or a tensor, got {type(value).__name__}.")
    try:
        with (
            warnings.catch_warnings()
        ):  # of arrays that may not be written to: batches are copies, nothing writes
            warnings.filterwarnings("ignore", message=".*not writable", category=UserWarning)
            return torch.as_tensor(np.ascontiguousarray(value))
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{name!r} cannot become a tensor: {error}. Give numbers; text is encoded by a recipe or a tokenizer."
        ) from error


def _check_dataset(data: Any) -> None:
    kind = type(data).__name__
    if isinstance(data, (str, bytes)) or type(data).__module__.split(".")[0] in ("pandas", "polars"):
        raise DataError(
            f"Batches are not made of a {kind}. Give (x, y) arrays, a torch Dataset or a DataLoader; "
            "a file or a table is trained with danlu.train(table, target=...)."
        )
    if isinstance(data, (np.ndarray, torch.Tensor)):
        raise DataError(
            f"One {kind} alone has no targets. Give (x, y), or {{'x': ...}} for a model without them."
        )
    if not (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        raise DataError(
            f"Batches cannot be made of a {kind}. Give (x, y) arrays, a mapping of arrays, a torch Dataset "
            "or a DataLoader."
        )


# ---------------------------------------------------------------- samples, one by one


class _Samples:
    """Batches of the samples of a map-style dataset, in the order of `ShuffledRows`."""

    def __init__(
        self,
        dataset: Any,
        *,
        batch_size: int,
        seed: int,
        shuffle: bool,
        drop_last: bool = False,
        collate: Callable[[list[Any]], Any] = default_collate,
        loading: Mapping[str, Any] | None = None,
    ) -> None:
        self.num_rows = len(dataset)
        self._num_used = rows_an_epoch(self.num_rows, batch_size, drop_last=drop_last)
        self._batch_size, self._seed, self._shuffle = batch_size, seed, shuffle
        self._source = _Source(dataset, seed, collate)
        self._loading = dict(loading or {})

    @property
    def num_batches(self) -> int:
        """Batches an epoch."""
        return -(-self._num_used // self._batch_size)

    def items(self, start: Position, *, rank: int = 0, ranks: int = 1) -> Iterator[Item]:
        """Batches from `start` on, made by the workers where there are some."""
        epoch, row, step = start
        if row >= self._num_used:
            epoch, row = epoch + 1, 0
        loader = DataLoader(
            cast(Any, self._source),
            batch_size=None,  # the source gives whole batches
            sampler=cast(Any, self._keys(Position(epoch, row), rank, ranks)),
            collate_fn=_same,
            # Else it would draw the workers' seed from the generator that belongs to the model.
            generator=torch.Generator().manual_seed(derive(self._seed, "workers")),
            **self._loading,
        )
        for batch in loader:
            row, step = row + self._batch_size, step + 1
            if row >= self._num_used:
                epoch, row = epoch + 1, 0
            yield Item(batch, Position(epoch, row, step))

    def _keys(self, start: Position, rank: int, ranks: int) -> Iterator[_Key]:
        epoch, row, _ = start
        while True:
            order = epoch_order(self.num_rows, self._seed, epoch, shuffle=self._shuffle)
            for first in range(row, self._num_used, self._batch_size):
                index = order[first : min(first + self._batch_size, self._num_used)]
                mine = index[rank::ranks]
                yield _Key(epoch, first, rank, mine if len(mine) else index[:1], is_empty=not len(mine))
            epoch, row = epoch + 1, 0

    def state(self) -> State:
        """Nothing beside the position: the order follows from the seed."""
        return {}

    def load(self, state: State) -> None:
        """Nothing to take over."""


class _Key(NamedTuple):
    """What the source needs to make one batch."""

    epoch: int
    row: int
    rank: int
    rows: np.ndarray
    """Positions in the dataset."""
    is_empty: bool
    """Whether no row is left for this rank: its batch is made of one row of another, and cut."""


class _Source:
    """Whole batches by their key; picklable, so that workers can have it."""

    def __init__(self, dataset: Any, seed: int, collate: Callable[[list[Any]], Any]) -> None:
        self._dataset, self._seed, self._collate = dataset, seed, collate
        self._is_random = False  # whether a sample has been seen to draw

    def __getitem__(self, key: _Key) -> dict[str, Any]:
        places, before = key.rows.tolist(), _generator_states()
        samples = [] if self._is_random else [self._dataset[place] for place in places]
        # What drew for the first time had not been seeded: its batch is made again, and all from now on are seeded.
        self._is_random = self._is_random or not _are_same(before, _generator_states())
        if not self._is_random and self._collate is default_collate:  # nothing to put back
            return _cut(self._collate(samples), key)
        try:
            if self._is_random:
                samples = [self._sample(key.epoch, place) for place in places]
            _seed_all(derive(self._seed, "collate", key.epoch, key.row, key.rank))
            return _cut(self._collate(samples), key)
        finally:
            _set_generators(before)

    def _sample(self, epoch: int, place: int) -> Any:
        _seed_all(derive(self._seed, "sample", epoch, place))  # about 15 us: more than many a sample takes
        return self._dataset[place]


def _cut(batch: Any, key: _Key) -> dict[str, Any]:
    """The batch under names, with no row where there is none for this rank."""
    made = named(batch)
    return deal(made, 1, 2) if key.is_empty else made  # of its one row every second, from the second on


def _same(batch: Any) -> Any:
    return batch


# ---------------------------------------------------------------- loaders


def _from_loader(loader: DataLoader[Any], *, seed: int) -> Data:
    sampler, batch_sampler, dataset = loader.sampler, loader.batch_sampler, cast(Any, loader.dataset)
    if isinstance(sampler, DistributedSampler):
        raise DataError(
            "The DataLoader has a DistributedSampler, but danlu deals out the rows to the processes itself. "
            "Make it with shuffle=True instead, and the batch size of all processes together."
        )
    in_order = type(sampler) is SequentialSampler
    shuffled = (
        type(sampler) is RandomSampler and not sampler.replacement and sampler.num_samples == len(dataset)
    )
    if (
        isinstance(dataset, IterableDataset)
        or type(batch_sampler) is not BatchSampler
        or not (in_order or shuffled)
    ):
        return _AsIs(loader, seed=seed)
    batch_size, drop_last = batch_sampler.batch_size, batch_sampler.drop_last
    columns = _columns(dataset) if loader.collate_fn is default_collate else None
    if columns is not None:  # workers and pinned memory would only slow down what is in memory
        return ShuffledRows(columns, batch_size=batch_size, seed=seed, shuffle=shuffled, drop_last=drop_last)
    loading: dict[str, Any] = {"num_workers": loader.num_workers, "pin_memory": loader.pin_memory}
    if loader.num_workers:
        loading |= {
            "timeout": loader.timeout,
            "worker_init_fn": loader.worker_init_fn,
            "prefetch_factor": loader.prefetch_factor,
            "multiprocessing_context": loader.multiprocessing_context,
        }
    return _Samples(
        dataset,
        batch_size=batch_size,
        seed=seed,
        shuffle=shuffled,
        drop_last=drop_last,
        collate=loader.collate_fn,
        loading=loading,
    )


class _AsIs:
    """The batches of a loader as it gives them, with everything seeded from (seed, epoch)."""

    def __init__(self, loader: DataLoader[Any], *, seed: int) -> None:
        self._loader, self._seed = loader, seed

    @property
    def num_rows(self) -> int | None:
        """Rows of the dataset, None where it does not say."""
        return _length(self._loader.dataset)

    @property
    def num_batches(self) -> int | None:
        """Batches an epoch, None where the loader does not say."""
        return _length(self._loader)

    def items(self, start: Position, *, rank: int = 0, ranks: int = 1) -> Iterator[Item]:
        """Batches from `start` on; those of its epoch that lie before are made and thrown away."""
        epoch, taken, step = start
        while True:
            row, batches = 0, self._epoch(epoch)
            batch = next(batches, None)
            while batch is not None:
                following = next(batches, None)  # an epoch ends with the batch that nothing follows
                row += num_rows(batch)
                if row > taken:
                    if row - num_rows(batch) < taken:
                        raise DataError(
                            f"The DataLoader has no batch that starts at row {taken} of epoch {epoch}: its batches are "
                            "other ones than before. Go on with the loader that the run began with."
                        )
                    step += 1
                    after = (
                        Position(epoch, row, step) if following is not None else Position(epoch + 1, 0, step)
                    )
                    taken = row
                    yield Item(batch if ranks == 1 else deal(batch, rank, ranks), after)
                batch = following
            if not row:
                raise DataError(
                    "The DataLoader gives no batches. Give it at least one row, and an iterator that can be "
                    "gone through again."
                )
            epoch, taken = epoch + 1, 0

    def state(self) -> State:
        """Nothing beside the position: an epoch is gone through again up to there."""
        return {}

    def load(self, state: State) -> None:
        """Nothing to take over."""

    def _epoch(self, epoch: int) -> Iterator[dict[str, Any]]:
        seed = derive(self._seed, "loader", epoch)
        parts = (self._loader, self._loader.sampler, self._loader.batch_sampler, self._loader.dataset)
        for part in parts:
            if isinstance(own := getattr(part, "generator", None), torch.Generator):
                own.manual_seed(seed)
            if callable(set_epoch := getattr(part, "set_epoch", None)):
                set_epoch(epoch)
        with _own_generators():
            _seed_all(seed)
            batches = iter(self._loader)
            theirs = _generator_states()
        while True:
            with _own_generators():  # between two batches the training step draws from the same generators
                _set_generators(theirs)
                batch = next(batches, None)
                theirs = _generator_states()
            if batch is None:
                return
            yield named(batch)


def _length(sized: Any) -> int | None:
    try:
        return len(sized)
    except TypeError:  # nothing says how long it is
        return None


# ---------------------------------------------------------------- generators of the process


_States: TypeAlias = tuple[Any, Any, torch.Tensor]
"""Of Python's, NumPy's and torch's generator."""


@contextmanager
def _own_generators() -> Generator[None]:
    """Within it the process's generators may be seeded and drawn from; afterwards they are as they were."""
    kept = _generator_states()
    try:
        yield
    finally:
        _set_generators(kept)


def _generator_states() -> _States:
    numpy_state = np.random.get_state()  # noqa: NPY002 - the user's transforms draw from it
    return random.getstate(), numpy_state, torch.default_generator.get_state()


def _set_generators(states: _States) -> None:
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002 - as above
    torch.default_generator.set_state(states[2])


def _are_same(one: _States, other: _States) -> bool:
    numpy_one, numpy_other = one[1], other[1]
    return (
        one[0] == other[0]
        and numpy_one[2:] == numpy_other[2:]
        and np.array_equal(numpy_one[1], numpy_other[1])
        and torch.equal(one[2], other[2])
    )


def _seed_all(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - as above
    torch.default_generator.manual_seed(seed)  # not torch.manual_seed, which wakes CUDA in every worker
