import sys
import time

import pytest

from dubcli.errors import MediaError
from dubcli.media.process import FfmpegProcess

SLOW_WRITER = """
import sys, time
for _ in range(2):
    sys.stdout.buffer.write(b"12345"); sys.stdout.flush(); time.sleep(0.1)
"""


def test_short_reads_are_put_together() -> None:
    with FfmpegProcess([sys.executable, "-c", SLOW_WRITER]) as process:
        buffer = bytearray(10)
        assert process.read_into(buffer) == 10
        assert buffer == b"1234512345"
        assert process.read_into(buffer) == 0


def test_a_stream_that_ends_early_gives_the_bytes_it_had() -> None:
    with FfmpegProcess([sys.executable, "-c", SLOW_WRITER]) as process:
        assert process.read_into(bytearray(16)) == 10


def test_a_flood_on_standard_error_does_not_block() -> None:
    flood = "import sys; sys.stderr.write('[x @ 0x1] noise\\n' * 200_000); print('done')"
    with FfmpegProcess([sys.executable, "-c", flood]) as process:
        assert process.read_into(bytearray(5)) == 5
        assert process.finish() == 0
        assert process.complaint() == "noise"


def test_closing_ends_a_process_that_hangs() -> None:
    started = time.monotonic()
    with FfmpegProcess([sys.executable, "-c", "import time; time.sleep(60)"]):
        pass
    assert time.monotonic() - started < 10


def test_a_program_that_is_not_there_is_a_media_error() -> None:
    with pytest.raises(MediaError, match=r"^/no/ffmpeg: ffmpeg could not be started \(No such"):
        FfmpegProcess(["/no/ffmpeg"])


def test_reading_and_feeding_do_not_mix() -> None:
    with (
        FfmpegProcess([sys.executable, "-c", ""], feed=True) as process,
        pytest.raises(ValueError, match="started to be fed"),
    ):
        process.read_into(bytearray(1))
    with (
        FfmpegProcess([sys.executable, "-c", ""]) as process,
        pytest.raises(ValueError, match="started to be read"),
    ):
        process.write(memoryview(b"x"))
