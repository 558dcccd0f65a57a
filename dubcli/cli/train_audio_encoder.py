"""``dubcli train audio-encoder``."""

from dubcli.checkpoints import models_root
from dubcli.cli.options import (
    CacheOption,
    DataOption,
    DeviceOption,
    LabelledOption,
    MinutesOption,
    ModelsOption,
    RecipeOption,
    ResumeOption,
    SeedOption,
    SoundsOption,
)
from dubcli.cli.training_display import training_display
from dubcli.config import DEFAULTS


def train_audio_encoder(
    data: DataOption,
    cache: CacheOption,
    sounds: SoundsOption = None,
    labelled: LabelledOption = None,
    recipe: RecipeOption = None,
    minutes: MinutesOption = None,
    models: ModelsOption = DEFAULTS.models,
    seed: SeedOption = None,
    resume: ResumeOption = False,
    device: DeviceOption = DEFAULTS.device,
) -> None:
    """Distil a compact HuBERT from the Whisper encoder."""
    from dubcli.training.train_audio_encoder import train_audio_encoder as run

    with training_display() as observer:
        run(
            data,
            cache,
            models_root(models),
            sounds=sounds or (),
            labelled=labelled,
            recipe=recipe,
            minutes=minutes,
            seed=seed,
            resume=resume,
            device=device,
            observer=observer,
        )
