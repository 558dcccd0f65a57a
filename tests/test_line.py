"""How a line of a dub is written."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dubcli.errors import InputError
from dubcli.line import Line, parse_line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("2=ben.wav", Line(Path("ben.wav"), "2")),
        ("2=ben.wav@4.2", Line(Path("ben.wav"), "2", at="4.2")),
        ("largest=b.wav@00:01:05:12", Line(Path("b.wav"), "largest", at="00:01:05:12")),
        ("2=b.wav@1:05-1:20, 90-95", Line(Path("b.wav"), "2", ranges="1:05-1:20, 90-95")),
        ("ben.png=/a b/b.wav", Line(Path("/a b/b.wav"), "ben.png")),
        ("2=take=1@home.wav", Line(Path("take=1@home.wav"), "2")),
        ("2=me@home.wav@7", Line(Path("me@home.wav"), "2", at="7")),
        ("2=take@7", Line(Path("take"), "2", at="7")),
        ("2=take@7@", Line(Path("take@7"), "2")),
        ("2=-x.wav", Line(Path("-x.wav"), "2")),
    ],
)
def test_a_line_is_read_as_it_is_meant(text: str, line: Line) -> None:
    assert parse_line(text) == line


def test_a_picture_whose_name_holds_a_sign_of_equality_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ben=1.png").write_bytes(b"x")
    assert parse_line("ben=1.png=b=c.wav@1") == Line(Path("b=c.wav"), "ben=1.png", at="1")


@pytest.mark.parametrize("text", ["", "ben.wav", "=ben.wav", "2=", "2=@4", " = ", "2=@"])
def test_half_a_line_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"^--also .*: give FACE=SPEECH or FACE=SPEECH@TIME"):
        parse_line(text)


def test_what_cannot_work_names_the_speech() -> None:
    with pytest.raises(InputError, match=r"^b\.wav: --face is 0: give largest, a number"):
        parse_line("0=b.wav")
    with pytest.raises(InputError, match=r"^b\.wav: --speech-at soon: not a time"):
        Line(Path("b.wav"), "2", at="soon")
    with pytest.raises(InputError, match=r"^b\.wav: --range 3: not a range"):
        Line(Path("b.wav"), "2", ranges="3")


@given(st.text(max_size=30))
def test_any_text_is_a_line_or_one_sentence(text: str) -> None:
    try:
        line = parse_line(text)
    except InputError as error:
        assert "\n" not in str(error) or "\n" in text
    else:
        assert os.fspath(line.speech)
