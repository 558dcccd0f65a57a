import threading
import time
from collections.abc import Iterator

import pytest

from dubcli.media.prefetch import prefetch


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "dubcli-prefetch"]


def test_items_come_in_order_and_the_thread_ends() -> None:
    assert list(prefetch(range(100), size=3)) == list(range(100))
    assert threads() == []


def test_an_exception_comes_after_the_items_before_it() -> None:
    def failing() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("broken")

    seen: list[int] = []
    with pytest.raises(ValueError, match="broken"):
        seen.extend(prefetch(failing()))
    assert seen == [1, 2]
    assert threads() == []


def test_leaving_early_stops_the_thread_and_closes_the_generator() -> None:
    closed = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 0
        finally:
            closed.set()

    items = prefetch(endless(), size=2)
    next(items)
    assert threads() == ["dubcli-prefetch"]
    items.close()  # type: ignore[attr-defined]
    assert threads() == []
    assert closed.is_set()


def test_break_leaves_no_thread() -> None:
    for item in prefetch(range(10**9)):
        if item == 3:
            break
    assert threads() == []


def test_no_more_than_size_items_wait() -> None:
    made: list[int] = []

    def counting() -> Iterator[int]:
        for item in range(100):
            made.append(item)
            yield item

    items = prefetch(counting(), size=4)
    next(items)
    time.sleep(0.1)
    assert len(made) <= 6  # one taken, four waiting, one in the producer's hand
    items.close()  # type: ignore[attr-defined]


def test_nothing_runs_before_the_first_item_is_asked_for() -> None:
    prefetch(range(3))
    assert threads() == []


def test_a_size_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="size is 0, it must be at least 1"):
        prefetch([1], size=0)


def test_something_that_cannot_be_iterated_raises_in_the_consumer() -> None:
    with pytest.raises(TypeError):
        list(prefetch(5))  # type: ignore[arg-type]
    assert threads() == []
