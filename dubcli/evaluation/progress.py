"""Telling the caller how far an evaluation is."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

from dubcli.pipeline import OnProgress
from dubcli.records import Progress

Item = TypeVar("Item")


def named(prefix: str, on_progress: OnProgress | None) -> OnProgress | None:
    """Return a callback that puts a prefix before each stage's name: two videos are tracked."""
    if on_progress is None:
        return None
    tell = on_progress

    def rename(event: Progress) -> None:
        """Pass the event on under its longer name."""
        tell(replace(event, stage=f"{prefix}: {event.stage}"))

    return rename


def watched(
    items: Iterable[Item], stage: str, total: int, on_progress: OnProgress | None
) -> Iterator[Item]:
    """Yield items, telling the callback of each."""
    for done, item in enumerate(items, 1):
        yield item
        if on_progress is not None:
            on_progress(Progress(stage, done, total))
