"""Reading ahead: the next item is made in a thread while this one is used."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from queue import SimpleQueue
from threading import Event, Semaphore, Thread
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterator[T]) -> Generator[T]:
    """The same items, each made while the one before it is used: two of them are in memory at most.

    An error of `items` is raised here, in its turn. Closing the generator, or letting go of it, ends the thread.
    """
    results: SimpleQueue[tuple[T] | BaseException | None] = SimpleQueue()
    room, stop = Semaphore(1), Event()
    thread = Thread(target=_work, args=(items, results, room, stop), name="danlu-ahead", daemon=True)
    thread.start()
    try:
        while (result := results.get()) is not None:
            if isinstance(result, BaseException):
                raise result
            (item,) = result
            del result
            room.release()
            yield item
            del item  # before the one after the next is made
    finally:
        stop.set()
        room.release()
        thread.join()


def _work(
    items: Iterator[T], results: SimpleQueue[tuple[T] | BaseException | None], room: Semaphore, stop: Event
) -> None:
    try:
        while room.acquire() and not stop.is_set():
            results.put((next(items),))
    except StopIteration:
        results.put(None)
    except BaseException as error:  # noqa: BLE001 - raised again by the thread that asks for the item
        results.put(error)
    finally:
        if isinstance(items, Generator):
            items.close()
