"""``dubcli train audio-encoder``."""

from dubcli.checkpoints import models_root
from dubcli.cli.options import (
    CacheOption,
    DataOption,
    LabelledOption,
    ModelsOption,
    SoundsOption,
)
from dubcli.cli.training_display import training_display
from dubcli.cli.training_options import takes_training_options
from dubcli.config import DEFAULTS, TRAINING_DEFAULTS, TrainingOptions


@takes_training_options()
def train_audio_encoder(
    data: DataOption,
    cache: CacheOption,
    sounds: SoundsOption = None,
    labelled: LabelledOption = None,
    models: ModelsOption = DEFAULTS.models,
    options: TrainingOptions = TRAINING_DEFAULTS,
) -> None:
    """Distil a compact HuBERT from the Whisper encoder."""
    from dubcli.training.train_audio_encoder import train_audio_encoder as run

    with training_display() as observer:
        run(
            data,
            cache,
            models_root(models),
            options,
            sounds=sounds or (),
            labelled=labelled,
            observer=observer,
        )
