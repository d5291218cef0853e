"""Reading ahead: the same items, two in memory at most, errors in their turn, no thread left behind."""

from __future__ import annotations

import threading
import time
import weakref
from itertools import count, islice

import pytest

from danlu.data.prefetch import ahead


class Item:
    """Something that can be seen to be gone."""


def test_the_same_items_in_the_same_order():
    assert list(ahead(iter(range(100)))) == list(range(100))
    assert list(ahead(ahead(iter(range(100))))) == list(range(100))
    assert list(ahead(iter([]))) == []
    assert list(ahead(iter([None, False]))) == [None, False]


def test_the_next_item_is_made_while_this_one_is_used_and_no_more():
    made, wanted = [], threading.Event()

    def items():
        for number in count():
            made.append(number)
            if number == 3:
                wanted.set()
            yield number

    found = ahead(items())
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    assert wanted.wait(10)  # item 3 is made without being asked for
    assert not threading.Event().wait(0.05) and made == [0, 1, 2, 3]
    found.close()


def test_two_items_are_in_memory_at_most():
    alive = weakref.WeakSet()

    def items():
        while True:
            time.sleep(0.005)  # for the loop below to let go of the one before
            assert len(alive) <= 1  # while one is made, only the one before it is there
            item = Item()
            alive.add(item)
            yield item
            del item

    for _ in islice(ahead(items()), 20):
        pass


def test_an_error_comes_in_its_turn():
    def items():
        yield 1
        yield 2
        raise ZeroDivisionError("third")

    found = ahead(items())
    assert [next(found), next(found)] == [1, 2]
    with pytest.raises(ZeroDivisionError, match="third"):
        next(found)


def test_closing_ends_the_thread_and_closes_the_items():
    closed, before = [], threading.active_count()

    def items():
        try:
            yield from count()
        finally:
            closed.append(True)

    found = ahead(items())
    assert next(found) == 0 and threading.active_count() == before + 1
    found.close()
    assert threading.active_count() == before and closed == [True]
