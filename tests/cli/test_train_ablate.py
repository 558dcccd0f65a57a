import json
import sys
from pathlib import Path

import pytest

from dubcli.checkpoints import models_root
from dubcli.cli import app
from dubcli.config import TrainingOptions
from dubcli.training import ablate, retrain
from dubcli.training.ablate import Ablation, GeneratedRow, RenderedRow

FOUND = Ablation(
    (RenderedRow("Lip-Attention", 24, 26.414, 0.8591, 24.404, 0.843),),
    (GeneratedRow("style", 24, 0.7724, 1.081, 0.841, 0.2832),),
)


def run(monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    command = "dubcli train ablate --data d --cache c"
    monkeypatch.setattr(sys, "argv", [*command.split(), *options])
    with pytest.raises(SystemExit) as leaving:
        app.main()
    return int(leaving.value.code or 0)


def test_options_reach_the_trainings_and_the_rows_are_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[tuple[tuple[object, ...], dict[str, object]]] = []

    def noting(*paths: object, **options: object) -> Ablation:
        given.append((paths, options))
        return FOUND

    monkeypatch.setattr(retrain, "retrain", noting)
    options = ("--retrain", "500", "--geometry-steps", "90", "--seed", "3", "--resume")
    assert run(monkeypatch, *options) == 0
    (paths, others) = given[0]
    training = TrainingOptions(seed=3, resume=True)
    assert paths == (Path("d"), Path("c"), models_root(), 500, training)
    assert callable(others.pop("observer"))
    assert others == {"geometry_steps": 90}
    rendered, generated = (
        line.split() for line in capsys.readouterr().out.splitlines() if "24" in line
    )
    assert rendered == ["Lip-Attention", "24", "26.41", "0.859", "24.40", "0.84"]
    assert generated == ["style", "24", "0.772", "1.08", "0.84", "0.283"]


def test_without_it_the_shipped_networks_are_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ablate, "ablate", lambda data, cache, models: FOUND)
    assert run(monkeypatch, "--json") == 0
    assert json.loads(capsys.readouterr().out)["geometry"][0]["style_similarity"] == 0.2832


@pytest.mark.parametrize("option", [("--seed", "1"), ("--resume",), ("--geometry-steps", "9")])
def test_options_of_trainings_without_steps_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], option: tuple[str, ...]
) -> None:
    assert run(monkeypatch, *option) == 2
    assert "--retrain" in capsys.readouterr().err
