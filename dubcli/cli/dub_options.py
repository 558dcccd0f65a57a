"""The options of a dub, written once for the commands that take them: dub, batch, preview."""

import inspect
from collections.abc import Callable
from functools import wraps
from inspect import Parameter
from typing import Any

from dubcli.cli.options import (
    AdaptOption,
    Allow8bitOption,
    AudioEncoderOption,
    AudioOption,
    BedFadeOption,
    BedLevelOption,
    C2paCertificateOption,
    C2paKeyOption,
    CacheFolderOption,
    CacheLimitOption,
    CloseInSilenceOption,
    CodecOption,
    CrfOption,
    DebugMaskOption,
    DeinterlaceOption,
    DeviceOption,
    FaceOption,
    FaceReferencesOption,
    LengthOption,
    LipReferencesOption,
    LoudnessOption,
    MaskFeatherOption,
    MaskGrowOption,
    MaxPixelsOption,
    MaxSecondsOption,
    ModelsOption,
    MouthScaleOption,
    OverwriteOption,
    PatchOnlyOption,
    PixelFormatOption,
    PresetOption,
    ProvenanceOption,
    RangeOption,
    SpeechAtOption,
    ThreadsOption,
    TracksOption,
    UseCacheOption,
)
from dubcli.config import DEFAULTS, CacheOptions, DubOptions

Command = Callable[..., None]

# Name -> type and help, in the order of --help. Names are those of DubOptions' fields; the cache is
# three options, and --range, which may be repeated, is its field's text in pieces.
OF_A_DUB: dict[str, Any] = {
    "device": DeviceOption,
    "models": ModelsOption,
    "audio_encoder": AudioEncoderOption,
    "lip_references": LipReferencesOption,
    "face_references": FaceReferencesOption,
    "mouth_scale": MouthScaleOption,
    "close_in_silence": CloseInSilenceOption,
    "length": LengthOption,
    "face": FaceOption,
    "ranges": RangeOption,
    "speech_at": SpeechAtOption,
    "mask_grow": MaskGrowOption,
    "mask_feather": MaskFeatherOption,
    "debug_mask": DebugMaskOption,
    "adapt": AdaptOption,
    "loudness": LoudnessOption,
    "audio": AudioOption,
    "bed_level": BedLevelOption,
    "bed_fade": BedFadeOption,
    "provenance": ProvenanceOption,
    "c2pa_certificate": C2paCertificateOption,
    "c2pa_key": C2paKeyOption,
    "max_pixels": MaxPixelsOption,
    "max_seconds": MaxSecondsOption,
    "crf": CrfOption,
    "preset": PresetOption,
    "codec": CodecOption,
    "pixel_format": PixelFormatOption,
    "allow_8bit": Allow8bitOption,
    "deinterlace": DeinterlaceOption,
    "tracks": TracksOption,
    "patch_only": PatchOnlyOption,
    "threads": ThreadsOption,
    "overwrite": OverwriteOption,
}
OF_THE_CACHE: dict[str, tuple[Any, Any]] = {
    "cache": (UseCacheOption, DEFAULTS.cache.use),
    "cache_folder": (CacheFolderOption, DEFAULTS.cache.folder),
    "cache_limit": (CacheLimitOption, DEFAULTS.cache.limit_mb),
}
# Those that make a file, in which a command that makes none has no say.
OF_THE_FILE = frozenset(
    {
        "loudness",
        "audio",
        "bed_level",
        "bed_fade",
        "provenance",
        "c2pa_certificate",
        "c2pa_key",
        "crf",
        "preset",
        "codec",
        "pixel_format",
        "allow_8bit",
        "tracks",
        "patch_only",
    }
)


def takes_dub_options(
    without: frozenset[str] = frozenset(), **other: Any
) -> Callable[[Command], Command]:
    """Return a decorator that puts a dub's options in the place of a parameter ``options``.

    Args:
        without: Names of options that the command does not take: they keep their defaults.
        other: Name -> another type and help than ``OF_A_DUB``'s.
    """
    taken = {name: other.get(name, kind) for name, kind in OF_A_DUB.items() if name not in without}

    def decorate(command: Command) -> Command:
        """Give typer the options one by one, and the command one ``DubOptions``."""
        parameters: list[Parameter] = []
        for parameter in inspect.signature(command).parameters.values():
            parameters += _parameters(taken) if parameter.name == "options" else [parameter]

        @wraps(command)
        def run(**given: Any) -> None:
            """Gather the options."""
            cache = CacheOptions(*(given.pop(name) for name in OF_THE_CACHE))
            values = {name: given.pop(name) for name in taken}
            values["ranges"] = ", ".join(values["ranges"] or ())
            command(**given, options=DubOptions(**values, cache=cache))

        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        return run

    return decorate


def _parameters(taken: dict[str, Any]) -> list[Parameter]:
    """Return the parameters of the options that are taken, and of the cache."""
    defaults = {name: getattr(DEFAULTS, name) for name in taken} | {"ranges": None}
    pairs = {name: (kind, defaults[name]) for name, kind in taken.items()} | OF_THE_CACHE
    return [
        Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=kind)
        for name, (kind, default) in pairs.items()
    ]
