"""The one queue and the one thread of the project."""

import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class _Producer(Generic[Item]):
    """A thread that keeps up to ``size`` items of an iterable ready."""

    def __init__(self, iterable: Iterable[Item], size: int) -> None:
        self._iterable = iterable
        self._size = size
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._stopped = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="dubcli-prefetch", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        iterator: Iterator[Item] = iter(())
        try:
            iterator = iter(self._iterable)
            for item in iterator:
                if not self._put(item):
                    break
        except BaseException as error:  # noqa: BLE001 - raised again in the consumer's thread
            self._error = error
        finally:
            close = getattr(iterator, "close", None)  # a generator ends in its own thread
            try:
                if close is not None:
                    close()
            except BaseException as error:  # noqa: BLE001 - as above
                self._error = self._error or error
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _put(self, item: Item) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or len(self._items) < self._size)
            if not self._stopped:
                self._items.append(item)
                self._changed.notify_all()
            return not self._stopped

    def __iter__(self) -> Iterator[Item]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._items or self._ended)
                if not self._items:
                    break
                item = self._items.popleft()
                self._changed.notify_all()
            yield item
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Tell the thread to end after the item it is working on, and wait for it."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join()


def prefetch(iterable: Iterable[Item], size: int = 8) -> Generator[Item, None, None]:
    """Yield the items of ``iterable``, made ahead of time by one thread.

    An exception of the iterable is raised here, after the items before it. When the consumer
    stops early (break, exception, ``close()``), the thread is stopped and joined, and a generator
    passed in is closed. The thread starts with the first item asked for.

    Args:
        iterable: What to run ahead of the consumer; used by the thread only.
        size: How many items may wait, at least 1.

    Raises:
        ValueError: If ``size`` is less than 1.

    Example:
        >>> list(prefetch([1, 2, 3], size=2))
        [1, 2, 3]
    """
    if size < 1:
        raise ValueError(f"size is {size}, it must be at least 1")
    return _consume(iterable, size)


def _consume(iterable: Iterable[Item], size: int) -> Generator[Item, None, None]:
    producer = _Producer(iterable, size)
    try:
        yield from producer
    finally:
        producer.stop()
