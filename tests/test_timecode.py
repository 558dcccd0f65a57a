"""Times in and out."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dubcli.config import DubOptions
from dubcli.errors import InputError
from dubcli.report.timecode import timecode
from dubcli.timecode import format_time, frame_at, parse_moment, parse_spans, parse_time

RATES = [Fraction(n) for n in ("24", "25", "24000/1001", "30000/1001", "60000/1001", "240")]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", "0"),
        ("75.5", "75.5"),
        ("1:15.5", "75.5"),
        ("01:15.500", "75.5"),
        ("0:01:15.5", "75.5"),
        ("10:00:00.001", "36000.001"),
        ("99:59", "5999"),
        ("0.1", "1/10"),
        (" 3 ", "3"),
    ],
)
def test_time_is_read_exactly(text: str, seconds: str) -> None:
    assert parse_time(text, "--at") == Fraction(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-1",
        "+1",
        "1.",
        ".5",
        "1:",
        ":1",
        "1:2:3:4",
        "1,5",
        "1e3",
        "nan",
        "1/2",
        "\N{ARABIC-INDIC DIGIT ONE}",
        "1s",
    ],
)
def test_what_is_no_time_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_time(text, "--at")
    assert str(caught.value) == (
        f"--at {text}: not a time; give seconds (75.5) or [[hh:]mm:]ss[.fff] (01:15.5)"
    )


@pytest.mark.parametrize("text", ["1:60", "1:99.5", "1:60:00", "0:0:60"])
def test_sixty_beside_a_larger_unit_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=rf"^--range {text}: minutes and seconds go up to 59"):
        parse_time(text, "--range")


@given(st.integers(0, 10**6), st.sampled_from(RATES))
def test_time_written_for_a_frame_leads_back_to_that_frame(frame: int, rate: Fraction) -> None:
    written = format_time(Fraction(frame) / rate)
    assert frame_at(parse_time(written, "--at"), rate) == frame


def test_frame_is_the_one_that_is_shown() -> None:
    rate = Fraction(30000, 1001)
    assert [frame_at(Fraction(t), rate) for t in ("0", "1001/30000", "1", "1.001")] == [
        0,
        1,
        29,
        30,
    ]
    assert format_time(Fraction(3723)) == "01:02:03.000"
    assert format_time(Fraction(59999999, 1000000)) == "00:01:00.000"


@given(st.integers(0, 10**6), st.sampled_from(RATES))
def test_timecode_of_a_report_leads_back_to_its_frame(frame: int, rate: Fraction) -> None:
    assert parse_moment(timecode(frame, rate), "--range").frame(rate) == frame


def test_frame_that_a_second_does_not_have_is_refused() -> None:
    moment = parse_moment("00:00:01:25", "--range")
    assert moment.frame(Fraction(30000, 1001)) == 55
    with pytest.raises(InputError, match=r"^--range 00:00:01:25: frames of a second go up to 24"):
        moment.frame(Fraction(25))


@given(st.text(alphabet="0123456789:.-, ;a", max_size=30))
def test_any_text_is_ranges_or_one_sentence(text: str) -> None:
    try:
        spans = parse_spans(text, "--range")
    except InputError as error:
        assert str(error).startswith("--range ")
        assert "\n" not in str(error)
        with pytest.raises(InputError):
            DubOptions(ranges=text)
    else:
        assert parse_spans(", ".join(span.text for span in spans), "--range") == spans
        assert DubOptions(ranges=text).ranges == text
