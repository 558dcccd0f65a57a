"""Whatever is written after an option: the command runs with it, or exit code 2 and one message."""

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dubcli.cli.app import dub, main
from dubcli.config import DubOptions
from dubcli.records import DubReport

ACCEPTED, REFUSED = 0, 2


def options() -> list[str]:
    """Return the name of each option of ``dub`` that takes a value."""
    found = []
    for name, parameter in inspect.signature(dub).parameters.items():
        kind, described = get_args(parameter.annotation)[:2]
        if name in {"video", "speech", "output"} or kind is bool:
            continue
        names = [each for each in described.param_decls or () if each.startswith("--")]
        found.append(names[0] if names else "--" + name.replace("_", "-"))
    return found


values = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12),
    st.floats().map(str),
    st.integers().map(str),
    st.integers(-(10**400), 10**400).map(str),
    st.sampled_from(
        ["", "-", "--", "nan", "inf", "-0", "1e400", "0x10", "1_0", "٣", "%d", "file:"]
    ),
    st.from_regex(r"[0-9:.,\-]{0,14}", fullmatch=True),
)


@pytest.fixture
def outcome(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, list[DubOptions]]]:
    """Return a function that runs ``dub`` up to where the work would begin."""
    taken: list[DubOptions] = []

    def fake(video: Path, audio: Path, output: Path, *, options: DubOptions, **_: Any) -> DubReport:
        taken.append(options)
        return DubReport(output, 1, 1, {}, ())

    module = ModuleType("dubcli.pipeline")
    vars(module).update(dub=fake)
    monkeypatch.setitem(sys.modules, "dubcli.pipeline", module)

    def run(*arguments: str) -> tuple[int, list[DubOptions]]:
        taken.clear()
        monkeypatch.setattr(sys, "argv", ["dubcli", *arguments])
        with pytest.raises(SystemExit) as leaving:
            main()
        return int(leaving.value.code or 0), list(taken)

    return run


def test_options_with_values_are_found() -> None:
    assert {"--crf", "--length", "--loudness", "--cache-limit", "--models"} <= set(options())


def test_any_value_is_taken_or_refused_with_code_2(
    outcome: Callable[..., tuple[int, list[DubOptions]]], capsys: pytest.CaptureFixture[str]
) -> None:
    @settings(
        max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(option=st.sampled_from(options()), value=values)
    def check(option: str, value: str) -> None:
        code, taken = outcome("dub", "a.mp4", "a.wav", "-o", "o.mp4", f"{option}={value}")
        said = capsys.readouterr().err
        assert code in {ACCEPTED, REFUSED}, (option, value, said)
        assert len(taken) == (code == ACCEPTED)
        assert bool(said) == (code == REFUSED)
        if said.startswith("error: "):
            assert said.count("\n") == 1

    check()
