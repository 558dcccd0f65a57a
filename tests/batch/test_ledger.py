"""Where the files of a batch's jobs lie."""

from pathlib import Path

import pytest

from dubcli.batch.ledger import report_of
from dubcli.batch.records import Job
from dubcli.config import DubOptions


@pytest.mark.parametrize(
    ("output", "report"),
    [
        ("out/a.mov", "out/a.mov.html"),
        # Not among the pictures: their folder is made last, and holds nothing else.
        ("out/film/shot.%04d.png", "out/film.html"),
    ],
)
def test_report_lies_beside_what_is_put_in_place(output: str, report: str) -> None:
    job = Job(Path("a.mov"), Path("a.wav"), Path(output), DubOptions())
    assert report_of(job, "html") == Path(report)
    assert report_of(job, None) is None
