"""``dubcli doctor``: what it prints and its exit code."""

import json
import sys
from collections.abc import Iterator

import pytest

from dubcli.cli import app
from dubcli.cli import doctor as command
from dubcli.doctor import Check

FINE = Check("ffmpeg", "ok", "7.1, /usr/bin/ffmpeg")
DOUBTFUL = Check("cache", "warning", "damaged: 1", "dubcli cache clear")
BROKEN = Check("torch", "failed", "ImportError: none", "reinstall it")


@pytest.mark.parametrize(("checks", "code"), [((FINE, DOUBTFUL), 0), ((FINE, BROKEN, DOUBTFUL), 2)])
@pytest.mark.parametrize("as_json", [False, True])
def test_a_failed_check_is_exit_code_2_and_every_remedy_is_printed(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    checks: tuple[Check, ...],
    code: int,
    as_json: bool,
) -> None:
    def examine(models: object, cache: object) -> Iterator[Check]:
        yield from checks

    monkeypatch.setattr(command, "examine", examine)
    monkeypatch.setattr(sys, "argv", ["dubcli", "doctor", *(["--json"] if as_json else [])])
    with pytest.raises(SystemExit) as leaving:
        app.main()
    out, err = capsys.readouterr()
    assert (leaving.value.code, err) == (code, "")
    if as_json:
        rows = json.loads(out)
        assert [row["status"] for row in rows] == [check.status for check in checks]
        assert [row["remedy"] for row in rows] == [check.remedy for check in checks]
        return
    lines = out.splitlines()
    assert [line.split()[:2] for line in lines] == [[c.status, c.name] for c in checks]
    assert all(line.endswith(check.remedy) for line, check in zip(lines, checks, strict=True))
