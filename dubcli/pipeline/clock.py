"""Measures the stages of a dub and tells how far they are."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from dubcli.records import Progress

Item = TypeVar("Item")
OnProgress = Callable[[Progress], None]


@dataclass(slots=True)
class Clock:
    """Measures stages and tells the caller how far they are."""

    on_progress: OnProgress | None
    seconds: dict[str, float] = field(default_factory=dict)

    def watch(self, stage: str, items: Iterable[Item], total: int | None) -> Iterator[Item]:
        """Yield items, counting the time that making them takes."""
        done = 0
        iterator = iter(items)
        self.tell(stage, 0, total)
        while True:
            started = time.perf_counter()
            try:
                item = next(iterator)
            except StopIteration:
                self.add(stage, time.perf_counter() - started)
                return
            self.add(stage, time.perf_counter() - started)
            done += 1
            self.tell(stage, done, total)
            yield item

    def add(self, stage: str, seconds: float) -> None:
        """Add to a stage's time."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    def tell(self, stage: str, done: int, total: int | None) -> None:
        """Report progress."""
        if self.on_progress is not None:
            self.on_progress(Progress(stage, done, total))
