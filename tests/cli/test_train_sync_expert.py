import sys
from pathlib import Path

import pytest

from dubcli.checkpoints import models_root
from dubcli.cli import app
from dubcli.config import TrainingOptions
from dubcli.training import train_sync_expert


def test_options_reach_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[tuple[object, ...], dict[str, object]]] = []
    monkeypatch.setattr(
        train_sync_expert, "train_sync_expert", lambda *a, **k: given.append((a, k))
    )
    command = "dubcli train sync-expert --data d --cache c --minutes 1.5 --kind pixels --name mine"
    monkeypatch.setattr(sys, "argv", [*command.split(), "--half", "measuring", "--seed", "3"])
    with pytest.raises(SystemExit) as leaving:
        app.main()
    assert leaving.value.code == 0
    (paths, options) = given[0]
    training = TrainingOptions(minutes=1.5, seed=3)
    assert paths == (Path("d"), Path("c"), models_root(), training)
    assert callable(options.pop("observer"))
    assert options == {"kind": "pixels", "name": "mine", "half": "measuring"}


def test_unknown_kind_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = "dubcli train sync-expert --data d --cache c --minutes 1 --kind voxels --name mine"
    monkeypatch.setattr(sys, "argv", command.split())
    with pytest.raises(SystemExit) as leaving:
        app.main()
    assert leaving.value.code == 2
    assert capsys.readouterr().err == "error: --kind voxels: give one of: vertices, pixels\n"
